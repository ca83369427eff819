/* SPDX-License-Identifier: Apache-2.0 */
/* The "zero page": what the kernel is told of its machine (Linux x86/zero-page.rst). */
#ifndef LVM_BOOT_X86_PARAMS_H
#define LVM_BOOT_X86_PARAMS_H

#include <asm/bootparam.h>

#include "base/err.h"
#include "boot/boot.h"

/* The legacy video and option ROM range, never RAM for a PC kernel; firmware tables live in it. */
#define LEGACY_HOLE_GPA 0xa0000u
#define LEGACY_HOLE_END 0x100000u

/* The loader's own part of low memory. All of it is dead once the kernel has copied it. */
#define LOW_GDT_GPA        0x1000u
#define LOW_PARAMS_GPA     0x2000u
#define LOW_PAGING_GPA     0x3000u
#define LOW_STACK_TOP      0x10000u /* down to the end of the page tables */
#define LOW_SETUP_DATA_GPA 0x10000u
#define LOW_CMDLINE_GPA    0x20000u
#define LOW_CMDLINE_MAX    0x10000u

/* Where the parts went. */
struct params_layout {
	gpa_t initrd;
	uint64_t initrd_len; /* 0: none */
};

/* The memory map: RAM without the reserved ranges, sorted, neighbours of one type merged. */
int params_e820(struct boot_params *bp, const struct boot_request *req, struct err *err);

/*
 * Writes the command line, a seed for the random number generator and boot_params. hdr: the
 * kernel's, or NULL.
 */
int params_write(const struct boot_request *req, const struct setup_header *hdr,
		 const struct params_layout *layout, struct err *err);

#endif
