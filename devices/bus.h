/* SPDX-License-Identifier: Apache-2.0 */
/* An address space of registers (port I/O or memory-mapped): who answers which range. */
#ifndef LVM_DEVICES_BUS_H
#define LVM_DEVICES_BUS_H

#include <stdbool.h>
#include <stdint.h>

struct bus_range;

/*
 * len is 1, 2, 4 or 8 and off + len lies within the range: the bus has checked. data is
 * little-endian. On the loop.
 */
struct bus_ops {
	void (*read)(struct bus_range *r, uint64_t off, void *data, unsigned len);
	void (*write)(struct bus_range *r, uint64_t off, const void *data, unsigned len);
};

/* Embedded by its device, which sets the first three. */
struct bus_range {
	uint64_t base, len;
	const struct bus_ops *ops;
	struct bus *bus; /* set by bus_add(), NULL when not on one */
};

#define BUS_MAX_RANGES 128

/* Sorted by base; not overlapping. Zero-initialised is empty. */
struct bus {
	struct bus_range *range[BUS_MAX_RANGES];
	unsigned num;
};

/*
 * -EBUSY when it overlaps another range, -EINVAL when empty or wrapping, -ENOSPC when the bus is
 * full.
 */
int bus_add(struct bus *bus, struct bus_range *r);
void bus_remove(struct bus_range *r);

/*
 * Reads of what nobody answers (or a width no bus has) give all ones, writes go nowhere; false
 * then.
 */
bool bus_read(struct bus *bus, uint64_t addr, void *data, unsigned len);
bool bus_write(struct bus *bus, uint64_t addr, const void *data, unsigned len);

#endif
