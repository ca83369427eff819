/* SPDX-License-Identifier: Apache-2.0 */
/* The ports that end a machine: ACPI's, and the PC's of old. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/legacy/acpi_pm.h"
#include "devices/legacy/pc_reset.h"

#define SLEEP 0x600
#define RESET 0x602
#define EVENT 0x603
#define S5    5

static unsigned offs, resets;

static void power_off(void *opaque)
{
	offs++;
}

static void reset(void *opaque)
{
	resets++;
}

static uint8_t in(struct bus *bus, uint16_t port)
{
	uint8_t v = 0xee;

	assert_true(bus_read(bus, port, &v, 1));
	return v;
}

static void put(struct bus *bus, uint16_t port, uint8_t v)
{
	assert_true(bus_write(bus, port, &v, 1));
}

static struct acpi_pm *make(struct bus *bus, int event_fd)
{
	struct acpi_pm_wiring w = {
		.pio = bus,
		.sleep_port = SLEEP,
		.reset_port = RESET,
		.event_port = EVENT,
		.s5 = S5,
		.event_fd = event_fd,
		.power_off = power_off,
		.reset = reset,
	};
	struct acpi_pm *pm = NULL;

	offs = resets = 0;
	assert_int_equal(acpi_pm_new(&w, &pm, NULL), 0);
	return pm;
}

static void test_sleep(void **state)
{
	struct bus bus = {0};
	struct acpi_pm *pm = make(&bus, -1);

	put(&bus, SLEEP, S5 << 2);            /* type without enable */
	put(&bus, SLEEP, 0x20 | 1 << 2);      /* another state */
	put(&bus, SLEEP + 1, 0x20 | S5 << 2); /* the status register */
	put(&bus, RESET, 0x20 | S5 << 2);
	assert_int_equal(offs, 0);
	assert_int_equal(in(&bus, SLEEP), 1 << 2);
	assert_int_equal(in(&bus, SLEEP + 1), 0);
	put(&bus, SLEEP, 0x20 | S5 << 2);
	assert_int_equal(offs, 1);
	assert_int_equal(resets, 0);
	acpi_pm_free(pm);
	assert_int_equal(bus.num, 0);
}

static void test_reset(void **state)
{
	struct bus bus = {0};
	struct acpi_pm *pm = make(&bus, -1);

	put(&bus, RESET, 0);
	put(&bus, RESET, 0xff);
	assert_int_equal(resets, 0);
	put(&bus, RESET, ACPI_PM_RESET_VALUE);
	assert_int_equal(resets, 1);
	assert_int_equal(in(&bus, RESET), 0);
	acpi_pm_free(pm);
}

static void test_power_button(void **state)
{
	int fd = eventfd(0, EFD_NONBLOCK);
	struct bus bus = {0};
	struct acpi_pm *pm = make(&bus, fd);
	uint64_t n = 0;

	assert_int_equal(in(&bus, EVENT), 0);
	acpi_pm_press_power(pm);
	assert_int_equal(read(fd, &n, sizeof(n)), sizeof(n));
	assert_int_equal(n, 1);
	put(&bus, EVENT, 0xff); /* changes nothing */
	assert_int_equal(in(&bus, EVENT), ACPI_PM_EVENT_POWER_BUTTON);
	assert_int_equal(in(&bus, EVENT), 0);
	acpi_pm_free(pm);
	close(fd);
}

static void test_ports_taken(void **state)
{
	struct bus bus = {0};
	struct acpi_pm *pm = make(&bus, -1), *other = NULL;
	struct acpi_pm_wiring w = {
		.pio = &bus, .sleep_port = 0x700, .reset_port = 0x702, .event_port = EVENT};
	struct err err;

	assert_int_equal(acpi_pm_new(&w, &other, &err), -EBUSY);
	assert_null(other);
	assert_int_equal(bus.num, 3);
	acpi_pm_free(pm);
}

static void test_pc_reset(void **state)
{
	struct bus bus = {0};
	struct pc_reset *p = NULL;

	resets = 0;
	assert_int_equal(pc_reset_new(&bus, reset, NULL, &p, NULL), 0);
	/* Nobody is home in the keyboard controller. */
	assert_int_equal(in(&bus, 0x64), 0xff);
	put(&bus, 0x64, 0xad);
	assert_int_equal(resets, 0);
	put(&bus, 0x64, 0xfe);
	assert_int_equal(resets, 1);
	/* As Linux's BOOT_CF9_SAFE: say which reset, then do it. */
	put(&bus, 0xcf9, 0x02);
	assert_int_equal(resets, 1);
	assert_int_equal(in(&bus, 0xcf9), 0x02);
	put(&bus, 0xcf9, 0x06);
	assert_int_equal(resets, 2);
	pc_reset_free(p);
	assert_int_equal(bus.num, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sleep),        cmocka_unit_test(test_reset),
		cmocka_unit_test(test_power_button), cmocka_unit_test(test_ports_taken),
		cmocka_unit_test(test_pc_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
