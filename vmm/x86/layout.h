/* SPDX-License-Identifier: Apache-2.0 */
/* The PC that we build: its address map, ports and interrupt lines. */
#ifndef LVM_VMM_X86_LAYOUT_H
#define LVM_VMM_X86_LAYOUT_H

#include <stdint.h>

/*
 *	0		RAM, up to LAYOUT_HOLE
 *	0xc000_0000	PCI memory below 4 GiB
 *	0xe800_0000	PCI configuration, bus 0
 *	0xfec0_0000	I/O APIC
 *	0xfee0_0000	local APICs
 *	0xfffb_c000	pages KVM needs on Intel processors
 *	4 GiB		the rest of RAM, then PCI memory above it
 */
#define LAYOUT_HOLE        UINT64_C(0xc0000000)
#define LAYOUT_HOLE_END    (UINT64_C(1) << 32)
#define LAYOUT_MMIO32_BASE LAYOUT_HOLE
#define LAYOUT_MMIO32_LEN  UINT64_C(0x20000000)
#define LAYOUT_ECAM_BASE   UINT64_C(0xe8000000)
#define LAYOUT_ECAM_LEN    UINT64_C(0x100000)
#define LAYOUT_IOAPIC_BASE 0xfec00000u
#define LAYOUT_LAPIC_BASE  0xfee00000u
#define LAYOUT_IDENTITY    UINT64_C(0xfffbc000)
#define LAYOUT_TSS         UINT64_C(0xfffbd000)

/* The 64-bit window begins at a multiple of its alignment after RAM and after 4 GiB. */
#define LAYOUT_MMIO64_ALIGN (UINT64_C(1) << 30)
#define LAYOUT_MMIO64_LEN   (UINT64_C(16) << 30)

#define LAYOUT_SERIAL_PORT  0x3f8
#define LAYOUT_SERIAL_GSI   4
#define LAYOUT_SLEEP_PORT   0x600
#define LAYOUT_RESET_PORT   0x602
#define LAYOUT_EVENT_PORT   0x603
#define LAYOUT_EVENT_GSI    5

#define LAYOUT_IOAPIC_PINS  24
#define LAYOUT_PIC_PINS     8 /* each of two */

#endif
