/* SPDX-License-Identifier: Apache-2.0 */
/* One command in the guest as if it ran here: streams, terminal, signals, exit status. */
#ifndef LVM_TOOLS_LVM_SESSION_H
#define LVM_TOOLS_LVM_SESSION_H

#include <stdbool.h>

#include "base/err.h"
#include "tools/lvm/agent.h"

/* Everything borrowed. */
struct session_command {
	const char *user;        /* NULL: the distro's default */
	const char *cwd;         /* NULL: home */
	const char *const *argv; /* NULL: login shell */
	int argc;
	bool shell; /* argv has one element, for the user's shell */
};

/*
 * Runs it over the connection, with this process's descriptors 0, 1 and 2. Returns the exit status of `lvm run`
 * (0..255, 128+n for signals), or -errno with a sentence for status 125.
 */
int session_run(struct agent *a, const struct session_command *c, struct err *err);

#endif
