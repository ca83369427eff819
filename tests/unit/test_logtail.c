/* SPDX-License-Identifier: Apache-2.0 */
/* tools/lvm/logtail.c: what a guest wrote reaches files as it is, and terminals only as text. */
#include "tools/lvm/logtail.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"

static const char hostile[] =
	"one\r\n\033[0;32m  OK  \033[0m\033]0;title\007\n\302\2332Jtwo\n\303\244\n";
static const char harmless[] = "one\n  OK  ?]0;title?\n??2Jtwo\n\303\244\n";

static char path[] = "/tmp/lvm-test-XXXXXX";

static void fill(const char *text, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_full(fd, text, len), 0);
	close(fd);
}

/* A terminal without any processing, and its other end. */
static int open_terminal(int *ret_master)
{
	struct termios t;
	int slave;

	*ret_master = posix_openpt(O_RDWR | O_NOCTTY);
	assert_int_equal(grantpt(*ret_master), 0);
	assert_int_equal(unlockpt(*ret_master), 0);
	slave = open(ptsname(*ret_master), O_RDWR | O_NOCTTY);
	assert_int_equal(tcgetattr(slave, &t), 0);
	cfmakeraw(&t);
	assert_int_equal(tcsetattr(slave, TCSANOW, &t), 0);
	return slave;
}

static void a_terminal_gets_text(void **state)
{
	char got[256] = "";
	int master, slave = open_terminal(&master);

	fill(hostile, strlen(hostile));
	assert_int_equal(logtail_copy(path, slave, 0, NULL), 0);
	assert_int_equal(read(master, got, sizeof(got) - 1), strlen(harmless));
	assert_string_equal(got, harmless);
	close(slave);
	close(master);
}

static void a_pipe_gets_every_byte(void **state)
{
	char got[256] = "";
	int p[2];

	fill(hostile, strlen(hostile));
	assert_int_equal(pipe(p), 0);
	assert_int_equal(logtail_copy(path, p[1], 0, NULL), 0);
	assert_int_equal(read(p[0], got, sizeof(got) - 1), strlen(hostile));
	assert_string_equal(got, hostile);
	close(p[0]);
	close(p[1]);
}

static void the_tail_is_text(void **state)
{
	char *text;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	fill(hostile, strlen(hostile));
	logtail_show(path, 2, out);
	assert_int_equal(fclose(out), 0);
	assert_string_equal(text, "??2Jtwo\n\303\244\n");
	free(text);
	/* Nothing is left of this one. */
	out = open_memstream(&text, &len);
	fill("\r\033[m", 4);
	logtail_show(path, 2, out);
	assert_int_equal(fclose(out), 0);
	assert_string_equal(text, "");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_terminal_gets_text),
		cmocka_unit_test(a_pipe_gets_every_byte),
		cmocka_unit_test(the_tail_is_text),
	};
	int fd = mkstemp(path), r;

	if (fd < 0)
		return 1;
	close(fd);
	r = cmocka_run_group_tests_name("logtail", tests, NULL, NULL);
	(void)unlink(path);
	return r;
}
