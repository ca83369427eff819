/* SPDX-License-Identifier: Apache-2.0 */
/* What a device sits in, without a VM: RAM in a memfd, a loop, a PCI bus, a fake_hw. */
#ifndef LVM_TESTS_SUPPORT_FAKE_MACHINE_H
#define LVM_TESTS_SUPPORT_FAKE_MACHINE_H

#include <stdint.h>

#include "base/loop.h"
#include "devices/bus.h"
#include "devices/guest_mem.h"
#include "devices/pci/pci.h"
#include "devices/virtio/devices.h"
#include "tests/support/fake_hw.h"

#define FAKE_RAM_LOW_LEN  (16u << 20) /* from 0 */
#define FAKE_RAM_HIGH     0x100000000ull
#define FAKE_RAM_HIGH_LEN (4u << 20)
#define FAKE_ECAM         0xe0000000ull
#define FAKE_MMIO32       0xd0000000ull
#define FAKE_MMIO32_LEN   (16u << 20)
#define FAKE_MMIO64       0x200000000ull
#define FAKE_MMIO64_LEN   (1ull << 32)
#define FAKE_NOT_RAM      0xc0000000ull /* an address where nothing is */

struct fake_machine {
	struct loop *loop;
	struct guest_mem mem;
	uint8_t *ram; /* the memfd's mapping: low, then high */
	struct bus mmio;
	struct fake_hw hw;
	struct pci_root *root;
	struct virtio_env env; /* for X_new() */
	gpa_t next;            /* where fake_alloc() continues */
	uint32_t claimed;      /* PCI slots that a fake_driver has */
};

void fake_machine_init(struct fake_machine *m);
/* Every driver must have been freed. */
void fake_machine_done(struct fake_machine *m);

/* Zeroed guest RAM, aligned (a power of two); there is no free, but m->next may be set back. */
gpa_t fake_alloc(struct fake_machine *m, size_t len, size_t align);
/* The host's view of RAM; aborts when it is not RAM. */
void *fake_ptr(struct fake_machine *m, gpa_t gpa, size_t len);

/* Guest accesses to registers, as a vCPU makes them: a write that hits a doorbell rings it. */
uint64_t fake_mmio_read(struct fake_machine *m, gpa_t gpa, unsigned len);
void fake_mmio_write(struct fake_machine *m, gpa_t gpa, uint64_t v, unsigned len);
/* PCI configuration space of a slot on bus 0. */
uint32_t fake_pci_read(struct fake_machine *m, unsigned slot, unsigned off, unsigned len);
void fake_pci_write(struct fake_machine *m, unsigned slot, unsigned off, uint32_t v, unsigned len);

/* Runs the loop until done(arg), or ms milliseconds passed; whether it was done. */
bool fake_run_until(struct fake_machine *m, bool (*done)(void *arg), void *arg, int ms);
/* Runs the loop until it has nothing to do any more. */
void fake_run_idle(struct fake_machine *m);

#endif
