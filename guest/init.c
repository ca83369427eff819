/* SPDX-License-Identifier: Apache-2.0 */
/* Starts, watches and ends the distro's init (systemd(1), "SIGNALS"). */
#include "guest/init.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"

#define AGENT_CGROUP "/sys/fs/cgroup/lvm-guest"

const char *init_find(bool *ret_systemd)
{
	static const char *const names[] = {"/sbin/init", "/usr/sbin/init",
					    "/usr/lib/systemd/systemd", "/lib/systemd/systemd",
					    "/bin/init"};
	char real[PATH_MAX];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (access(names[i], X_OK) < 0 || !realpath(names[i], real))
			continue;
		*ret_systemd = strstr(real, "/systemd") != NULL;
		return names[i];
	}
	return NULL;
}

int init_exec(const char *path, struct err *err)
{
	char *argv[] = {(char *)path, NULL};
	char *envp[] = {(char *)"HOME=/", (char *)"TERM=linux",
			(char *)"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			NULL};
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		if (sig != SIGKILL && sig != SIGSTOP)
			(void)signal(sig, SIG_DFL);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	execve(path, argv, envp);
	return err_set(err, errno,
		       "cannot start the distro's init %s; repair it, or set systemd=false", path);
}

static void write_file(const char *path, const char *text)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || fd_write_full(fd, text, strlen(text)) < 0)
		log_warn("cannot write %s: %s", path, strerror(errno));
}

void init_live_beside(char *argv0)
{
	/* systemd moves what it finds in the root group into its own init.scope. */
	if (mkdir(AGENT_CGROUP, 0755) == 0 || errno == EEXIST)
		write_file(AGENT_CGROUP "/cgroup.procs", "0");
	write_file("/proc/self/oom_score_adj", "-1000");
	/*
	 * systemd, "Storage daemons for the root file system": '@' spares a process from the last
	 * killing.
	 */
	argv0[0] = '@';
	(void)prctl(PR_SET_NAME, "lvm-guest");
}

static bool run_first(const char *const *paths)
{
	pid_t pid;

	for (; *paths; paths++) {
		char *argv[] = {(char *)*paths, NULL};
		char *envp[] = {NULL};

		if (access(*paths, X_OK) < 0)
			continue;
		pid = vfork();
		if (pid == 0) {
			execve(argv[0], argv, envp);
			_exit(127);
		}
		return pid > 0;
	}
	return false;
}

void init_shutdown(bool systemd, bool reboot)
{
	static const char *const off[] = {"/sbin/poweroff", "/usr/sbin/poweroff", "/bin/poweroff",
					  NULL};
	static const char *const again[] = {"/sbin/reboot", "/usr/sbin/reboot", "/bin/reboot",
					    NULL};

	if (systemd)
		(void)kill(1, SIGRTMIN + (reboot ? 5 : 4));
	else if (!run_first(reboot ? again : off))
		(void)kill(1, reboot ? SIGTERM : SIGUSR2); /* as BusyBox' init takes them */
}

#define SYSTEMD_DIR    "/run/systemd"
#define SYSTEMD_SOCKET SYSTEMD_DIR "/private"

static void watch_directories(const struct init_watch *w)
{
	(void)inotify_add_watch(w->inotify, "/run", IN_CREATE | IN_MOVED_TO);
	(void)inotify_add_watch(w->inotify, SYSTEMD_DIR, IN_CREATE | IN_MOVED_TO);
}

void init_watch_start(struct init_watch *w)
{
	*w = (struct init_watch){.state = -1};
	w->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	watch_directories(w);
}

bool init_watch_ready(struct init_watch *w)
{
	char drop[4096];

	while (read(w->inotify, drop, sizeof(drop)) > 0)
		;
	/*
	 * The directory may have come with this event: watch first, then look, so that nothing is
	 * missed.
	 */
	watch_directories(w);
	if (access(SYSTEMD_SOCKET, F_OK) < 0)
		return false;
	close(w->inotify);
	w->inotify = -1;
	return true;
}

void init_watch_state(struct init_watch *w)
{
	static const char *const names[] = {"/usr/bin/systemctl", "/bin/systemctl"};
	char *argv[] = {(char *)"systemctl", (char *)"is-system-running", (char *)"--wait", NULL};
	/* Its 25 s are short for a systemd that starts on a busy host. */
	char *envp[] = {(char *)"SYSTEMD_BUS_TIMEOUT=600s", NULL};
	int p[2];
	pid_t pid;

	if (pipe2(p, O_CLOEXEC) < 0)
		return;
	pid = vfork();
	if (pid == 0) {
		(void)dup2(p[1], 1);
		execve(names[0], argv, envp);
		execve(names[1], argv, envp);
		_exit(127);
	}
	close(p[1]);
	(void)fd_set_nonblock(p[0], true);
	w->state = p[0];
}

const char *init_watch_read(struct init_watch *w)
{
	ssize_t n = read(w->state, w->text + w->len, sizeof(w->text) - 1 - w->len);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return NULL;
	if (n > 0) {
		w->len += (size_t)n;
		if (w->len < sizeof(w->text) - 1)
			return NULL;
	}
	close(w->state);
	w->state = -1;
	w->text[w->len] = 0;
	w->text[strcspn(w->text, "\n")] = 0;
	return w->text;
}
