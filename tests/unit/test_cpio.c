/* SPDX-License-Identifier: Apache-2.0 */
/* boot/cpio.c: archives are taken apart again (Linux early-userspace/buffer-format.rst). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "boot/initramfs.h"
#include "tests/support/cpio_read.h"
#include "tests/support/scratch.h"

static int fd = -1;
static struct cpio *c;
static struct err err;

static int setup(void **state)
{
	fd = memfd_create("cpio", MFD_CLOEXEC);
	return cpio_new(fd, &c, &err);
}

static int teardown(void **state)
{
	close(fd);
	return 0;
}

static struct cpio_image finish(void)
{
	assert_int_equal(cpio_finish(c, &err), 0);
	return cpio_image_read(fd);
}

static void every_kind_of_entry(void **state)
{
	struct cpio_image im;
	const struct cpio_entry *e;

	assert_int_equal(cpio_add_bytes(c, "init", 0755, "#!", 2, &err), 0);
	assert_int_equal(cpio_add_dir(c, "tmp", 01777, &err), 0);
	assert_int_equal(cpio_add_symlink(c, "bin/sh", "/usr/bin/dash", &err), 0);
	assert_int_equal(cpio_add_node(c, "dev/console", S_IFCHR | 0620, 5, 1, &err), 0);
	assert_int_equal(cpio_add_bytes(c, "empty", 0400, NULL, 0, &err), 0);
	im = finish();
	assert_int_equal(im.num, 7);
	e = cpio_image_find(&im, "init");
	assert_int_equal(e->mode, S_IFREG | 0755);
	assert_int_equal(e->len, 2);
	assert_memory_equal(e->data, "#!", 2);
	assert_int_equal(cpio_image_find(&im, "tmp")->mode, S_IFDIR | 01777);
	assert_int_equal(cpio_image_find(&im, "bin")->mode, S_IFDIR | 0755);
	e = cpio_image_find(&im, "bin/sh");
	assert_int_equal(e->mode, S_IFLNK | 0777);
	assert_memory_equal(e->data, "/usr/bin/dash", 13);
	e = cpio_image_find(&im, "dev/console");
	assert_int_equal(e->mode, S_IFCHR | 0620);
	assert_int_equal(e->rmajor, 5);
	assert_int_equal(e->rminor, 1);
	assert_int_equal(cpio_image_find(&im, "empty")->len, 0);
	cpio_image_done(&im);
}

static void parents_come_first_and_once(void **state)
{
	static const char *const want[] = {"a", "a/b", "a/b/c", "a/b/d", "a/b/d/e"};
	struct cpio_image im;

	assert_int_equal(cpio_add_bytes(c, "a/b/c", 0644, "c", 1, &err), 0);
	assert_int_equal(cpio_add_dir(c, "a/b", 0700, &err), 0);
	assert_int_equal(cpio_add_bytes(c, "a/b/d/e", 0644, "e", 1, &err), 0);
	assert_true(cpio_has(c, "a/b/d"));
	assert_false(cpio_has(c, "a/b/x"));
	im = finish();
	assert_int_equal(im.num, 5);
	for (unsigned i = 0; i < 5; i++)
		assert_string_equal(im.entry[i].path, want[i]);
	cpio_image_done(&im);
}

static void bad_paths_are_refused(void **state)
{
	static const char *const bad[] = {"",   "/etc",   "a//b", "a/",        ".",
					  "..", "a/../b", "./a",  "TRAILER!!!"};
	char *long_path = xcalloc(1, 4097);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(cpio_add_bytes(c, bad[i], 0644, "x", 1, &err), -EINVAL);
	memset(long_path, 'x', 4096);
	assert_int_equal(cpio_add_bytes(c, long_path, 0644, "x", 1, &err), -EINVAL);
	free(long_path);
	assert_int_equal(cpio_add_bytes(c, "f", 0644, "x", 1, &err), 0);
	assert_int_equal(cpio_add_bytes(c, "f", 0644, "x", 1, &err), -EEXIST);
	assert_int_equal(cpio_add_dir(c, "f", 0755, &err), -EEXIST);
	assert_int_equal(cpio_add_bytes(c, "f/g", 0644, "x", 1, &err), -ENOTDIR);
	assert_int_equal(cpio_add_bytes(c, "..a", 0644, "x", 1, &err), 0);
	cpio_abandon(c);
}

/* Larger than the writer's buffer, of lengths that need every padding. */
static void files_are_copied_whole(void **state)
{
	static const size_t lengths[] = {1, 65535, 65536, 200003, 131070};
	char *dir = scratch_new(), *buf = xcalloc(1, 200003);
	struct cpio_image im;

	for (size_t i = 0; i < 200003; i++)
		buf[i] = i * 7 + (i >> 8);
	for (size_t i = 0; i < 5; i++) {
		char *path = scratch_write(dir, "f", buf, lengths[i]), name[8] = {'f', '0' + i};

		assert_int_equal(cpio_add_file(c, name, 0755, path, &err), 0);
		free(path);
	}
	im = finish();
	for (size_t i = 0; i < 5; i++) {
		char name[8] = {'f', '0' + i};
		const struct cpio_entry *e = cpio_image_find(&im, name);

		assert_int_equal(e->len, lengths[i]);
		assert_memory_equal(e->data, buf, lengths[i]);
	}
	cpio_image_done(&im);
	scratch_remove(dir);
	free(buf);
}

static void equal_input_gives_equal_bytes(void **state)
{
	char first[2048], second[2048];
	ssize_t n;

	for (int i = 0; i < 2; i++) {
		if (i)
			assert_int_equal(cpio_new(fd, &c, &err), 0);
		assert_int_equal(ftruncate(fd, 0), 0);
		assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
		assert_int_equal(cpio_add_file(c, "etc/null", 0644, "/proc/self/exe", &err), 0);
		assert_int_equal(cpio_add_bytes(c, "x", 0644, "x", 1, &err), 0);
		assert_int_equal(cpio_finish(c, &err), 0);
		n = fd_pread_full(fd, i ? second : first, sizeof(first), 0);
		assert_int_equal(n, sizeof(first));
	}
	assert_memory_equal(first, second, sizeof(first));
}

static void failures_are_said(void **state)
{
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	struct cpio *to_full;

	assert_int_equal(cpio_add_file(c, "x", 0644, "/nonexistent", &err), -ENOENT);
	assert_non_null(strstr(err.text, "/nonexistent"));
	assert_int_equal(cpio_add_file(c, "x", 0644, "/", &err), -EINVAL);
	cpio_abandon(c);

	assert_int_equal(cpio_new(full, &to_full, &err), 0);
	assert_int_equal(cpio_add_bytes(to_full, "x", 0644, "x", 1, &err), 0);
	assert_int_equal(cpio_finish(to_full, &err), -ENOSPC);
	assert_int_equal(cpio_finish(NULL, &err), 0);
	cpio_abandon(NULL);
	close(full);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_kind_of_entry),           TEST(parents_come_first_and_once),
		TEST(bad_paths_are_refused),         TEST(files_are_copied_whole),
		TEST(equal_input_gives_equal_bytes), TEST(failures_are_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
