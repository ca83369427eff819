/* SPDX-License-Identifier: Apache-2.0 */
/* Guest physical memory: the only way from a guest's address to a pointer. */
#ifndef LVM_DEVICES_GUEST_MEM_H
#define LVM_DEVICES_GUEST_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t gpa_t; /* guest physical address */

#define GUEST_MEM_MAX_REGIONS 4

struct guest_mem_region {
	gpa_t gpa;
	uint64_t len;
	uint8_t *hva; /* borrowed from whoever mapped it */
};

/*
 * RAM only, sorted by address, not overlapping. Filled once before the guest runs, then constant:
 * any thread.
 */
struct guest_mem {
	struct guest_mem_region region[GUEST_MEM_MAX_REGIONS];
	unsigned num;
};

/*
 * Pointer to len bytes at gpa if the whole range lies in one RAM region, else NULL. len 0 gives
 * NULL. Every byte behind it may change at any time by the guest's doing: copy, then check the
 * copy.
 */
void *guest_mem_ptr(const struct guest_mem *m, gpa_t gpa, uint64_t len);

/* Whole-range copies; false (and nothing copied) when the range is not all in one RAM region. */
bool guest_mem_read(const struct guest_mem *m, gpa_t gpa, void *dst, size_t len);
bool guest_mem_write(const struct guest_mem *m, gpa_t gpa, const void *src, size_t len);

#endif
