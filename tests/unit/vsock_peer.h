/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of virtual socket connections share: the guest's end of one, and its words. */
#ifndef LVM_TESTS_UNIT_VSOCK_PEER_H
#define LVM_TESTS_UNIT_VSOCK_PEER_H

#include <endian.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/support/fake_vsock.h"

#define ALLOC (256 * 1024)
#define BOTH  (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)

/* The guest's end of one connection. */
struct peer {
	struct fake_vsock *f;
	uint32_t port, host_port; /* the guest's, the host's */
	uint32_t seed;            /* of the bytes both ways */
	uint32_t buf_alloc, fwd_cnt;
	uint64_t sent, received;
	uint32_t host_alloc, host_fwd; /* as last told */
	uint32_t last_flags;
};

static inline int setup(void **state)
{
	static struct fake_vsock f;
	static const struct vsock_limits quick = {.max_conns = 4,
						  .request_ms = 30,
						  .close_ms = 30,
						  .linger_ms = 100,
						  .linger_max_ms = 400};

	fake_vsock_init(&f, &quick);
	*state = &f;
	return 0;
}

static inline int teardown(void **state)
{
	fake_vsock_done(*state);
	return 0;
}

static inline void say_len(struct peer *p, uint16_t op, uint32_t flags, const void *data,
			   uint32_t len)
{
	struct virtio_vsock_hdr h = {
		.src_cid = htole64(FAKE_VSOCK_CID),
		.dst_cid = htole64(VSOCK_HOST_CID),
		.src_port = htole32(p->port),
		.dst_port = htole32(p->host_port),
		.len = htole32(len),
		.type = htole16(VIRTIO_VSOCK_TYPE_STREAM),
		.op = htole16(op),
		.flags = htole32(flags),
		.buf_alloc = htole32(p->buf_alloc),
		.fwd_cnt = htole32(p->fwd_cnt),
	};

	fake_vsock_input(p->f, &h, data, len);
}

static inline void say(struct peer *p, uint16_t op, uint32_t flags)
{
	say_len(p, op, flags, NULL, 0);
}

static inline void say_data(struct peer *p, uint32_t len)
{
	uint8_t *data = malloc(len);

	for (uint32_t i = 0; i < len; i++)
		data[i] = fake_vsock_byte(p->seed, p->sent + i);
	p->sent += len;
	say_len(p, VIRTIO_VSOCK_OP_RW, 0, data, len);
	free(data);
}

/*
 * Takes a packet: for this peer, well-formed, data in order. What it was; OP_INVALID when there was
 * none.
 */
static inline uint16_t hear(struct peer *p)
{
	const struct fake_vsock_packet *k = fake_vsock_next(p->f);

	if (!k)
		return VIRTIO_VSOCK_OP_INVALID;
	assert_int_equal(le64toh(k->h.src_cid), VSOCK_HOST_CID);
	assert_int_equal(le64toh(k->h.dst_cid), FAKE_VSOCK_CID);
	assert_int_equal(le32toh(k->h.src_port), p->host_port);
	assert_int_equal(le32toh(k->h.dst_port), p->port);
	assert_int_equal(le16toh(k->h.type), VIRTIO_VSOCK_TYPE_STREAM);
	for (uint32_t i = 0; i < le32toh(k->h.len); i++)
		assert_int_equal(k->data[i], fake_vsock_byte(p->seed, p->received + i));
	p->received += le32toh(k->h.len);
	p->host_alloc = le32toh(k->h.buf_alloc);
	p->host_fwd = le32toh(k->h.fwd_cnt);
	p->last_flags = le32toh(k->h.flags);
	return le16toh(k->h.op);
}

/* Everything that comes, data counted in p->received; what came last that was not data. */
static inline uint16_t hear_all(struct peer *p)
{
	uint16_t op, last = VIRTIO_VSOCK_OP_INVALID;

	while ((op = hear(p))) {
		if (op != VIRTIO_VSOCK_OP_RW)
			last = op;
	}
	return last;
}

static inline void assert_silent(struct fake_vsock *f)
{
	assert_null(fake_vsock_next(f));
}

/* The guest connects to port 99 of the host. */
static inline struct fake_stream *guest_connects(struct fake_vsock *f, struct peer *p)
{
	*p = (struct peer){.f = f,
			   .port = 1000 + f->num_streams,
			   .host_port = 99,
			   .seed = 99,
			   .buf_alloc = ALLOC};
	say(p, VIRTIO_VSOCK_OP_REQUEST, 0);
	assert_int_equal(hear(p), VIRTIO_VSOCK_OP_RESPONSE);
	assert_int_equal(p->host_fwd, 0);
	return f->stream[f->num_streams - 1];
}

/* A host program connects to port 5 of the guest. */
static inline struct fake_stream *host_connects(struct fake_vsock *f, struct peer *p)
{
	struct fake_stream *s = fake_vsock_incoming(f, 5);
	const struct fake_vsock_packet *k = fake_vsock_next(f);

	assert_non_null(s);
	s->room = UINT64_MAX;
	assert_non_null(k);
	assert_int_equal(le16toh(k->h.op), VIRTIO_VSOCK_OP_REQUEST);
	*p = (struct peer){.f = f,
			   .port = 5,
			   .host_port = le32toh(k->h.src_port),
			   .seed = 5,
			   .buf_alloc = ALLOC};
	return s;
}

static inline void host_writes(struct fake_stream *s, uint64_t n)
{
	s->readable += n;
	fake_stream_event(s, VSOCK_READABLE);
}

#endif
