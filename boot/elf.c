/* SPDX-License-Identifier: Apache-2.0 */
/* Reads and loads ELF kernels (System V gABI, chapters 4 and 5; Linux arch/x86 vmlinux). */
#include "boot/elf.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#include "base/fd.h"

/* Real-mode memory and firmware tables end here; a kernel below would land in our own tables. */
#define KERNEL_MIN_GPA 0x100000u
/* 46 bits: the smallest maximum of a physical address that has room for every sum made below. */
#define KERNEL_MAX_GPA (1ull << 46)

#define MIB(n)         ((unsigned long long)((n) + 0xfffff) >> 20)

static int check_header(const Elf64_Ehdr *eh, struct err *err)
{
	if (memcmp(eh->e_ident, ELFMAG, SELFMAG) != 0)
		return err_say(err, ENOEXEC,
			       "the kernel has no ELF header; the file is damaged, "
			       "get it again");
	if (eh->e_ident[EI_CLASS] != ELFCLASS64 || eh->e_ident[EI_DATA] != ELFDATA2LSB)
		return err_say(err, ENOEXEC,
			       "the kernel is not a 64-bit little-endian ELF file; "
			       "use an x86-64 kernel");
	if (eh->e_machine != EM_X86_64)
		return err_say(err, ENOEXEC,
			       "the kernel is an ELF file for another machine (type "
			       "%u); use an x86-64 kernel",
			       (unsigned)eh->e_machine);
	if (eh->e_type != ET_EXEC && eh->e_type != ET_DYN)
		return err_say(err, ENOEXEC,
			       "the ELF file is of type %u, not an executable; use a "
			       "bzImage or vmlinux",
			       (unsigned)eh->e_type);
	if (eh->e_phentsize != sizeof(Elf64_Phdr) || eh->e_phnum == 0 || eh->e_phnum == PN_XNUM)
		return err_say(err, ENOEXEC,
			       "the kernel's ELF program headers (%u of %u bytes) "
			       "make no sense; the file is damaged, get it again",
			       (unsigned)eh->e_phnum, (unsigned)eh->e_phentsize);
	return 0;
}

static int add_segment(struct elf_image *img, const Elf64_Phdr *ph, uint64_t file_len,
		       struct err *err)
{
	struct elf_segment *s;

	if (ph->p_memsz == 0)
		return 0;
	if (img->num == ELF_MAX_SEGMENTS)
		return err_say(err, ENOEXEC,
			       "the kernel has more than %u loadable ELF segments; "
			       "use a bzImage or vmlinux",
			       ELF_MAX_SEGMENTS);
	if (ph->p_filesz > ph->p_memsz || ph->p_filesz > file_len ||
	    ph->p_offset > file_len - ph->p_filesz)
		return err_say(err, ENOEXEC,
			       "an ELF segment of the kernel lies outside of its file "
			       "(offset 0x%llx, length 0x%llx, the file has 0x%llx); the file is "
			       "truncated, get it again",
			       (unsigned long long)ph->p_offset, (unsigned long long)ph->p_filesz,
			       (unsigned long long)file_len);
	if (ph->p_paddr < KERNEL_MIN_GPA || ph->p_memsz > KERNEL_MAX_GPA ||
	    ph->p_paddr > KERNEL_MAX_GPA - ph->p_memsz)
		return err_say(
			err, ENOEXEC,
			"an ELF segment wants the physical addresses from 0x%llx "
			"on, 0x%llx bytes, which no kernel can have; use a bzImage or vmlinux",
			(unsigned long long)ph->p_paddr, (unsigned long long)ph->p_memsz);
	for (unsigned i = 0; i < img->num; i++)
		if (ph->p_paddr < img->seg[i].gpa + img->seg[i].mem_len &&
		    img->seg[i].gpa < ph->p_paddr + ph->p_memsz)
			return err_say(err, ENOEXEC,
				       "ELF segments of the kernel overlap at 0x%llx; "
				       "the file is damaged, get it again",
				       (unsigned long long)ph->p_paddr);
	s = &img->seg[img->num++];
	s->gpa = ph->p_paddr;
	s->mem_len = ph->p_memsz;
	s->file_off = ph->p_offset;
	s->file_len = ph->p_filesz;
	return 0;
}

static int check_entry(struct elf_image *img, struct err *err)
{
	bool inside = false;

	img->start = UINT64_MAX;
	for (unsigned i = 0; i < img->num; i++) {
		const struct elf_segment *s = &img->seg[i];

		if (s->gpa < img->start)
			img->start = s->gpa;
		if (s->gpa + s->mem_len > img->end)
			img->end = s->gpa + s->mem_len;
		/* Code that comes from the file, not from zeroed memory. */
		inside |= img->entry >= s->gpa && img->entry - s->gpa < s->file_len;
	}
	if (!inside)
		return err_say(err, ENOEXEC,
			       "the ELF entry 0x%llx is in none of the %u loaded "
			       "segments; use a bzImage or vmlinux, not another program",
			       (unsigned long long)img->entry, img->num);
	return 0;
}

int elf_parse(int fd, uint64_t file_len, struct elf_image *ret_img, struct err *err)
{
	struct elf_image img = {0};
	Elf64_Ehdr eh;
	Elf64_Phdr ph;
	ssize_t n;
	int r;

	if (file_len < sizeof(eh))
		return err_say(err, ENOEXEC,
			       "the kernel has only %llu bytes; the file is "
			       "truncated, get it again",
			       (unsigned long long)file_len);
	n = fd_pread_full(fd, &eh, sizeof(eh), 0);
	if (n != sizeof(eh))
		return err_set(err, n < 0 ? -n : EIO, "read the ELF header");
	r = check_header(&eh, err);
	if (r < 0)
		return r;
	if (eh.e_phoff > file_len || eh.e_phnum * sizeof(ph) > file_len - eh.e_phoff)
		return err_say(err, ENOEXEC,
			       "the ELF program headers lie outside of the file; it "
			       "is truncated, get it again");
	for (unsigned i = 0; i < eh.e_phnum; i++) {
		n = fd_pread_full(fd, &ph, sizeof(ph), eh.e_phoff + i * sizeof(ph));
		if (n != sizeof(ph))
			return err_set(err, n < 0 ? -n : EIO, "read an ELF program header");
		if (ph.p_type != PT_LOAD)
			continue;
		r = add_segment(&img, &ph, file_len, err);
		if (r < 0)
			return r;
	}
	img.entry = eh.e_entry;
	r = check_entry(&img, err);
	if (r == 0)
		*ret_img = img;
	return r;
}

static uint64_t ram_size(const struct guest_mem *mem)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < mem->num; i++)
		sum += mem->region[i].len;
	return sum;
}

int elf_load(const struct elf_image *img, int fd, const struct guest_mem *mem, struct err *err)
{
	for (unsigned i = 0; i < img->num; i++) {
		const struct elf_segment *s = &img->seg[i];
		uint8_t *p = guest_mem_ptr(mem, s->gpa, s->mem_len);
		ssize_t n;

		if (!p)
			return err_say(err, ENOMEM,
				       "the kernel needs memory up to %llu MiB and the "
				       "VM has %llu MiB; give it more memory",
				       MIB(img->end), MIB(ram_size(mem)));
		n = fd_pread_full(fd, p, s->file_len, s->file_off);
		if (n < 0)
			return err_set(err, -n, "read the kernel");
		if ((uint64_t)n != s->file_len)
			return err_say(err, EIO,
				       "the kernel's file became shorter while it was "
				       "read; start again when nothing writes to it");
	}
	return 0;
}
