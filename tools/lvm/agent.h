/* SPDX-License-Identifier: Apache-2.0 */
/* A connection to lvm-guest: frames in and out (docs/agent-protocol.md). */
#ifndef LVM_TOOLS_LVM_AGENT_H
#define LVM_TOOLS_LVM_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "guest/proto.h"
#include "tools/lvm/store.h"

struct agent;

/*
 * Connects to the agent of a running VM and exchanges HELLO, within timeout_ms. -ENOENT, -ECONNREFUSED or
 * -ECONNRESET: no VM, or nobody listens in it (yet).
 */
int agent_open(const struct store *s, const char *name, int timeout_ms, struct agent **ret_a,
	       struct err *err);
void agent_close(struct agent *a);

/* For poll(2): non-blocking; watch for POLLIN, and for POLLOUT while agent_pending() is not 0. */
int agent_fd(const struct agent *a);
/* Bytes queued and not sent yet. */
size_t agent_pending(const struct agent *a);

/* Queues one whole frame. Never fails: the caller stops reading its own input while much is pending. */
void agent_queue(struct agent *a, const void *frame, size_t len);
/* Queues a DATA frame. len is 1..PROTO_MAX_PAYLOAD. */
void agent_queue_data(struct agent *a, enum proto_stream stream, const void *data, size_t len);
/* Sends what the socket takes now. 0, or -errno when the connection is gone. */
int agent_flush(struct agent *a);

/* Reads once what is there. 0 (also when nothing was), -ECONNRESET at end of file, -errno. */
int agent_receive(struct agent *a);
/* The next whole frame received: 1 in *ret_f (valid until agent_receive), 0 none, -EPROTO. */
int agent_next(struct agent *a, struct proto_frame *ret_f);

/* Sends what is pending, then waits for one frame within timeout_ms. For requests with one answer. */
int agent_wait(struct agent *a, int timeout_ms, struct proto_frame *ret_f);

#endif
