/* SPDX-License-Identifier: Apache-2.0 */
/* Sleep, reset and event ports (ACPI 6.5 §4.8.3.6, §4.8.3.7, §5.6.9). */
#include "devices/legacy/acpi_pm.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/list.h"
#include "base/str.h"

/* SLEEP_CONTROL_REG: SLP_EN is bit 5, SLP_TYP bits 2 to 4. SLEEP_STATUS_REG: WAK_STS is bit 7. */
#define SLP_EN        0x20
#define SLP_TYP(v)    ((v) >> 2 & 7)
#define SLP_CTRL_KEPT 0x1c

struct acpi_pm {
	struct bus_range sleep, reset, event;
	struct acpi_pm_wiring wiring;
	uint8_t sleep_control;
	uint8_t events;
};

static void sleep_read(struct bus_range *r, uint64_t off, void *data, unsigned len)
{
	struct acpi_pm *pm = container_of(r, struct acpi_pm, sleep);

	memset(data, 0, len);
	if (off == 0)
		*(uint8_t *)data = pm->sleep_control;
}

static void sleep_write(struct bus_range *r, uint64_t off, const void *data, unsigned len)
{
	struct acpi_pm *pm = container_of(r, struct acpi_pm, sleep);
	uint8_t v = *(const uint8_t *)data;

	/* WAK_STS is write-one-to-clear and never set: there is nothing to wake from. */
	if (off != 0)
		return;
	pm->sleep_control = v & SLP_CTRL_KEPT;
	if (v & SLP_EN && SLP_TYP(v) == pm->wiring.s5)
		pm->wiring.power_off(pm->wiring.opaque);
}

static void reset_read(struct bus_range *r, uint64_t off, void *data, unsigned len)
{
	memset(data, 0, len);
}

static void reset_write(struct bus_range *r, uint64_t off, const void *data, unsigned len)
{
	struct acpi_pm *pm = container_of(r, struct acpi_pm, reset);

	if (*(const uint8_t *)data == ACPI_PM_RESET_VALUE)
		pm->wiring.reset(pm->wiring.opaque);
}

static void event_read(struct bus_range *r, uint64_t off, void *data, unsigned len)
{
	struct acpi_pm *pm = container_of(r, struct acpi_pm, event);

	*(uint8_t *)data = pm->events;
	pm->events = 0;
}

static void event_write(struct bus_range *r, uint64_t off, const void *data, unsigned len)
{
}

static const struct bus_ops sleep_ops = {.read = sleep_read, .write = sleep_write};
static const struct bus_ops reset_ops = {.read = reset_read, .write = reset_write};
static const struct bus_ops event_ops = {.read = event_read, .write = event_write};

void acpi_pm_press_power(struct acpi_pm *pm)
{
	uint64_t one = 1;

	pm->events |= ACPI_PM_EVENT_POWER_BUTTON;
	if (pm->wiring.event_fd >= 0)
		(void)!write(pm->wiring.event_fd, &one, sizeof(one));
}

int acpi_pm_new(const struct acpi_pm_wiring *w, struct acpi_pm **ret_pm, struct err *err)
{
	struct acpi_pm *pm = xcalloc(1, sizeof(*pm));
	int r;

	pm->wiring = *w;
	pm->sleep = (struct bus_range){.base = w->sleep_port, .len = 2, .ops = &sleep_ops};
	pm->reset = (struct bus_range){.base = w->reset_port, .len = 1, .ops = &reset_ops};
	pm->event = (struct bus_range){.base = w->event_port, .len = 1, .ops = &event_ops};
	r = bus_add(w->pio, &pm->sleep);
	if (r == 0)
		r = bus_add(w->pio, &pm->reset);
	if (r == 0)
		r = bus_add(w->pio, &pm->event);
	if (r < 0) {
		acpi_pm_free(pm);
		return err_set(err, -r, "cannot place the ACPI ports");
	}
	*ret_pm = pm;
	return 0;
}

static void range_off(struct bus_range *r)
{
	if (r->bus)
		bus_remove(r);
}

void acpi_pm_free(struct acpi_pm *pm)
{
	if (!pm)
		return;
	range_off(&pm->sleep);
	range_off(&pm->reset);
	range_off(&pm->event);
	free(pm);
}
