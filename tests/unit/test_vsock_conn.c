/* SPDX-License-Identifier: Apache-2.0 */
/* devices/virtio/vsock_conn.c: credit, data and the end of a connection, on scripted ends. */
#include <errno.h>

#include "devices/virtio/vsock_conn.h"
#include "tests/unit/vsock_peer.h"

/* ---- credit: what the guest lets us send */

static void guest_credit_bounds_us(void **state)
{
	struct fake_vsock *f = *state;
	struct peer p;
	struct fake_stream *s = guest_connects(f, &p);

	p.buf_alloc = 100;
	say(&p, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	host_writes(s, 1000);
	assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_RW);
	assert_int_equal(p.received, 0 + 100);
	assert_int_equal(s->bytes_read, 100);
	/* Asked for once, not with every event. */
	assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	fake_stream_event(s, VSOCK_READABLE);
	assert_int_equal(s->watched, 0);
	assert_silent(f);
	say(&p, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	assert_silent(f);
	p.fwd_cnt = 60;
	say(&p, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_RW);
	assert_int_equal(p.received, 160);
	assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	/* Credit comes with any packet. */
	p.fwd_cnt = 160;
	p.buf_alloc = ALLOC;
	say_data(&p, 1);
	assert_int_equal(hear_all(&p), VIRTIO_VSOCK_OP_INVALID);
	assert_int_equal(p.received, 1000);
	assert_int_equal(s->watched, VSOCK_READABLE);
}

static void guest_takes_credit_back(void **state)
{
	struct fake_vsock *f = *state;
	struct peer p;
	struct fake_stream *s = guest_connects(f, &p);

	host_writes(s, 5000);
	(void)hear_all(&p);
	assert_int_equal(p.received, 5000);
	p.buf_alloc = 10;
	say(&p, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	host_writes(s, 5000);
	assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	assert_silent(f);
	assert_int_equal(p.received, 5000);
	p.fwd_cnt = 4999;
	say(&p, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	assert_int_equal(hear_all(&p), VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	assert_int_equal(p.received, 5009);
	p.fwd_cnt = 5009;
	p.buf_alloc = 0;
	say(&p, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	assert_silent(f);
}

static void guest_received_more_than_was_sent(void **state)
{
	struct fake_vsock *f = *state;
	struct peer p;
	struct fake_stream *s = guest_connects(f, &p);

	host_writes(s, 50);
	(void)hear_all(&p);
	p.fwd_cnt = 51;
	say(&p, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	assert_true(s->closed && !s->clean);
	assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_RST);
	p.fwd_cnt = 1;
	p.port = 8;
	say(&p, VIRTIO_VSOCK_OP_REQUEST, 0);
	assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_RST);
}

static void stale_counts_are_no_lie(void **state)
{
	struct fake_vsock *f = *state;
	struct peer p;
	struct fake_stream *s = guest_connects(f, &p);

	p.buf_alloc = 100;
	say(&p, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	host_writes(s, 150);
	(void)hear_all(&p);
	p.fwd_cnt = 100;
	say(&p, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	p.fwd_cnt = 40;
	say_data(&p, 3);
	(void)hear_all(&p);
	assert_int_equal(p.received, 150);
	assert_false(s->closed);
}

static void enormous_credit_is_clamped(void **state)
{
	struct fake_vsock *f = *state;
	struct peer p;
	struct fake_stream *s = guest_connects(f, &p);

	p.buf_alloc = UINT32_MAX;
	say(&p, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	host_writes(s, 8 << 20);
	(void)hear_all(&p);
	assert_int_equal(p.received, 1 << 20);
}

/* The one connection there is, from inside. */
static struct vsock_conn *only_conn(struct fake_vsock *f)
{
	for (unsigned i = 0; i < VSOCK_HASH_SIZE; i++) {
		if (!list_empty(&f->mux->hash[i]))
			return container_of(f->mux->hash[i].next, struct vsock_conn, hash);
	}
	fail();
	return NULL;
}

/* All counts are modulo 2^32 (§5.10.6.3): starts them close to the end. */
static void counters_wrap(void **state)
{
	struct fake_vsock *f = *state;
	struct peer p;
	struct fake_stream *s = guest_connects(f, &p);
	struct vsock_conn *c = only_conn(f);

	c->sent = c->peer_passed = p.fwd_cnt = UINT32_MAX - 999;
	c->received = c->passed = c->passed_told = UINT32_MAX - 4999;
	p.buf_alloc = 2000;
	s->room = 100000;
	say_data(&p, ALLOC);
	host_writes(s, 3000);
	(void)hear_all(&p);
	assert_int_equal(p.received, 2000);
	p.fwd_cnt = 500;
	s->room = UINT64_MAX;
	fake_stream_event(s, VSOCK_WRITABLE);
	say_data(&p, 100000);
	(void)hear_all(&p);
	assert_int_equal(p.received, 3000);
	assert_int_equal(s->bytes_written, ALLOC + 100000);
	assert_int_equal(p.host_fwd, ALLOC + 100000 - 5000);
	assert_false(s->out_of_order);
	p.fwd_cnt = 2001;
	say(&p, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_RST);
}

/* ---- credit: what we let the guest send */

static void our_credit_is_kept(void **state)
{
	struct fake_vsock *f = *state;
	struct peer p;
	struct fake_stream *s = guest_connects(f, &p);

	s->room = 1000;
	for (unsigned i = 0; i < 4; i++)
		say_data(&p, ALLOC / 4);
	assert_int_equal(s->bytes_written, 1000);
	assert_int_equal(s->watched, VSOCK_READABLE | VSOCK_WRITABLE);
	say_data(&p, 1000);
	assert_silent(f);
	s->room = ALLOC / 2 - 2000;
	fake_stream_event(s, VSOCK_WRITABLE);
	assert_silent(f);
	s->room = 1000;
	fake_stream_event(s, VSOCK_WRITABLE);
	assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	assert_int_equal(p.host_fwd, s->bytes_written);
	say_data(&p, ALLOC / 2 - 1000);
	s->room = UINT64_MAX;
	fake_stream_event(s, VSOCK_WRITABLE);
	assert_int_equal(s->watched, VSOCK_READABLE);
	assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	assert_int_equal(s->bytes_written, p.sent);
	assert_int_equal(p.host_fwd, (uint32_t)p.sent);
	assert_false(s->out_of_order || s->closed);
}

static void overrun_is_reset(void **state)
{
	struct fake_vsock *f = *state;
	struct peer p;
	struct fake_stream *s = guest_connects(f, &p);

	s->room = 0;
	say_data(&p, ALLOC);
	assert_false(s->closed);
	say_data(&p, 1);
	assert_true(s->closed && !s->clean);
	assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_RST);
	assert_silent(f);
	assert_int_equal(vsock_mux_num_conns(f->mux), 0);
}

static void credit_on_request(void **state)
{
	struct fake_vsock *f = *state;
	struct peer p;

	(void)guest_connects(f, &p);
	say_data(&p, 10);
	assert_silent(f);
	/* However often: one answer for all that came before it. */
	for (unsigned i = 0; i < 1000; i++)
		say(&p, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0);
	assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	assert_int_equal(p.host_alloc, ALLOC);
	assert_int_equal(p.host_fwd, 10);
	assert_silent(f);
}

/* ---- receive buffers */

static void no_buffers(void **state)
{
	struct fake_vsock *f = *state;
	struct peer p;
	struct fake_stream *s = guest_connects(f, &p);

	f->num_bufs = 0;
	host_writes(s, 30000);
	fake_vsock_run(f);
	assert_int_equal(s->num_reads, 0);
	/*
	 * The first report may be answered; after the second nobody listens, or the loop would
	 * spin.
	 */
	assert_int_equal(s->watched, VSOCK_READABLE);
	fake_stream_event(s, VSOCK_READABLE);
	assert_int_equal(s->watched, 0);
	f->num_bufs = 3;
	f->woken = true;
	(void)hear_all(&p);
	assert_int_equal(p.received, 3 * 4096);
	f->num_bufs = 100;
	f->woken = true;
	(void)hear_all(&p);
	assert_int_equal(p.received, 30000);
	assert_int_equal(s->watched, VSOCK_READABLE);
}

/* Small buffers of old kernels cost one read for many, and an idle connection takes few. */
static void reads_grow(void **state)
{
	struct fake_vsock *f = *state;
	struct peer p;
	struct fake_stream *s = guest_connects(f, &p);

	host_writes(s, 200000);
	(void)hear_all(&p);
	assert_int_equal(p.received, 200000);
	assert_int_equal(s->longest_read, 65536);
	assert_in_range(s->num_reads, 4, 10);
	assert_int_equal(f->num_packets, 1 + (200000 + 4095) / 4096);
	p.fwd_cnt = 200000;
	say(&p, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	for (unsigned i = 0; i < 3; i++) {
		host_writes(s, 10);
		(void)hear_all(&p);
	}
	s->longest_read = 0;
	host_writes(s, 10);
	(void)hear_all(&p);
	assert_int_equal(s->longest_read, 4096);
	assert_int_equal(p.received, 200040);
}

/* ---- the end: the guest's side */

static void guest_half_closes(void **state)
{
	struct fake_vsock *f = *state;
	struct peer p;
	struct fake_stream *s = guest_connects(f, &p);

	s->room = 10;
	say_data(&p, 100);
	say(&p, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND);
	assert_int_equal(s->shut, 0);
	s->room = 1000;
	fake_stream_event(s, VSOCK_WRITABLE);
	assert_int_equal(s->bytes_written, 100);
	assert_int_equal(s->shut, VSOCK_SHUT_WR);
	/* Said again, it is no news. */
	say(&p, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND);
	say(&p, VIRTIO_VSOCK_OP_SHUTDOWN, 0);
	host_writes(s, 5000);
	assert_int_equal(hear_all(&p), VIRTIO_VSOCK_OP_INVALID);
	assert_int_equal(p.received, 5000);
	assert_false(s->closed);
	/* The host's end: both directions are over, the guest says so, we confirm. */
	s->eof = true;
	fake_stream_event(s, VSOCK_READABLE | VSOCK_HUNG_UP);
	assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_SHUTDOWN);
	assert_int_equal(p.last_flags, BOTH);
	say(&p, VIRTIO_VSOCK_OP_SHUTDOWN, BOTH);
	assert_true(s->closed && s->clean);
	assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_RST);
	assert_int_equal(vsock_mux_num_conns(f->mux), 0);
}

static void guest_stops_reading(void **state)
{
	struct fake_vsock *f = *state;
	struct peer p;
	struct fake_stream *s = guest_connects(f, &p);

	say(&p, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_RCV);
	assert_int_equal(s->shut, VSOCK_SHUT_RD);
	assert_int_equal(s->watched, 0);
	assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_SHUTDOWN);
	assert_int_equal(p.last_flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
	say_data(&p, 100);
	assert_int_equal(s->bytes_written, 100);
	say(&p, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND);
	assert_true(s->closed && s->clean);
	assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_RST);
}

static void data_after_shutdown_is_reset(void **state)
{
	struct fake_vsock *f = *state;
	struct peer p;
	struct fake_stream *s = guest_connects(f, &p);

	say(&p, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND);
	say_data(&p, 1);
	assert_true(s->closed && !s->clean);
	assert_int_equal(s->bytes_written, 0);
	assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_RST);
}

/*
 * The guest wrote and closed: it is let go at once, and all it wrote arrives, however slowly it is
 * read.
 */
static void what_was_written_lingers(void **state)
{
	struct fake_vsock *f = *state;
	struct peer p;
	struct fake_stream *s = guest_connects(f, &p);

	s->room = 1000;
	say_data(&p, 10000);
	say(&p, VIRTIO_VSOCK_OP_SHUTDOWN, BOTH);
	assert_int_equal(s->shut, VSOCK_SHUT_RD);
	assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_RST);
	/* The port is free again, and nobody answers for the old connection. */
	say(&p, VIRTIO_VSOCK_OP_RST, 0);
	assert_silent(f);
	assert_false(s->closed);
	for (unsigned i = 0; i < 5; i++) {
		/* Slower than linger_max_ms as a whole, but never without progress for so long. */
		fake_vsock_sleep(f, 100);
		assert_false(s->closed);
		s->room = 1800;
		fake_stream_event(s, VSOCK_WRITABLE);
	}
	assert_int_equal(s->bytes_written, 10000);
	assert_true(s->closed && s->clean && !s->out_of_order);
	assert_int_equal(vsock_mux_num_conns(f->mux), 0);
}

static void lingering_ends(void **state)
{
	struct fake_vsock *f = *state;
	struct fake_stream *s[3];
	struct peer p[4];

	for (unsigned i = 0; i < 3; i++) {
		s[i] = guest_connects(f, &p[i]);
		s[i]->room = 0;
		say_data(&p[i], 10);
		say(&p[i], VIRTIO_VSOCK_OP_SHUTDOWN, BOTH);
		assert_int_equal(hear(&p[i]), VIRTIO_VSOCK_OP_RST);
	}
	/* One by its reader's end. */
	s[1]->write_error = -EPIPE;
	fake_stream_event(s[1], VSOCK_HUNG_UP);
	assert_true(s[1]->closed);
	/* One for want of room, but not before its time; the last one by its deadline. */
	(void)guest_connects(f, &p[1]);
	(void)guest_connects(f, &p[1]);
	p[3] = (struct peer){.f = f, .port = 1, .host_port = 99, .seed = 99, .buf_alloc = ALLOC};
	say(&p[3], VIRTIO_VSOCK_OP_REQUEST, 0);
	assert_int_equal(hear(&p[3]), VIRTIO_VSOCK_OP_RST);
	fake_vsock_sleep(f, 110);
	say(&p[3], VIRTIO_VSOCK_OP_REQUEST, 0);
	assert_int_equal(hear(&p[3]), VIRTIO_VSOCK_OP_RESPONSE);
	assert_true(s[0]->closed && !s[2]->closed);
	fake_vsock_sleep(f, 400);
	assert_true(s[2]->closed);
	assert_int_equal(vsock_mux_num_conns(f->mux), 3);
}

/* The guest's own patience with a close ends by an RST, when ours could not be delivered. */
static void rst_while_the_answer_waits(void **state)
{
	struct fake_vsock *f = *state;
	struct peer p;
	struct fake_stream *s = guest_connects(f, &p);

	f->num_bufs = 0;
	s->room = 0;
	say_data(&p, 10);
	say(&p, VIRTIO_VSOCK_OP_SHUTDOWN, BOTH);
	assert_silent(f);
	say(&p, VIRTIO_VSOCK_OP_REQUEST, 0);
	say(&p, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0);
	assert_silent(f);
	say(&p, VIRTIO_VSOCK_OP_RST, 0);
	f->num_bufs = 10;
	f->woken = true;
	assert_silent(f);
	s->room = 10;
	fake_stream_event(s, VSOCK_WRITABLE);
	assert_true(s->closed && s->clean && s->bytes_written == 10);
	assert_int_equal(vsock_mux_num_conns(f->mux), 0);
}

static void guest_aborts(void **state)
{
	struct fake_vsock *f = *state;
	struct peer p;
	struct fake_stream *s = guest_connects(f, &p);

	host_writes(s, 100);
	say(&p, VIRTIO_VSOCK_OP_RST, 0);
	assert_true(s->closed && !s->clean);
	assert_silent(f);
	assert_int_equal(vsock_mux_num_conns(f->mux), 0);
}

static void nonsense_ends_a_connection(void **state)
{
	static const uint16_t ops[] = {0, VIRTIO_VSOCK_OP_REQUEST, VIRTIO_VSOCK_OP_RESPONSE, 8,
				       0xffff};
	struct fake_vsock *f = *state;
	struct peer p;

	for (unsigned i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		struct fake_stream *s = guest_connects(f, &p);

		say(&p, ops[i], 0);
		assert_true(s->closed);
		assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_RST);
		assert_silent(f);
	}
	for (uint16_t op = 0; op < 9; op++) {
		struct fake_stream *s;

		if (op == VIRTIO_VSOCK_OP_RESPONSE || op == VIRTIO_VSOCK_OP_RST)
			continue;
		s = host_connects(f, &p);
		say(&p, op, 0);
		assert_true(s->closed && s->clean && !s->accepted);
		assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_RST);
		assert_silent(f);
	}
}

/* ---- the end: the host's side */

static void host_half_closes(void **state)
{
	struct fake_vsock *f = *state;
	struct peer p;
	struct fake_stream *s = guest_connects(f, &p);

	s->eof = true;
	host_writes(s, 9000);
	assert_int_equal(hear_all(&p), VIRTIO_VSOCK_OP_INVALID);
	assert_int_equal(p.received, 9000);
	fake_stream_event(s, VSOCK_READABLE);
	assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_SHUTDOWN);
	assert_int_equal(p.last_flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
	assert_int_equal(s->watched, 0);
	say_data(&p, 3000);
	assert_int_equal(s->bytes_written, 3000);
	fake_vsock_sleep(f, 50);
	assert_false(s->closed);
	say(&p, VIRTIO_VSOCK_OP_SHUTDOWN, BOTH);
	assert_true(s->closed && s->clean);
	assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_RST);
}

static void host_disconnects(void **state)
{
	struct fake_vsock *f = *state;
	struct peer p;
	struct fake_stream *s = guest_connects(f, &p);

	/* Its last bytes wait for the guest's credit, for as long as that takes. */
	p.buf_alloc = 100;
	say(&p, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	s->readable = 150;
	s->eof = true;
	s->write_error = -EPIPE;
	fake_stream_event(s, VSOCK_READABLE | VSOCK_HUNG_UP);
	assert_int_equal(hear_all(&p), VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	fake_vsock_sleep(f, 50);
	p.fwd_cnt = 100;
	say(&p, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	assert_int_equal(hear_all(&p), VIRTIO_VSOCK_OP_SHUTDOWN);
	assert_int_equal(p.last_flags, BOTH);
	assert_int_equal(p.received, 150);
	/* What is on its way is swallowed; then the guest lets go. */
	say_data(&p, 100);
	say(&p, VIRTIO_VSOCK_OP_RST, 0);
	assert_true(s->closed);
	assert_silent(f);
}

static void guest_ignores_the_end(void **state)
{
	struct fake_vsock *f = *state;
	struct peer p;
	struct fake_stream *s = guest_connects(f, &p);

	s->eof = true;
	fake_stream_event(s, VSOCK_READABLE | VSOCK_HUNG_UP);
	assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_SHUTDOWN);
	fake_vsock_sleep(f, 50);
	assert_true(s->closed);
	assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_RST);
	assert_int_equal(vsock_mux_num_conns(f->mux), 0);
}

static void host_stops_reading(void **state)
{
	struct fake_vsock *f = *state;
	struct peer p;
	struct fake_stream *s = guest_connects(f, &p);

	s->room = 0;
	say_data(&p, 1000);
	s->write_error = -EPIPE;
	fake_stream_event(s, VSOCK_WRITABLE);
	assert_int_equal(hear(&p), VIRTIO_VSOCK_OP_SHUTDOWN);
	assert_int_equal(p.last_flags, VIRTIO_VSOCK_SHUTDOWN_RCV);
	/* Swallowed, and credited: the guest is not stuck in its write. */
	for (unsigned i = 0; i < 8; i++)
		say_data(&p, ALLOC / 4);
	assert_int_equal(hear_all(&p), VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	assert_int_equal(p.host_fwd, p.sent);
	host_writes(s, 500);
	(void)hear_all(&p);
	assert_int_equal(p.received, 500);
	assert_false(s->closed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(guest_credit_bounds_us, setup, teardown),
		cmocka_unit_test_setup_teardown(guest_takes_credit_back, setup, teardown),
		cmocka_unit_test_setup_teardown(guest_received_more_than_was_sent, setup, teardown),
		cmocka_unit_test_setup_teardown(stale_counts_are_no_lie, setup, teardown),
		cmocka_unit_test_setup_teardown(enormous_credit_is_clamped, setup, teardown),
		cmocka_unit_test_setup_teardown(counters_wrap, setup, teardown),
		cmocka_unit_test_setup_teardown(our_credit_is_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(overrun_is_reset, setup, teardown),
		cmocka_unit_test_setup_teardown(credit_on_request, setup, teardown),
		cmocka_unit_test_setup_teardown(no_buffers, setup, teardown),
		cmocka_unit_test_setup_teardown(reads_grow, setup, teardown),
		cmocka_unit_test_setup_teardown(guest_half_closes, setup, teardown),
		cmocka_unit_test_setup_teardown(guest_stops_reading, setup, teardown),
		cmocka_unit_test_setup_teardown(data_after_shutdown_is_reset, setup, teardown),
		cmocka_unit_test_setup_teardown(what_was_written_lingers, setup, teardown),
		cmocka_unit_test_setup_teardown(lingering_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(rst_while_the_answer_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(guest_aborts, setup, teardown),
		cmocka_unit_test_setup_teardown(nonsense_ends_a_connection, setup, teardown),
		cmocka_unit_test_setup_teardown(host_half_closes, setup, teardown),
		cmocka_unit_test_setup_teardown(host_disconnects, setup, teardown),
		cmocka_unit_test_setup_teardown(guest_ignores_the_end, setup, teardown),
		cmocka_unit_test_setup_teardown(host_stops_reading, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
