/* SPDX-License-Identifier: Apache-2.0 */
/* devices/backend/vsock_unix.c: greetings, connecting to host programs, and how ends are told. */
#include "devices/backend/vsock_unix.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/str.h"

#define MAX_STREAMS 64

struct fixture {
	struct loop *loop;
	struct vsock_host *host;
	char *dir, *path;
	bool refuse;
	struct vsock_stream *stream[MAX_STREAMS];
	uint32_t port[MAX_STREAMS];
	unsigned num;
	unsigned events; /* of any stream, since last asked */
};

static void note_event(struct vsock_stream *s, unsigned events)
{
	((struct fixture *)s->front)->events |= events;
}

static void keep(struct fixture *f, struct vsock_stream *s, uint32_t port)
{
	assert_true(f->num < MAX_STREAMS);
	s->front = f;
	s->event = note_event;
	f->port[f->num] = port;
	f->stream[f->num++] = s;
}

static bool note_incoming(struct vsock_host *h, struct vsock_stream *s, uint32_t port)
{
	struct fixture *f = h->front;

	if (!f->refuse)
		keep(f, s, port);
	return !f->refuse;
}

static void start(struct fixture *f, const struct vsock_unix_options *opt)
{
	assert_int_equal(vsock_unix_new(f->loop, f->path, opt, &f->host, NULL), 0);
	f->host->incoming = note_incoming;
	f->host->front = f;
}

static int setup(void **state)
{
	static const struct vsock_unix_options quick = {
		.greeting_ms = 200, .connect_ms = 300, .num_greetings = 3};
	static struct fixture f;

	f = (struct fixture){.dir = str_dup("/tmp/lvm-vsock-XXXXXX")};
	if (!mkdtemp(f.dir) || loop_new(&f.loop, NULL) < 0)
		return -1;
	f.path = str_fmt("%s/vm", f.dir);
	start(&f, &quick);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < f->num; i++)
		f->stream[i]->ops->close(f->stream[i], false);
	f->host->ops->free(f->host);
	loop_free(f->loop);
	/* Nothing is left behind. */
	assert_int_equal(rmdir(f->dir), 0);
	free(f->dir);
	free(f->path);
	return 0;
}

/* Lets the loop do what it can, and go on for ms more. */
static void run(struct fixture *f, int ms)
{
	int64_t end = loop_now_ms() + ms;

	do {
		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(loop_run_once(f->loop, 0), 0);
		if (loop_now_ms() < end)
			assert_int_equal(loop_run_once(f->loop, 5), 0);
	} while (loop_now_ms() < end);
}

static int dial(struct fixture *f, const char *line)
{
	int fd;

	assert_int_equal(unix_connect(f->path, false, &fd, NULL), 0);
	assert_int_equal(fd_write_full(fd, line, strlen(line)), 0);
	run(f, 0);
	return fd;
}

/* Whether the other end is closed for fd, with nothing before that. */
static bool at_eof(int fd)
{
	char c;

	return recv(fd, &c, 1, MSG_DONTWAIT) == 0;
}

static bool is_open(int fd)
{
	char c;

	return recv(fd, &c, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

static void assert_reads(struct vsock_stream *s, const char *want)
{
	char buf[64] = "";
	struct iovec iov = {buf, sizeof(buf) - 1};

	assert_int_equal(s->ops->read(s, &iov, 1), strlen(want));
	assert_string_equal(buf, want);
}

/* ---- host programs connect */

static void greets(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f, "CONNECT 1234\nhello\nworld");
	char buf[32] = "";

	assert_int_equal(f->num, 1);
	assert_int_equal(f->port[0], 1234);
	assert_true(is_open(fd));
	assert_int_equal(f->stream[0]->ops->accept(f->stream[0], 77), 0);
	assert_int_equal(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), 6);
	assert_string_equal(buf, "OK 77\n");
	/* Not a byte of the stream was taken for the greeting. */
	assert_reads(f->stream[0], "hello\nworld");
	assert_int_equal(close(fd), 0);
}

static void greets_in_pieces(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f, "");

	for (const char *p = "CONNECT 4294967294\n"; *p; p++) {
		assert_int_equal(f->num, 0);
		assert_int_equal(write(fd, p, 1), 1);
		run(f, 0);
	}
	assert_int_equal(f->num, 1);
	assert_int_equal(f->port[0], 4294967294u);
	assert_int_equal(close(fd), 0);
}

static void socket_is_private(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void bad_greetings(void **state)
{
	static const char *const lines[] = {
		"\n",
		"CONNECT\n",
		"CONNECT \n",
		"CONNECT -1\n",
		"CONNECT 4294967295\n",
		"CONNECT 4294967296\n",
		"CONNECT 99999999999999999999999\n",
		"CONNECT 5 \n",
		"CONNECT  5\n",
		"CONNECT 5\r\n",
		"connect 5\n",
		"CONNECT 0x5\n",
		"CONNECT +5\n",
		" CONNECT 5\n",
		"CONNECT 00000000000000000000000000000000005\n",
		"GET / HTTP/1.1\r\nHost: a.very.long.header.line.org\r\n\r\n",
		"no newline at all, but more than a greeting could be",
	};
	struct fixture *f = *state;

	for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		int fd = dial(f, lines[i]);

		assert_true(at_eof(fd));
		assert_int_equal(close(fd), 0);
	}
	assert_int_equal(f->num, 0);
}

static void nul_in_the_greeting(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f, "");

	assert_int_equal(write(fd, "CONNECT 5\0\n", 11), 11);
	run(f, 0);
	assert_true(at_eof(fd));
	assert_int_equal(f->num, 0);
	assert_int_equal(close(fd), 0);
}

/* An end of file and not a reset, even though nobody read what was written after the line. */
static void refused_is_end_of_file(void **state)
{
	struct fixture *f = *state;
	int fd;

	f->refuse = true;
	fd = dial(f, "CONNECT 5\nsome data");
	assert_true(at_eof(fd));
	assert_int_equal(close(fd), 0);
}

static void leaves_before_the_end_of_the_line(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f, "CONN");

	assert_int_equal(close(fd), 0);
	fd = dial(f, "CONN");
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	run(f, 0);
	assert_true(at_eof(fd));
	assert_int_equal(close(fd), 0);
	assert_int_equal(f->num, 0);
}

static void slow_greeting_times_out(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f, "CONNECT 5");

	run(f, 30);
	assert_true(is_open(fd));
	/* A byte now and then buys no more time. */
	assert_int_equal(write(fd, "5", 1), 1);
	run(f, 200);
	assert_true(at_eof(fd));
	assert_int_equal(close(fd), 0);
}

static void silent_programs_hold_up_others_only_for_a_while(void **state)
{
	struct fixture *f = *state;
	int idle[3], fd;

	for (unsigned i = 0; i < 3; i++)
		idle[i] = dial(f, "");
	fd = dial(f, "CONNECT 5\n");
	assert_int_equal(f->num, 0);
	assert_int_equal(close(idle[1]), 0);
	run(f, 0);
	assert_int_equal(f->num, 1);
	run(f, 220);
	assert_true(at_eof(idle[0]) && at_eof(idle[2]));
	assert_int_equal(close(idle[0]) | close(idle[2]) | close(fd), 0);
	fd = dial(f, "CONNECT 6\n");
	assert_int_equal(f->num, 2);
	assert_int_equal(close(fd), 0);
}

/* ---- the guest connects */

static int serve(struct fixture *f, uint32_t port, int backlog)
{
	char *path = str_fmt("%s_%u", f->path, port);
	int fd;

	assert_int_equal(unix_listen(path, backlog, &fd, NULL), 0);
	free(path);
	return fd;
}

static void unserve(struct fixture *f, int fd, uint32_t port)
{
	char *path = str_fmt("%s_%u", f->path, port);

	assert_int_equal(unlink(path), 0);
	assert_int_equal(close(fd), 0);
	free(path);
}

static void connects_to_the_port(void **state)
{
	struct fixture *f = *state;
	int l = serve(f, 4294967295u, 5), fd;
	struct iovec iov = {(char *)"ping", 4};
	struct vsock_stream *s;
	char buf[8] = "";

	assert_int_equal(f->host->ops->connect(f->host, 4294967294u, &s), -ENOENT);
	assert_int_equal(f->host->ops->connect(f->host, 4294967295u, &s), 0);
	keep(f, s, 0);
	fd = accept(l, NULL, NULL);
	assert_true(fd >= 0);
	assert_int_equal(s->ops->write(s, &iov, 1), 4);
	assert_int_equal(read(fd, buf, sizeof(buf)), 4);
	assert_string_equal(buf, "ping");
	assert_int_equal(close(fd), 0);
	unserve(f, l, 4294967295u);
}

static void nobody_listens_any_more(void **state)
{
	struct fixture *f = *state;
	struct vsock_stream *s;
	char *path = str_fmt("%s_7", f->path);
	int l = serve(f, 7, 5);

	assert_int_equal(close(l), 0);
	assert_int_equal(f->host->ops->connect(f->host, 7, &s), -ECONNREFUSED);
	assert_int_equal(unlink(path), 0);
	free(path);
}

static void full_backlog_is_waited_for(void **state)
{
	struct fixture *f = *state;
	struct vsock_stream *s = NULL;
	int l = serve(f, 7, 0), r = 0, fd;

	for (unsigned i = 0; i < 10 && (r = f->host->ops->connect(f->host, 7, &s)) == 0; i++)
		keep(f, s, 7);
	assert_int_equal(r, 1);
	keep(f, s, 7);
	run(f, 20);
	assert_int_equal(f->events, 0);
	fd = accept(l, NULL, NULL);
	run(f, 30);
	assert_int_equal(f->events, VSOCK_OPENED);
	assert_int_equal(close(fd), 0);
	f->events = 0;
	/* And not for ever; nor does closing one that waits harm. */
	assert_int_equal(f->host->ops->connect(f->host, 7, &s), 1);
	keep(f, s, 7);
	assert_int_equal(f->host->ops->connect(f->host, 7, &s), 1);
	s->ops->close(s, true);
	run(f, 340);
	assert_int_equal(f->events & VSOCK_FAILED, VSOCK_FAILED);
	unserve(f, l, 7);
}

static void long_paths(void **state)
{
	struct fixture *f = *state;
	char *deep = str_fmt("%s/%0100d", f->dir, 1);
	struct vsock_stream *s;
	struct vsock_host *h;
	struct err err;
	int l;

	assert_int_equal(mkdir(deep, 0700), 0);
	for (unsigned i = 0; i < f->num; i++)
		f->stream[i]->ops->close(f->stream[i], false);
	f->host->ops->free(f->host);
	free(f->path);
	f->path = str_fmt("%s/%090d", deep, 2);
	assert_int_equal(vsock_unix_new(f->loop, f->path, NULL, &h, &err), -ENAMETOOLONG);
	free(f->path);
	f->path = str_fmt("%s/%050d", deep, 2);
	start(f, NULL);
	(void)close(dial(f, "CONNECT 8\n"));
	assert_int_equal(f->num, 1);
	l = serve(f, 4294967295u, 5);
	assert_int_equal(f->host->ops->connect(f->host, 1, &s), -ENOENT);
	assert_int_equal(f->host->ops->connect(f->host, 4294967295u, &s), 0);
	keep(f, s, 1);
	unserve(f, l, 4294967295u);
	/* For the teardown: the directory has to go after the socket. */
	for (unsigned i = 0; i < f->num; i++)
		f->stream[i]->ops->close(f->stream[i], false);
	f->num = 0;
	f->host->ops->free(f->host);
	assert_int_equal(rmdir(deep), 0);
	free(f->path);
	f->path = str_fmt("%s/vm", f->dir);
	start(f, NULL);
	free(deep);
}

static void no_directory(void **state)
{
	struct fixture *f = *state;
	struct vsock_host *h = NULL;
	struct err err;

	assert_int_equal(vsock_unix_new(f->loop, "/nonexistent/vm", NULL, &h, &err), -ENOENT);
	assert_null(h);
	assert_non_null(strstr(err.text, "/nonexistent/vm"));
}

/* ---- streams */

static int connected(struct fixture *f, struct vsock_stream **ret_s)
{
	int fd = dial(f, "CONNECT 5\n");

	*ret_s = f->stream[f->num - 1];
	f->events = 0;
	return fd;
}

static void events_only_when_watched(void **state)
{
	struct fixture *f = *state;
	struct vsock_stream *s;
	int fd = connected(f, &s);

	assert_int_equal(write(fd, "x", 1), 1);
	run(f, 0);
	assert_int_equal(f->events, 0);
	s->ops->watch(s, VSOCK_READABLE);
	run(f, 0);
	assert_int_equal(f->events, VSOCK_READABLE);
	s->ops->watch(s, VSOCK_READABLE | VSOCK_WRITABLE);
	run(f, 0);
	assert_int_equal(f->events, VSOCK_READABLE | VSOCK_WRITABLE);
	s->ops->watch(s, 0);
	f->events = 0;
	run(f, 0);
	assert_int_equal(f->events, 0);
	/* The end of what it writes is something to read, no more. */
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	run(f, 0);
	assert_int_equal(f->events, 0);
	s->ops->watch(s, VSOCK_READABLE);
	run(f, 0);
	assert_int_equal(f->events, VSOCK_READABLE);
	assert_reads(s, "x");
	assert_reads(s, "");
	s->ops->watch(s, 0);
	assert_int_equal(close(fd), 0);
	f->events = 0;
	run(f, 0);
	assert_int_equal(f->events, VSOCK_HUNG_UP);
	/* Said once: the loop does not spin on it. */
	f->events = 0;
	s->ops->watch(s, VSOCK_READABLE);
	run(f, 0);
	assert_int_equal(f->events, 0);
}

static void writes_after_the_end(void **state)
{
	struct fixture *f = *state;
	struct iovec iov = {(char *)"data", 4};
	struct vsock_stream *s;
	int fd = connected(f, &s);

	assert_int_equal(write(fd, "last", 4), 4);
	assert_int_equal(close(fd), 0);
	/* No SIGPIPE, and what it wrote before can be read. */
	assert_int_equal(s->ops->write(s, &iov, 1), -EPIPE);
	assert_reads(s, "last");
	assert_reads(s, "");
}

static void shut_and_close(void **state)
{
	struct fixture *f = *state;
	struct iovec iov = {(char *)"bye", 3};
	struct vsock_stream *s;
	int fd = connected(f, &s);
	char buf[8];

	assert_int_equal(write(fd, "unread", 6), 6);
	s->ops->shut(s, VSOCK_SHUT_RD);
	assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), -1);
	assert_int_equal(errno, EPIPE);
	assert_int_equal(s->ops->write(s, &iov, 1), 3);
	s->ops->close(s, true);
	f->num--;
	assert_int_equal(read(fd, buf, sizeof(buf)), 3);
	assert_true(at_eof(fd));
	assert_int_equal(close(fd), 0);
	/* An abort shows as one. */
	fd = connected(f, &s);
	assert_int_equal(write(fd, "unread", 6), 6);
	s->ops->close(s, false);
	f->num--;
	assert_int_equal(read(fd, buf, sizeof(buf)), -1);
	assert_int_equal(errno, ECONNRESET);
	assert_int_equal(close(fd), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(greets, setup, teardown),
		cmocka_unit_test_setup_teardown(greets_in_pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(socket_is_private, setup, teardown),
		cmocka_unit_test_setup_teardown(bad_greetings, setup, teardown),
		cmocka_unit_test_setup_teardown(nul_in_the_greeting, setup, teardown),
		cmocka_unit_test_setup_teardown(refused_is_end_of_file, setup, teardown),
		cmocka_unit_test_setup_teardown(leaves_before_the_end_of_the_line, setup, teardown),
		cmocka_unit_test_setup_teardown(slow_greeting_times_out, setup, teardown),
		cmocka_unit_test_setup_teardown(silent_programs_hold_up_others_only_for_a_while,
						setup, teardown),
		cmocka_unit_test_setup_teardown(connects_to_the_port, setup, teardown),
		cmocka_unit_test_setup_teardown(nobody_listens_any_more, setup, teardown),
		cmocka_unit_test_setup_teardown(full_backlog_is_waited_for, setup, teardown),
		cmocka_unit_test_setup_teardown(long_paths, setup, teardown),
		cmocka_unit_test_setup_teardown(no_directory, setup, teardown),
		cmocka_unit_test_setup_teardown(events_only_when_watched, setup, teardown),
		cmocka_unit_test_setup_teardown(writes_after_the_end, setup, teardown),
		cmocka_unit_test_setup_teardown(shut_and_close, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
