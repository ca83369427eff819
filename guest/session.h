/* SPDX-License-Identifier: Apache-2.0 */
/* One connection of the host: a command with its streams, or an installation. */
#ifndef LVM_GUEST_SESSION_H
#define LVM_GUEST_SESSION_H

#include <stdbool.h>
#include <sys/types.h>

struct session_config {
	const char *etc;          /* directory with passwd, group, login.defs, environment */
	const char *run;          /* where user/UID is made, for XDG_RUNTIME_DIR */
	const char *default_user; /* for requests without USER */
	const char *install_disk; /* block device that INSTALL fills; NULL: INSTALL is refused */
	bool systemd;             /* it makes the runtime directories */
	int grace_ms; /* from SIGHUP to SIGKILL for the command of a host that has gone */
	pid_t agent;  /* gets SIGRTMIN+4 or +5 for SHUTDOWN 0 or 1; 0: SHUTDOWN is refused */
};

#define SESSION_GRACE_MS 5000 /* what grace_ms should be: an editor saves its buffers in it */

/*
 * Serves conn (taken over) to its end. Runs in a process of its own with one thread and no other
 * children, becomes the leader of a new terminal session, and changes signal handling: call it
 * after fork() and then exit. Linux has the controlling terminal's foreground group stopped and
 * continued only while its leader lives, which is this process.
 */
void session_run(int conn, const struct session_config *cfg);

#endif
