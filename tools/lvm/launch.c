/* SPDX-License-Identifier: Apache-2.0 */
/* Starting VMs. */
#include "tools/lvm/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/loop.h"
#include "tools/lvm/initrd.h"
#include "tools/lvm/logtail.h"
#include "tools/lvm/progress.h"
#include "tools/lvm/vm.h"

#define QUIET_MS       700 /* a start that takes no longer is not worth a word */
#define LOG_TAIL_LINES 15

int launch_find_program(const char *name, char **ret_path, struct err *err)
{
	const char *own = getenv("LVM_LIBEXEC");
	char exe[PATH_MAX] = "";
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	char *dir = n > 0 ? dirname(exe) : exe;
	/* Asked for, installed, beside us in a build tree, where the build was told to install. */
	char *candidates[] = {
		own ? str_fmt("%s/%s", own, name) : NULL,
		str_fmt("%s/../libexec/lvm/%s", dir, name),
		str_fmt("%s/../../%s/%s", dir, !strcmp(name, "lvm-vmm") ? "vmm" : "guest", name),
		str_fmt("%s/%s", LVM_LIBEXECDIR, name),
	};
	const size_t num = sizeof(candidates) / sizeof(candidates[0]);
	char *found = NULL;

	for (size_t i = 0; i < num; i++) {
		if (!found && candidates[i] && access(candidates[i], X_OK) == 0)
			found = realpath(candidates[i], NULL);
		free(candidates[i]);
	}
	if (!found)
		return err_say(
			err, ENOENT,
			"cannot find %s, a part of lvm: install lvm whole, or set LVM_LIBEXEC to the "
			"directory it is in",
			name);
	*ret_path = found;
	return 0;
}

static int pick_kernel(const struct store *s, const char *kernel, char **ret_name, struct err *err)
{
	cleanup_free char *name = NULL;

	if (!kernel) {
		*ret_name = store_get_default(s, STORE_DEFAULT_KERNEL);
		if (*ret_name)
			return 0;
		return err_say(
			err, ENOENT,
			"there is no default kernel: add one with 'lvm kernel add PATH [--modules "
			"DIR]', choose among several with 'lvm kernel default NAME'");
	}
	name = str_dup(kernel);
	if (!store_has_kernel(s, name))
		return err_say(
			err, ENOENT,
			"there is no kernel '%s': see 'lvm kernel list', and 'lvm config' for which "
			"one a distro uses",
			name);
	*ret_name = steal_ptr(name);
	return 0;
}

int launch_kernel_config(const struct store *s, const char *kernel, bool installer,
			 struct vmm_config *c, struct err *err)
{
	cleanup_free char *name = NULL;
	char *modules;
	int r = pick_kernel(s, kernel, &name, err);

	if (r < 0)
		return r;
	c->kernel = store_kernel_path(s, name, "kernel");
	modules = store_kernel_path(s, name, "modules.cpio");
	if (access(modules, R_OK) == 0)
		c->initrd[c->num_initrds++] = modules;
	else
		free(modules);
	r = initrd_agent(s, installer, &c->initrd[c->num_initrds], err);
	if (r < 0)
		return r;
	c->num_initrds++;
	c->cache_dir = store_cache_path(s, NULL);
	return 0;
}

/* ---- the process ---- */

static void __attribute__((noreturn))
become_vmm(char **argv, const char *log_path, bool die_with_us, pid_t parent)
{
	int null = open("/dev/null", O_RDONLY);
	int log = open(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
	sigset_t none;

	if (null < 0 || log < 0 || dup2(null, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0)
		_exit(VMM_EXIT_FAILED);
	(void)close(null);
	(void)close(log);
	/* Not of the user's terminal: neither its Ctrl-C nor its end is meant for the VM. */
	(void)setsid();
	/* Nor does it keep a file system busy that it was started from: all its paths are absolute. */
	if (chdir("/") < 0)
		_exit(VMM_EXIT_FAILED);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
	if (die_with_us) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(VMM_EXIT_FAILED);
	}
	execv(argv[0], argv);
	_exit(VMM_EXIT_FAILED);
}

static int make_runtime_dir(const struct store *s, const char *name, struct err *err)
{
	cleanup_free char *dir = store_socket_path(s, name, NULL);

	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return err_set(err, errno, "cannot make directory '%s'", dir);
	return 0;
}

/* Starts lvm-vmm; *ret_ready_fd says what became of it. */
static int spawn(const struct store *s, const struct launch_vm *how, struct vmm_config *c,
		 pid_t *ret_pid, int *ret_ready_fd, struct err *err)
{
	cleanup_free char *vmm = NULL, *log = str_fmt("%s/vmm.log", how->log_dir);
	cleanup_close int ready = -1, ready_theirs = -1, lock = -1;
	struct strv argv = {0};
	pid_t parent = getpid(), pid;
	int fds[2], r;

	r = launch_find_program("lvm-vmm", &vmm, err);
	if (r == 0)
		r = make_runtime_dir(s, how->name, err);
	if (r == 0)
		r = store_lock(s, STORE_LOCK_VM, how->name, false, &lock, err);
	if (r < 0)
		return r;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_set(err, errno, "cannot make a pipe");
	ready = fds[0];
	ready_theirs = fds[1];
	c->name = str_dup(how->name);
	c->vsock = store_socket_path(s, how->name, "vsock");
	c->control = store_socket_path(s, how->name, "control");
	c->console_log = str_fmt("%s/console.log", how->log_dir);
	c->ready_fd = ready_theirs;
	c->lock_fd = lock;
	(void)fd_set_cloexec(ready_theirs, false);
	(void)fd_set_cloexec(lock, false);
	strv_add(&argv, vmm);
	vmm_config_to_argv(c, &argv);
	pid = fork();
	if (pid == 0)
		become_vmm(argv.v, log, how->die_with_us, parent);
	strv_done(&argv);
	if (pid < 0)
		return err_set(err, errno, "cannot start a process");
	*ret_pid = pid;
	*ret_ready_fd = steal_fd(&ready);
	return 0;
}

/* ---- waiting ---- */

static volatile sig_atomic_t interrupted_by;

static void note_signal(int sig)
{
	interrupted_by = sig;
}

static const int ending_signals[] = {SIGINT, SIGTERM, SIGHUP};
#define NUM_ENDING (sizeof(ending_signals) / sizeof(ending_signals[0]))

static void catch_signals(struct sigaction old[NUM_ENDING])
{
	struct sigaction sa = {.sa_handler = note_signal};

	interrupted_by = 0;
	for (size_t i = 0; i < NUM_ENDING; i++)
		(void)sigaction(ending_signals[i], &sa, &old[i]);
}

static void release_signals(const struct sigaction old[NUM_ENDING])
{
	for (size_t i = 0; i < NUM_ENDING; i++)
		(void)sigaction(ending_signals[i], &old[i], NULL);
}

/* The line on the ready pipe, up to its newline or end. 0, -ETIMEDOUT, -EINTR. */
static int read_ready(int fd, const char *name, int64_t start_ms, unsigned timeout_s, char *line,
		      size_t size)
{
	size_t n = 0;

	while (n + 1 < size) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		int64_t now = loop_now_ms();
		ssize_t r;

		if (interrupted_by)
			return -EINTR;
		if (now - start_ms > (int64_t)timeout_s * 1000)
			return -ETIMEDOUT;
		if (now - start_ms > QUIET_MS)
			progress_show("starting %s … %lld s", name,
				      (long long)(now - start_ms) / 1000);
		if (poll(&p, 1, 250) <= 0)
			continue;
		r = read(fd, line + n, size - 1 - n);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			break;
		n += (size_t)r;
		if (memchr(line, '\n', n))
			break;
	}
	line[n] = '\0';
	line[strcspn(line, "\n")] = '\0';
	return 0;
}

void launch_forget(const struct store *s, const char *name)
{
	cleanup_free char *dir = store_socket_path(s, name, NULL);

	(void)store_remove_tree(dir, NULL);
}

static void end_child(pid_t pid)
{
	(void)kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static int explain_failure(const struct launch_vm *how, int r, const char *line, struct err *err)
{
	cleanup_free char *console = str_fmt("%s/console.log", how->log_dir);
	cleanup_free char *vmm_log = str_fmt("%s/vmm.log", how->log_dir);

	if (r == -EINTR)
		return err_say(err, EINTR, "starting '%s' was interrupted", how->name);
	if (r == 0 && str_starts(line, "error ")) {
		/* The guest's own account of a failed boot is worth more with what led to it. */
		return err_say(err, EIO, "cannot start '%s': %s", how->name, line + 6);
	}
	logtail_show(console, LOG_TAIL_LINES, stderr);
	if (r == -ETIMEDOUT)
		return err_say(
			err, ETIMEDOUT,
			"'%s' did not answer within %u seconds; the end of its boot log is above, "
			"'lvm config %s boot_timeout=SECONDS' gives it longer",
			how->name, how->timeout_s, how->name);
	logtail_show(vmm_log, LOG_TAIL_LINES, stderr);
	return err_say(
		err, EIO,
		"'%s' ended before it was ready; the end of its logs is above, in full: '%s', '%s'",
		how->name, console, vmm_log);
}

int launch_vm(const struct store *s, const struct launch_vm *how, struct vmm_config *c,
	      pid_t *ret_pid, struct launch_timings *ret_timings, struct err *err)
{
	int64_t start = loop_now_ms();
	cleanup_close int ready = -1;
	struct sigaction old[NUM_ENDING];
	char line[1100];
	pid_t pid = -1;
	int r;

	r = spawn(s, how, c, &pid, &ready, err);
	if (r < 0)
		return r;
	if (ret_timings)
		ret_timings->spawn_ms = loop_now_ms() - start;
	catch_signals(old);
	r = read_ready(ready, how->name, start, how->timeout_s, line, sizeof(line));
	release_signals(old);
	progress_clear();
	if (r == 0 && !strcmp(line, "ready")) {
		if (ret_timings)
			ret_timings->ready_ms = loop_now_ms() - start;
		*ret_pid = pid;
		return 0;
	}
	end_child(pid);
	launch_forget(s, how->name);
	return explain_failure(how, r, line, err);
}

/* ---- distros ---- */

static int distro_config(const struct store *s, const char *name, const struct settings *set,
			 struct vmm_config *c, struct err *err)
{
	cleanup_free char *disk = store_distro_path(s, name, "root.ext4");
	int r = launch_kernel_config(s, set->kernel, false, c, err);

	if (r < 0)
		return r;
	if (access(disk, R_OK | W_OK) < 0)
		return err_set(
			err, errno,
			"the disk '%s' of distro '%s' cannot be used; put it back from a backup, or "
			"remove the rest with 'lvm unregister %s'",
			disk, name, name);
	c->disk[c->num_disks++] =
		(struct vmm_disk_config){.path = steal_ptr(disk), .serial = str_dup("root")};
	c->num_vcpus = settings_effective_cpus(set);
	c->memory_bytes = settings_effective_memory(set);
	c->cmdline = str_fmt("lvm.root=/dev/vda lvm.rootfstype=ext4 lvm.hostname=%s%s%s%s%s%s%s",
			     name, set->systemd ? " lvm.systemd=1 systemd.hostname=" : "",
			     set->systemd ? name : "", set->user ? " lvm.user=" : "",
			     set->user ?: "", set->cmdline ? " " : "", set->cmdline ?: "");
	return 0;
}

static int start_distro(const struct store *s, const char *name, struct launch_timings *t,
			struct err *err)
{
	cleanup_free char *settings_path = store_distro_path(s, name, "settings");
	cleanup_free char *log_dir = store_distro_path(s, name, NULL);
	struct vmm_config c = {0};
	struct settings set;
	int64_t start = loop_now_ms();
	pid_t pid = -1;
	int r;

	r = settings_load(&set, settings_path, err);
	if (r < 0)
		return r;
	vmm_config_defaults(&c);
	r = distro_config(s, name, &set, &c, err);
	t->prepare_ms = loop_now_ms() - start;
	if (r == 0)
		r = launch_vm(s,
			      &(struct launch_vm){.name = name,
						  .log_dir = log_dir,
						  .timeout_s = (unsigned)set.boot_timeout},
			      &c, &pid, t, err);
	vmm_config_done(&c);
	settings_done(&set);
	return r;
}

/*
 * A VM that is there while nobody holds the start's lock: it runs, or its starter was killed before
 * it answered, or it is going down. 1: it answers. 0: it is gone.
 */
static int await_existing(const struct store *s, const char *name, struct err *err)
{
	int64_t deadline = loop_now_ms() + 90 * 1000;
	struct vm_status st;

	while (loop_now_ms() < deadline) {
		vm_status(s, name, &st);
		if (!st.running)
			return 0;
		if (!strcmp(st.state, "running"))
			return 1;
		progress_show("waiting for %s, which is %s", name, st.state);
		if (!strcmp(st.state, "stopping"))
			(void)vm_control(s, name, "wait", 1000, NULL, NULL);
		(void)poll(NULL, 0, 50);
	}
	return err_say(err, ETIMEDOUT,
		       "the VM of '%s' is there but does not answer; 'lvm stop --force %s' ends it",
		       name, name);
}

int launch_distro(const struct store *s, const char *name, struct launch_timings *ret_timings,
		  bool *ret_started, struct err *err)
{
	struct launch_timings t = {0};
	cleanup_close int lock = -1;
	int64_t start = loop_now_ms();
	int r = store_require_distro(s, name, err);

	if (r == 0)
		r = store_lock(s, STORE_LOCK_OPERATION, name, true, &lock, err);
	/* It may have been removed while we waited. */
	if (r == 0)
		r = store_require_distro(s, name, err);
	if (r < 0)
		return r;
	t.lock_ms = loop_now_ms() - start;
	r = await_existing(s, name, err);
	progress_clear();
	if (r < 0)
		return r;
	if (ret_started)
		*ret_started = r == 0;
	if (r == 0)
		r = start_distro(s, name, &t, err);
	if (ret_timings)
		*ret_timings = t;
	return r < 0 ? r : 0;
}
