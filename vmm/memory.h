/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's RAM: one memfd, split around the 32-bit hole. */
#ifndef LVM_VMM_MEMORY_H
#define LVM_VMM_MEMORY_H

#include <stdint.h>

#include "base/err.h"
#include "devices/guest_mem.h"
#include "vmm/kvm.h"

struct vm_memory {
	int fd;
	uint8_t *base; /* of the mapping, NULL: none; 2 MiB aligned */
	uint64_t bytes;
	struct guest_mem mem;
};

/*
 * Maps bytes of RAM without taking any: pages come when they are touched. bytes is a multiple of 2
 * MiB. Refuses more than the host has.
 */
int vm_memory_init(struct vm_memory *m, uint64_t bytes, struct err *err);
/* Shows it to the guest. */
int vm_memory_attach(struct vm_memory *m, const struct kvm *k, struct err *err);
void vm_memory_done(struct vm_memory *m);

/* Where RAM ends, or 4 GiB if that is higher. */
gpa_t vm_memory_end(const struct vm_memory *m);

/*
 * Asks the host for 2 MiB pages behind what any Linux uses before its first process: the bottom of
 * RAM, where the kernel lies, and the top, where it puts its page descriptors. A nested page fault
 * each instead of 512. Best effort; before anything is loaded.
 */
void vm_memory_prepare(struct vm_memory *m);

#endif
