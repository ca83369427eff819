/* SPDX-License-Identifier: Apache-2.0 */
/* What CPUID tells the guest (Intel SDM vol. 2 CPUID, AMD APM vol. 3 app. E). */
#ifndef LVM_VMM_X86_CPUID_H
#define LVM_VMM_X86_CPUID_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "vmm/kvm.h"

#define CPUID_MAX_ENTRIES 256

/* One socket of num_cpus cores with one thread each; APIC ID = index. */
struct cpuid_machine {
	unsigned num_cpus;
	bool tsc_deadline; /* KVM's local APIC has that timer mode */
};

/* malloc'ed, with room for CPUID_MAX_ENTRIES; caller frees. */
int cpuid_supported(const struct kvm *k, struct kvm_cpuid2 **ret_list, struct err *err);

/*
 * Changes KVM's list, which has room for CPUID_MAX_ENTRIES, into the one for CPU index cpu. Pure;
 * the same list may be tuned again for another CPU.
 */
void cpuid_tune(struct kvm_cpuid2 *list, const struct cpuid_machine *m, unsigned cpu);

/* NULL when the list has no such leaf. */
struct kvm_cpuid_entry2 *cpuid_find(struct kvm_cpuid2 *list, uint32_t leaf, uint32_t index);

/* Width of a guest physical address in bits. */
unsigned cpuid_phys_bits(struct kvm_cpuid2 *list);

#endif
