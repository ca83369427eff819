/* SPDX-License-Identifier: Apache-2.0 */
/* boot/x86/paging.c: the tables are walked as the CPU does (Intel SDM vol. 3 §4.5). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/endian.h"
#include "boot/x86/paging.h"

static uint8_t ram[0x10000];
static const struct guest_mem mem = {.region = {{.gpa = 0, .len = sizeof(ram), .hva = ram}},
				     .num = 1};

/* The physical address that va maps to, or UINT64_MAX. */
static uint64_t walk(uint64_t cr3, uint64_t va)
{
	uint64_t table = cr3;

	for (int shift = 39; shift >= 21; shift -= 9) {
		uint64_t e = get_le64(ram + table + 8 * (va >> shift & 511));

		if ((e & 3) != 3)
			return UINT64_MAX;
		if (shift == 21)
			return e & 0x80 ? (e & ~0x1fffffull) | (va & 0x1fffff) : UINT64_MAX;
		assert_false(e & 0x80);
		table = e & ~0xfffull;
	}
	return UINT64_MAX;
}

static void first_4g_are_identical(void **state)
{
	memset(ram, 0xee, sizeof(ram));
	assert_true(paging_write(&mem, 0x3000));
	for (uint64_t va = 0; va < 4ull << 30; va += 0x1ff000)
		assert_int_equal(walk(0x3000, va), va);
	assert_int_equal(walk(0x3000, UINT32_MAX), UINT32_MAX);
	assert_int_equal(walk(0x3000, 4ull << 30), UINT64_MAX);
	assert_int_equal(walk(0x3000, 1ull << 39), UINT64_MAX);
	/* Nothing beside the tables is touched. */
	assert_int_equal(ram[0x2fff], 0xee);
	assert_int_equal(ram[0x3000 + PAGING_LEN], 0xee);
	assert_false(paging_write(&mem, 0xb000));
}

static void segments_are_flat(void **state)
{
	uint64_t code, data;

	memset(ram, 0xee, sizeof(ram));
	assert_true(paging_write_gdt(&mem, 0x1000));
	assert_int_equal(get_le64(ram + 0x1000), 0);
	code = get_le64(ram + 0x1010);
	data = get_le64(ram + 0x1018);
	assert_int_equal(code >> 40 & 0xff, 0x9b); /* present, ring 0, code, readable, accessed */
	assert_int_equal(code >> 52 & 0xf, 0xa);   /* L and G, not D */
	assert_int_equal(data >> 40 & 0xff, 0x93); /* present, ring 0, data, writable, accessed */
	assert_int_equal(data >> 52 & 0xf, 0xc);
	assert_int_equal(code & 0xffff, 0xffff);
	assert_int_equal(ram[0x1000 + PAGING_GDT_LEN], 0xee);
	assert_false(paging_write_gdt(&mem, sizeof(ram) - 8));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_4g_are_identical),
		cmocka_unit_test(segments_are_flat),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
