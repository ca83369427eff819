/* SPDX-License-Identifier: Apache-2.0 */
/* guest/stream.c: bytes in order, credits exact, whatever the pipe takes. */
#include "guest/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void open_pipe(int p[2])
{
	assert_int_equal(pipe2(p, O_NONBLOCK | O_CLOEXEC), 0);
}

/*
 * Four windows through a pipe that is emptied in odd steps: the ring wraps, and credit comes back
 * for each byte.
 */
static void bytes_keep_their_order(void **state)
{
	size_t total = 4 * PROTO_WINDOW, sent = 0, got = 0, credit = PROTO_WINDOW;
	uint8_t buf[9001];
	struct stream s;
	int p[2];

	open_pipe(p);
	stream_init(&s, p[1], true, false);
	while (got < total) {
		size_t n = sent < total ? (sent * 7 + 1) % sizeof(buf) + 1 : 0;
		ssize_t r;

		n = n < credit ? n : credit;
		n = n < total - sent ? n : total - sent;
		for (size_t i = 0; i < n; i++)
			buf[i] = (uint8_t)((sent + i) * 31 >> 3);
		assert_int_equal(stream_receive(&s, buf, n), 0);
		sent += n;
		credit -= n;
		r = read(p[0], buf, (got * 13) % 4000 + 1);
		for (ssize_t i = 0; i < r; i++)
			assert_int_equal(buf[i], (uint8_t)((got + (size_t)i) * 31 >> 3));
		got += r > 0 ? (size_t)r : 0;
		stream_flush(&s);
		credit += stream_credit(&s);
	}
	assert_int_equal(s.held, 0);
	stream_receive_end(&s);
	assert_int_equal(read(p[0], buf, 1), 0);
	close(p[0]);
}

static void more_than_the_window_is_refused(void **state)
{
	static uint8_t buf[PROTO_WINDOW];
	struct stream s;
	int p[2];

	open_pipe(p);
	stream_init(&s, p[1], true, false);
	assert_int_equal(stream_receive(&s, buf, sizeof(buf)), 0);
	assert_int_equal(stream_receive(&s, buf, 1), -EPROTO);
	stream_close(&s);
	/* All of it is credited when no one can read it any more. */
	assert_int_equal(stream_credit(&s), PROTO_WINDOW);
	assert_int_equal(stream_receive(&s, buf, sizeof(buf)), 0);
	close(p[0]);
}

static void a_reader_that_goes_swallows(void **state)
{
	static uint8_t buf[PROTO_WINDOW];
	struct stream s;
	int p[2];

	(void)signal(SIGPIPE, SIG_IGN);
	open_pipe(p);
	stream_init(&s, p[1], true, false);
	assert_int_equal(stream_receive(&s, buf, 200000), 0);
	assert_true(stream_wants_write(&s));
	close(p[0]);
	stream_flush(&s);
	assert_false(stream_wants_write(&s));
	assert_int_equal(s.fd, -1);
	assert_int_equal(stream_credit(&s), 200000);
	assert_int_equal(stream_receive(&s, buf, 100), 0);
}

static void the_end_comes_after_the_bytes(void **state)
{
	static uint8_t buf[PROTO_WINDOW];
	size_t got = 0;
	struct stream s;
	ssize_t n;
	int p[2];

	open_pipe(p);
	stream_init(&s, p[1], true, false);
	assert_int_equal(stream_receive(&s, buf, sizeof(buf)), 0);
	stream_receive_end(&s);
	assert_int_equal(stream_receive(&s, buf, 0), 0);
	while ((n = read(p[0], buf, sizeof(buf))) != 0) {
		got += n > 0 ? (size_t)n : 0;
		stream_flush(&s);
	}
	assert_int_equal(got, PROTO_WINDOW);
	close(p[0]);
}

static void output_takes_credit(void **state)
{
	uint8_t buf[100];
	struct stream s;
	int p[2];

	open_pipe(p);
	stream_init(&s, p[0], false, true);
	assert_int_equal(stream_read(&s, buf, sizeof(buf)), -EAGAIN);
	assert_int_equal(write(p[1], buf, 60), 60);
	s.owed = 60;
	assert_int_equal(stream_read(&s, buf, 50), 50);
	assert_int_equal(s.tx_left, PROTO_WINDOW - 50);
	assert_int_equal(s.owed, 10);
	assert_int_equal(stream_add_credit(&s, 50), 0);
	assert_int_equal(s.tx_left, PROTO_WINDOW);
	assert_int_equal(stream_add_credit(&s, UINT32_MAX), -EPROTO);
	s.tx_left = 0;
	assert_false(stream_wants_read(&s));
	close(p[1]);
	assert_int_equal(stream_read(&s, buf, 50), 10);
	assert_int_equal(stream_read(&s, buf, 50), 0);
	assert_false(s.gives);
	assert_int_equal(s.fd, -1);
}

static void output_that_nobody_reads_is_refused(void **state)
{
	struct stream s;
	int p[2];

	(void)signal(SIGPIPE, SIG_IGN);
	open_pipe(p);
	stream_init(&s, p[0], false, true);
	stream_receive_end(&s);
	assert_false(stream_wants_read(&s));
	assert_int_equal(write(p[1], "x", 1), -1);
	assert_int_equal(errno, EPIPE);
	close(p[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_keep_their_order),
		cmocka_unit_test(more_than_the_window_is_refused),
		cmocka_unit_test(a_reader_that_goes_swallows),
		cmocka_unit_test(the_end_comes_after_the_bytes),
		cmocka_unit_test(output_takes_credit),
		cmocka_unit_test(output_that_nobody_reads_is_refused),
	};

	return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
