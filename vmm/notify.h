/* SPDX-License-Identifier: Apache-2.0 */
/* The connection on which lvm-guest tells how it is doing (guest/proto.h PROTO_PORT_NOTIFY). */
#ifndef LVM_VMM_NOTIFY_H
#define LVM_VMM_NOTIFY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/loop.h"

#define NOTIFY_MAX_LINE 512

enum notify_kind {
	NOTIFY_READY,
	NOTIFY_STATUS, /* text */
	NOTIFY_ERROR,  /* text */
	NOTIFY_BYE_POWEROFF,
	NOTIFY_BYE_REBOOT,
	NOTIFY_UNKNOWN,
};

/*
 * What a line (without its newline) says; pure. The text is copied to text (NOTIFY_MAX_LINE bytes):
 * printable characters and well-placed high bytes only, the guest cannot reach a terminal with it.
 */
enum notify_kind notify_parse(const char *line, size_t len, char *text);

struct notify;

/* On the loop: the guest's words, in order. text is empty where the kind has none. */
typedef void notify_fn(void *opaque, enum notify_kind kind, const char *text);

/*
 * Listens on the unix socket that the vsock device connects to for the guest. One connection at a
 * time: others are closed at once. loop and path are borrowed.
 */
int notify_new(struct loop *loop, const char *vsock_path, notify_fn *fn, void *opaque,
	       struct notify **ret_n, struct err *err);
/* Also removes the socket. NULL is fine. */
void notify_free(struct notify *n);

/*
 * On the loop. Asks the guest to end; false when it is not connected (or its connection is
 * stuffed).
 */
bool notify_shutdown(struct notify *n, bool reboot);
bool notify_connected(const struct notify *n);

#endif
