/* SPDX-License-Identifier: Apache-2.0 */
/* boot/elf.c: good kernels land where they say, bad ones are refused with their sentence. */
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

#include "base/fd.h"
#include "base/str.h"
#include "boot/elf.h"
#include "tests/support/kernel_image.h"

#define RAM (32u << 20)

static int as_fd(const struct image *im)
{
	int fd = memfd_create("kernel", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_full(fd, im->p, im->len), 0);
	return fd;
}

static int parse(const struct image *im, struct elf_image *ret, struct err *err)
{
	int fd = as_fd(im), r = elf_parse(fd, im->len, ret, err);

	close(fd);
	return r;
}

static void good_kernel_is_loaded(void **state)
{
	struct image im = image_elf();
	struct guest_mem mem = {.region = {{.gpa = 0, .len = RAM}}, .num = 1};
	struct elf_image img;
	struct err err;
	int fd = as_fd(&im);

	mem.region[0].hva = xcalloc(1, RAM);
	assert_int_equal(elf_parse(fd, im.len, &img, &err), 0);
	assert_int_equal(img.num, 2);
	assert_int_equal(img.entry, IMAGE_ENTRY);
	assert_int_equal(img.start, IMAGE_TEXT_GPA);
	assert_int_equal(img.end, IMAGE_END);
	assert_int_equal(elf_load(&img, fd, &mem, &err), 0);
	for (size_t i = 0; i < IMAGE_TEXT_LEN; i++)
		assert_int_equal(mem.region[0].hva[IMAGE_TEXT_GPA + i], image_byte(i));
	assert_int_equal(mem.region[0].hva[IMAGE_TEXT_GPA + IMAGE_TEXT_LEN], 0);
	assert_int_equal(mem.region[0].hva[IMAGE_DATA_GPA + IMAGE_DATA_LEN - 1], 0xda);
	assert_int_equal(mem.region[0].hva[IMAGE_DATA_GPA + IMAGE_DATA_LEN], 0);
	free(mem.region[0].hva);
	close(fd);
	image_done(&im);
}

/* The memory of a segment counts, not only its file content. */
static void memory_must_hold_bss(void **state)
{
	struct image im = image_elf();
	struct guest_mem mem = {.region = {{.gpa = 0, .len = IMAGE_END - 1}}, .num = 1};
	struct elf_image img;
	struct err err;
	int fd = as_fd(&im);

	mem.region[0].hva = xcalloc(1, RAM);
	assert_int_equal(elf_parse(fd, im.len, &img, &err), 0);
	assert_int_equal(elf_load(&img, fd, &mem, &err), -ENOMEM);
	assert_non_null(strstr(err.text, "needs memory up to 19 MiB and the VM has 19 MiB"));
	mem.region[0].len++;
	assert_int_equal(elf_load(&img, fd, &mem, &err), 0);
	free(mem.region[0].hva);
	close(fd);
	image_done(&im);
}

static void file_that_shrinks_is_noticed(void **state)
{
	struct image im = image_elf();
	struct guest_mem mem = {.region = {{.gpa = 0, .len = RAM}}, .num = 1};
	struct elf_image img;
	struct err err;
	int fd = as_fd(&im);

	mem.region[0].hva = xcalloc(1, RAM);
	assert_int_equal(elf_parse(fd, im.len, &img, &err), 0);
	assert_int_equal(ftruncate(fd, IMAGE_DATA_OFF), 0);
	assert_int_equal(elf_load(&img, fd, &mem, &err), -EIO);
	free(mem.region[0].hva);
	close(fd);
	image_done(&im);
}

#define EHDR(field, value) offsetof(Elf64_Ehdr, field), sizeof(((Elf64_Ehdr *)0)->field), (value)
#define PHDR(n, field, value)                                                        \
	sizeof(Elf64_Ehdr) + (n) * sizeof(Elf64_Phdr) + offsetof(Elf64_Phdr, field), \
		sizeof(((Elf64_Phdr *)0)->field), (value)

/* One field spoilt each, and the words that must be in the sentence. */
static const struct spoilt {
	const char *name;
	size_t off, len;
	uint64_t value;
	const char *words;
} spoilt[] = {
	{"magic", 0, 1, 0x7e, "no ELF header"},
	{"32 bit", EI_CLASS, 1, ELFCLASS32, "64-bit"},
	{"big endian", EI_DATA, 1, ELFDATA2MSB, "little-endian"},
	{"arm64", EHDR(e_machine, EM_AARCH64), "another machine"},
	{"object file", EHDR(e_type, ET_REL), "not an executable"},
	{"no phdrs", EHDR(e_phnum, 0), "program headers"},
	{"PN_XNUM", EHDR(e_phnum, PN_XNUM), "program headers"},
	{"many phdrs", EHDR(e_phnum, 0xfffe), "truncated"},
	{"phentsize", EHDR(e_phentsize, 1), "program headers"},
	{"phoff past end", EHDR(e_phoff, 0x4801), "truncated"},
	{"phoff wraps", EHDR(e_phoff, UINT64_MAX), "truncated"},
	{"entry nowhere", EHDR(e_entry, 0xffffffff81000040), "entry"},
	{"entry in bss", EHDR(e_entry, IMAGE_DATA_GPA + IMAGE_DATA_LEN), "entry"},
	{"entry behind text", EHDR(e_entry, IMAGE_TEXT_GPA + IMAGE_TEXT_LEN), "entry"},
	{"nothing to load", PHDR(0, p_type, PT_NULL), "entry"},
	{"offset past end", PHDR(0, p_offset, 0x4800), "truncated"},
	{"offset wraps", PHDR(0, p_offset, UINT64_MAX - 0x100), "truncated"},
	{"filesz past end", PHDR(1, p_filesz, IMAGE_DATA_LEN + 1), "truncated"},
	{"filesz > memsz", PHDR(1, p_memsz, IMAGE_DATA_LEN - 1), "lies outside"},
	{"filesz huge", PHDR(1, p_filesz, UINT64_MAX), "lies outside"},
	{"memsz huge", PHDR(1, p_memsz, UINT64_MAX), "physical addresses"},
	{"below 1 MiB", PHDR(0, p_paddr, 0xff000), "physical addresses"},
	{"paddr virtual", PHDR(0, p_paddr, 0xffffffff81000000), "physical addresses"},
	{"paddr wraps", PHDR(1, p_paddr, UINT64_MAX - 0x1000), "physical addresses"},
	{"overlap", PHDR(1, p_paddr, IMAGE_TEXT_GPA + 0x2fff), "overlap"},
};

static void bad_fields_are_refused(void **state)
{
	for (size_t i = 0; i < sizeof(spoilt) / sizeof(spoilt[0]); i++) {
		const struct spoilt *s = &spoilt[i];
		struct image im = image_elf();
		struct elf_image img = {.num = 77};
		struct err err;
		int r;

		memcpy(im.p + s->off, &s->value, s->len);
		r = parse(&im, &img, &err);
		if (r != -ENOEXEC || !strstr(err.text, s->words))
			fail_msg("%s: %d '%s'", s->name, r, r < 0 ? err.text : "");
		assert_int_equal(img.num, 77); /* untouched */
		image_done(&im);
	}
}

static void every_truncation_is_refused(void **state)
{
	struct image im = image_elf();
	struct elf_image img;
	struct err err;

	for (size_t full = im.len, len = 0; len < full; len += len < 300 ? 1 : 97) {
		im.len = len;
		assert_int_equal(parse(&im, &img, &err), -ENOEXEC);
	}
	image_done(&im);
}

static void too_many_segments_are_refused(void **state)
{
	unsigned num = ELF_MAX_SEGMENTS + 1;
	struct image im = {.len = sizeof(Elf64_Ehdr) + num * sizeof(Elf64_Phdr)};
	struct image model = image_elf();
	struct elf_image img;
	struct err err;

	im.p = xcalloc(1, im.len);
	memcpy(im.p, model.p, sizeof(Elf64_Ehdr));
	((Elf64_Ehdr *)im.p)->e_phnum = num;
	for (unsigned i = 0; i < num; i++) {
		Elf64_Phdr ph = {.p_type = PT_LOAD,
				 .p_paddr = IMAGE_TEXT_GPA + i * 0x1000,
				 .p_filesz = 0x100,
				 .p_memsz = 0x1000};

		memcpy(image_phdr(&im, i), &ph, sizeof(ph));
	}
	assert_int_equal(parse(&im, &img, &err), -ENOEXEC);
	assert_non_null(strstr(err.text, "more than 32 loadable"));
	((Elf64_Ehdr *)im.p)->e_phnum = num - 1;
	assert_int_equal(parse(&im, &img, &err), 0);
	image_done(&im);
	image_done(&model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_kernel_is_loaded),
		cmocka_unit_test(memory_must_hold_bss),
		cmocka_unit_test(file_that_shrinks_is_noticed),
		cmocka_unit_test(bad_fields_are_refused),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(too_many_segments_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
