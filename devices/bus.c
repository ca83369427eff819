/* SPDX-License-Identifier: Apache-2.0 */
/* An address space of registers: finds who answers an address. */
#include "devices/bus.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

/* The index of the first range that ends after addr: the only one that can contain it. */
static unsigned bus_find(const struct bus *bus, uint64_t addr)
{
	unsigned lo = 0, hi = bus->num;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;
		const struct bus_range *r = bus->range[mid];

		if (r->base + (r->len - 1) < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int bus_add(struct bus *bus, struct bus_range *r)
{
	unsigned i;

	assert(!r->bus);
	if (r->len == 0 || r->base + (r->len - 1) < r->base)
		return -EINVAL;
	i = bus_find(bus, r->base);
	if (i < bus->num && bus->range[i]->base <= r->base + (r->len - 1))
		return -EBUSY;
	if (bus->num == BUS_MAX_RANGES)
		return -ENOSPC;
	memmove(&bus->range[i + 1], &bus->range[i], (bus->num - i) * sizeof(bus->range[0]));
	bus->range[i] = r;
	bus->num++;
	r->bus = bus;
	return 0;
}

void bus_remove(struct bus_range *r)
{
	struct bus *bus = r->bus;
	unsigned i;

	if (!bus)
		return;
	i = bus_find(bus, r->base);
	assert(i < bus->num && bus->range[i] == r);
	bus->num--;
	memmove(&bus->range[i], &bus->range[i + 1], (bus->num - i) * sizeof(bus->range[0]));
	r->bus = NULL;
}

/* Who answers all of [addr, addr + len), or NULL. */
static struct bus_range *bus_answers(const struct bus *bus, uint64_t addr, unsigned len)
{
	struct bus_range *r;
	unsigned i;

	if (len != 1 && len != 2 && len != 4 && len != 8)
		return NULL;
	i = bus_find(bus, addr);
	if (i == bus->num)
		return NULL;
	r = bus->range[i];
	if (addr < r->base || len > r->len - (addr - r->base))
		return NULL;
	return r;
}

bool bus_read(struct bus *bus, uint64_t addr, void *data, unsigned len)
{
	struct bus_range *r = bus_answers(bus, addr, len);

	if (r)
		r->ops->read(r, addr - r->base, data, len);
	else
		memset(data, 0xff, len);
	return r;
}

bool bus_write(struct bus *bus, uint64_t addr, const void *data, unsigned len)
{
	struct bus_range *r = bus_answers(bus, addr, len);

	if (r)
		r->ops->write(r, addr - r->base, data, len);
	return r;
}
