/* SPDX-License-Identifier: Apache-2.0 */
/* The line to the VMM: how the guest is, and the order to go down. */
#ifndef LVM_GUEST_NOTIFY_H
#define LVM_GUEST_NOTIFY_H

#include <stdbool.h>
#include <stddef.h>

enum notify_event {
	NOTIFY_NOTHING, /* no whole line yet */
	NOTIFY_POWEROFF,
	NOTIFY_REBOOT,
	NOTIFY_EOF, /* the host is gone */
};

struct notify {
	int fd; /* owned; -1: not connected */
	char line[256];
	size_t len;
	bool overlong; /* the rest of the line is being dropped */
};

/*
 * Connects to the host. 0 or -errno; -ENODEV and the like mean that there is no vsock device (yet).
 */
int notify_connect(struct notify *n);
void notify_close(struct notify *n);

/* Sends "KEY=text\n", newlines in text as spaces. Fails silently: the loop sees the end of file. */
void notify_send(struct notify *n, const char *key, const char *text);

/* Reads what is there. Unknown lines are passed over. Call again until NOTIFY_NOTHING. */
enum notify_event notify_read(struct notify *n);

/* After the last line: waits until the host has read it all (it closes), or timeout_ms. */
void notify_finish(struct notify *n, int timeout_ms);

#endif
