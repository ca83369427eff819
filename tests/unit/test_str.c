/* SPDX-License-Identifier: Apache-2.0 */
/* base/str.c: numbers that must be numbers. */
#include "base/str.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void numbers(void **state)
{
	uint64_t v = 77;

	assert_int_equal(str_to_u64("0", 0, 10, &v), 0);
	assert_int_equal(v, 0);
	assert_int_equal(str_to_u64("18446744073709551615", 0, UINT64_MAX, &v), 0);
	assert_true(v == UINT64_MAX);
	v = 77;
	assert_int_equal(str_to_u64("18446744073709551616", 0, UINT64_MAX, &v), -ERANGE);
	assert_int_equal(str_to_u64("11", 0, 10, &v), -ERANGE);
	assert_int_equal(str_to_u64("", 0, 10, &v), -EINVAL);
	assert_int_equal(str_to_u64("-1", 0, 10, &v), -EINVAL);
	assert_int_equal(str_to_u64(" 1", 0, 10, &v), -EINVAL);
	assert_int_equal(str_to_u64("1 ", 0, 10, &v), -EINVAL);
	assert_int_equal(str_to_u64("0x1", 0, 10, &v), -EINVAL);
	assert_int_equal(v, 77);
}

static void sizes(void **state)
{
	static const struct {
		const char *text;
		int r;
		uint64_t bytes;
	} cases[] = {
		{"512", 0, 512},	   {"1K", 0, 1024},
		{"3m", 0, 3ull << 20},	   {"4G", 0, 4ull << 30},
		{"1GiB", 0, 1ull << 30},   {"2MB", 0, 2ull << 20},
		{"1T", 0, 1ull << 40},	   {"G", -EINVAL, 0},
		{"1X", -EINVAL, 0},	   {"1GG", -EINVAL, 0},
		{"99999999T", -ERANGE, 0}, {"1.5G", -EINVAL, 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t v = 0;

		assert_int_equal(str_to_size(cases[i].text, &v), cases[i].r);
		assert_true(v == cases[i].bytes);
	}
}

static void booleans(void **state)
{
	bool b = false;

	assert_int_equal(str_to_bool("Yes", &b), 0);
	assert_true(b);
	assert_int_equal(str_to_bool("off", &b), 0);
	assert_false(b);
	assert_int_equal(str_to_bool("maybe", &b), -EINVAL);
}

static void vectors(void **state)
{
	struct strv sv = {0};

	strv_add(&sv, "a");
	strv_addf(&sv, "%s-%d", "b", 2);
	assert_int_equal(sv.num, 2);
	assert_string_equal(sv.v[1], "b-2");
	assert_null(sv.v[2]);
	strv_done(&sv);
	assert_int_equal(sv.num, 0);
}

static void affixes(void **state)
{
	assert_true(str_starts("path=x", "path="));
	assert_false(str_starts("pa", "path="));
	assert_true(str_ends("a.tar.gz", ".gz"));
	assert_false(str_ends("gz", ".gz"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers), cmocka_unit_test(sizes),   cmocka_unit_test(booleans),
		cmocka_unit_test(vectors), cmocka_unit_test(affixes),
	};

	return cmocka_run_group_tests_name("str", tests, NULL, NULL);
}
