/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket: requests, replies, and clients that misbehave. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "vmm/control_server.h"

struct fixture {
	struct loop *loop;
	struct control *control;
	char dir[32], path[48];
	unsigned calls;
	struct control_request last;
};

static int answer(void *opaque, const struct control_request *req, cJSON *reply, struct err *err)
{
	struct fixture *f = opaque;

	f->calls++;
	f->last = *req;
	if (req->command == CONTROL_RESIZE_DISK)
		return err_say(err, EINVAL, "no such disk");
	cJSON_AddStringToObject(reply, "state", "running");
	return 0;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/lvm-test-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->path, sizeof(f->path), "%s/c", f->dir);
	assert_int_equal(loop_new(&f->loop, NULL), 0);
	assert_int_equal(control_new(f->loop, f->path, answer, f, &f->control, NULL), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	control_free(f->control);
	loop_free(f->loop);
	assert_int_equal(access(f->path, F_OK), -1);
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

static void turn(struct fixture *f)
{
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(loop_run_once(f->loop, 0), 0);
}

static int dial(struct fixture *f)
{
	int fd = -1;

	assert_int_equal(unix_connect(f->path, true, &fd, NULL), 0);
	turn(f);
	return fd;
}

static void say(struct fixture *f, int fd, const char *text)
{
	assert_int_equal(fd_write_full(fd, text, strlen(text)), 0);
	turn(f);
}

/* All that has come, as a string. */
static const char *hear(int fd)
{
	static char buf[8192];
	ssize_t n = read(fd, buf, sizeof(buf) - 1);

	buf[n > 0 ? n : 0] = '\0';
	return buf;
}

static bool closed(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1 && p.revents & POLLHUP;
}

static void test_parse(void **state)
{
	static const char *const bad[] = {
		"",
		"{",
		"[]",
		"\"status\"",
		"{\"command\":3}",
		"{\"command\":\"dance\"}",
		"{\"command\":\"resize-disk\"}",
		"{\"command\":\"resize-disk\",\"disk\":-1}",
		"{\"command\":\"resize-disk\",\"disk\":1.5}",
		"{\"command\":\"resize-disk\",\"disk\":1e99}",
		"{\"command\":\"resize-disk\",\"disk\":\"0\"}",
	};
	struct control_request req;
	struct err err;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(control_parse(bad[i], strlen(bad[i]), &req, &err), -EINVAL);
	assert_int_equal(control_parse("{\"command\":\"stop\"}", 18, &req, &err), 0);
	assert_int_equal(req.command, CONTROL_STOP);
	assert_int_equal(control_parse("{\"disk\":7,\"command\":\"resize-disk\"}", 34, &req, &err),
			 0);
	assert_int_equal(req.command, CONTROL_RESIZE_DISK);
	assert_int_equal(req.disk, 7);
}

static void test_requests_in_order(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f);

	say(f, fd, "{\"command\":\"sta");
	assert_int_equal(f->calls, 0);
	say(f, fd,
	    "tus\"}\n{\"command\":\"nonsense\"}\n{\"command\":\"resize-disk\",\"disk\":2}\n");
	assert_int_equal(f->calls, 2);
	assert_int_equal(f->last.disk, 2);
	assert_string_equal(hear(fd), "{\"ok\":true,\"state\":\"running\"}\n"
				      "{\"ok\":false,\"error\":\"unknown command 'nonsense'\"}\n"
				      "{\"ok\":false,\"error\":\"no such disk\"}\n");
	close(fd);
	turn(f);
}

static void test_private_mode(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void test_line_too_long(void **state)
{
	struct fixture *f = *state;
	char line[CONTROL_MAX_LINE + 1];
	int fd = dial(f);

	memset(line, 'x', sizeof(line));
	line[CONTROL_MAX_LINE] = '\0';
	say(f, fd, line);
	assert_true(closed(fd));
	assert_int_equal(f->calls, 0);
	close(fd);
}

/* One that asks and asks and never reads is let go, and the others are still served. */
static void test_deaf_client(void **state)
{
	static const char ask[] = "{\"command\":\"status\"}\n";
	struct fixture *f = *state;
	int deaf = dial(f), fd;

	for (unsigned i = 0; i < 100000 && !closed(deaf); i++) {
		if (write(deaf, ask, sizeof(ask) - 1) < 0 && errno == EPIPE)
			break;
		assert_int_equal(loop_run_once(f->loop, 0), 0);
	}
	assert_true(closed(deaf));
	fd = dial(f);
	say(f, fd, ask);
	assert_string_equal(hear(fd), "{\"ok\":true,\"state\":\"running\"}\n");
	close(fd);
	close(deaf);
	turn(f);
}

static void test_too_many_clients(void **state)
{
	struct fixture *f = *state;
	int fd[33];

	for (unsigned i = 0; i < 33; i++)
		fd[i] = dial(f);
	assert_false(closed(fd[31]));
	assert_true(closed(fd[32]));
	close(fd[0]);
	turn(f);
	close(fd[32]);
	fd[32] = dial(f);
	assert_false(closed(fd[32]));
	for (unsigned i = 1; i < 33; i++)
		close(fd[i]);
	turn(f);
}

static void test_wait(void **state)
{
	struct fixture *f = *state;
	int waiting = dial(f), other = dial(f);

	say(f, waiting, "{\"command\":\"wait\"}\n");
	assert_string_equal(hear(waiting), "");
	control_finish(f->control, 11);
	assert_string_equal(hear(waiting), "{\"ok\":true,\"exit\":11}\n");
	assert_string_equal(hear(other), "");
	close(waiting);
	close(other);
}

int main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		T(test_requests_in_order),
		T(test_private_mode),
		T(test_line_too_long),
		T(test_deaf_client),
		T(test_too_many_clients),
		T(test_wait),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
