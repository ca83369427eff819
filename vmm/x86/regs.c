/* SPDX-License-Identifier: Apache-2.0 */
/* Setting a virtual CPU's registers. */
#include "vmm/x86/regs.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#define CR0_ENTRY               0x80050033u /* PE MP ET NE WP AM PG */
#define CR4_PAE                 0x20u
#define EFER_ENTRY              0x500u /* LME LMA */
#define RFLAGS_ONE              0x2u   /* the bit that is always one */

#define BOOT_CS                 0x10
#define BOOT_DS                 0x18

#define MSR_IA32_MISC_ENABLE    0x1a0
#define MISC_ENABLE_FAST_STRING 1
#define MSR_MTRR_DEF_TYPE       0x2ff
#define MTRR_ENABLED_WB         0x806 /* on, write-back where no range says otherwise */

#define APIC_LVT0               0x350
#define APIC_LVT1               0x360
#define APIC_MODE_NMI           0x400
#define APIC_MODE_EXTINT        0x700

static int set_segments(int vcpu_fd, const struct boot_entry *entry, struct err *err)
{
	const struct kvm_segment code = {.selector = BOOT_CS,
					 .limit = 0xffffffff,
					 .type = 0xb,
					 .present = 1,
					 .s = 1,
					 .l = 1,
					 .g = 1};
	const struct kvm_segment data = {.selector = BOOT_DS,
					 .limit = 0xffffffff,
					 .type = 0x3,
					 .present = 1,
					 .s = 1,
					 .db = 1,
					 .g = 1};
	struct kvm_sregs s;

	if (ioctl(vcpu_fd, KVM_GET_SREGS, &s) < 0)
		return err_set(err, errno, "cannot read a virtual CPU's registers");
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	/* A 64-bit TSS, busy: hardware refuses to enter a guest in 64-bit mode without one. */
	s.tr = (struct kvm_segment){.limit = 0x67, .type = 0xb, .present = 1};
	s.ldt = (struct kvm_segment){.unusable = 1};
	s.gdt = (struct kvm_dtable){.base = entry->gdt, .limit = (uint16_t)(entry->gdt_len - 1)};
	s.idt = (struct kvm_dtable){0};
	s.cr3 = entry->cr3;
	s.cr4 = CR4_PAE;
	s.cr0 = CR0_ENTRY;
	s.efer = EFER_ENTRY;
	if (ioctl(vcpu_fd, KVM_SET_SREGS, &s) < 0)
		return err_set(err, errno, "cannot set a virtual CPU's registers");
	return 0;
}

int regs_set_entry(int vcpu_fd, const struct boot_entry *entry, struct err *err)
{
	struct kvm_regs regs = {
		.rip = entry->rip,
		.rsi = entry->rsi,
		.rsp = entry->rsp,
		.rflags = RFLAGS_ONE,
	};
	int r = set_segments(vcpu_fd, entry, err);

	if (r < 0)
		return r;
	if (ioctl(vcpu_fd, KVM_SET_REGS, &regs) < 0)
		return err_set(err, errno, "cannot set a virtual CPU's entry point");
	return 0;
}

static int set_msr(int vcpu_fd, uint32_t index, uint64_t data, struct err *err)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} msr = {.head.nmsrs = 1, .entry = {.index = index, .data = data}};
	int n = ioctl(vcpu_fd, KVM_SET_MSRS, &msr);

	if (n == 1)
		return 0;
	return err_set(err, n < 0 ? errno : EINVAL, "cannot set a virtual CPU's MSR 0x%x", index);
}

/*
 * The older controller's interrupts and NMIs come through the local APIC ("virtual wire", MP 1.4
 * §3.6.2.2).
 */
static int set_lapic(int vcpu_fd, struct err *err)
{
	const uint32_t lvt0 = APIC_MODE_EXTINT, lvt1 = APIC_MODE_NMI;
	struct kvm_lapic_state l;

	if (ioctl(vcpu_fd, KVM_GET_LAPIC, &l) < 0)
		return err_set(err, errno, "cannot read a virtual CPU's APIC");
	memcpy(l.regs + APIC_LVT0, &lvt0, sizeof(lvt0));
	memcpy(l.regs + APIC_LVT1, &lvt1, sizeof(lvt1));
	if (ioctl(vcpu_fd, KVM_SET_LAPIC, &l) < 0)
		return err_set(err, errno, "cannot set a virtual CPU's APIC");
	return 0;
}

int regs_set_common(int vcpu_fd, struct err *err)
{
	struct kvm_fpu fpu = {.fcw = 0x37f, .mxcsr = 0x1f80};
	int r;

	if (ioctl(vcpu_fd, KVM_SET_FPU, &fpu) < 0)
		return err_set(err, errno, "cannot set a virtual CPU's FPU");
	r = set_msr(vcpu_fd, MSR_IA32_MISC_ENABLE, MISC_ENABLE_FAST_STRING, err);
	if (r == 0)
		r = set_msr(vcpu_fd, MSR_MTRR_DEF_TYPE, MTRR_ENABLED_WB, err);
	if (r == 0)
		r = set_lapic(vcpu_fd, err);
	return r;
}
