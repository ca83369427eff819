/* SPDX-License-Identifier: Apache-2.0 */
/* boot/modules.c: a lib/modules tree with every form of dependency (modules.dep(5)). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/endian.h"
#include "base/str.h"
#include "boot/initramfs.h"
#include "tests/support/cpio_read.h"
#include "tests/support/kernel_image.h"
#include "tests/support/scratch.h"

static const char dep[] =
	"kernel/fs/ext4/ext4.ko.xz: kernel/lib/crc16.ko.gz kernel/fs/jbd2/jbd2.ko.zst\n"
	"kernel/fs/jbd2/jbd2.ko.zst:\n"
	"kernel/lib/crc16.ko.gz:\n"
	"kernel/arch/crc32c-intel.ko:\n"
	"kernel/crypto/crc32c_generic.ko:\n"
	"kernel/drivers/a-b.ko: kernel/drivers/ring.ko kernel/drivers/gone-from-dep.ko\n"
	"kernel/drivers/ring.ko: kernel/drivers/a-b.ko\n"
	"kernel/drivers/bad.ko:\n"
	"kernel/drivers/missing.ko:\n"
	"line without a colon\n"
	"kernel/drivers/post.ko:";
static const char softdep[] = "# comment\n"
			      "softdep jbd2 pre: crypto-crc32c nothing-has-this post: post\n"
			      "softdep post pre: ext4\n"
			      "softdep\n"
			      "softdep ext4x pre: missing\n";
static const char alias[] = "# comment\n"
			    "alias crypto-crc32c crc32c_intel\n"
			    "alias crypto-crc32c* crc32c_generic\n"
			    "alias crypto-crc32c\n"
			    "alias pci:v00001AF4d00001001sv*sd* a-b\n";

static char *dir;
static struct err err;
static int fd;
static struct cpio *c;
static struct image elf;

/* Content of its own: the ELF kernel with a mark in its unused entry field. */
static void write_module(const char *name, enum compression comp, uint32_t mark)
{
	struct image im;

	put_le32(elf.p + IMAGE_DATA_OFF, mark);
	im = image_compress(&elf, comp);
	if (comp == COMPRESSION_XZ || comp == COMPRESSION_ZSTD)
		im.len -= 4; /* the length is for kernels only */
	free(scratch_write(dir, name, im.p, im.len));
	image_done(&im);
}

static int setup(void **state)
{
	dir = scratch_new();
	elf = image_elf();
	free(scratch_write(dir, "modules.dep", dep, strlen(dep)));
	free(scratch_write(dir, "modules.softdep", softdep, strlen(softdep)));
	free(scratch_write(dir, "modules.alias", alias, strlen(alias)));
	free(scratch_write(dir, "modules.builtin", "kernel/fs/builtin.ko\n", 21));
	write_module("kernel/fs/ext4/ext4.ko.xz", COMPRESSION_XZ, 1);
	write_module("kernel/lib/crc16.ko.gz", COMPRESSION_GZIP, 2);
	write_module("kernel/fs/jbd2/jbd2.ko.zst", COMPRESSION_ZSTD, 3);
	write_module("kernel/arch/crc32c-intel.ko", COMPRESSION_NONE, 4);
	write_module("kernel/crypto/crc32c_generic.ko", COMPRESSION_NONE, 5);
	write_module("kernel/drivers/a-b.ko", COMPRESSION_NONE, 6);
	write_module("kernel/drivers/ring.ko", COMPRESSION_NONE, 7);
	write_module("kernel/drivers/post.ko", COMPRESSION_NONE, 8);
	free(scratch_write(dir, "kernel/drivers/bad.ko", "not a module", 12));
	fd = memfd_create("cpio", MFD_CLOEXEC);
	return cpio_new(fd, &c, &err);
}

static int teardown(void **state)
{
	close(fd);
	image_done(&elf);
	scratch_remove(dir);
	return 0;
}

static void assert_module(const struct cpio_image *im, const char *path, uint32_t mark)
{
	const struct cpio_entry *e = cpio_image_find(im, path);

	assert_int_equal(e->len, elf.len);
	put_le32(elf.p + IMAGE_DATA_OFF, mark);
	assert_memory_equal(e->data, elf.p, elf.len);
}

static void assert_order(const struct cpio_image *im, const char *want)
{
	const struct cpio_entry *e = cpio_image_find(im, "lib/modules/order");

	if (e->len != strlen(want) || memcmp(e->data, want, e->len) != 0)
		fail_msg("order is '%.*s'", (int)e->len, e->data);
}

static void what_is_needed_comes_first(void **state)
{
	static const char *const names[] = {"ext4", NULL};
	struct cpio_image im;
	unsigned num = 0;

	assert_int_equal(initramfs_add_modules(c, dir, names, &num, &err), 0);
	assert_int_equal(num, 6);
	assert_int_equal(cpio_finish(c, &err), 0);
	im = cpio_image_read(fd);
	assert_order(&im, "crc16\ncrc32c_intel\ncrc32c_generic\npost\njbd2\next4\n");
	assert_module(&im, "lib/modules/ext4.ko", 1);
	assert_module(&im, "lib/modules/crc16.ko", 2);
	assert_module(&im, "lib/modules/jbd2.ko", 3);
	assert_module(&im, "lib/modules/crc32c_intel.ko", 4);
	assert_module(&im, "lib/modules/crc32c_generic.ko", 5);
	assert_module(&im, "lib/modules/post.ko", 8);
	cpio_image_done(&im);
}

/* Names with either dash, circles, and names that mean nothing. */
static void odd_names(void **state)
{
	static const char *const names[] = {"builtin", "nonexistent", "a_b", "a-b", "ring", NULL};
	struct cpio_image im;
	unsigned num = 0;

	assert_int_equal(initramfs_add_modules(c, dir, names, &num, &err), 0);
	assert_int_equal(num, 2);
	assert_int_equal(cpio_finish(c, &err), 0);
	im = cpio_image_read(fd);
	assert_order(&im, "ring\na_b\n");
	assert_module(&im, "lib/modules/a_b.ko", 6);
	cpio_image_done(&im);
}

static void nothing_to_add(void **state)
{
	static const char *const names[] = {NULL};
	struct cpio_image im;
	unsigned num = 7;

	assert_int_equal(initramfs_add_modules(c, dir, names, &num, &err), 0);
	assert_int_equal(num, 0);
	assert_int_equal(cpio_finish(c, &err), 0);
	im = cpio_image_read(fd);
	assert_order(&im, "");
	cpio_image_done(&im);
}

/* A kernel without softdep and alias files still has its hard dependencies. */
static void only_modules_dep(void **state)
{
	static const char *const names[] = {"ext4", NULL};
	char *a = str_fmt("%s/modules.softdep", dir), *b = str_fmt("%s/modules.alias", dir);
	unsigned num = 0;

	unlink(a);
	unlink(b);
	assert_int_equal(initramfs_add_modules(c, dir, names, &num, &err), 0);
	assert_int_equal(num, 3);
	cpio_abandon(c);
	free(a);
	free(b);
}

static void bad_trees_are_refused(void **state)
{
	static const char *const bad[] = {"bad", NULL}, *const missing[] = {"missing", NULL};
	unsigned num = 77;
	char *path = str_fmt("%s/modules.dep", dir);

	assert_int_equal(initramfs_add_modules(c, dir, bad, &num, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "bad.ko"));
	assert_int_equal(initramfs_add_modules(c, dir, missing, &num, &err), -ENOENT);
	assert_non_null(strstr(err.text, "missing"));
	unlink(path);
	assert_int_equal(initramfs_add_modules(c, dir, bad, &num, &err), -ENOENT);
	assert_non_null(strstr(err.text, "depmod"));
	assert_int_equal(num, 77);
	cpio_abandon(c);
	free(path);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_needed_comes_first),
		TEST(odd_names),
		TEST(nothing_to_add),
		TEST(only_modules_dep),
		TEST(bad_trees_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
