/* SPDX-License-Identifier: Apache-2.0 */
/* One virtual socket connection, for vsock_mux.c and vsock_conn.c only (virtio 1.2 §5.10.6). */
#ifndef LVM_DEVICES_VIRTIO_VSOCK_CONN_H
#define LVM_DEVICES_VIRTIO_VSOCK_CONN_H

#include "base/list.h"
#include "base/log.h"
#include "devices/virtio/vsock_mux.h"

#define VSOCK_HASH_SIZE   1024
#define VSOCK_MAX_REPLIES 256
/*
 * Our receive buffer for one connection, and what later ones get once so many are there: 88 MiB for
 * 1 024 at most.
 */
#define VSOCK_BUF_ALLOC      (256 * 1024)
#define VSOCK_MANY_CONNS     128
#define VSOCK_BUF_ALLOC_MANY (64 * 1024)
/*
 * What we believe of the guest's buf_alloc; no connection may have more of the receive queue than
 * this under way.
 */
#define VSOCK_MAX_PEER_ALLOC (1024 * 1024)
#define VSOCK_MAX_BURST      16 /* packets a turn */
#define VSOCK_TURN_BYTES     (64 * 1024)

enum vsock_state {
	VSOCK_CONNECTING, /* the guest asked; the host program has not accepted yet */
	VSOCK_REQUESTED,  /* a host program asked; the guest has not answered yet */
	VSOCK_OPEN,
	VSOCK_CLOSING,   /* over: but for the RST, and what the host program has not read yet */
	VSOCK_LINGERING, /* the guest knows nothing of it any more */
};

/* Packets to send: a set, so however much a guest asks for, nothing piles up. */
#define VSOCK_PEND_RST            0x01
#define VSOCK_PEND_REQUEST        0x02
#define VSOCK_PEND_RESPONSE       0x04
#define VSOCK_PEND_SHUTDOWN       0x08
#define VSOCK_PEND_CREDIT_REQUEST 0x10
#define VSOCK_PEND_CREDIT_UPDATE  0x20

#define VSOCK_SHUTDOWN_BOTH       (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)

struct vsock_conn {
	struct vsock_mux *mux;
	struct vsock_stream *stream; /* NULL once closed */
	enum vsock_state state;
	uint32_t host_port, guest_port;
	struct list hash; /* in mux->hash[], or in mux->lingering */
	struct list
		ready; /* in mux->ready while there is something to send and no lack of credit */
	struct loop_timer timer;
	int64_t since_ms; /* when it began to linger */
	unsigned pend;
	unsigned burst; /* receive buffers to use in the next turn */
	unsigned watched;
	bool readable; /* the stream has something for us, as far as we know */
	bool host_eof; /* nothing more comes from the host program, or the guest will not have it */
	bool host_deaf; /* the host program reads no more: what the guest writes is thrown away */
	bool hung_up;
	bool credit_asked;              /* and not granted since */
	uint32_t guest_shut, told_shut; /* VIRTIO_VSOCK_SHUTDOWN_*: the guest's word, and ours */
	/*
	 * From the guest: bytes received and bytes passed on, modulo 2^32; received - passed == len
	 * <= alloc is what the buffer holds. It is a ring, there only while it is not empty.
	 */
	uint32_t alloc, received, passed, passed_told;
	uint8_t *buf;
	uint32_t buf_at;
	/*
	 * To the guest: what it said of its buffer, and bytes sent. sent - peer_passed is under
	 * way.
	 */
	uint32_t peer_alloc, peer_passed, sent;
};

/* An RST for a packet that belongs to no connection of ours. */
struct vsock_reply {
	uint64_t src_cid;
	uint32_t src_port, dst_port;
	uint16_t type;
};

struct vsock_mux {
	struct vsock_mux_config cfg;
	bool running;
	unsigned num_conns;
	uint32_t next_port;
	uint64_t hash_seed;
	struct list hash[VSOCK_HASH_SIZE];
	struct list lingering; /* oldest first */
	struct list ready;
	struct vsock_reply reply[VSOCK_MAX_REPLIES];
	unsigned reply_at, num_replies;
	struct log_limit limit;
};

/* vsock_mux.c. The header is complete but for the guest's CID. */
void vsock_mux_send(struct vsock_mux *m, struct vsock_buf *b, const struct virtio_vsock_hdr *h);
/*
 * Takes c out of the table, the guest knows nothing of it any more; it may be found in
 * mux->lingering after.
 */
void vsock_mux_forget(struct vsock_conn *c);
void vsock_mux_linger(struct vsock_conn *c);
/* c is in no list of the table. Closes its stream if it still has one. */
void vsock_mux_delete(struct vsock_conn *c, bool clean);

/*
 * vsock_conn.c. Every call that takes a conn may end its life, except where noted: the caller does
 * not touch it after.
 */
/* Puts it in the ready list if it has something to send and can. Does not end it. */
void vsock_conn_schedule(struct vsock_conn *c);
/* The guest's REQUEST is answered, host programs' bytes are let through. Does not end it. */
void vsock_conn_opened(struct vsock_conn *c);
void vsock_conn_event(struct vsock_stream *s, unsigned events);
/* A packet of the guest's for this connection. */
void vsock_conn_input(struct vsock_conn *c, const struct virtio_vsock_hdr *h, struct iobuf *data);
/* Abort: RST to the guest, the stream closed, nothing kept. */
void vsock_conn_reset(struct vsock_conn *c);
/* Abort without a word to the guest. clean: as for vsock_stream_ops.close. */
void vsock_conn_drop(struct vsock_conn *c, bool clean);
/*
 * The guest has forgotten it, by RST or by reset. What it sent before it closed goes on to the host
 * program.
 */
void vsock_conn_stop(struct vsock_conn *c);
/*
 * Takes its turn at the receive queue. False: no buffers; c is alive then and still has something
 * to send.
 */
bool vsock_conn_turn(struct vsock_conn *c);
/*
 * The guest's credit as its header states it. Does not end the connection; false: it claims more
 * than we sent.
 */
bool vsock_conn_credit(struct vsock_conn *c, const struct virtio_vsock_hdr *h);

#endif
