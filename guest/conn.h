/* SPDX-License-Identifier: Apache-2.0 */
/* A connection as whole frames: bounded buffers, never blocking unless asked to wait. */
#ifndef LVM_GUEST_CONN_H
#define LVM_GUEST_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest/proto.h"

struct conn {
	int fd; /* owned, non-blocking */
	uint8_t *in;
	size_t in_off, in_len, in_cap; /* frames are at [in_off, in_len) */
	uint8_t *out;
	size_t out_off, out_len;
	bool eof;    /* the peer will send no more */
	bool broken; /* the peer is gone: what is sent is dropped */
};

#define CONN_OUT_CAP (160 * 1024)

int conn_init(struct conn *c, int fd);
void conn_done(struct conn *c);

/* Reads what is there, and sets eof or broken at the end. */
void conn_fill(struct conn *c);
/*
 * 1: the next frame, whose payload is valid until conn_fill(); 0: none yet; -EPROTO: no frame, the
 * connection is lost.
 */
int conn_next(struct conn *c, struct proto_frame *ret);

/* Bytes that can be queued now. */
size_t conn_space(const struct conn *c);
/* Where to put n bytes, n <= conn_space(); conn_queued() then says how many were put. */
uint8_t *conn_reserve(struct conn *c, size_t n);
void conn_queued(struct conn *c, size_t n);
/* Writes what the socket takes. */
void conn_flush(struct conn *c);

/*
 * Waits until events (POLLIN, POLLOUT) or timeout_ms. For code that has nothing else to do
 * meanwhile.
 */
void conn_wait(struct conn *c, short events, int timeout_ms);
/* Queues a frame that was made by a proto_put_ function, waiting for room. */
void conn_send(struct conn *c, const uint8_t *frame, size_t len);
/* Queues DATA on a stream, waiting for room. len <= PROTO_MAX_PAYLOAD. */
void conn_send_data(struct conn *c, enum proto_stream stream, const void *buf, size_t len);
/* Queues ERROR with a sentence. */
void conn_send_error(struct conn *c, int code, enum proto_fault fault, const char *sentence);

/*
 * Sends what is queued and ends the connection in order: what the peer still sends is read and
 * dropped until it closes, for else its unread bytes would reset the connection and could take our
 * last frame along.
 */
void conn_finish(struct conn *c, int timeout_ms);

#endif
