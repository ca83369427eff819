/* SPDX-License-Identifier: Apache-2.0 */
/* What happens to a machine: ready, asked to stop, ended, and which of the ends it was. */
/*
 * A reset is what an ordinary reboot and a panic have in common (panic=-1). It is a crash when a
 * panic's line stands in the console's log after the agent's last BYE, or anywhere in its last part
 * when there was none; else it is a reboot. A guest may print such a line itself; it only misnames
 * its own end. A triple fault and whatever KVM cannot go on from are crashes.
 */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "vmm/machine_priv.h"

/* From "please stop" to the end by force. systemd gives its services 90 s. */
#define STOP_DEADLINE_MS (90 * 1000)

static struct machine *to_machine(struct life *l)
{
	return container_of(l, struct machine, life);
}

/* ---- the ends */

void life_end(struct machine *m, enum vmm_exit how, const char *fmt, ...)
{
	struct life *l = &m->life;
	va_list ap;

	if (l->ended)
		return;
	l->ended = true;
	l->exit = how;
	va_start(ap, fmt);
	(void)vsnprintf(l->why.text, sizeof(l->why.text), fmt, ap);
	va_end(ap);
	l->why.code = EIO;
	for (unsigned i = 0; i < m->cfg->num_vcpus; i++) {
		if (m->vcpu[i])
			vcpu_stop(m->vcpu[i]);
	}
	loop_stop(m->loop);
}

void life_power_off(void *opaque)
{
	life_end(opaque, VMM_EXIT_POWEROFF, "the guest powered off");
}

void life_reset(void *opaque)
{
	struct machine *m = opaque;
	char panic[200];

	if (console_log_find_panic(&m->log, panic, sizeof(panic)))
		life_end(m, VMM_EXIT_CRASH, "the guest's kernel crashed: %s", panic);
	else if (m->life.state == MACHINE_STOPPING)
		life_end(m, VMM_EXIT_POWEROFF, "the guest reset when it was asked to power off");
	else
		life_end(m, VMM_EXIT_REBOOT, "the guest asked for a reboot");
}

void life_vcpu_ended(void *opaque, enum vcpu_end how, const char *text)
{
	struct machine *m = opaque;

	switch (how) {
	case VCPU_END_TRIPLE_FAULT:
		life_end(m, VMM_EXIT_CRASH,
			 "the guest's kernel crashed so hard that it reset the processor (triple "
			 "fault)");
		break;
	case VCPU_END_RESET:
		life_reset(m);
		break;
	case VCPU_END_POWER_OFF:
		life_power_off(m);
		break;
	case VCPU_END_FAILED:
		life_end(m, VMM_EXIT_CRASH, "%s", text);
		break;
	}
}

/* ---- being asked to stop */

static void life_deadline(struct loop_timer *t)
{
	struct machine *m = to_machine(container_of(t, struct life, deadline));

	life_end(m, VMM_EXIT_KILLED, "the guest did not power off within %d seconds",
		 STOP_DEADLINE_MS / 1000);
}

static void life_shutdown(struct machine *m)
{
	struct life *l = &m->life;

	if (l->state != MACHINE_STOPPING) {
		l->state = MACHINE_STOPPING;
		loop_timer_arm(m->loop, &l->deadline, STOP_DEADLINE_MS);
	}
	if (m->notify && !l->shutdown_told)
		l->shutdown_told = notify_shutdown(m->notify, false);
	if (!l->shutdown_told)
		acpi_pm_press_power(m->pm);
}

static void life_signal(struct loop_fd *f, uint32_t events)
{
	struct machine *m = to_machine(container_of(f, struct life, signals));
	struct signalfd_siginfo info;

	if (read(f->fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (m->life.state == MACHINE_STOPPING)
		life_end(m, VMM_EXIT_KILLED,
			 "a second signal (%u) came while the guest was stopping", info.ssi_signo);
	else
		life_shutdown(m);
}

int life_init(struct machine *m, struct err *err)
{
	struct life *l = &m->life;
	sigset_t set;

	l->start_ms = loop_now_ms();
	l->ready_fd = m->cfg->ready_fd;
	l->deadline.fn = life_deadline;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	l->signals.fn = life_signal;
	l->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (l->signals.fd < 0)
		return err_set(err, errno, "cannot receive signals");
	return loop_add(m->loop, &l->signals, EPOLLIN, err);
}

void life_done(struct machine *m)
{
	struct life *l = &m->life;

	loop_timer_disarm(&l->deadline);
	loop_remove(&l->signals);
	if (l->signals.fd >= 0)
		(void)close(l->signals.fd);
	l->signals.fd = -1;
}

/* ---- the agent's words, and what the starter hears of them */

static void life_ready_line(struct life *l, const char *line)
{
	if (l->ready_fd < 0)
		return;
	/* The starter may be gone; the machine stays. */
	(void)fd_write_full(l->ready_fd, line, strlen(line));
	(void)close(l->ready_fd);
	l->ready_fd = -1;
}

void machine_say_error(int ready_fd, const struct err *err)
{
	struct life l = {.ready_fd = ready_fd};
	char line[sizeof(err->text) + 16];

	(void)snprintf(line, sizeof(line), "error %s\n", err->text);
	life_ready_line(&l, line);
}

void life_last_word(struct machine *m)
{
	struct life *l = &m->life;
	struct err err = l->why;

	if (l->guest_error[0])
		(void)err_say(&err, EIO, "%s", l->guest_error);
	else if (!l->ready_ms)
		(void)err_wrap(&err, "the guest ended before it was ready");
	machine_say_error(l->ready_fd, &err);
	l->ready_fd = -1;
}

static void life_ready(struct machine *m)
{
	struct life *l = &m->life;

	if (l->ready_ms)
		return;
	l->ready_ms = loop_now_ms();
	if (l->state == MACHINE_BOOTING)
		l->state = MACHINE_RUNNING;
	life_ready_line(l, "ready\n");
}

void life_notify(void *opaque, enum notify_kind kind, const char *text)
{
	struct machine *m = opaque;
	struct life *l = &m->life;

	switch (kind) {
	case NOTIFY_READY:
		life_ready(m);
		break;
	case NOTIFY_STATUS:
		(void)snprintf(l->status, sizeof(l->status), "%s", text);
		break;
	case NOTIFY_ERROR:
		(void)snprintf(l->guest_error, sizeof(l->guest_error), "%s", text);
		break;
	case NOTIFY_BYE_POWEROFF:
	case NOTIFY_BYE_REBOOT:
		console_log_mark(&m->log);
		break;
	case NOTIFY_UNKNOWN:
		break;
	}
	/* Asked to stop before the agent was there: now it is. */
	if (l->state == MACHINE_STOPPING && !l->shutdown_told)
		life_shutdown(m);
}

/* ---- the control socket's commands */

static void life_status(struct machine *m, cJSON *reply)
{
	static const char *const states[] = {
		[MACHINE_BOOTING] = "booting",
		[MACHINE_RUNNING] = "running",
		[MACHINE_STOPPING] = "stopping",
	};
	const struct life *l = &m->life;

	cJSON_AddStringToObject(reply, "state", states[l->state]);
	cJSON_AddNumberToObject(reply, "pid", getpid());
	cJSON_AddStringToObject(reply, "name", m->cfg->name ? m->cfg->name : "");
	cJSON_AddNumberToObject(reply, "vcpus", m->cfg->num_vcpus);
	cJSON_AddNumberToObject(reply, "memory", (double)m->cfg->memory_bytes);
	cJSON_AddNumberToObject(reply, "uptime_ms", (double)(loop_now_ms() - l->start_ms));
	if (l->ready_ms)
		cJSON_AddNumberToObject(reply, "boot_ms", (double)(l->ready_ms - l->start_ms));
	else
		cJSON_AddNullToObject(reply, "boot_ms");
	cJSON_AddStringToObject(reply, "guest_status", l->status);
}

static void add_exits(cJSON *to, const uint64_t count[VCPU_NUM_EXITS])
{
	for (unsigned i = 0; i < VCPU_NUM_EXITS; i++)
		cJSON_AddNumberToObject(to, vcpu_exit_names[i], (double)count[i]);
}

static void life_statistics(struct machine *m, cJSON *reply)
{
	cJSON *total = cJSON_AddObjectToObject(reply, "exits");
	cJSON *vcpus = cJSON_AddArrayToObject(reply, "vcpus");
	cJSON *devices = cJSON_AddObjectToObject(reply, "devices");
	uint64_t sum[VCPU_NUM_EXITS] = {0};
	struct irq_stats is;

	for (unsigned i = 0; i < m->cfg->num_vcpus; i++) {
		uint64_t count[VCPU_NUM_EXITS];
		cJSON *one = cJSON_CreateObject();

		vcpu_exits(m->vcpu[i], count);
		add_exits(one, count);
		cJSON_AddItemToArray(vcpus, one);
		for (unsigned e = 0; e < VCPU_NUM_EXITS; e++)
			sum[e] += count[e];
	}
	add_exits(total, sum);
	cJSON_AddNumberToObject(reply, "rss_private", (double)stats_private_bytes(&m->stats));
	irq_stats(m->irq, &is);
	cJSON_AddNumberToObject(devices, "doorbells", (double)is.doorbells);
	cJSON_AddNumberToObject(devices, "msis", (double)is.msis);
	cJSON_AddNumberToObject(devices, "route_commits", (double)is.route_commits);
	cJSON_AddNumberToObject(devices, "disks", m->cfg->num_disks);
	cJSON_AddNumberToObject(devices, "serial_bytes", m->log.serial_bytes);
}

static int life_resize_disk(struct machine *m, unsigned disk, struct err *err)
{
	int r;

	if (disk >= m->cfg->num_disks)
		return err_say(err, EINVAL, "the machine has %u disks, there is no number %u",
			       m->cfg->num_disks, disk);
	r = blk_refresh(m->disk[disk]);
	if (r < 0)
		return err_set(err, -r, "cannot read the new size of disk '%s'",
			       m->cfg->disk[disk].path);
	return 0;
}

int life_control(void *opaque, const struct control_request *req, cJSON *reply, struct err *err)
{
	struct machine *m = opaque;

	switch (req->command) {
	case CONTROL_STATUS:
		life_status(m, reply);
		return 0;
	case CONTROL_SHUTDOWN:
		life_shutdown(m);
		return 0;
	case CONTROL_POWERBUTTON:
		acpi_pm_press_power(m->pm);
		return 0;
	case CONTROL_STOP:
		life_end(m, VMM_EXIT_KILLED, "stopped by the control socket");
		return 0;
	case CONTROL_STATISTICS:
		life_statistics(m, reply);
		return 0;
	case CONTROL_RESIZE_DISK:
		return life_resize_disk(m, req->disk, err);
	default:
		return err_say(err, EINVAL, "this command has no reply yet");
	}
}
