/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes boot/elf.c: the input is an ELF file. What is accepted must be as boot/elf.h says. */
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "boot/elf.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/check.h"

#define RAM_LEN (32u << 20)

static void check_image(const struct elf_image *img, uint64_t file_len)
{
	bool entry = false;

	check(img->num >= 1 && img->num <= ELF_MAX_SEGMENTS);
	for (unsigned i = 0; i < img->num; i++) {
		const struct elf_segment *s = &img->seg[i];

		check(s->mem_len > 0 && s->file_len <= s->mem_len);
		check(s->file_len <= file_len && s->file_off <= file_len - s->file_len);
		check(s->gpa >= 0x100000 && s->gpa + s->mem_len > s->gpa);
		check(s->gpa >= img->start && s->gpa + s->mem_len <= img->end);
		entry |= img->entry >= s->gpa && img->entry < s->gpa + s->file_len;
		for (unsigned j = 0; j < i; j++)
			check(s->gpa >= img->seg[j].gpa + img->seg[j].mem_len ||
			      img->seg[j].gpa >= s->gpa + s->mem_len);
	}
	check(entry);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct guest_mem mem;
	int fd = memfd_create("elf", MFD_CLOEXEC);
	struct elf_image img;
	struct err err;

	if (!mem.num) {
		void *p = mmap(NULL, RAM_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			       -1, 0);

		check(p != MAP_FAILED);
		mem = (struct guest_mem){.region = {{.gpa = 0, .len = RAM_LEN, .hva = p}},
					 .num = 1};
	}
	check(fd >= 0 && fd_write_full(fd, data, size) == 0);
	if (elf_parse(fd, size, &img, &err) == 0) {
		check_image(&img, size);
		if (elf_load(&img, fd, &mem, &err) == 0)
			check(img.end <= RAM_LEN);
		check(madvise(mem.region[0].hva, RAM_LEN, MADV_DONTNEED) == 0);
	}
	close(fd);
	return 0;
}
