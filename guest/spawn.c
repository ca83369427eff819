/* SPDX-License-Identifier: Apache-2.0 */
/* vfork, credentials, directory, descriptors, exec: from a request to its command. */
#include "guest/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * Ignored signals stay ignored over exec, and we ignore some; the numbers are Linux's, up to
 * SIGRTMAX.
 */
static void reset_signals(void)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL};

	for (int sig = 1; sig < NSIG; sig++)
		if (sig != SIGKILL && sig != SIGSTOP)
			(void)sigaction(sig, &dfl, NULL);
}

static bool fail(volatile struct spawn_failure *f, enum spawn_stage stage)
{
	f->stage = stage;
	f->code = errno;
	return false;
}

static bool enter_group_and_streams(const struct spawn_plan *plan, volatile struct spawn_failure *f)
{
	if (setpgid(0, 0) < 0)
		return fail(f, SPAWN_SETUP);
	/* SIGTTOU, which a background group gets for this, is blocked. */
	if (plan->tty >= 0 && tcsetpgrp(plan->tty, getpid()) < 0)
		return fail(f, SPAWN_SETUP);
	for (int i = 0; i < 3; i++)
		if (dup2(plan->fds[i], i) < 0)
			return fail(f, SPAWN_SETUP);
	return true;
}

static bool become_user(const struct user *u, volatile struct spawn_failure *f)
{
	/* An ordinary user (tests run as one) is that user already and may not set groups. */
	if (geteuid() != 0 && geteuid() == u->uid)
		return true;
	if (setgroups(u->num_groups, u->groups) < 0 || setresgid(u->gid, u->gid, u->gid) < 0 ||
	    setresuid(u->uid, u->uid, u->uid) < 0)
		return fail(f, SPAWN_USER);
	return true;
}

static bool enter_directory(const struct spawn_plan *plan, volatile struct spawn_failure *f)
{
	if (plan->cwd && chdir(plan->cwd) == 0)
		return true;
	if (plan->cwd && !plan->cwd_optional)
		return fail(f, SPAWN_CWD);
	if (chdir(plan->user->home) == 0 || chdir("/") == 0)
		return true;
	return fail(f, SPAWN_CWD);
}

/* A directory is "permission denied" to exec; a shell's search goes on past it. */
static bool is_directory(const char *file)
{
	struct stat st;

	return stat(file, &st) == 0 && S_ISDIR(st.st_mode);
}

/*
 * execvp(3)'s search, on the command's PATH instead of ours. Returns only on failure, with errno.
 */
static void exec_in_path(const struct spawn_plan *plan)
{
	const char *dir = plan->path ? plan->path : "";
	size_t file_len = strlen(plan->file);
	bool denied = false;
	char full[PATH_MAX];

	while (file_len && *dir) {
		size_t len = strcspn(dir, ":");

		if (len + 1 + file_len + 1 <= sizeof(full)) {
			memcpy(full, dir, len);
			full[len] = '/';
			strcpy(full + len + (len ? 1 : 0), plan->file);
			execve(full, plan->argv, plan->envp);
			if (errno == EACCES && !is_directory(full))
				denied = true;
			else if (errno != EACCES && errno != ENOENT && errno != ENOTDIR &&
				 errno != ELOOP)
				return;
		}
		dir += len + (dir[len] ? 1 : 0);
	}
	errno = denied ? EACCES : ENOENT;
}

/* Runs in the child, on the parent's memory: only *f is written for the parent to see. */
static void run_child(const struct spawn_plan *plan, volatile struct spawn_failure *f)
{
	sigset_t none;

	if (!enter_group_and_streams(plan, f) || !become_user(plan->user, f) ||
	    !enter_directory(plan, f))
		return;
	umask(022);
	reset_signals();
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	if (strchr(plan->file, '/'))
		execve(plan->file, plan->argv, plan->envp);
	else
		exec_in_path(plan);
	fail(f, SPAWN_EXEC);
}

__attribute__((noinline)) int spawn_command(const struct spawn_plan *plan, pid_t *ret_pid,
					    struct spawn_failure *ret_failure)
{
	/*
	 * volatile: the child writes it, and to the compiler a store before _exit() is for nobody.
	 */
	volatile struct spawn_failure failure = {.stage = SPAWN_SETUP, .code = 0};
	sigset_t all, old;
	pid_t pid;

	sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &old);
	pid = vfork();
	if (pid == 0) {
		run_child(plan, &failure);
		_exit(127);
	}
	if (pid < 0)
		failure.code = errno;
	(void)sigprocmask(SIG_SETMASK, &old, NULL);
	/* A child that failed is a zombie that the caller reaps with the others. */
	if (failure.code) {
		ret_failure->stage = failure.stage;
		ret_failure->code = failure.code;
		return -ret_failure->code;
	}
	*ret_pid = pid;
	return 0;
}
