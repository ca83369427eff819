/* SPDX-License-Identifier: Apache-2.0 */
/* The distro's own init as PID 1, with the agent beside it. */
#ifndef LVM_GUEST_INIT_H
#define LVM_GUEST_INIT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

/* The init program of the root file system, or NULL. *ret_systemd: whether it is systemd. */
const char *init_find(bool *ret_systemd);

/* Replaces PID 1's program. Returns only on failure. */
int init_exec(const char *path, struct err *err);

/*
 * Moves the caller into a control group of its own, which systemd leaves alone, and marks it to be
 * spared at shutdown.
 */
void init_live_beside(char *argv0);

/*
 * Asks PID 1 to end the system. systemd: by its signals; others: by their poweroff and reboot
 * programs.
 */
void init_shutdown(bool systemd, bool reboot);

/* Watches a systemd come up. */
struct init_watch {
	int inotify; /* owned, -1; to be polled for POLLIN */
	int state;   /* owned, -1: pipe from `systemctl is-system-running --wait` */
	char text[64];
	size_t len;
};

void init_watch_start(struct init_watch *w);
/*
 * Call after POLLIN on inotify. True once systemctl would be answered; the descriptor is closed
 * then.
 */
bool init_watch_ready(struct init_watch *w);
/* Begins to wait for the end of systemd's start-up. */
void init_watch_state(struct init_watch *w);
/* Call after POLLIN on state. The state ("running", "degraded", …) once it is known, else NULL. */
const char *init_watch_read(struct init_watch *w);

#endif
