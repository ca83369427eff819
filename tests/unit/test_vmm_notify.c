/* SPDX-License-Identifier: Apache-2.0 */
/* What the guest's agent may say to lvm-vmm, and what anything else in the guest may try. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "vmm/notify.h"

struct fixture {
	struct loop *loop;
	struct notify *notify;
	char dir[32], vsock[48], path[64];
	char heard[4096];
};

static void heard(void *opaque, enum notify_kind kind, const char *text)
{
	struct fixture *f = opaque;
	size_t n = strlen(f->heard);

	(void)snprintf(f->heard + n, sizeof(f->heard) - n, "%d:%s;", kind, text);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/lvm-test-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->vsock, sizeof(f->vsock), "%s/v", f->dir);
	(void)snprintf(f->path, sizeof(f->path), "%s_1023", f->vsock);
	assert_int_equal(loop_new(&f->loop, NULL), 0);
	assert_int_equal(notify_new(f->loop, f->vsock, heard, f, &f->notify, NULL), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	notify_free(f->notify);
	loop_free(f->loop);
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
	(void)!write(fd, text, strlen(text));
	turn(f);
}

static void test_parse(void **state)
{
	static const struct {
		const char *line;
		enum notify_kind kind;
		const char *text;
	} cases[] = {
		{"READY=1", NOTIFY_READY, ""},
		{"READY=10", NOTIFY_UNKNOWN, ""},
		{"READY=", NOTIFY_UNKNOWN, ""},
		{"STATUS=mounting /", NOTIFY_STATUS, "mounting /"},
		{"STATUS=", NOTIFY_STATUS, ""},
		{"ERROR=no init", NOTIFY_ERROR, "no init"},
		{"BYE=poweroff", NOTIFY_BYE_POWEROFF, ""},
		{"BYE=reboot", NOTIFY_BYE_REBOOT, ""},
		{"BYE=halt", NOTIFY_UNKNOWN, ""},
		{"", NOTIFY_UNKNOWN, ""},
		{"STATUS=a\033]0;x\007b\177\tc", NOTIFY_STATUS, "a?]0;x?b??c"},
		{"STATUS=K\303\244se\233m", NOTIFY_STATUS, "K\303\244se?m"},
		{"ERROR=\302\2332J\240\2332J", NOTIFY_ERROR, "??2J??2J"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[NOTIFY_MAX_LINE] = "old";

		assert_int_equal(notify_parse(cases[i].line, strlen(cases[i].line), text),
				 cases[i].kind);
		assert_string_equal(text, cases[i].text);
	}
}

static void test_parse_long(void **state)
{
	char line[2 * NOTIFY_MAX_LINE], text[NOTIFY_MAX_LINE];

	memset(line, 'x', sizeof(line));
	memcpy(line, "STATUS=", 7);
	assert_int_equal(notify_parse(line, sizeof(line), text), NOTIFY_STATUS);
	assert_int_equal(strlen(text), NOTIFY_MAX_LINE - 1);
}

static void test_lines(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f);
	char buf[64] = "";

	assert_true(notify_connected(f->notify));
	say(f, fd, "STATUS=on");
	assert_string_equal(f->heard, "");
	say(f, fd, "e\nREADY=1\nwhat\n\nBYE=poweroff\nSTA");
	assert_string_equal(f->heard, "1:one;0:;3:;");
	assert_true(notify_shutdown(f->notify, false));
	assert_true(notify_shutdown(f->notify, true));
	assert_true(read(fd, buf, sizeof(buf) - 1) > 0);
	assert_string_equal(buf, "SHUTDOWN=poweroff\nSHUTDOWN=reboot\n");
	close(fd);
	turn(f);
	assert_false(notify_connected(f->notify));
	assert_false(notify_shutdown(f->notify, false));
	/* Half a line of one connection is not part of the next. */
	fd = dial(f);
	say(f, fd, "TUS=x\nREADY=1\n");
	assert_string_equal(f->heard, "1:one;0:;3:;0:;");
	close(fd);
	turn(f);
}

static void test_endless_line(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f);

	for (unsigned i = 0; i < 200 && notify_connected(f->notify); i++)
		say(f, fd, "STATUS=xxxxxxxxxxxxxxxxxxxxxxxxxx");
	assert_false(notify_connected(f->notify));
	assert_string_equal(f->heard, "");
	close(fd);
}

static void test_second_connection(void **state)
{
	struct fixture *f = *state;
	int first = dial(f), second = dial(f);

	say(f, second, "BYE=poweroff\n");
	say(f, first, "READY=1\n");
	assert_string_equal(f->heard, "0:;");
	close(first);
	close(second);
	turn(f);
}

int main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse), cmocka_unit_test(test_parse_long), T(test_lines),
		T(test_endless_line),         T(test_second_connection),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	log_init("test", LOG_LEVEL_ERROR, STDERR_FILENO);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
