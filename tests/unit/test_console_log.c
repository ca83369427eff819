/* SPDX-License-Identifier: Apache-2.0 */
/* The console log: serial lines, their bound, and finding a panic. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "vmm/console_log.h"

#define PANIC "Kernel panic - not syncing: Attempted to kill init!"

struct fixture {
	struct loop *loop;
	struct console_log log;
	char path[32];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int fd;

	strcpy(f->path, "/tmp/lvm-test-XXXXXX");
	fd = mkstemp(f->path);
	assert_int_equal(write(fd, "old", 3), 3);
	close(fd);
	assert_int_equal(loop_new(&f->loop, NULL), 0);
	assert_int_equal(console_log_init(&f->log, f->loop, f->path, NULL), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	console_log_done(&f->log);
	loop_free(f->loop);
	unlink(f->path);
	free(f);
	return 0;
}

static void serial(struct fixture *f, const char *text)
{
	while (*text)
		console_log_serial(&f->log, (uint8_t)*text++);
}

static char *content(struct fixture *f)
{
	char *buf = NULL;

	assert_int_equal(file_read(f->path, 1 << 24, &buf, NULL, NULL), 0);
	return buf;
}

static void expect(struct fixture *f, const char *text)
{
	char *buf = content(f);

	assert_string_equal(buf, text);
	free(buf);
}

static void test_lines(void **state)
{
	struct fixture *f = *state;

	expect(f, "");
	serial(f, "one\ntw");
	expect(f, "one\n");
	/* A prompt has no end of line, and yet is seen after a moment. */
	for (unsigned i = 0; i < 10 && f->log.line_len; i++)
		assert_int_equal(loop_run_once(f->loop, 300), 0);
	expect(f, "one\ntw");
	serial(f, "o");
	console_log_done(&f->log);
	expect(f, "one\ntwo");
	assert_int_equal(console_log_init(&f->log, f->loop, f->path, NULL), 0);
}

static void test_bound(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	char *buf;

	for (unsigned i = 0; i < CONSOLE_LOG_SERIAL_MAX + 5000; i++)
		console_log_serial(&f->log, 'x');
	serial(f, "\nmore\n");
	assert_int_equal(stat(f->path, &st), 0);
	assert_in_range(st.st_size, CONSOLE_LOG_SERIAL_MAX, CONSOLE_LOG_SERIAL_MAX + 200);
	buf = content(f);
	assert_non_null(strstr(buf, "[lvm: the serial port said enough"));
	assert_null(strstr(buf, "more"));
	free(buf);
}

static void test_panic(void **state)
{
	struct fixture *f = *state;
	char text[200] = "";

	serial(f, "[    1.0] booting\n");
	assert_false(console_log_find_panic(&f->log, text, sizeof(text)));
	/* As the virtio console writes: straight to the file. */
	assert_true(write(f->log.fd, "[    2.0] " PANIC "\r\nmore\n", 10 + strlen(PANIC) + 7) > 0);
	assert_true(console_log_find_panic(&f->log, text, sizeof(text)));
	assert_string_equal(text, PANIC);
	assert_true(console_log_find_panic(&f->log, text, 13));
	assert_string_equal(text, "Kernel panic");
}

static void test_panic_before_mark(void **state)
{
	struct fixture *f = *state;
	char text[200];

	serial(f, PANIC "\n");
	console_log_mark(&f->log);
	assert_false(console_log_find_panic(&f->log, text, sizeof(text)));
	/* After the virtio console has cut the log, it is shorter than the mark. */
	assert_int_equal(ftruncate(f->log.fd, 0), 0);
	assert_int_equal(lseek(f->log.fd, 0, SEEK_SET), 0);
	serial(f, PANIC);
	assert_true(console_log_find_panic(&f->log, text, sizeof(text)));
}

static void test_panic_far_back(void **state)
{
	struct fixture *f = *state;
	char text[200];

	serial(f, PANIC "\n");
	for (unsigned i = 0; i < 70 * 1024; i++)
		console_log_serial(&f->log, '.');
	assert_false(console_log_find_panic(&f->log, text, sizeof(text)));
	serial(f, "Kernel panic - not syncing: \033[2J\n");
	assert_true(console_log_find_panic(&f->log, text, sizeof(text)));
	assert_string_equal(text, "Kernel panic - not syncing: ?[2J");
}

int main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_lines),          T(test_bound), T(test_panic), T(test_panic_before_mark),
		T(test_panic_far_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
