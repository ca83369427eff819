/* SPDX-License-Identifier: Apache-2.0 */
/* Starts a session's command: its user, directory, streams, and foreground group. */
#ifndef LVM_GUEST_SPAWN_H
#define LVM_GUEST_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

#include "guest/users.h"

struct spawn_plan {
	const struct user *user;
	const char *file; /* searched in path unless it has a slash */
	char *const *argv, *const *envp;
	const char *path; /* PATH of the environment; NULL or "": nothing is found */
	const char *cwd;  /* absolute; NULL: home, or / where that is missing */
	bool cwd_optional;
	int fds[3]; /* become 0, 1, 2; close-on-exec, and none of them below 3 */
	int tty;    /* the caller's controlling terminal, or -1 */
};

enum spawn_stage {
	SPAWN_SETUP, /* the system had no process or resource to give */
	SPAWN_USER,  /* switching to the user failed */
	SPAWN_CWD,
	SPAWN_EXEC,
};

struct spawn_failure {
	enum spawn_stage stage;
	int code; /* errno */
};

/*
 * The caller has one thread and has blocked all signals that it handles; the command starts with
 * none blocked and none ignored, leading its own process group. The address space is shared until
 * exec (vfork), so the caller's memory is not copied. 0, or -errno with *ret_failure set.
 */
int spawn_command(const struct spawn_plan *plan, pid_t *ret_pid, struct spawn_failure *ret_failure);

#endif
