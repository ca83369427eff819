/* SPDX-License-Identifier: Apache-2.0 */
/* Identity map and flat segments (Linux x86/boot.rst; Intel SDM vol. 3 §3.4.5, §4.5). */
#include "boot/x86/paging.h"

#include "base/endian.h"

#define PAGE           0x1000u
#define ENTRIES        512u
#define PTE_PRESENT_RW 3u
#define PTE_LARGE      (1u << 7)
/* 2 MiB pages: 1 GiB ones need a CPUID bit that not every host has. */
#define LARGE_SIZE (2ull << 20)

/*
 * Execute/read, 64-bit, present, accessed; read/write likewise (the "accessed" bit spares a write
 * by the CPU).
 */
#define GDT_CODE64 0x00af9b000000ffffull
#define GDT_DATA   0x00cf93000000ffffull

bool paging_write(const struct guest_mem *mem, gpa_t gpa)
{
	uint8_t *pml4 = guest_mem_ptr(mem, gpa, PAGING_LEN);
	uint8_t *pdpt, *pd;

	if (!pml4)
		return false;
	memset(pml4, 0, 2 * PAGE);
	pdpt = pml4 + PAGE;
	pd = pdpt + PAGE;
	put_le64(pml4, (gpa + PAGE) | PTE_PRESENT_RW);
	for (unsigned i = 0; i < 4; i++)
		put_le64(pdpt + 8 * i, (gpa + (2 + i) * PAGE) | PTE_PRESENT_RW);
	for (unsigned i = 0; i < 4 * ENTRIES; i++)
		put_le64(pd + 8 * i, i * LARGE_SIZE | PTE_LARGE | PTE_PRESENT_RW);
	return true;
}

bool paging_write_gdt(const struct guest_mem *mem, gpa_t gpa)
{
	uint8_t *gdt = guest_mem_ptr(mem, gpa, PAGING_GDT_LEN);

	if (!gdt)
		return false;
	memset(gdt, 0, PAGING_GDT_LEN);
	put_le64(gdt + 0x10, GDT_CODE64);
	put_le64(gdt + 0x18, GDT_DATA);
	return true;
}
