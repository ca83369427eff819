/* SPDX-License-Identifier: Apache-2.0 */
/* Both sides of virtual socket connections, scripted: a host without sockets, a guest without ring. */
#ifndef LVM_TESTS_SUPPORT_FAKE_VSOCK_H
#define LVM_TESTS_SUPPORT_FAKE_VSOCK_H

#include "devices/virtio/vsock_mux.h"

#define FAKE_VSOCK_CID     7
#define FAKE_VSOCK_STREAMS 4096

/* The byte at position at of everything that is ever sent, so that a lost or doubled byte shows. */
static inline uint8_t fake_vsock_byte(uint32_t seed, uint64_t at)
{
	return (uint8_t)((at * 2654435761u >> 13) ^ at ^ seed);
}

/* A host program's end. It outlives its close, so a test can look at it. */
struct fake_stream {
	struct vsock_stream s;
	struct fake_vsock *f;
	uint32_t port;
	/* What the host program does. */
	uint64_t
		readable; /* bytes it has written and nobody has read: fake_vsock_byte(port, ...) */
	bool eof;         /* and nothing after them */
	uint64_t room;    /* bytes it lets us write */
	int write_error, accept_error;
	/* What the mux did. */
	uint64_t bytes_read, bytes_written;
	bool out_of_order; /* a written byte was not fake_vsock_byte(port, its position) */
	unsigned num_reads;
	size_t longest_read;
	unsigned watched, shut; /* VSOCK_* */
	uint32_t accepted;      /* port told; 0: not */
	bool closed, clean;
};

struct fake_vsock_packet {
	struct virtio_vsock_hdr h;
	uint8_t *data;
};

struct fake_vsock {
	struct vsock_host host;
	struct loop *loop;
	struct vsock_mux *mux;
	bool woken;
	/* What connect() does next: as in vsock_host_ops. */
	int connect_result;
	uint64_t connect_room;
	struct fake_stream *stream[FAKE_VSOCK_STREAMS];
	unsigned num_streams;
	/* Receive buffers: how many there are, and their size; both may be changed at any time. */
	unsigned num_bufs;
	size_t buf_len;
	struct fake_vsock_buf *got; /* taken and not sent, newest first */
	unsigned num_got;
	struct fake_vsock_packet *packet;
	unsigned first_packet, num_packets;
};

void fake_vsock_init(struct fake_vsock *f, const struct vsock_limits *limits);
/* Aborts when a stream was not closed. */
void fake_vsock_done(struct fake_vsock *f);

/* Runs the mux until it has nothing to do. */
void fake_vsock_run(struct fake_vsock *f);
/* Lets ms milliseconds pass. */
void fake_vsock_sleep(struct fake_vsock *f, int ms);

/*
 * A packet of the guest: fields not named are 0; buf_alloc and fwd_cnt as given. data may be NULL
 * when len is 0.
 */
void fake_vsock_input(struct fake_vsock *f, const struct virtio_vsock_hdr *h, const void *data,
		      size_t len);
/* The next packet to the guest, which stays the fake's until done; NULL: none. */
const struct fake_vsock_packet *fake_vsock_next(struct fake_vsock *f);

/* A host program connects to the guest's port; NULL: refused. */
struct fake_stream *fake_vsock_incoming(struct fake_vsock *f, uint32_t port);
/*
 * Reports to the mux what of events is watched (HUNG_UP, OPENED and FAILED always), unless the
 * stream is closed.
 */
void fake_stream_event(struct fake_stream *s, unsigned events);

#endif
