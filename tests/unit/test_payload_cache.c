/* SPDX-License-Identifier: Apache-2.0 */
/* boot/payload_cache.c: what is kept, what is found again, and what is not believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "boot/payload_cache.h"
#include "tests/support/kernel_image.h"
#include "tests/support/scratch.h"

static char *dir, *cache;
static struct image elf;
static struct err err;

static int setup(void **state)
{
	dir = scratch_new();
	cache = str_fmt("%s/cache", dir);
	elf = image_elf();
	/* The warning of an unusable cache is expected here. */
	log_init(NULL, LOG_LEVEL_ERROR, STDERR_FILENO);
	return 0;
}

static int teardown(void **state)
{
	image_done(&elf);
	free(cache);
	scratch_remove(dir);
	return 0;
}

/* A file that has nothing but the payload. */
static char *write_kernel(const char *name, enum compression c)
{
	struct image im = image_compress(&elf, c);
	char *path = scratch_write(dir, name, im.p, im.len);

	image_done(&im);
	return path;
}

/*
 * How a result came to be: a memfd has just been decompressed, a named file comes from the cache.
 */
enum source { FRESH, CACHED };

static enum source open_kernel(const char *path, const char *cache_dir)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC), out = -1;
	cleanup_free uint8_t *buf = xcalloc(1, elf.len);
	struct payload p = {.fd = fd};
	struct stat st;
	uint64_t len;

	assert_int_equal(fstat(fd, &st), 0);
	p.len = st.st_size;
	if (payload_open(&p, cache_dir, &out, &len, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(len, elf.len);
	assert_int_equal(fd_pread_full(out, buf, len, 0), len);
	assert_memory_equal(buf, elf.p, len);
	assert_int_equal(fstat(out, &st), 0);
	return st.st_nlink == 0 ? FRESH : CACHED;
}

/* The number of files in the cache whose name starts so; the last one's path, if asked for. */
static unsigned files(const char *prefix, char **ret_path)
{
	cleanup_closedir DIR *d = opendir(cache);
	struct dirent *e;
	unsigned num = 0;

	while (d && (e = readdir(d))) {
		if (!str_starts(e->d_name, prefix))
			continue;
		num++;
		if (ret_path) {
			free(*ret_path);
			*ret_path = str_fmt("%s/%s", cache, e->d_name);
		}
	}
	return num;
}

static void overwrite(const char *path, off_t off, const void *buf, size_t len)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	assert_int_equal(pwrite(fd, buf, len, off), len);
}

static void second_time_comes_from_the_cache(void **state)
{
	char *k = write_kernel("k", COMPRESSION_XZ), *copy = write_kernel("copy", COMPRESSION_XZ);

	assert_int_equal(open_kernel(k, NULL), FRESH);
	assert_int_equal(open_kernel(k, cache), FRESH);
	assert_int_equal(open_kernel(k, cache), CACHED);
	/* By content: a copy is the same kernel. */
	assert_int_equal(open_kernel(copy, cache), CACHED);
	assert_int_equal(files("vmlinux-", NULL), 1);
	assert_int_equal(files("tmp-", NULL), 0);
	free(k);
	free(copy);
}

static void other_content_is_another_kernel(void **state)
{
	char *k = write_kernel("k", COMPRESSION_XZ);

	assert_int_equal(open_kernel(k, cache), FRESH);
	free(k);
	elf.p[IMAGE_TEXT_OFF] ^= 1; /* replaced in place, same name and inode */
	k = write_kernel("k", COMPRESSION_XZ);
	assert_int_equal(open_kernel(k, cache), FRESH);
	assert_int_equal(open_kernel(k, cache), CACHED);
	assert_int_equal(files("vmlinux-", NULL), 2);
	free(k);
}

/* Every kind of damage to the cached file is noticed, and repaired. */
static void damaged_entries_are_made_again(void **state)
{
	char *k = write_kernel("k", COMPRESSION_GZIP), *file = NULL;
	struct stat st;

	assert_int_equal(open_kernel(k, cache), FRESH);
	assert_int_equal(files("vmlinux-", &file), 1);
	assert_int_equal(stat(file, &st), 0);
	overwrite(file, 0x2345, "damage", 6);
	assert_int_equal(open_kernel(k, cache), FRESH);
	assert_int_equal(open_kernel(k, cache), CACHED);
	overwrite(file, st.st_size - 40, "damage", 6); /* length in the trailer */
	assert_int_equal(open_kernel(k, cache), FRESH);
	overwrite(file, st.st_size - 3, "abc", 3); /* sum in the trailer */
	assert_int_equal(open_kernel(k, cache), FRESH);
	assert_int_equal(truncate(file, st.st_size - 1), 0);
	assert_int_equal(open_kernel(k, cache), FRESH);
	assert_int_equal(truncate(file, 0), 0);
	assert_int_equal(open_kernel(k, cache), FRESH);
	assert_int_equal(unlink(file), 0);
	assert_int_equal(mkfifo(file, 0600), 0); /* must not block */
	assert_int_equal(open_kernel(k, cache), FRESH);
	assert_int_equal(open_kernel(k, cache), CACHED);
	free(file);
	free(k);
}

/* Bytes that this process has asked read(2) for so far; 0 where the host does not count. */
static unsigned long bytes_read(void)
{
	cleanup_free char *text = NULL;
	size_t len;

	if (file_read("/proc/self/io", 4096, &text, &len, NULL) < 0)
		return 0;
	return strtoul(strstr(text, "rchar: ") + 7, NULL, 10);
}

static void stamp_is_made_checked_and_useful(void **state)
{
	char *k = write_kernel("k", COMPRESSION_ZSTD), *stamp = NULL, *file = NULL;
	unsigned long before, hashed, stamped;
	struct timespec times[2];
	struct stat st;

	assert_int_equal(open_kernel(k, cache), FRESH);
	assert_int_equal(files("stamp-", NULL), 0); /* the kernel is too young */
	usleep(150000);
	before = bytes_read();
	assert_int_equal(open_kernel(k, cache), CACHED);
	hashed = bytes_read() - before;
	assert_int_equal(files("stamp-", &stamp), 1);
	before = bytes_read();
	assert_int_equal(open_kernel(k, cache), CACHED);
	stamped = bytes_read() - before;
	/* Neither the kernel nor the cached file was read but by open_kernel() itself. */
	if (before)
		assert_true(hashed - stamped > elf.len);

	/* The stamp does not vouch for a cached file that has changed since. */
	assert_int_equal(files("vmlinux-", &file), 1);
	assert_int_equal(stat(file, &st), 0);
	overwrite(file, 0x1234, "damage", 6);
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	assert_int_equal(utimensat(AT_FDCWD, file, times, 0), 0);
	assert_int_equal(open_kernel(k, cache), FRESH);
	assert_int_equal(open_kernel(k, cache), CACHED);

	/* A damaged stamp is as good as none. */
	assert_int_equal(stat(stamp, &st), 0);
	overwrite(stamp, st.st_size / 2, "damage", 6);
	assert_int_equal(open_kernel(k, cache), CACHED);
	assert_int_equal(truncate(stamp, 10), 0);
	assert_int_equal(open_kernel(k, cache), CACHED);
	free(stamp);
	free(file);
	free(k);
}

static void unusable_directory_costs_only_time(void **state)
{
	char *k = write_kernel("k", COMPRESSION_LZ4), *not_dir = str_fmt("%s/sub", k);

	assert_int_equal(open_kernel(k, k), FRESH);
	assert_int_equal(open_kernel(k, not_dir), FRESH);
	assert_int_equal(open_kernel(k, "/proc/self"), FRESH);
	free(not_dir);
	free(k);
}

static void rubbish_is_removed_and_numbers_are_bounded(void **state)
{
	struct timespec old[2] = {{.tv_sec = 1000000}, {.tv_sec = 1000000}};
	char *stale, *young;

	stale = scratch_write(dir, "cache/tmp-stale", "x", 1);
	young = scratch_write(dir, "cache/tmp-young", "x", 1);
	assert_int_equal(utimensat(AT_FDCWD, stale, old, 0), 0);
	for (unsigned i = 0; i < 12; i++) {
		char *k;

		elf.p[IMAGE_TEXT_OFF] = i;
		k = write_kernel("k", COMPRESSION_LZ4);
		assert_int_equal(open_kernel(k, cache), FRESH);
		free(k);
	}
	assert_int_equal(files("vmlinux-", NULL), 8);
	assert_int_equal(access(stale, F_OK), -1);
	assert_int_equal(access(young, F_OK), 0);
	free(stale);
	free(young);
}

static void many_at_once(void **state)
{
	char *k = write_kernel("k", COMPRESSION_XZ);
	int status;

	for (int i = 0; i < 8; i++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0) {
			for (int n = 0; n < 10; n++)
				(void)open_kernel(k, cache); /* checks the content */
			_exit(0);
		}
	}
	for (int i = 0; i < 8; i++) {
		assert_true(wait(&status) > 0);
		assert_int_equal(status, 0);
	}
	assert_int_equal(files("vmlinux-", NULL), 1);
	assert_int_equal(files("tmp-", NULL), 0);
	assert_int_equal(open_kernel(k, cache), CACHED);
	free(k);
}

static void bad_lengths_are_refused(void **state)
{
	cleanup_close int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	struct payload p = {.fd = fd, .len = 100};
	int out = 77;
	uint64_t len;

	assert_int_equal(payload_open(&p, NULL, &out, &len, &err), -EINVAL);
	p.len = 3;
	assert_int_equal(payload_open(&p, NULL, &out, &len, &err), -ENOEXEC);
	p.len = UINT32_MAX;
	assert_int_equal(payload_open(&p, NULL, &out, &len, &err), -ENOEXEC);
	assert_int_equal(out, 77);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(second_time_comes_from_the_cache),
		TEST(other_content_is_another_kernel),
		TEST(damaged_entries_are_made_again),
		TEST(stamp_is_made_checked_and_useful),
		TEST(unusable_directory_costs_only_time),
		TEST(rubbish_is_removed_and_numbers_are_bounded),
		TEST(many_at_once),
		TEST(bad_lengths_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
