/* SPDX-License-Identifier: Apache-2.0 */
/* struct hw over KVM: interrupt controllers, MSI routes, doorbells, shadows of registers. */
#ifndef LVM_VMM_IRQ_H
#define LVM_VMM_IRQ_H

#include <stdint.h>

#include "base/err.h"
#include "devices/hw.h"
#include "vmm/kvm.h"

struct irq;

struct irq_stats {
	uint64_t doorbells, msis; /* in use */
	/* KVM_SET_GSI_ROUTING calls so far: each waits for all interrupts in delivery. */
	uint64_t route_commits;
};

/* Before the first vCPU: makes PIC, I/O APIC, local APICs and PIT inside KVM. k is borrowed. */
int irq_new(const struct kvm *k, struct irq **ret_irq, struct err *err);
/* Closes every interrupt descriptor; devices must be gone. */
void irq_free(struct irq *irq);

struct hw *irq_hw(struct irq *irq);
void irq_stats(const struct irq *irq, struct irq_stats *ret_st);

#endif
