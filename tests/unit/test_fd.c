/* SPDX-License-Identifier: Apache-2.0 */
/* base/fd.c: whole files, replaced ones, and sockets with long paths. */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/str.h"

static int setup(void **state)
{
	char *dir = str_fmt("%s/lvm-test-fd.XXXXXX", getenv("TMPDIR") ?: "/tmp");

	*state = mkdtemp(dir);
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	char *cmd = str_fmt("rm -rf '%s'", (char *)*state);
	int r = system(cmd);

	free(cmd);
	free(*state);
	return r;
}

static void replace_then_read(void **state)
{
	char *path = str_fmt("%s/f", (char *)*state);
	struct err err = {0};
	struct stat st;
	char *buf;
	size_t len;

	assert_int_equal(file_replace(path, "old", 3, 0600, &err), 0);
	assert_int_equal(file_replace(path, "newer\0x", 7, 0640, &err), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(file_read(path, 7, &buf, &len, &err), 0);
	assert_int_equal(len, 7);
	assert_memory_equal(buf, "newer\0x", 8);
	free(buf);
	assert_int_equal(file_read(path, 6, &buf, &len, &err), -EFBIG);
	assert_non_null(strstr(err.text, path));
	free(path);
}

static void a_missing_file_is_named(void **state)
{
	struct err err = {0};
	char *buf;

	assert_int_equal(file_read("/nonexistent/x", 10, &buf, NULL, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/nonexistent/x"));
}

static void sockets_at_any_depth(void **state)
{
	char *dir = str_dup(*state);
	struct err err = {0};

	for (int depth = 0; depth < 12; depth++) {
		char *path = str_fmt("%s/socket", dir);
		char *deeper = str_fmt("%s/a-rather-long-name-%d", dir, depth);
		int lfd, cfd, afd;
		struct stat st;

		assert_int_equal(unix_listen(path, 4, &lfd, &err), 0);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 0777, 0600);
		assert_int_equal(unix_connect(path, false, &cfd, &err), 0);
		afd = accept(lfd, NULL, NULL);
		assert_true(afd >= 0);
		assert_int_equal(fd_write_full(cfd, "hi", 2), 0);
		close(cfd);
		{
			char buf[8];

			assert_int_equal(fd_read_full(afd, buf, sizeof(buf)), 2);
		}
		close(afd);
		close(lfd);
		assert_int_equal(unix_connect(path, false, &cfd, &err), -ECONNREFUSED);
		assert_int_equal(mkdir(deeper, 0700), 0);
		free(dir);
		free(path);
		dir = deeper;
	}
	assert_true(strlen(dir) > 150);
	free(dir);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(replace_then_read),
		T(a_missing_file_is_named),
		T(sockets_at_any_depth),
	};

	return cmocka_run_group_tests_name("fd", tests, NULL, NULL);
}
