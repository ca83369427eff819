/* SPDX-License-Identifier: Apache-2.0 */
/* boot/program.c: this very test as the program, made-up objects for the rest (ld.so(8)). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/str.h"
#include "boot/initramfs.h"
#include "tests/support/cpio_read.h"
#include "tests/support/scratch.h"

#if defined(__x86_64__)
#define MACHINE EM_X86_64
#else
#define MACHINE EM_AARCH64
#endif

static char *dir;
static struct err err;
static int fd;
static struct cpio *c;

static int setup(void **state)
{
	dir = scratch_new();
	fd = memfd_create("cpio", MFD_CLOEXEC);
	return cpio_new(fd, &c, &err);
}

static int teardown(void **state)
{
	close(fd);
	scratch_remove(dir);
	return 0;
}

/* A shared object with one PT_LOAD and one PT_DYNAMIC. */
struct object {
	Elf64_Ehdr eh;
	Elf64_Phdr ph[2];
	Elf64_Dyn dyn[8];
	char str[256];
};

static struct object make(const char *needed, const char *runpath)
{
	struct object o = {
		.eh = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB},
		       .e_type = ET_DYN,
		       .e_machine = MACHINE,
		       .e_phoff = offsetof(struct object, ph),
		       .e_phentsize = sizeof(Elf64_Phdr),
		       .e_phnum = 2},
		.ph = {{.p_type = PT_LOAD, .p_vaddr = 0x10000, .p_filesz = sizeof(struct object)},
		       {.p_type = PT_DYNAMIC,
			.p_offset = offsetof(struct object, dyn),
			.p_filesz = sizeof(o.dyn)}},
		.dyn = {{DT_STRTAB, {0x10000 + offsetof(struct object, str)}},
			{DT_STRSZ, {sizeof(o.str)}}},
	};
	unsigned n = 2;

	if (needed) {
		strcpy(o.str + 1, needed);
		o.dyn[n++] = (Elf64_Dyn){DT_NEEDED, {1}};
	}
	if (runpath) {
		strcpy(o.str + 101, runpath);
		o.dyn[n++] = (Elf64_Dyn){DT_RUNPATH, {101}};
	}
	return o;
}

static void put(const char *name, const struct object *o)
{
	free(scratch_write(dir, name, o, sizeof(*o)));
}

static int add(const char *name, const char *path)
{
	char *host = str_fmt("%s/%s", dir, name);
	int r = initramfs_add_program(c, host, path, &err);

	free(host);
	return r;
}

/* A real program: its interpreter and libc, and cmocka from where the linker found it. */
static void this_test_is_complete(void **state)
{
	struct cpio_image im;
	unsigned libc = 0, cmocka = 0, interp = 0;

	assert_int_equal(initramfs_add_program(c, "/proc/self/exe", "bin/test", &err), 0);
	assert_int_equal(initramfs_add_program(c, "/proc/self/exe", "bin/again", &err), 0);
	assert_int_equal(cpio_finish(c, &err), 0);
	im = cpio_image_read(fd);
	assert_int_equal(cpio_image_find(&im, "bin/test")->mode, 0100755);
	for (unsigned i = 0; i < im.num; i++) {
		char *host = str_fmt("/%s", im.entry[i].path);

		libc += str_ends(host, "/libc.so.6");
		cmocka += strstr(host, "/libcmocka.so") != NULL;
		interp += strstr(host, "/ld-linux") != NULL;
		if (!str_starts(host, "/bin"))
			assert_int_equal(access(host, F_OK), 0);
		free(host);
	}
	assert_int_equal(libc, 1);
	assert_int_equal(cmocka, 1);
	assert_int_equal(interp, 1);
	cpio_image_done(&im);
}

/* $ORIGIN is where the program will be, not where it was found. */
static void runpath_and_origin(void **state)
{
	struct object prog = make("liba.so", "/nonexistent:$ORIGIN/../priv//lib"),
		      a = make("libb.so", "${ORIGIN}/./deep"), b = make(NULL, NULL);
	struct cpio_image im;

	put("bin/prog", &prog);
	put("priv/lib/liba.so", &a);
	put("priv/lib/deep/libb.so", &b);
	assert_int_equal(add("bin/prog", "usr/bin/prog"), 0);
	assert_int_equal(cpio_finish(c, &err), 0);
	im = cpio_image_read(fd);
	assert_int_equal(cpio_image_find(&im, "usr/bin/prog")->len, sizeof(prog));
	assert_memory_equal(cpio_image_find(&im, "usr/priv/lib/liba.so")->data, &a, sizeof(a));
	assert_memory_equal(cpio_image_find(&im, "usr/priv/lib/deep/libb.so")->data, &b, sizeof(b));
	cpio_image_done(&im);
}

/* Two libraries that need each other. */
static void circles_end(void **state)
{
	struct object prog = make("liba.so", "$ORIGIN"), a = make("libb.so", "$ORIGIN"),
		      b = make("liba.so", "$ORIGIN");
	struct cpio_image im;

	put("prog", &prog);
	put("liba.so", &a);
	put("libb.so", &b);
	assert_int_equal(add("prog", "p"), 0);
	assert_int_equal(cpio_finish(c, &err), 0);
	im = cpio_image_read(fd);
	assert_int_equal(im.num, 3);
	cpio_image_done(&im);
}

/* A library for another machine is passed over, as ld.so does. */
static void wrong_machine_is_passed_over(void **state)
{
	struct object prog = make("liba.so", "$ORIGIN/x:$ORIGIN/y"), x = make(NULL, NULL), y = x;
	struct cpio_image im;

	x.eh.e_machine = EM_RISCV;
	put("prog", &prog);
	put("x/liba.so", &x);
	put("y/liba.so", &y);
	assert_int_equal(add("prog", "prog"), 0);
	assert_int_equal(cpio_finish(c, &err), 0);
	im = cpio_image_read(fd);
	cpio_image_find(&im, "y/liba.so");
	cpio_image_done(&im);
}

static void missing_things_are_named(void **state)
{
	struct object prog = make("libnothing-has-this-name.so.7", NULL);

	put("prog", &prog);
	assert_int_equal(add("prog", "prog"), -ENOENT);
	assert_non_null(strstr(err.text, "libnothing-has-this-name.so.7"));
	assert_int_equal(add("gone", "gone"), -ENOENT);
	assert_non_null(strstr(err.text, "gone"));
	free(scratch_write(dir, "script", "#!/bin/sh\n", 10));
	assert_int_equal(add("script", "script"), -ENOEXEC);
	assert_non_null(strstr(err.text, "not an ELF program"));
	cpio_abandon(c);
}

static void damaged_objects_are_refused(void **state)
{
	static const struct {
		size_t off;
		uint64_t value;
	} bad[] = {
		{offsetof(struct object, eh.e_phoff), UINT64_MAX},
		{offsetof(struct object, eh.e_phoff), 100000},
		{offsetof(struct object, ph[1].p_offset), UINT64_MAX - 8},
		{offsetof(struct object, ph[1].p_filesz), UINT64_MAX},
		{offsetof(struct object, ph[1].p_filesz), 0x10000},
		{offsetof(struct object, ph[0].p_filesz), 4},
		{offsetof(struct object, ph[0].p_offset), UINT64_MAX},
		{offsetof(struct object, dyn[0].d_un), 0x10000 + 100000},
		{offsetof(struct object, dyn[1].d_un), UINT64_MAX},
		{offsetof(struct object, dyn[2].d_un), 256},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct object o = make("libc.so.6", NULL);
		int r;

		memcpy((char *)&o + bad[i].off, &bad[i].value, 8);
		put("bad", &o);
		r = add("bad", "bad");
		if (r != -ENOEXEC || !strstr(err.text, "damaged"))
			fail_msg("%zu: %d %s", i, r, err.text);
	}
	cpio_abandon(c);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(this_test_is_complete),
		TEST(runpath_and_origin),
		TEST(circles_end),
		TEST(wrong_machine_is_passed_over),
		TEST(missing_things_are_named),
		TEST(damaged_objects_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
