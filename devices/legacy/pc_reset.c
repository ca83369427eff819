/* SPDX-License-Identifier: Apache-2.0 */
/* Port 0x64 and port 0xcf9, as far as they reset a PC. */
/*
 * There is no keyboard controller: reads give what an empty port gives, so that no driver believes
 * in one. Only its pulse of the reset line is kept, for guests that do not use the ACPI reset
 * register.
 */
#include "devices/legacy/pc_reset.h"

#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/str.h"

#define KBC_PORT    0x64
#define KBC_RESET   0xfe
#define CF9_PORT    0xcf9
#define CF9_SYS_RST 0x02
#define CF9_CPU_RST 0x04

struct pc_reset {
	struct bus_range kbc, cf9;
	uint8_t cf9_value;
	void (*reset)(void *opaque);
	void *opaque;
};

static void kbc_read(struct bus_range *r, uint64_t off, void *data, unsigned len)
{
	memset(data, 0xff, len);
}

static void kbc_write(struct bus_range *r, uint64_t off, const void *data, unsigned len)
{
	struct pc_reset *p = container_of(r, struct pc_reset, kbc);

	if (*(const uint8_t *)data == KBC_RESET)
		p->reset(p->opaque);
}

static void cf9_read(struct bus_range *r, uint64_t off, void *data, unsigned len)
{
	*(uint8_t *)data = container_of(r, struct pc_reset, cf9)->cf9_value;
}

static void cf9_write(struct bus_range *r, uint64_t off, const void *data, unsigned len)
{
	struct pc_reset *p = container_of(r, struct pc_reset, cf9);
	uint8_t v = *(const uint8_t *)data;

	/* The reset happens when RST_CPU goes from 0 to 1; SYS_RST only says how hard. */
	if (v & CF9_CPU_RST && !(p->cf9_value & CF9_CPU_RST))
		p->reset(p->opaque);
	p->cf9_value = v & (CF9_SYS_RST | CF9_CPU_RST);
}

static const struct bus_ops kbc_ops = {.read = kbc_read, .write = kbc_write};
static const struct bus_ops cf9_ops = {.read = cf9_read, .write = cf9_write};

int pc_reset_new(struct bus *pio, void (*reset)(void *opaque), void *opaque,
		 struct pc_reset **ret_p, struct err *err)
{
	struct pc_reset *p = xcalloc(1, sizeof(*p));
	int r;

	p->reset = reset;
	p->opaque = opaque;
	p->kbc = (struct bus_range){.base = KBC_PORT, .len = 1, .ops = &kbc_ops};
	p->cf9 = (struct bus_range){.base = CF9_PORT, .len = 1, .ops = &cf9_ops};
	r = bus_add(pio, &p->kbc);
	if (r == 0)
		r = bus_add(pio, &p->cf9);
	if (r < 0) {
		pc_reset_free(p);
		return err_set(err, -r, "cannot place the reset ports");
	}
	*ret_p = p;
	return 0;
}

void pc_reset_free(struct pc_reset *p)
{
	if (!p)
		return;
	if (p->kbc.bus)
		bus_remove(&p->kbc);
	if (p->cf9.bus)
		bus_remove(&p->cf9);
	free(p);
}
