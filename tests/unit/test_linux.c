/* SPDX-License-Identifier: Apache-2.0 */
/* boot/x86/linux.c: whole loads of made-up kernels, and one sentence for each kind of bad input. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <asm/bootparam.h>
#include <cmocka.h>
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/endian.h"
#include "base/str.h"
#include "boot/boot.h"
#include "tests/support/kernel_image.h"
#include "tests/support/scratch.h"

#define MIB(n)  ((uint64_t)(n) << 20)
#define MAX_RAM MIB(128)

/* A machine of len bytes of RAM, and a scratch directory. */
struct world {
	struct guest_mem mem;
	struct boot_reserved res;
	struct boot_request req;
	struct boot_entry entry;
	struct err err;
	char *dir;
	uint8_t *ram;
};

static int setup(void **state)
{
	struct world *w = xcalloc(1, sizeof(*w));

	w->dir = scratch_new();
	w->ram = mmap(NULL, MAX_RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(w->ram != MAP_FAILED);
	w->mem =
		(struct guest_mem){.region = {{.gpa = 0, .len = MAX_RAM, .hva = w->ram}}, .num = 1};
	w->res = (struct boot_reserved){BOOT_ACPI_GPA, BOOT_ACPI_LEN, true};
	w->req = (struct boot_request){.mem = &w->mem,
				       .cmdline = "console=hvc0",
				       .rsdp = BOOT_ACPI_GPA,
				       .reserved = &w->res,
				       .num_reserved = 1};
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	munmap(w->ram, MAX_RAM);
	scratch_remove(w->dir);
	free(w);
	return 0;
}

static int load(struct world *w, const struct image *im)
{
	char *path = scratch_write(w->dir, "vmlinuz", im->p, im->len);
	int r;

	w->req.kernel = path;
	r = boot_linux(&w->req, &w->entry, &w->err);
	free(path);
	return r;
}

static int load_compressed(struct world *w, enum compression c)
{
	struct image elf = image_elf(), bz = image_bzimage(&elf, c);
	int r = load(w, &bz);

	image_done(&elf);
	image_done(&bz);
	return r;
}

/* The sentence names the file and has these words. */
static void assert_sentence(const struct world *w, const char *words)
{
	if (!strstr(w->err.text, words) || !strstr(w->err.text, w->dir) ||
	    strchr(w->err.text, '\n'))
		fail_msg("'%s' is not in: %s", words, w->err.text);
}

static void assert_loaded(const struct world *w)
{
	const struct boot_params *bp = (void *)(w->ram + w->entry.rsi);

	assert_int_equal(w->entry.rip, IMAGE_ENTRY);
	for (size_t i = 0; i < IMAGE_TEXT_LEN; i++)
		assert_int_equal(w->ram[IMAGE_TEXT_GPA + i], image_byte(i));
	assert_int_equal(w->ram[IMAGE_DATA_GPA], 0xda);
	assert_string_equal((char *)w->ram + bp->hdr.cmd_line_ptr, "console=hvc0");
	assert_int_equal(bp->acpi_rsdp_addr, BOOT_ACPI_GPA);
	assert_int_equal(bp->hdr.header, 0x53726448);
	assert_int_equal(w->entry.gdt_len, 32);
	assert_int_equal(get_le64(w->ram + w->entry.cr3) & 0xfff, 3);
	assert_int_equal(w->entry.rsp % 16, 0);
	/* ACPI's place is the caller's. */
	for (size_t i = 0; i < BOOT_ACPI_LEN; i++)
		assert_int_equal(w->ram[BOOT_ACPI_GPA + i], 0);
}

static void every_compression_boots(void **state)
{
	static const enum compression all[] = {COMPRESSION_NONE, COMPRESSION_GZIP, COMPRESSION_XZ,
					       COMPRESSION_LZ4, COMPRESSION_ZSTD};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		memset(w->ram, 0, MIB(24));
		if (load_compressed(w, all[i]) != 0)
			fail_msg("%s: %s", compression_name(all[i]), w->err.text);
		assert_loaded(w);
	}
}

static void vmlinux_boots(void **state)
{
	struct world *w = *state;
	struct image elf = image_elf();

	assert_int_equal(load(w, &elf), 0);
	assert_loaded(w);
	image_done(&elf);
}

static void unknown_compressions_are_named(void **state)
{
	static const struct {
		enum compression c;
		const char *words;
	} bad[] = {
		{COMPRESSION_BZIP2, "bzip2"},
		{COMPRESSION_LZMA, "lzma"},
		{COMPRESSION_LZO, "lzo"},
		{COMPRESSION_UNKNOWN, "unknown"},
	};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(load_compressed(w, bad[i].c), -EOPNOTSUPP);
		assert_sentence(w, bad[i].words);
	}
}

static void other_files_are_refused(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		const char *words;
	} bad[] = {
		{"", 0, "is empty"},
		{"#!/bin/sh\n", 10, "neither a bzImage nor an ELF"},
		{"\x1f\x8b\x08\0", 4, "compressed with gzip"},
		{"\x7f"
		 "ELF",
		 4, "truncated"},
		{"MZ\0\0", 4, "neither a bzImage nor an ELF"},
	};
	struct world *w = *state;
	uint8_t arm[0x400] = {0};
	struct image im = {.p = arm, .len = sizeof(arm)};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct image one = {.p = (uint8_t *)bad[i].bytes, .len = bad[i].len};

		assert_int_equal(load(w, &one), -ENOEXEC);
		assert_sentence(w, bad[i].words);
	}
	memcpy(arm + 0x38, "ARM\x64", 4);
	assert_int_equal(load(w, &im), -ENOEXEC);
	assert_sentence(w, "arm64");
}

static void paths_that_are_no_files(void **state)
{
	struct world *w = *state;
	char *fifo = str_fmt("%s/fifo", w->dir), *gone = str_fmt("%s/gone", w->dir);

	w->req.kernel = w->dir;
	assert_int_equal(boot_linux(&w->req, &w->entry, &w->err), -EINVAL);
	assert_sentence(w, "not a regular file");
	assert_int_equal(mkfifo(fifo, 0600), 0);
	w->req.kernel = fifo;
	assert_int_equal(boot_linux(&w->req, &w->entry, &w->err), -EINVAL);
	assert_sentence(w, "not a regular file");
	w->req.kernel = gone;
	assert_int_equal(boot_linux(&w->req, &w->entry, &w->err), -ENOENT);
	assert_sentence(w, "No such file");
	free(fifo);
	free(gone);
}

/* A bad length field or spoilt content of the payload. */
static void damaged_payloads_are_refused(void **state)
{
	static const enum compression all[] = {COMPRESSION_GZIP, COMPRESSION_XZ, COMPRESSION_LZ4,
					       COMPRESSION_ZSTD};
	static const uint32_t lengths[] = {0, 1, 0x47ff, 0x4801, 0x30000000, 0xffffffff};
	struct world *w = *state;

	for (size_t c = 0; c < sizeof(all) / sizeof(all[0]); c++) {
		struct image elf = image_elf(), bz = image_bzimage(&elf, all[c]);

		for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
			put_le32(bz.p + bz.len - 64 - 4, lengths[i]);
			assert_int_equal(load(w, &bz), -ENOEXEC);
			assert_sentence(w, "get");
		}
		put_le32(bz.p + bz.len - 64 - 4, elf.len);
		assert_int_equal(load(w, &bz), 0);
		memset(bz.p + IMAGE_PAYLOAD_OFF + 32, 0x55, 64);
		assert_int_equal(load(w, &bz), -ENOEXEC);
		image_done(&elf);
		image_done(&bz);
	}
}

/* The payload decompresses well and is not a kernel. */
static void payload_that_is_no_kernel(void **state)
{
	struct world *w = *state;
	struct image text = {.len = 5000}, bz;

	text.p = xcalloc(1, text.len);
	bz = image_bzimage(&text, COMPRESSION_ZSTD);
	assert_int_equal(load(w, &bz), -ENOEXEC);
	assert_sentence(w, "no ELF header");
	image_done(&bz);
	image_done(&text);
}

static void memory_too_small_for_the_kernel(void **state)
{
	struct world *w = *state;

	w->mem.region[0].len = MIB(16);
	assert_int_equal(load_compressed(w, COMPRESSION_XZ), -ENOMEM);
	assert_sentence(w, "the VM has 16 MiB");
}

static void kernel_over_a_reserved_range(void **state)
{
	struct world *w = *state;

	w->res = (struct boot_reserved){IMAGE_END - 1, 4096, false};
	assert_int_equal(load_compressed(w, COMPRESSION_XZ), -ENOEXEC);
	assert_sentence(w, "the machine needs itself");
	w->res.gpa = IMAGE_END;
	assert_int_equal(load_compressed(w, COMPRESSION_XZ), 0);
}

static uint64_t initrd_at(const struct world *w, uint64_t *ret_len)
{
	const struct boot_params *bp = (void *)(w->ram + w->entry.rsi);

	*ret_len = (uint64_t)bp->ext_ramdisk_size << 32 | bp->hdr.ramdisk_size;
	return (uint64_t)bp->ext_ramdisk_image << 32 | bp->hdr.ramdisk_image;
}

static void initrds_follow_each_other(void **state)
{
	struct world *w = *state;
	char *a = scratch_write(w->dir, "a", "070701A", 7), *b = scratch_write(w->dir, "b", "", 0),
	     *c = scratch_write(w->dir, "c", "070701CC", 8),
	     *d = scratch_write(w->dir, "d", "D", 1);
	const char *list[] = {a, b, c, d};
	uint64_t gpa, len;

	w->req.initrd = list;
	w->req.num_initrds = 4;
	assert_int_equal(load_compressed(w, COMPRESSION_LZ4), 0);
	assert_loaded(w);
	gpa = initrd_at(w, &len);
	assert_int_equal(len, 17);
	assert_int_equal(gpa, MAX_RAM - 4096);
	assert_memory_equal(w->ram + gpa,
			    "070701A\0"
			    "070701CC"
			    "D",
			    17);
	free(a);
	free(b);
	free(c);
	free(d);
}

static void no_initrds_or_only_empty_ones(void **state)
{
	struct world *w = *state;
	char *a = scratch_write(w->dir, "a", "", 0);
	const char *list[] = {a};
	uint64_t len;

	assert_int_equal(load_compressed(w, COMPRESSION_LZ4), 0);
	assert_int_equal(initrd_at(w, &len), 0);
	assert_int_equal(len, 0);
	w->req.initrd = list;
	w->req.num_initrds = 1;
	assert_int_equal(load_compressed(w, COMPRESSION_LZ4), 0);
	assert_int_equal(initrd_at(w, &len), 0);
	assert_int_equal(len, 0);
	free(a);
}

/* Exactly as much as fits between the kernel (its init_size) and the end of memory. */
static void initrd_that_just_fits(void **state)
{
	uint64_t room = MIB(32) - (IMAGE_TEXT_GPA + IMAGE_INIT_SIZE), gpa, len;
	struct world *w = *state;
	char *a = scratch_write(w->dir, "a", "x", 1);
	const char *list[] = {a};

	w->mem.region[0].len = MIB(32);
	w->req.initrd = list;
	w->req.num_initrds = 1;
	assert_int_equal(truncate(a, room), 0);
	assert_int_equal(load_compressed(w, COMPRESSION_GZIP), 0);
	gpa = initrd_at(w, &len);
	assert_int_equal(gpa, IMAGE_TEXT_GPA + IMAGE_INIT_SIZE);
	assert_int_equal(len, room);
	assert_loaded(w);
	assert_int_equal(truncate(a, room + 1), 0);
	assert_int_equal(load_compressed(w, COMPRESSION_GZIP), -ENOMEM);
	assert_non_null(strstr(w->err.text, "does not fit beside it"));
	free(a);
}

/* Where init_size does not fit, the kernel's own segments must still not be hit. */
static void initrd_in_a_tight_machine(void **state)
{
	uint64_t gpa, len;
	struct world *w = *state;
	char *a = scratch_write(w->dir, "a", "x", 1);
	const char *list[] = {a};

	w->mem.region[0].len = MIB(20);
	w->req.initrd = list;
	w->req.num_initrds = 1;
	assert_int_equal(truncate(a, MIB(20) - IMAGE_END), 0);
	assert_int_equal(load_compressed(w, COMPRESSION_GZIP), 0);
	gpa = initrd_at(w, &len);
	assert_int_equal(gpa, IMAGE_END);
	free(a);
}

static void initrd_stays_below_its_limit(void **state)
{
	struct image elf = image_elf(), bz = image_bzimage(&elf, COMPRESSION_XZ);
	struct world *w = *state;
	char *a = scratch_write(w->dir, "a", "x", 1);
	const char *list[] = {a};
	uint64_t gpa, len;

	put_le32(bz.p + 0x22c, MIB(64) - 1); /* initrd_addr_max */
	w->req.initrd = list;
	w->req.num_initrds = 1;
	assert_int_equal(load(w, &bz), 0);
	gpa = initrd_at(w, &len);
	assert_int_equal(gpa, MIB(64) - 4096);
	/* And out of what is reserved. */
	w->res = (struct boot_reserved){MIB(60), MIB(8), false};
	assert_int_equal(load(w, &bz), 0);
	assert_int_equal(initrd_at(w, &len), MIB(60) - 4096);
	free(a);
	image_done(&elf);
	image_done(&bz);
}

static void bad_initrds(void **state)
{
	struct world *w = *state;
	char *gone = str_fmt("%s/gone", w->dir), *big = scratch_write(w->dir, "big", "x", 1);
	const char *list[] = {gone, big, big, big};

	w->req.initrd = list;
	w->req.num_initrds = 1;
	assert_int_equal(load_compressed(w, COMPRESSION_XZ), -ENOENT);
	assert_sentence(w, "initrd");
	list[0] = w->dir;
	assert_int_equal(load_compressed(w, COMPRESSION_XZ), -EINVAL);
	assert_sentence(w, "not a regular file");
	/* Sparse giants: their sum would wrap. */
	list[0] = big;
	w->req.num_initrds = 4;
	if (truncate(big, INT64_MAX & ~4095ll) == 0 || truncate(big, 1ll << 43) == 0)
		assert_int_equal(load_compressed(w, COMPRESSION_XZ), -ENOMEM);
	free(gone);
	free(big);
}

static void check_is_a_load_without_memory(void **state)
{
	struct image elf = image_elf(), bz = image_bzimage(&elf, COMPRESSION_ZSTD);
	struct world *w = *state;
	char *path = scratch_write(w->dir, "k", bz.p, bz.len);

	assert_int_equal(boot_linux_check(path, &w->err), 0);
	free(path);
	bz.p[IMAGE_PAYLOAD_OFF + 200] ^= 0xff;
	put_le32(bz.p + bz.len - 64 - 4, elf.len + 1);
	path = scratch_write(w->dir, "k", bz.p, bz.len);
	assert_int_equal(boot_linux_check(path, &w->err), -ENOEXEC);
	assert_sentence(w, "cannot use kernel");
	free(path);
	image_done(&elf);
	image_done(&bz);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_compression_boots),
		TEST(vmlinux_boots),
		TEST(unknown_compressions_are_named),
		TEST(other_files_are_refused),
		TEST(paths_that_are_no_files),
		TEST(damaged_payloads_are_refused),
		TEST(payload_that_is_no_kernel),
		TEST(memory_too_small_for_the_kernel),
		TEST(kernel_over_a_reserved_range),
		TEST(initrds_follow_each_other),
		TEST(no_initrds_or_only_empty_ones),
		TEST(initrd_that_just_fits),
		TEST(initrd_in_a_tight_machine),
		TEST(initrd_stays_below_its_limit),
		TEST(bad_initrds),
		TEST(check_is_a_load_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
