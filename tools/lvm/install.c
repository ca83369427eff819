/* SPDX-License-Identifier: Apache-2.0 */
/* The host's part of an install: disk file, installer VM, the archive's bytes, and the rename that makes it a distro. */
/*
 * Everything happens in distros/.NAME, which is no distro to any other command. It becomes one by a
 * single rename at the end, after the disk's bytes are on stable storage. A run that is killed leaves
 * distros/.NAME without a lock on it; the next command of any kind removes it (store_open).
 */
#include "tools/lvm/install.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/endian.h"
#include "base/fd.h"
#include "base/str.h"
#include "tools/lvm/agent.h"
#include "tools/lvm/launch.h"
#include "tools/lvm/progress.h"
#include "tools/lvm/settings.h"
#include "tools/lvm/vm.h"

#define INSTALL_MEMORY  (768ull << 20)
#define INSTALL_TIMEOUT 120 /* seconds until the installer must answer */
#define INSTALL_READ    (32 * 1024)
#define INSTALL_STOP_MS 300000 /* the last writes of a slow disk */
#define HOST_FULL_BYTES (16ull << 20)
#define WARNING_BYTES   (64 * 1024)

struct run {
	const struct store *store;
	const struct install *in;
	char *dir;  /* distros/.NAME */
	char *disk; /* in it */
	pid_t vmm;  /* 0: not running */
	struct agent *agent;
	uint64_t credit, sent;
	size_t warned; /* bytes of warnings shown */
	bool source_end, done;
};

static volatile sig_atomic_t interrupted;

static void note_signal(int sig)
{
	interrupted = sig;
}

/* ---- the archive's bytes ---- */

static void send_source(struct run *x, int *ret_error)
{
	uint8_t buf[INSTALL_READ];
	size_t max = x->credit < sizeof(buf) ? (size_t)x->credit : sizeof(buf);
	ssize_t n = read(x->in->source_fd, buf, max);
	uint8_t f[PROTO_SMALL_FRAME];

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n < 0) {
		*ret_error = errno;
		return;
	}
	if (n == 0) {
		x->source_end = true;
		agent_queue(x->agent, f, proto_put_empty(f, PROTO_END, PROTO_STDIN));
		return;
	}
	x->credit -= (uint64_t)n;
	x->sent += (uint64_t)n;
	agent_queue_data(x->agent, PROTO_STDIN, buf, (size_t)n);
}

static void show_progress(const struct run *x, const struct proto_frame *f)
{
	unsigned long long read_mib = get_le64(f->payload) >> 20,
			   entries = get_le64(f->payload + 8);

	if (x->in->source_len)
		progress_show("installing %s: %llu of %llu MiB, %llu files", x->in->name, read_mib,
			      (unsigned long long)x->in->source_len >> 20, entries);
	else
		progress_show("installing %s: %llu MiB, %llu files", x->in->name, read_mib,
			      entries);
}

/* What could not be kept of the archive, a line each; the guest sends 50 at most. */
static void show_warnings(struct run *x, const struct proto_frame *f)
{
	char text[PROTO_MAX_PAYLOAD];
	size_t n = f->len < WARNING_BYTES - x->warned ? f->len : WARNING_BYTES - x->warned;

	memcpy(text, f->payload, n);
	str_harmless(text, n, "\n");
	progress_clear();
	(void)fwrite(text, 1, n, stderr);
	x->warned += n;
}

static int take_frame(struct run *x, const struct proto_frame *f, struct err *err)
{
	switch (f->type) {
	case PROTO_DATA:
		if (f->stream != PROTO_STDERR)
			return err_say(err, EPROTO, "the installer broke the protocol");
		show_warnings(x, f);
		return 0;
	case PROTO_STARTED:
		return 0;
	case PROTO_CREDIT:
		x->credit += get_le32(f->payload);
		return 0;
	case PROTO_END:
		x->source_end = true; /* it has all it needs */
		return 0;
	case PROTO_PROGRESS:
		show_progress(x, f);
		return 0;
	case PROTO_EXIT:
		x->done = true;
		if (get_le32(f->payload) == 0 && get_le32(f->payload + 4) == 0)
			return 0;
		return err_say(err, EIO, "the installer ended with status %u",
			       get_le32(f->payload + 4));
	case PROTO_ERROR: {
		uint32_t code = get_le32(f->payload);

		return err_say(err, code && code < 4096 ? (int)code : EIO, "%.*s",
			       (int)(f->len - 8) < 800 ? (int)(f->len - 8) : 800,
			       (const char *)f->payload + 8);
	}
	default:
		return err_say(err, EPROTO, "the installer broke the protocol");
	}
}

static int turn(struct run *x, struct err *err)
{
	bool want = !x->source_end && x->credit && agent_pending(x->agent) < PROTO_WINDOW;
	struct pollfd p[2] = {
		{agent_fd(x->agent), POLLIN | (agent_pending(x->agent) ? POLLOUT : 0), 0},
		{want ? x->in->source_fd : -1, POLLIN, 0},
	};
	int read_error = 0, lost = 0, r = 0;
	struct proto_frame f;

	if (interrupted)
		return err_say(err, EINTR, "the install was interrupted; nothing of '%s' is left",
			       x->in->name);
	if (poll(p, 2, 250) < 0 && errno != EINTR)
		return err_set(err, errno, "cannot wait for the installer");
	if (p[1].revents)
		send_source(x, &read_error);
	if (read_error)
		return err_set(err, read_error, "cannot read '%s'", x->in->source);
	if (p[0].revents & (POLLIN | POLLHUP | POLLERR))
		lost = agent_receive(x->agent);
	if (!lost)
		lost = agent_flush(x->agent);
	while (!x->done && (r = agent_next(x->agent, &f)) > 0) {
		r = take_frame(x, &f, err);
		if (r < 0)
			return r;
	}
	if (r < 0 || (lost < 0 && !x->done))
		return err_say(
			err, EIO,
			"the connection to the installer was lost; its log is '%s/console.log'",
			x->dir);
	return 0;
}

static int transfer(struct run *x, struct err *err)
{
	struct proto_request req;
	int r;

	r = agent_open(x->store, x->in->name, 1000 * INSTALL_TIMEOUT, &x->agent, err);
	if (r < 0)
		return r;
	proto_request_begin(&req);
	proto_request_add_u64(&req, PROTO_F_SIZE, x->in->disk_len);
	/* An ext4 label has 16 bytes. */
	proto_request_add(&req, PROTO_F_LABEL, x->in->name, strnlen(x->in->name, 16));
	r = proto_request_finish(&req, PROTO_INSTALL);
	if (r == 0)
		agent_queue(x->agent, req.buf, req.len);
	proto_request_done(&req);
	x->credit = PROTO_WINDOW;
	while (r == 0 && !x->done)
		r = turn(x, err);
	return r;
}

/* ---- the installer VM ---- */

static int start_vm(struct run *x, struct err *err)
{
	struct vmm_config c = {0};
	struct settings def;
	int r;

	settings_init(&def);
	vmm_config_defaults(&c);
	r = launch_kernel_config(x->store, NULL, true, &c, err);
	if (r == 0) {
		uint64_t memory = settings_effective_memory(&def);
		unsigned cpus = settings_effective_cpus(&def);

		c.disk[c.num_disks++] = (struct vmm_disk_config){.path = str_dup(x->disk)};
		c.num_vcpus = cpus < 2 ? cpus : 2;
		c.memory_bytes = memory < INSTALL_MEMORY ? memory : INSTALL_MEMORY;
		c.cmdline = str_fmt("lvm.installer=1 lvm.hostname=installer");
		r = launch_vm(x->store,
			      &(struct launch_vm){.name = x->in->name,
						  .log_dir = x->dir,
						  .timeout_s = INSTALL_TIMEOUT,
						  .die_with_us = true},
			      &c, &x->vmm, NULL, err);
	}
	vmm_config_done(&c);
	settings_done(&def);
	return r;
}

/* An orderly end, so that every byte is in the file; the VM's status tells whether it was one. */
static int finish_vm(struct run *x, struct err *err)
{
	int status = -1, r;

	progress_show("installing %s: writing the last bytes", x->in->name);
	agent_close(x->agent);
	x->agent = NULL;
	r = vm_control(x->store, x->in->name, "shutdown", 5000, NULL, NULL);
	for (int waited = 0; waited < INSTALL_STOP_MS; waited += 50) {
		pid_t pid = waitpid(x->vmm, &status, WNOHANG);

		if (pid == x->vmm) {
			x->vmm = 0;
			if (WIFEXITED(status) && WEXITSTATUS(status) == VMM_EXIT_POWEROFF)
				return 0;
			break;
		}
		(void)poll(NULL, 0, 50);
	}
	(void)r;
	return err_say(err, EIO, "the installer's VM did not shut down in order; try again");
}

static void kill_vm(struct run *x)
{
	agent_close(x->agent);
	x->agent = NULL;
	if (!x->vmm)
		return;
	(void)kill(x->vmm, SIGKILL);
	while (waitpid(x->vmm, NULL, 0) < 0 && errno == EINTR)
		;
	x->vmm = 0;
}

/* ---- files ---- */

static int make_disk(struct run *x, struct err *err)
{
	cleanup_close int fd = -1;

	(void)store_remove_tree(x->dir, NULL);
	if (mkdir(x->dir, 0700) < 0)
		return err_set(err, errno, "cannot make directory '%s'", x->dir);
	fd = open(x->disk, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(err, errno, "cannot make the disk '%s'", x->disk);
	if (ftruncate(fd, (off_t)x->in->disk_len) < 0)
		return err_set(err, errno, "cannot give the disk '%s' %llu MiB", x->disk,
			       (unsigned long long)x->in->disk_len >> 20);
	return 0;
}

static int sync_path(const char *path, struct err *err)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fsync(fd) < 0)
		return err_set(err, errno, "cannot make '%s' durable", path);
	return 0;
}

/* The moment it becomes a distro. */
static int publish(struct run *x, struct err *err)
{
	cleanup_free char *final = store_distro_path(x->store, x->in->name, NULL);
	cleanup_free char *parent = store_distro_path(x->store, NULL, NULL);
	cleanup_free char *console = str_fmt("%s/console.log", x->dir);
	cleanup_free char *log = str_fmt("%s/install.log", x->dir);
	cleanup_free char *vmm_log = str_fmt("%s/vmm.log", x->dir);
	int r = sync_path(x->disk, err);

	(void)rename(console, log);
	(void)unlink(vmm_log);
	if (r == 0)
		r = sync_path(x->dir, err);
	if (r == 0 && rename(x->dir, final) < 0)
		r = err_set(err, errno, "cannot put the distro at '%s'", final);
	return r < 0 ? r : sync_path(parent, err);
}

/* Trouble inside the VM may be the host's disk being full, which only we can see. */
static int blame_host_disk(struct run *x, struct err *err)
{
	struct statvfs v;

	if (statvfs(x->dir, &v) == 0 && (uint64_t)v.f_bavail * v.f_frsize < HOST_FULL_BYTES)
		return err_say(
			err, ENOSPC,
			"the host's file system with '%s' is full: free space there, or set LVM_HOME to a "
			"directory on another, and install '%s' again",
			x->store->home, x->in->name);
	return -err->code;
}

int install_distro(const struct store *s, const struct install *in, struct err *err)
{
	cleanup_free char *hidden = str_fmt(".%s", in->name);
	struct run x = {.store = s, .in = in, .dir = store_distro_path(s, hidden, NULL)};
	struct sigaction sa = {.sa_handler = note_signal}, old[3];
	static const int sigs[3] = {SIGINT, SIGTERM, SIGHUP};
	int r;

	x.disk = str_fmt("%s/root.ext4", x.dir);
	for (int i = 0; i < 3; i++)
		(void)sigaction(sigs[i], &sa, &old[i]);
	progress_show("installing %s: starting the installer", in->name);
	r = make_disk(&x, err);
	if (r == 0)
		r = start_vm(&x, err);
	if (r == 0)
		r = transfer(&x, err);
	if (r == 0)
		r = finish_vm(&x, err);
	if (r < 0 && r != -EINTR)
		r = blame_host_disk(&x, err);
	kill_vm(&x);
	launch_forget(s, in->name);
	if (r == 0)
		r = publish(&x, err);
	if (r < 0)
		(void)store_remove_tree(x.dir, NULL);
	progress_clear();
	for (int i = 0; i < 3; i++)
		(void)sigaction(sigs[i], &old[i], NULL);
	free(x.dir);
	free(x.disk);
	return r;
}
