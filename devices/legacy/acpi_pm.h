/* SPDX-License-Identifier: Apache-2.0 */
/* ACPI's ports: sleep, reset, the event device's latch (ACPI 6.5 §4.8.3.6, §4.8.3.7, §5.6.9). */
#ifndef LVM_DEVICES_LEGACY_ACPI_PM_H
#define LVM_DEVICES_LEGACY_ACPI_PM_H

#include <stdint.h>

#include "base/err.h"
#include "devices/bus.h"

#define ACPI_PM_EVENT_POWER_BUTTON 0x01 /* bit of the event port */
#define ACPI_PM_RESET_VALUE        1    /* what the FADT tells the guest to write */

struct acpi_pm;

struct acpi_pm_wiring {
	struct bus *pio;     /* borrowed */
	uint16_t sleep_port; /* SLEEP_CONTROL_REG; SLEEP_STATUS_REG is the next one */
	uint16_t reset_port;
	uint16_t event_port; /* one byte, read clears */
	uint8_t s5;          /* SLP_TYP of soft-off */
	int event_fd; /* interrupt of the event device, as of hw.line_new, borrowed; -1: none */
	void (*power_off)(void *opaque); /* on the loop */
	void (*reset)(void *opaque);
	void *opaque;
};

int acpi_pm_new(const struct acpi_pm_wiring *w, struct acpi_pm **ret_pm, struct err *err);
void acpi_pm_free(struct acpi_pm *pm);

/* On the loop: presses the power button once. */
void acpi_pm_press_power(struct acpi_pm *pm);

#endif
