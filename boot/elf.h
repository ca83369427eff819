/* SPDX-License-Identifier: Apache-2.0 */
/* A 64-bit ELF executable loaded at its physical addresses (System V gABI, chapters 4 and 5). */
#ifndef LVM_BOOT_ELF_H
#define LVM_BOOT_ELF_H

#include <stdint.h>

#include "base/err.h"
#include "devices/guest_mem.h"

#define ELF_MAX_SEGMENTS 32

/* The checked, private copy of what a file's headers say. */
struct elf_image {
	gpa_t entry;
	gpa_t start,
		end; /* all segments lie in [start, end), memory without file content included */
	unsigned num;
	struct elf_segment {
		gpa_t gpa;
		uint64_t mem_len;
		uint64_t file_off, file_len; /* inside the file; file_len <= mem_len */
	} seg[ELF_MAX_SEGMENTS];
};

/*
 * Reads the headers of an x86-64 kernel in the first file_len bytes of fd. On success every
 * field of *ret_img is consistent: nothing wraps, segments do not overlap and start at or above
 * 1 MiB, the entry is inside one.
 */
int elf_parse(int fd, uint64_t file_len, struct elf_image *ret_img, struct err *err);

/*
 * Reads the segments from fd straight into guest memory. Memory beyond a segment's file content
 * is not written: guest memory must still be zero there.
 */
int elf_load(const struct elf_image *img, int fd, const struct guest_mem *mem, struct err *err);

#endif
