/* SPDX-License-Identifier: Apache-2.0 */
/* CPUID leaves that depend on the machine and not on the processor alone. */
#include "vmm/x86/cpuid.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/str.h"

#define LEAF1_ECX_VMX          (1u << 5)
#define LEAF1_ECX_X2APIC       (1u << 21)
#define LEAF1_ECX_TSC_DEADLINE (1u << 24)
#define LEAF1_ECX_HYPERVISOR   (1u << 31)
#define LEAF1_EDX_HTT          (1u << 28)
#define LEAF7_EBX_SGX          (1u << 2)
#define EXT1_ECX_CMP_LEGACY    (1u << 1)
#define EXT1_ECX_SVM           (1u << 2)
#define EXT1_ECX_TOPOEXT       (1u << 22)

/* Level types of leaf 0xb and 0x1f. */
#define TOPO_SMT  1
#define TOPO_CORE 2

int cpuid_supported(const struct kvm *k, struct kvm_cpuid2 **ret_list, struct err *err)
{
	size_t bytes =
		sizeof(struct kvm_cpuid2) + CPUID_MAX_ENTRIES * sizeof(struct kvm_cpuid_entry2);
	struct kvm_cpuid2 *list = xcalloc(1, bytes);

	list->nent = CPUID_MAX_ENTRIES;
	if (ioctl(k->sys_fd, KVM_GET_SUPPORTED_CPUID, list) < 0) {
		free(list);
		return err_set(err, errno, "cannot ask KVM for the processor's features");
	}
	*ret_list = list;
	return 0;
}

struct kvm_cpuid_entry2 *cpuid_find(struct kvm_cpuid2 *list, uint32_t leaf, uint32_t index)
{
	for (uint32_t i = 0; i < list->nent; i++) {
		struct kvm_cpuid_entry2 *e = &list->entries[i];

		if (e->function != leaf)
			continue;
		if (!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e->index == index)
			return e;
	}
	return NULL;
}

unsigned cpuid_phys_bits(struct kvm_cpuid2 *list)
{
	const struct kvm_cpuid_entry2 *e = cpuid_find(list, 0x80000008, 0);

	return e && e->eax & 0xff ? e->eax & 0xff : 36;
}

/* Bits that an APIC ID needs for the core number. */
static unsigned core_bits(unsigned num_cpus)
{
	unsigned bits = 0;

	while (1u << bits < num_cpus)
		bits++;
	return bits;
}

static void cpuid_drop(struct kvm_cpuid2 *list, uint32_t leaf)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < list->nent; i++) {
		if (list->entries[i].function != leaf)
			list->entries[kept++] = list->entries[i];
	}
	list->nent = kept;
}

static void cpuid_add(struct kvm_cpuid2 *list, const struct kvm_cpuid_entry2 *e)
{
	if (list->nent < CPUID_MAX_ENTRIES)
		list->entries[list->nent++] = *e;
}

static void tune_leaf1(struct kvm_cpuid2 *list, const struct cpuid_machine *m, unsigned cpu)
{
	struct kvm_cpuid_entry2 *e = cpuid_find(list, 1, 0);

	if (!e)
		return;
	e->ebx &= 0x0000ffff;
	e->ebx |= (1u << core_bits(m->num_cpus)) << 16 | cpu << 24;
	e->ecx |= LEAF1_ECX_HYPERVISOR;
	/*
	 * Emulated by KVM's local APIC on every processor: cheaper than its memory-mapped
	 * registers.
	 */
	e->ecx |= LEAF1_ECX_X2APIC;
	/* No hypervisor inside: nested virtualisation is where most of KVM's escapes were found. */
	e->ecx &= ~LEAF1_ECX_VMX;
	e->ecx &= ~LEAF1_ECX_TSC_DEADLINE;
	if (m->tsc_deadline)
		e->ecx |= LEAF1_ECX_TSC_DEADLINE;
	e->edx &= ~LEAF1_EDX_HTT;
	if (m->num_cpus > 1)
		e->edx |= LEAF1_EDX_HTT;
}

/* Cache leaves 4 (Intel) and 0x8000001d (AMD): who shares which cache. */
static void tune_caches(struct kvm_cpuid2 *list, const struct cpuid_machine *m)
{
	uint32_t all = (1u << core_bits(m->num_cpus)) - 1;

	for (uint32_t i = 0; i < list->nent; i++) {
		struct kvm_cpuid_entry2 *e = &list->entries[i];
		unsigned level = e->eax >> 5 & 7;

		if ((e->function != 4 && e->function != 0x8000001d) || !(e->eax & 0x1f))
			continue;
		e->eax &= 0x3fff;
		e->eax |= (level >= 3 ? all : 0) << 14;
		if (e->function == 4)
			e->eax |= (all < 63 ? all : 63) << 26;
	}
}

static void add_topology(struct kvm_cpuid2 *list, uint32_t leaf, const struct cpuid_machine *m,
			 unsigned cpu)
{
	struct kvm_cpuid_entry2 e = {
		.function = leaf,
		.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
		.edx = cpu,
	};

	cpuid_drop(list, leaf);
	e.ebx = 1;
	e.ecx = TOPO_SMT << 8;
	cpuid_add(list, &e);
	e.index = 1;
	e.eax = core_bits(m->num_cpus);
	e.ebx = m->num_cpus;
	e.ecx = TOPO_CORE << 8 | 1;
	cpuid_add(list, &e);
	/* The level after the last: type 0. */
	e.index = 2;
	e.eax = e.ebx = 0;
	e.ecx = 2;
	cpuid_add(list, &e);
}

static void tune_topology(struct kvm_cpuid2 *list, const struct cpuid_machine *m, unsigned cpu)
{
	const struct kvm_cpuid_entry2 *base = cpuid_find(list, 0, 0);
	uint32_t max = base ? base->eax : 0;

	if (max >= 0xb)
		add_topology(list, 0xb, m, cpu);
	if (max >= 0x1f)
		add_topology(list, 0x1f, m, cpu);
}

static void tune_amd(struct kvm_cpuid2 *list, const struct cpuid_machine *m, unsigned cpu)
{
	struct kvm_cpuid_entry2 *e = cpuid_find(list, 0x80000001, 0);
	bool topoext = false;

	if (e) {
		e->ecx &= ~(EXT1_ECX_SVM | EXT1_ECX_CMP_LEGACY);
		topoext = e->ecx & EXT1_ECX_TOPOEXT;
	}
	cpuid_drop(list, 0x8000000a);
	e = cpuid_find(list, 0x80000008, 0);
	if (e) {
		e->ecx &= ~0xf0ffu;
		e->ecx |= core_bits(m->num_cpus) << 12 | (m->num_cpus - 1);
	}
	e = cpuid_find(list, 0x8000001e, 0);
	if (e && topoext) {
		e->eax = cpu;
		e->ebx = cpu; /* core ID; one thread a core */
		e->ecx = 0;   /* one node */
		e->edx = 0;
	}
}

static void clear_leaf(struct kvm_cpuid2 *list, uint32_t leaf)
{
	for (uint32_t i = 0; i < list->nent; i++) {
		struct kvm_cpuid_entry2 *e = &list->entries[i];

		if (e->function == leaf)
			e->eax = e->ebx = e->ecx = e->edx = 0;
	}
}

void cpuid_tune(struct kvm_cpuid2 *list, const struct cpuid_machine *m, unsigned cpu)
{
	struct kvm_cpuid_entry2 *e;

	tune_leaf1(list, m, cpu);
	tune_caches(list, m);
	tune_topology(list, m, cpu);
	tune_amd(list, m, cpu);
	/* No enclaves: their memory is not ours to give. */
	e = cpuid_find(list, 7, 0);
	if (e)
		e->ebx &= ~LEAF7_EBX_SGX;
	clear_leaf(list, 0x12);
	/*
	 * No performance counters: they make every exit dearer, and their drivers' probing is
	 * exits.
	 */
	clear_leaf(list, 0xa);
}
