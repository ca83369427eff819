/* SPDX-License-Identifier: Apache-2.0 */
/* The boot CPU's first page tables and segments (Linux x86/boot.rst, "64-bit Boot Protocol"). */
#ifndef LVM_BOOT_X86_PAGING_H
#define LVM_BOOT_X86_PAGING_H

#include "devices/guest_mem.h"

#define PAGING_LEN     0x6000u /* a PML4, a PDPT, four page directories */
#define PAGING_GDT_LEN 0x20u

/* Writes an identity map of the first 4 GiB to gpa (page-aligned); false: not RAM. */
bool paging_write(const struct guest_mem *mem, gpa_t gpa);
/* Writes flat 64-bit code at selector 0x10 and flat data at 0x18. */
bool paging_write_gdt(const struct guest_mem *mem, gpa_t gpa);

#endif
