/* SPDX-License-Identifier: Apache-2.0 */
/* Guest addresses to pointers: only whole ranges inside of one region. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "devices/guest_mem.h"

static uint8_t low[8192], high[4096];

static const struct guest_mem mem = {
	.region = {{0, sizeof(low), low}, {0x100000000, sizeof(high), high}},
	.num = 2,
};

static void test_inside(void **state)
{
	assert_ptr_equal(guest_mem_ptr(&mem, 0, 1), low);
	assert_ptr_equal(guest_mem_ptr(&mem, 0, sizeof(low)), low);
	assert_ptr_equal(guest_mem_ptr(&mem, 8191, 1), low + 8191);
	assert_ptr_equal(guest_mem_ptr(&mem, 0x100000fff, 1), high + 4095);
}

static void test_outside(void **state)
{
	assert_null(guest_mem_ptr(&mem, 0, 0));
	assert_null(guest_mem_ptr(&mem, 0, sizeof(low) + 1));
	assert_null(guest_mem_ptr(&mem, 8191, 2));
	assert_null(guest_mem_ptr(&mem, 8192, 1));
	assert_null(guest_mem_ptr(&mem, 0xffffffff, 2)); /* up to the second region from outside */
	assert_null(guest_mem_ptr(&mem, 0x100001000, 1));
	assert_null(guest_mem_ptr(&mem, 4096, 0x100000000)); /* across the hole */
}

static void test_wrap(void **state)
{
	assert_null(guest_mem_ptr(&mem, UINT64_MAX, 1));
	assert_null(guest_mem_ptr(&mem, UINT64_MAX, 2));
	assert_null(guest_mem_ptr(&mem, 16, UINT64_MAX));
	assert_null(guest_mem_ptr(&mem, 16, UINT64_MAX - 15));
	assert_null(guest_mem_ptr(&mem, 0x100000000, UINT64_MAX));
}

static void test_copies(void **state)
{
	uint8_t buf[4] = {1, 2, 3, 4};

	assert_true(guest_mem_write(&mem, 0x100000ffc, buf, 4));
	assert_memory_equal(high + 4092, buf, 4);
	memset(buf, 9, sizeof(buf));
	assert_true(guest_mem_read(&mem, 0x100000ffc, buf, 4));
	assert_int_equal(buf[3], 4);
	assert_false(guest_mem_read(&mem, 0x100000ffd, buf, 4));
	assert_int_equal(buf[0], 1);
	assert_false(guest_mem_write(&mem, 0x100000ffd, "zzzz", 4));
	assert_int_equal(high[4095], 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inside),
		cmocka_unit_test(test_outside),
		cmocka_unit_test(test_wrap),
		cmocka_unit_test(test_copies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
