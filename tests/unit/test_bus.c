/* SPDX-License-Identifier: Apache-2.0 */
/* Register address spaces: who answers, and what happens where nobody does. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "devices/bus.h"

static struct bus_range *last;
static uint64_t last_off;
static unsigned last_len;

static void rd(struct bus_range *r, uint64_t off, void *data, unsigned len)
{
	last = r;
	last_off = off;
	last_len = len;
	memset(data, 0x5a, len);
}

static void wr(struct bus_range *r, uint64_t off, const void *data, unsigned len)
{
	last = r;
	last_off = off;
	last_len = len;
}

static const struct bus_ops ops = {.read = rd, .write = wr};

static struct bus_range range(uint64_t base, uint64_t len)
{
	return (struct bus_range){.base = base, .len = len, .ops = &ops};
}

static void test_dispatch(void **state)
{
	struct bus bus = {0};
	struct bus_range a = range(0x1000, 0x100), b = range(0x1100, 8), c = range(0x10, 4);
	uint64_t v = 0;

	assert_int_equal(bus_add(&bus, &a), 0);
	assert_int_equal(bus_add(&bus, &b), 0);
	assert_int_equal(bus_add(&bus, &c), 0);
	assert_true(bus_read(&bus, 0x10ff, &v, 1));
	assert_ptr_equal(last, &a);
	assert_int_equal(last_off, 0xff);
	assert_true(bus_write(&bus, 0x1100, &v, 8));
	assert_ptr_equal(last, &b);
	assert_int_equal(last_len, 8);
	assert_true(bus_read(&bus, 0x12, &v, 2));
	assert_ptr_equal(last, &c);
	bus_remove(&a);
	assert_false(bus_read(&bus, 0x1000, &v, 1));
	assert_true(bus_read(&bus, 0x1107, &v, 1));
	assert_ptr_equal(last, &b);
	bus_remove(&a);
	assert_int_equal(bus.num, 2);
}

static void test_nobody(void **state)
{
	struct bus bus = {0};
	struct bus_range a = range(0x1000, 0x100);
	uint8_t v[8] = {0};

	assert_int_equal(bus_add(&bus, &a), 0);
	last = NULL;
	assert_false(bus_read(&bus, 0xfff, v, 2)); /* begins outside */
	assert_int_equal(v[0], 0xff);
	assert_int_equal(v[1], 0xff);
	assert_int_equal(v[2], 0);
	assert_false(bus_read(&bus, 0x10fd, v, 4)); /* ends outside */
	assert_false(bus_read(&bus, 0x1000, v, 3)); /* no width */
	assert_false(bus_write(&bus, 0x1100, v, 1));
	assert_false(bus_write(&bus, UINT64_MAX, v, 8));
	assert_null(last);
}

static void test_refused(void **state)
{
	struct bus bus = {0};
	struct bus_range a = range(0x1000, 0x100), over = range(0x10ff, 2),
			 under = range(0xf00, 0x101), around = range(0, 0x10000),
			 empty = range(5, 0), wrap = range(UINT64_MAX, 2),
			 top = range(UINT64_MAX, 1);

	assert_int_equal(bus_add(&bus, &a), 0);
	assert_int_equal(bus_add(&bus, &over), -EBUSY);
	assert_int_equal(bus_add(&bus, &under), -EBUSY);
	assert_int_equal(bus_add(&bus, &around), -EBUSY);
	assert_int_equal(bus_add(&bus, &empty), -EINVAL);
	assert_int_equal(bus_add(&bus, &wrap), -EINVAL);
	assert_int_equal(bus_add(&bus, &top), 0);
	assert_int_equal(bus.num, 2);
	assert_null(over.bus);
}

static void test_full(void **state)
{
	static struct bus bus;
	static struct bus_range r[BUS_MAX_RANGES + 1];
	uint8_t v;

	/* Added from the last to the first, so that every insertion moves all others. */
	for (int i = BUS_MAX_RANGES; i >= 0; i--) {
		r[i] = range(16 * i, 16);
		assert_int_equal(bus_add(&bus, &r[i]), i ? 0 : -ENOSPC);
	}
	for (int i = 1; i <= BUS_MAX_RANGES; i++) {
		assert_true(bus_read(&bus, 16 * i + 15, &v, 1));
		assert_ptr_equal(last, &r[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dispatch),
		cmocka_unit_test(test_nobody),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
