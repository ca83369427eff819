/* SPDX-License-Identifier: Apache-2.0 */
/* The agent: accepts sessions, hears the VMM, reaps processes, until the VM is to end. */
#ifndef LVM_GUEST_AGENT_H
#define LVM_GUEST_AGENT_H

#include <stdbool.h>

#include "base/err.h"
#include "guest/notify.h"
#include "guest/session.h"

struct agent_config {
	struct session_config session; /* .agent is filled in by agent_run() */
	bool pid1;                     /* false: the distro's init is PID 1 */
	bool systemd;                  /* and it is systemd */
	char *argv0;                   /* sessions take back the mark that spares the agent */
};

enum agent_end {
	AGENT_POWEROFF,
	AGENT_REBOOT,
	AGENT_HOST_GONE,
};

/* Opens the listening socket for sessions. */
int agent_listen(int *ret_fd, struct err *err);

/*
 * Serves until the VM is to end. As PID 1 it returns then; beside an init it hands the end over to
 * that and returns only when the init has not come to one in time.
 */
enum agent_end agent_run(struct notify *notify, int listener, const struct agent_config *cfg);

#endif
