/* SPDX-License-Identifier: Apache-2.0 */
/* devices/virtio/vsock_mux.c: connecting, strays, turns and bounds, on scripted ends. */
#include <errno.h>
#include <string.h>

#include "tests/unit/vsock_peer.h"

/* ---- connecting */

static void guest_to_host(void **state)
{
	struct fake_vsock *f = *state;
	struct peer p;
	struct fake_stream *s = guest_connects(f, &p);

	assert_int_equal(s->port, 99);
	assert_int_equal(p.host_alloc, ALLOC);
	say_data(&p, 10);
	say_data(&p, 5000);
	assert_int_equal(s->bytes_written, 5010);
	assert_false(s->out_of_order);
	host_writes(s, 6000);
	assert_int_equal(hear_all(&p), VIRTIO_VSOCK_OP_INVALID);
	assert_int_equal(p.received, 6000);
	assert_int_equal(p.host_fwd, 5010);
}

static void guest_is_refused(void **state)
{
	struct fake_vsock *f = *state;
	struct peer p = {.f = f, .port = 3, .host_port = 4, .buf_alloc = ALLOC};

	f->connect_result = -ECONNREFUSED;
	say(&p, VIRTIO_VSOCK_OP_REQUEST, 0);
	assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_RST);
	assert_silent(f);
	assert_int_equal(vsock_mux_num_conns(f->mux), 0);
}

static void guest_waits_for_the_host(void **state)
{
	struct fake_vsock *f = *state;
	struct peer p = {.f = f, .port = 3, .host_port = 4, .buf_alloc = ALLOC};

	f->connect_result = 1;
	say(&p, VIRTIO_VSOCK_OP_REQUEST, 0);
	assert_silent(f);
	fake_stream_event(f->stream[0], VSOCK_OPENED);
	assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_RESPONSE);
	p.port = 33;
	say(&p, VIRTIO_VSOCK_OP_REQUEST, 0);
	fake_stream_event(f->stream[1], VSOCK_FAILED);
	assert_true(f->stream[1]->closed);
	assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_RST);
	/* The guest gives up first. */
	p.port = 333;
	say(&p, VIRTIO_VSOCK_OP_REQUEST, 0);
	say(&p, VIRTIO_VSOCK_OP_RST, 0);
	assert_true(f->stream[2]->closed);
	assert_silent(f);
	assert_int_equal(vsock_mux_num_conns(f->mux), 1);
}

static void host_to_guest(void **state)
{
	struct fake_vsock *f = *state;
	struct peer p;
	struct fake_stream *s = host_connects(f, &p);

	/* Written behind the CONNECT line: nobody reads it before there is a connection. */
	s->readable = 100;
	fake_stream_event(s, VSOCK_READABLE);
	assert_silent(f);
	assert_int_equal(s->accepted, 0);
	say(&p, VIRTIO_VSOCK_OP_RESPONSE, 0);
	assert_int_equal(s->accepted, p.host_port);
	fake_stream_event(s, VSOCK_READABLE);
	assert_int_equal(hear_all(&p), VIRTIO_VSOCK_OP_INVALID);
	assert_int_equal(p.received, 100);
	fake_vsock_sleep(f, 50);
	assert_false(s->closed);
}

static void host_is_refused(void **state)
{
	struct fake_vsock *f = *state;
	struct peer p;
	struct fake_stream *s = host_connects(f, &p);

	say(&p, VIRTIO_VSOCK_OP_RST, 0);
	assert_true(s->closed && s->clean && !s->accepted);
	assert_silent(f);
	assert_int_equal(vsock_mux_num_conns(f->mux), 0);
}

static void guest_never_answers(void **state)
{
	struct fake_vsock *f = *state;
	struct peer p;
	struct fake_stream *s = host_connects(f, &p);

	fake_vsock_sleep(f, 50);
	assert_true(s->closed && s->clean && !s->accepted);
	assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_RST);
	/* Too late. */
	say(&p, VIRTIO_VSOCK_OP_RESPONSE, 0);
	assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_RST);
	assert_silent(f);
}

static void host_gives_up_first(void **state)
{
	struct fake_vsock *f = *state;
	struct fake_stream *s;
	struct peer p;

	/* The guest never hears of it when it gave no buffers. */
	f->num_bufs = 0;
	s = fake_vsock_incoming(f, 5);
	fake_vsock_run(f);
	fake_stream_event(s, VSOCK_HUNG_UP);
	assert_true(s->closed);
	f->num_bufs = 100;
	f->woken = true;
	assert_silent(f);
	s = host_connects(f, &p);
	fake_stream_event(s, VSOCK_HUNG_UP);
	assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_RST);
	assert_int_equal(vsock_mux_num_conns(f->mux), 0);
}

static void host_is_gone_at_the_answer(void **state)
{
	struct fake_vsock *f = *state;
	struct peer p;
	struct fake_stream *s = host_connects(f, &p);

	s->accept_error = -EPIPE;
	say(&p, VIRTIO_VSOCK_OP_RESPONSE, 0);
	assert_true(s->closed);
	assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_RST);
}

static void table_is_bounded(void **state)
{
	struct fake_vsock *f = *state;
	struct peer p[4], q = {.f = f, .port = 77, .host_port = 78, .buf_alloc = ALLOC};

	for (unsigned i = 0; i < 4; i++)
		(void)guest_connects(f, &p[i]);
	say(&q, VIRTIO_VSOCK_OP_REQUEST, 0);
	assert_int_equal(hear(&q), VIRTIO_VSOCK_OP_RST);
	assert_int_equal(f->num_streams, 4);
	assert_null(fake_vsock_incoming(f, 5));
	say(&p[2], VIRTIO_VSOCK_OP_RST, 0);
	assert_true(f->stream[2]->closed && !f->stream[2]->clean);
	say(&q, VIRTIO_VSOCK_OP_REQUEST, 0);
	assert_int_equal(hear(&q), VIRTIO_VSOCK_OP_RESPONSE);
}

/* ---- turns */

static void turns_are_fair(void **state)
{
	struct fake_vsock *f = *state;
	uint64_t most = 0, least = UINT64_MAX;
	struct fake_stream *s[3];
	struct peer p[3];

	for (unsigned i = 0; i < 3; i++) {
		s[i] = guest_connects(f, &p[i]);
		p[i].buf_alloc = 1 << 20;
		say(&p[i], VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	}
	for (unsigned i = 0; i < 3; i++)
		host_writes(s[i], 1 << 20);
	for (unsigned i = 0; i < 120; i++) {
		f->num_bufs = 3;
		f->woken = true;
		fake_vsock_run(f);
	}
	for (unsigned i = 0; i < 3; i++) {
		most = s[i]->bytes_read > most ? s[i]->bytes_read : most;
		least = s[i]->bytes_read < least ? s[i]->bytes_read : least;
	}
	assert_int_equal(s[0]->bytes_read + s[1]->bytes_read + s[2]->bytes_read, 360 * 4096);
	assert_true(most - least <= 64 * 1024);
}

static void a_run_is_bounded(void **state)
{
	struct fake_vsock *f = *state;
	struct fake_stream *s;
	struct peer p;

	s = guest_connects(f, &p);
	f->buf_len = VSOCK_HDR_LEN + 1024;
	p.buf_alloc = 1 << 20;
	say(&p, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	host_writes(s, 1 << 20);
	assert_true(vsock_mux_run(f->mux));
	assert_in_range(s->bytes_read, 1, (1 << 20) - 1);
	(void)hear_all(&p);
	assert_int_equal(p.received, 1 << 20);
}

/* ---- packets that belong nowhere */

static struct virtio_vsock_hdr stray(uint16_t op)
{
	return (struct virtio_vsock_hdr){
		.src_cid = htole64(FAKE_VSOCK_CID),
		.dst_cid = htole64(VSOCK_HOST_CID),
		.src_port = htole32(11),
		.dst_port = htole32(22),
		.type = htole16(VIRTIO_VSOCK_TYPE_STREAM),
		.op = htole16(op),
	};
}

/* It is an RST, the other way round, of the same type. */
static void assert_refused(struct fake_vsock *f, const struct virtio_vsock_hdr *h)
{
	const struct fake_vsock_packet *k = fake_vsock_next(f);

	assert_non_null(k);
	assert_int_equal(le16toh(k->h.op), VIRTIO_VSOCK_OP_RST);
	assert_int_equal(k->h.src_cid, h->dst_cid);
	assert_int_equal(k->h.dst_cid, h->src_cid);
	assert_int_equal(k->h.src_port, h->dst_port);
	assert_int_equal(k->h.dst_port, h->src_port);
	assert_int_equal(k->h.type, h->type);
	assert_int_equal(k->h.len, 0);
	assert_silent(f);
}

static void strays_are_refused(void **state)
{
	static const uint16_t ops[] = {0, 2, 4, 5, 6, 7, 8, 0xffff};
	struct fake_vsock *f = *state;
	struct virtio_vsock_hdr h;

	for (unsigned i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		h = stray(ops[i]);
		fake_vsock_input(f, &h, NULL, 0);
		assert_refused(f, &h);
	}
	/* Two ends that answered it would never stop. */
	h = stray(VIRTIO_VSOCK_OP_RST);
	fake_vsock_input(f, &h, NULL, 0);
	assert_silent(f);
	assert_int_equal(f->num_streams, 0);
}

static void other_hosts_and_types_are_refused(void **state)
{
	static const uint64_t cids[] = {0, 1, 3, FAKE_VSOCK_CID, 1ull << 32 | 2, UINT64_MAX};
	static const uint16_t types[] = {0, VIRTIO_VSOCK_TYPE_SEQPACKET, 3, 0xffff};
	struct fake_vsock *f = *state;
	struct virtio_vsock_hdr h;

	for (unsigned i = 0; i < sizeof(cids) / sizeof(cids[0]); i++) {
		h = stray(VIRTIO_VSOCK_OP_REQUEST);
		h.dst_cid = htole64(cids[i]);
		fake_vsock_input(f, &h, NULL, 0);
		assert_refused(f, &h);
	}
	for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		h = stray(VIRTIO_VSOCK_OP_REQUEST);
		h.type = htole16(types[i]);
		fake_vsock_input(f, &h, NULL, 0);
		assert_refused(f, &h);
	}
	assert_int_equal(f->num_streams, 0);
}

static void other_guests_are_ignored(void **state)
{
	struct fake_vsock *f = *state;
	struct virtio_vsock_hdr h = stray(VIRTIO_VSOCK_OP_REQUEST);

	h.src_cid = htole64(FAKE_VSOCK_CID + 1);
	fake_vsock_input(f, &h, NULL, 0);
	h.src_cid = htole64((uint64_t)FAKE_VSOCK_CID | 1ull << 32);
	fake_vsock_input(f, &h, NULL, 0);
	assert_silent(f);
	assert_int_equal(f->num_streams, 0);
}

static void short_packets(void **state)
{
	struct fake_vsock *f = *state;
	struct virtio_vsock_hdr h = stray(VIRTIO_VSOCK_OP_RW);

	for (size_t len = 0; len < sizeof(h); len++) {
		struct iovec iov = {&h, len};
		struct iobuf b;

		iobuf_init(&b, &iov, 1);
		vsock_mux_input(f->mux, &b);
	}
	assert_silent(f);
	h.len = htole32(1);
	fake_vsock_input(f, &h, NULL, 0);
	assert_refused(f, &h);
	h.len = htole32(UINT32_MAX);
	fake_vsock_input(f, &h, "1234", 4);
	assert_refused(f, &h);
}

static void length_lies_end_the_connection(void **state)
{
	struct fake_vsock *f = *state;
	struct peer p;
	struct fake_stream *s = guest_connects(f, &p);
	uint8_t byte[2] = {fake_vsock_byte(99, 0), 0};
	struct virtio_vsock_hdr h = stray(VIRTIO_VSOCK_OP_RW);

	/* Fewer than there are is allowed: the rest is no data. */
	h.src_port = htole32(p.port);
	h.dst_port = htole32(99);
	h.len = htole32(1);
	fake_vsock_input(f, &h, byte, 2);
	assert_int_equal(s->bytes_written, 1);
	assert_false(s->out_of_order);
	h.len = htole32(3);
	fake_vsock_input(f, &h, byte, 2);
	assert_int_equal(s->bytes_written, 1);
	assert_true(s->closed);
	assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_RST);
	assert_silent(f);
}

/* A guest that takes no answers gets no more questions answered, and nothing grows. */
static void replies_are_bounded(void **state)
{
	struct fake_vsock *f = *state;
	struct virtio_vsock_hdr h = stray(VIRTIO_VSOCK_OP_RW);
	unsigned n = 0;

	f->num_bufs = 0;
	while (!vsock_mux_is_full(f->mux)) {
		h.src_port = htole32(n++);
		fake_vsock_input(f, &h, NULL, 0);
		assert_true(n < 10000);
	}
	assert_silent(f);
	f->num_bufs = 10;
	f->woken = true;
	fake_vsock_run(f);
	assert_false(vsock_mux_is_full(f->mux));
	f->num_bufs = n;
	f->woken = true;
	for (unsigned i = 0; i < n; i++) {
		const struct fake_vsock_packet *k = fake_vsock_next(f);

		assert_non_null(k);
		assert_int_equal(le32toh(k->h.dst_port), i);
	}
	assert_silent(f);
}

/* ---- reset */

static void stop_closes_everything(void **state)
{
	struct fake_vsock *f = *state;
	struct virtio_vsock_hdr h = stray(VIRTIO_VSOCK_OP_RW);
	struct fake_stream *s[3];
	struct peer p[3];

	s[0] = guest_connects(f, &p[0]);
	s[1] = host_connects(f, &p[1]);
	f->num_bufs = 0;
	host_writes(s[0], 100);
	s[2] = fake_vsock_incoming(f, 6);
	fake_vsock_input(f, &h, NULL, 0);
	vsock_mux_stop(f->mux);
	for (unsigned i = 0; i < 3; i++)
		assert_true(s[i]->closed);
	assert_int_equal(vsock_mux_num_conns(f->mux), 0);
	assert_null(fake_vsock_incoming(f, 5));
	vsock_mux_start(f->mux);
	f->num_bufs = 100;
	f->woken = true;
	assert_silent(f);
	(void)guest_connects(f, &p[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(guest_to_host, setup, teardown),
		cmocka_unit_test_setup_teardown(guest_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(guest_waits_for_the_host, setup, teardown),
		cmocka_unit_test_setup_teardown(host_to_guest, setup, teardown),
		cmocka_unit_test_setup_teardown(host_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(guest_never_answers, setup, teardown),
		cmocka_unit_test_setup_teardown(host_gives_up_first, setup, teardown),
		cmocka_unit_test_setup_teardown(host_is_gone_at_the_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(table_is_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(turns_are_fair, setup, teardown),
		cmocka_unit_test_setup_teardown(a_run_is_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(strays_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(other_hosts_and_types_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(other_guests_are_ignored, setup, teardown),
		cmocka_unit_test_setup_teardown(short_packets, setup, teardown),
		cmocka_unit_test_setup_teardown(length_lies_end_the_connection, setup, teardown),
		cmocka_unit_test_setup_teardown(replies_are_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(stop_closes_everything, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
