/* SPDX-License-Identifier: Apache-2.0 */
/* A virtual CPU: one thread that runs the guest and carries its register accesses to the buses. */
#ifndef LVM_VMM_VCPU_H
#define LVM_VMM_VCPU_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "boot/boot.h"
#include "devices/bus.h"
#include "vmm/kvm.h"
#include "vmm/x86/cpuid.h"

/* Returns from KVM_RUN, by cause. Exits that KVM handles by itself are not seen here. */
enum vcpu_exit {
	VCPU_EXIT_PIO,
	VCPU_EXIT_MMIO,
	VCPU_EXIT_INTERRUPTED, /* a signal, or KVM wants to be called again */
	VCPU_EXIT_SHUTDOWN,
	VCPU_EXIT_OTHER,
	VCPU_NUM_EXITS,
};

extern const char *const vcpu_exit_names[VCPU_NUM_EXITS];

/* How a virtual CPU ended the machine. */
enum vcpu_end {
	VCPU_END_TRIPLE_FAULT,
	VCPU_END_RESET,     /* the guest asked KVM itself, by KVM_EXIT_SYSTEM_EVENT */
	VCPU_END_POWER_OFF, /* likewise */
	VCPU_END_FAILED,    /* KVM cannot go on: text says why */
};

/*
 * What all CPUs of a machine share; borrowed. ended: on the loop, from the CPU's thread, which then
 * ends.
 */
struct vcpu_env {
	const struct kvm *kvm;
	struct loop *loop;
	struct bus *pio, *mmio;
	void (*ended)(void *opaque, enum vcpu_end how, const char *text);
	void *opaque;
};

struct vcpu;

/*
 * Makes CPU index with the given CPUID list (copied by KVM). The caller's thread does everything
 * but run it.
 */
int vcpu_new(const struct vcpu_env *env, unsigned index, const struct kvm_cpuid2 *cpuid,
	     struct vcpu **ret_v, struct err *err);
/* The boot CPU's first instruction. */
int vcpu_set_entry(struct vcpu *v, const struct boot_entry *entry, struct err *err);
/* Starts its thread. Signals of the caller's thread must be blocked. */
int vcpu_start(struct vcpu *v, struct err *err);
/* Any thread, not blocking: makes it leave the guest and end. */
void vcpu_stop(struct vcpu *v);
/* Waits for its thread, then frees. Not while the caller is on the loop. NULL is fine. */
void vcpu_free(struct vcpu *v);

/* Any thread: a snapshot of the counters. */
void vcpu_exits(const struct vcpu *v, uint64_t ret_count[VCPU_NUM_EXITS]);

#endif
