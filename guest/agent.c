/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's loop. Each connection gets a process: one that goes wrong takes nothing along. */
#include "guest/agent.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "base/log.h"
#include "base/loop.h"
#include "guest/bootlog.h"
#include "guest/conn.h"
#include "guest/init.h"

#define MAX_SESSIONS 1024

/* systemd gives its units 90 s to stop; after this long we end the VM without it. */
#define INIT_DEADLINE_MS 120000
/* READY is not held back longer than this by a systemd that does not come up. */
#define READY_DEADLINE_MS 60000

struct agent {
	const struct agent_config *cfg;
	struct session_config session;
	struct notify *notify;
	int listener, signals;
	struct init_watch watch;
	bool ready;
	int64_t deadline; /* loop_now_ms() */
	bool ending;
	enum agent_end end;
	bool over;
	pid_t sessions[MAX_SESSIONS];
	unsigned num_sessions;
};

int agent_listen(int *ret_fd, struct err *err)
{
	struct sockaddr_vm addr = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = PROTO_PORT_AGENT};
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(fd, 1024) < 0) {
		int code = errno;

		if (fd >= 0)
			close(fd);
		return err_set(err, code, "lvm-guest cannot listen for sessions on vsock");
	}
	*ret_fd = fd;
	return 0;
}

static void start_session(struct agent *a, int fd)
{
	pid_t pid = fork();

	if (pid == 0) {
		close(a->listener);
		close(a->signals);
		notify_close(a->notify);
		if (!a->cfg->pid1)
			a->cfg->argv0[0] = '/';
		session_run(fd, &a->session);
		_exit(0);
	}
	if (pid > 0)
		a->sessions[a->num_sessions++] = pid;
	else
		log_warn("cannot start a session: out of processes or memory");
	close(fd);
}

static void refuse_session(int fd)
{
	struct conn c;
	uint8_t frame[PROTO_SMALL_FRAME];

	if (conn_init(&c, fd) == 0) {
		conn_send(&c, frame, proto_put_hello(frame));
		conn_send_error(&c, EAGAIN, PROTO_FAULT_LVM,
				"the distro has too many sessions open; end some of them");
		conn_flush(&c);
	}
	conn_done(&c);
}

static void accept_sessions(struct agent *a)
{
	struct sockaddr_vm peer;
	socklen_t len;
	int fd;

	for (;;) {
		len = sizeof(peer);
		fd = accept4(a->listener, (struct sockaddr *)&peer, &len, SOCK_CLOEXEC);
		if (fd < 0)
			return;
		/*
		 * Only the host may: a local process could reach us through vsock's loopback and
		 * become root.
		 */
		if (peer.svm_family != AF_VSOCK || peer.svm_cid != VMADDR_CID_HOST)
			close(fd);
		else if (a->num_sessions == MAX_SESSIONS)
			refuse_session(fd);
		else
			start_session(a, fd);
	}
}

static void reap(struct agent *a)
{
	pid_t pid;

	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
		for (unsigned i = 0; i < a->num_sessions; i++) {
			if (a->sessions[i] == pid) {
				a->sessions[i] = a->sessions[--a->num_sessions];
				break;
			}
		}
	}
}

static void begin_end(struct agent *a, enum agent_end end)
{
	if (a->ending)
		return;
	a->ending = true;
	a->end = end;
	if (a->cfg->pid1) {
		a->over = true;
		return;
	}
	notify_send(a->notify, "BYE", end == AGENT_REBOOT ? "reboot" : "poweroff");
	init_shutdown(a->cfg->systemd, end == AGENT_REBOOT);
	a->deadline = loop_now_ms() + INIT_DEADLINE_MS;
}

static void handle_signals(struct agent *a)
{
	struct signalfd_siginfo info;

	while (read(a->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == (uint32_t)SIGRTMIN + 4 || info.ssi_signo == SIGUSR2)
			begin_end(a, AGENT_POWEROFF);
		else if (info.ssi_signo == (uint32_t)SIGRTMIN + 5 || info.ssi_signo == SIGTERM ||
			 info.ssi_signo == SIGINT)
			begin_end(a, AGENT_REBOOT);
	}
	reap(a);
}

static void handle_notify(struct agent *a)
{
	switch (notify_read(a->notify)) {
	case NOTIFY_NOTHING:
		return;
	case NOTIFY_POWEROFF:
		begin_end(a, AGENT_POWEROFF);
		return;
	case NOTIFY_REBOOT:
		begin_end(a, AGENT_REBOOT);
		return;
	case NOTIFY_EOF:
		notify_close(a->notify);
		begin_end(a, AGENT_HOST_GONE);
		return;
	}
}

static void say_ready(struct agent *a)
{
	a->ready = true;
	a->deadline = INT64_MAX;
	notify_send(a->notify, "READY", "1");
	bootlog_copy();
	if (a->cfg->systemd && a->watch.inotify < 0)
		init_watch_state(&a->watch);
}

static void handle_watch(struct agent *a, bool inotify, bool state)
{
	const char *text;

	if (inotify && init_watch_ready(&a->watch) && !a->ready)
		say_ready(a);
	if (!state)
		return;
	text = init_watch_read(&a->watch);
	if (text && text[0])
		notify_send(a->notify, "STATUS", text);
}

static void check_deadline(struct agent *a)
{
	if (loop_now_ms() < a->deadline)
		return;
	if (a->ending)
		a->over = true;
	else if (!a->ready)
		say_ready(a);
}

static int agent_timeout(const struct agent *a)
{
	int64_t left;

	if (a->deadline == INT64_MAX)
		return -1;
	left = a->deadline - loop_now_ms();
	return left < 0 ? 0 : (int)left;
}

/* As PID 1 we take the signals by which the distro's poweroff and reboot programs ask an init. */
static int block_signals(bool pid1)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGRTMIN + 4);
	sigaddset(&set, SIGRTMIN + 5);
	if (pid1) {
		sigaddset(&set, SIGUSR2);
		sigaddset(&set, SIGTERM);
		sigaddset(&set, SIGINT);
	}
	(void)sigprocmask(SIG_SETMASK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

enum agent_end agent_run(struct notify *notify, int listener, const struct agent_config *cfg)
{
	static struct agent agent; /* one a process, and large */
	struct agent *a = &agent;

	*a = (struct agent){
		.cfg = cfg,
		.session = cfg->session,
		.notify = notify,
		.listener = listener,
		.signals = block_signals(cfg->pid1),
		.deadline = INT64_MAX,
		.watch = {.inotify = -1, .state = -1},
	};
	a->session.agent = getpid();
	if (cfg->systemd) {
		a->deadline = loop_now_ms() + READY_DEADLINE_MS;
		init_watch_start(&a->watch);
		handle_watch(a, true, false);
	} else {
		say_ready(a);
	}
	while (!a->over) {
		struct pollfd p[] = {
			{.fd = a->listener, .events = POLLIN},
			{.fd = a->signals, .events = POLLIN},
			{.fd = a->notify->fd, .events = POLLIN},
			{.fd = a->watch.inotify, .events = POLLIN},
			{.fd = a->watch.state, .events = POLLIN},
		};

		if (poll(p, sizeof(p) / sizeof(p[0]), agent_timeout(a)) < 0)
			continue;
		if (p[0].revents)
			accept_sessions(a);
		if (p[1].revents)
			handle_signals(a);
		if (p[2].revents)
			handle_notify(a);
		handle_watch(a, p[3].revents != 0, p[4].revents != 0);
		check_deadline(a);
	}
	return a->end;
}
