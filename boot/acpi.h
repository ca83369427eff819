/* SPDX-License-Identifier: Apache-2.0 */
/* ACPI tables of a hardware-reduced x86 machine: RSDP to DSDT (ACPI 6.5 §5.2). */
#ifndef LVM_BOOT_ACPI_H
#define LVM_BOOT_ACPI_H

#include <stdint.h>

#include "base/err.h"
#include "devices/guest_mem.h"

struct acpi_machine {
	unsigned num_vcpus;
	const uint8_t *apic_id; /* num_vcpus of them */
	uint32_t lapic_base, ioapic_base;
	uint8_t ioapic_id;
	uint64_t ecam_base;               /* bus 0 only: 1 MiB */
	uint64_t mmio32_base, mmio32_len; /* PCI windows */
	uint64_t mmio64_base, mmio64_len;
	uint16_t sleep_port; /* FADT SLEEP_CONTROL_REG; SLEEP_STATUS_REG is sleep_port + 1 */
	uint16_t reset_port; /* FADT RESET_REG, value 1 */
	/* One byte, read by the generic event device's _EVT: bit 0 power button. Reading clears. */
	uint16_t event_port;
	uint8_t event_gsi;    /* edge-triggered, for the generic event device */
	uint16_t serial_port; /* 0: none; else a PNP0501 device with serial_gsi */
	uint8_t serial_gsi;
};

/* The value that the guest writes into SLP_TYP for S5. */
#define ACPI_SLP_TYP_S5 5

/*
 * Writes the tables into [gpa, gpa + len), and returns the RSDP's address. -ENOSPC when they do not
 * fit.
 */
int acpi_build(const struct acpi_machine *m, const struct guest_mem *mem, gpa_t gpa, uint64_t len,
	       gpa_t *ret_rsdp, struct err *err);

#endif
