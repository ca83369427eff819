/* SPDX-License-Identifier: Apache-2.0 */
/* guest/extract.c: archives good, hostile, cut and meaningless, in a chroot (as root). */
#include "guest/extract.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#define MAX_ARCHIVE (4u << 20)

struct input {
	const uint8_t *p;
	size_t len, step;
	unsigned warnings;
	uint64_t entries;
};

struct result {
	int r;
	struct err err;
	unsigned warnings;
	uint64_t entries;
};

static char dir[64];
static uint8_t bytes[MAX_ARCHIVE];

static ssize_t on_read(void *arg, const void **ret_buf)
{
	struct input *in = arg;
	size_t n = in->len < in->step ? in->len : in->step;

	*ret_buf = in->p;
	in->p += n;
	in->len -= n;
	return (ssize_t)n;
}

static void on_progress(void *arg, uint64_t entries)
{
	((struct input *)arg)->entries = entries;
}

static void on_warn(void *arg, const char *sentence)
{
	fprintf(stderr, "warning: %s\n", sentence);
	((struct input *)arg)->warnings++;
}

/* In a child, which the chroot is for good for. */
static struct result unpack(const void *buf, size_t len, size_t step)
{
	static const struct extract_ops ops = {on_read, on_progress, on_warn};
	struct result res = {.r = -ECHILD};
	int p[2];
	pid_t pid;

	assert_int_equal(pipe(p), 0);
	pid = fork();
	if (pid == 0) {
		struct input in = {.p = buf, .len = len, .step = step};

		if (chdir(dir) == 0 && chroot(".") == 0)
			res.r = extract_tree(&ops, &in, &res.err);
		res.warnings = in.warnings;
		res.entries = in.entries;
		_exit(write(p[1], &res, sizeof(res)) != (ssize_t)sizeof(res));
	}
	close(p[1]);
	assert_int_equal(read(p[0], &res, sizeof(res)), sizeof(res));
	close(p[0]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	return res;
}

struct member {
	const char *path;
	mode_t mode;      /* with type */
	const char *text; /* content, or target of a symbolic link */
	const char *hardlink;
	const char *acl;
	uid_t uid;
	time_t mtime;
	dev_t dev;
};

/* archive_write_add_filter() would need every compression's library. */
typedef int add_filter(struct archive *a);
static add_filter *const filters[] = {archive_write_add_filter_none, archive_write_add_filter_gzip,
				      archive_write_add_filter_bzip2, archive_write_add_filter_xz,
				      archive_write_add_filter_zstd};
#define NUM_FILTERS (sizeof(filters) / sizeof(filters[0]))

static size_t pack(const struct member *m, size_t num, add_filter *filter)
{
	struct archive *a = archive_write_new();
	size_t used = 0;

	archive_write_set_format_pax(a);
	assert_int_equal(filter(a), ARCHIVE_OK);
	assert_int_equal(archive_write_open_memory(a, bytes, sizeof(bytes), &used), ARCHIVE_OK);
	for (; num; num--, m++) {
		struct archive_entry *e = archive_entry_new();
		bool file = S_ISREG(m->mode) && !m->hardlink;

		archive_entry_set_pathname(e, m->path);
		archive_entry_set_mode(e, m->mode);
		archive_entry_set_uid(e, m->uid);
		archive_entry_set_gid(e, m->uid);
		archive_entry_set_mtime(e, m->mtime, 123456789);
		if (file)
			archive_entry_set_size(e, (la_int64_t)strlen(m->text));
		if (S_ISLNK(m->mode))
			archive_entry_set_symlink(e, m->text);
		if (m->hardlink)
			archive_entry_set_hardlink(e, m->hardlink);
		if (S_ISCHR(m->mode))
			archive_entry_set_rdev(e, m->dev);
		if (m->acl) {
			archive_entry_acl_add_entry(e, ARCHIVE_ENTRY_ACL_TYPE_ACCESS,
						    ARCHIVE_ENTRY_ACL_READ, ARCHIVE_ENTRY_ACL_USER,
						    -1, m->acl);
			archive_entry_acl_add_entry(e, ARCHIVE_ENTRY_ACL_TYPE_ACCESS,
						    ARCHIVE_ENTRY_ACL_READ, ARCHIVE_ENTRY_ACL_MASK,
						    -1, NULL);
		}
		/* It warns of the name that is not UTF-8, and writes it as it is. */
		assert_true(archive_write_header(a, e) >= ARCHIVE_WARN);
		if (file)
			assert_int_equal(archive_write_data(a, m->text, strlen(m->text)),
					 strlen(m->text));
		archive_entry_free(e);
	}
	assert_int_equal(archive_write_close(a), ARCHIVE_OK);
	archive_write_free(a);
	return used;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	return remove(path);
}

static int setup(void **state)
{
	strcpy(dir, "/tmp/lvm-extract-test.XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static struct stat look(const char *name)
{
	char path[256];
	struct stat st = {0};

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	(void)lstat(path, &st);
	return st;
}

static void need_root(void)
{
	if (geteuid() != 0)
		skip();
}

static const struct member tree[] = {
	{.path = "./", .mode = S_IFDIR | 0751, .mtime = 1000},
	{.path = "./etc/", .mode = S_IFDIR | 0755, .mtime = 2000},
	{.path = "./acl", .mode = S_IFREG | 0640, .text = "x", .acl = "joe", .mtime = 5},
	{.path = "./etc/passwd",
	 .mode = S_IFREG | 0644,
	 .text = "joe:x:4321:1::/:/bin/sh\n",
	 .mtime = 3000},
	{.path = "./suid", .mode = S_IFREG | 04755, .text = "s", .uid = 77, .mtime = 4000},
	{.path = "./hard", .mode = S_IFREG | 04755, .hardlink = "./suid"},
	{.path = "./link", .mode = S_IFLNK | 0777, .text = "/etc/passwd", .mtime = 6000},
	{.path = "./fifo", .mode = S_IFIFO | 0600, .mtime = 1},
	{.path = "./null", .mode = S_IFCHR | 0666, .dev = 0x103, .mtime = 1},
	{.path = "./\xff\xfe\xc3\xbc", .mode = S_IFREG | 0600, .text = "", .mtime = 1},
};

#define NUM_TREE (sizeof(tree) / sizeof(tree[0]))

static void everything_is_kept(void **state)
{
	char path[256], acl[128];

	need_root();
	for (size_t i = 0; i < NUM_FILTERS; i++) {
		struct result res = unpack(bytes, pack(tree, NUM_TREE, filters[i]), 1000 + i);

		assert_int_equal(res.r, 0);
		assert_int_equal(res.warnings, 0);
		assert_int_equal(res.entries, NUM_TREE);
		assert_int_equal(look(".").st_mode, S_IFDIR | 0751);
		assert_int_equal(look(".").st_mtime, 1000);
		assert_int_equal(look("etc").st_mtime, 2000);
		assert_int_equal(look("suid").st_mode, S_IFREG | 04755);
		assert_int_equal(look("suid").st_uid, 77);
		assert_int_equal(look("suid").st_mtim.tv_nsec, 123456789);
		assert_int_equal(look("suid").st_ino, look("hard").st_ino);
		assert_true(S_ISLNK(look("link").st_mode) && look("link").st_mtime == 6000);
		assert_true(S_ISFIFO(look("fifo").st_mode));
		assert_true(S_ISCHR(look("null").st_mode) && look("null").st_rdev == 0x103);
		assert_true(S_ISREG(look("\xff\xfe\xc3\xbc").st_mode));
		/* The list's name had no id before passwd was there. */
		snprintf(path, sizeof(path), "%s/acl", dir);
		assert_true(getxattr(path, "system.posix_acl_access", acl, sizeof(acl)) > 0);
		assert_non_null(memmem(acl, sizeof(acl), "\x02\x00\x04\x00\xe1\x10\x00\x00", 8));
	}
}

static void nothing_leaves_the_new_root(void **state)
{
	char outside[] = "/tmp/lvm-extract-outside.XXXXXX", up[128], abs[128];
	struct member hostile[] = {
		{.path = up, .mode = S_IFREG | 0644, .text = "up"},
		{.path = "way", .mode = S_IFLNK | 0777, .text = "/tmp"},
		{.path = abs, .mode = S_IFREG | 0644, .text = "abs"},
		{.path = "way2", .mode = S_IFLNK | 0777, .text = "../../../../../../tmp"},
	};
	struct stat st;

	need_root();
	assert_non_null(mkdtemp(outside));
	snprintf(up, sizeof(up), "../../../../../..%s/up", outside);
	snprintf(abs, sizeof(abs), "%s/abs", outside);
	assert_int_equal(unpack(bytes, pack(hostile, 4, archive_write_add_filter_none), 4096).r, 0);
	assert_int_equal(rmdir(outside), 0); /* it is empty still */
	assert_int_equal(stat(outside, &st), -1);
	assert_true(S_ISREG(look(up + strlen("../../../../../../")).st_mode));
}

static void cut_archives_are_noticed(void **state)
{
	need_root();
	for (size_t i = 0; i < NUM_FILTERS; i++) {
		size_t len = pack(tree, NUM_TREE, filters[i]);
		/*
		 * The last bytes are padding and check sum: the tree is whole then, but the archive
		 * is not.
		 */
		size_t cuts[] = {len - (i ? 3 : 1024), len / 2, len / 2 / 512 * 512};

		for (size_t k = 0; k < 3; k++) {
			struct result res = unpack(bytes, cuts[k], 777);

			assert_int_equal(res.r, -ENODATA);
			assert_non_null(strstr(res.err.text, "archive"));
			assert_null(strstr(res.err.text, "(null)"));
		}
	}
}

static void no_archive_is_said_to_be_none(void **state)
{
	struct result res;

	need_root();
	for (size_t i = 0; i < 100000; i++)
		bytes[i] = (uint8_t)(i * 2654435761u >> 11 | 1);
	res = unpack(bytes, 100000, 4096);
	assert_int_equal(res.r, -ENODATA);
	assert_non_null(strstr(res.err.text, "not a root file system archive"));
	res = unpack(bytes, 0, 4096);
	assert_int_equal(res.r, -ENODATA);
	res = unpack(bytes, pack(NULL, 0, archive_write_add_filter_gzip), 4096);
	assert_int_equal(res.r, -ENODATA);
	assert_non_null(strstr(res.err.text, "empty"));
}

static void a_full_disk_is_named(void **state)
{
	char *text = malloc(1 << 20);
	struct member big[] = {{.path = "big", .mode = S_IFREG | 0644, .text = text}};
	struct result res;

	need_root();
	if (mount("tmpfs", dir, "tmpfs", 0, "size=64k") < 0)
		skip();
	memset(text, 'x', (1 << 20) - 1);
	text[(1 << 20) - 1] = 0;
	res = unpack(bytes, pack(big, 1, archive_write_add_filter_none), 65536);
	assert_int_equal(umount(dir), 0);
	free(text);
	assert_int_equal(res.r, -ENOSPC);
	assert_non_null(strstr(res.err.text, "full"));
	assert_non_null(strstr(res.err.text, "--size"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(everything_is_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_leaves_the_new_root, setup, teardown),
		cmocka_unit_test_setup_teardown(cut_archives_are_noticed, setup, teardown),
		cmocka_unit_test_setup_teardown(no_archive_is_said_to_be_none, setup, teardown),
		cmocka_unit_test_setup_teardown(a_full_disk_is_named, setup, teardown),
	};

	return cmocka_run_group_tests_name("extract", tests, NULL, NULL);
}
