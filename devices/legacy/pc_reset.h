/* SPDX-License-Identifier: Apache-2.0 */
/* Resetting a PC without ACPI: keyboard controller command 0xfe, port 0xcf9 (Linux reboot=k, p). */
#ifndef LVM_DEVICES_LEGACY_PC_RESET_H
#define LVM_DEVICES_LEGACY_PC_RESET_H

#include "base/err.h"
#include "devices/bus.h"

struct pc_reset;

/* reset: on the loop. */
int pc_reset_new(struct bus *pio, void (*reset)(void *opaque), void *opaque,
		 struct pc_reset **ret_p, struct err *err);
void pc_reset_free(struct pc_reset *p);

#endif
