/* SPDX-License-Identifier: Apache-2.0 */
/* A 16550A serial port that only sends: the guest's first words (PC16550D data sheet). */
#ifndef LVM_DEVICES_LEGACY_SERIAL_H
#define LVM_DEVICES_LEGACY_SERIAL_H

#include <stdint.h>

#include "base/err.h"
#include "devices/bus.h"

#define SERIAL_LEN 8 /* ports */

struct serial;

/*
 * What the port is wired to. out: on the loop, one byte the guest sent. irq_fd: as of hw.line_new,
 * borrowed, or -1.
 */
struct serial_wiring {
	struct bus *pio; /* borrowed */
	uint16_t port;
	int irq_fd;
	void (*out)(void *opaque, uint8_t byte);
	void *opaque;
};

int serial_new(const struct serial_wiring *w, struct serial **ret_s, struct err *err);
void serial_free(struct serial *s);

#endif
