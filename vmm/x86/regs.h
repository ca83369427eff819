/* SPDX-License-Identifier: Apache-2.0 */
/* Registers at the first instruction (Linux x86/boot.rst "64-bit Boot Protocol"). */
#ifndef LVM_VMM_X86_REGS_H
#define LVM_VMM_X86_REGS_H

#include "base/err.h"
#include "boot/boot.h"

/*
 * The boot CPU: 64-bit mode, paging on, flat segments, interrupts off. Others wait for the guest's
 * INIT and SIPI.
 */
int regs_set_entry(int vcpu_fd, const struct boot_entry *entry, struct err *err);

/* What firmware would have left in MSRs, FPU and local APIC, on every CPU. */
int regs_set_common(int vcpu_fd, struct err *err);

#endif
