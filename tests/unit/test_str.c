/* SPDX-License-Identifier: Apache-2.0 */
/* base/str.c: numbers that must be numbers. */
#include "base/str.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

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
		{"512", 0, 512},       {"1K", 0, 1024},           {"3m", 0, 3ull << 20},
		{"4G", 0, 4ull << 30}, {"1GiB", 0, 1ull << 30},   {"2MB", 0, 2ull << 20},
		{"1T", 0, 1ull << 40}, {"G", -EINVAL, 0},         {"1X", -EINVAL, 0},
		{"1GG", -EINVAL, 0},   {"99999999T", -ERANGE, 0}, {"1.5G", -EINVAL, 0},
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

static void check_harmless(const char *in, const char *keep, const char *want)
{
	char buf[64];

	strcpy(buf, in);
	str_harmless(buf, strlen(in), keep);
	assert_string_equal(buf, want);
}

/* What a terminal would obey is gone, whichever way it is spelled; what people write is not. */
static void harmless_text(void **state)
{
	char cut[] = "x\xc3\xa4";

	check_harmless("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\xa7", "",
		       "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\xa7");
	check_harmless("a\033]0;t\007b\177\r\n\t", "", "a?]0;t?b????");
	check_harmless("a\n\tb\r", "\n\t", "a\n\tb?");
	check_harmless("\xc2\x9b"
		       "31m",
		       "", "??31m");
	check_harmless("\x9b"
		       "31m \xc3(",
		       "", "?31m ?(");
	/* Overlong, a surrogate, past the last character. */
	check_harmless("\xc0\x9b \xe0\x82\x9b \xed\xa0\x80 \xf5\x80\x80\x80", "",
		       "?? ??? ??? ????");
	str_harmless(cut, 2, "");
	assert_memory_equal(cut, "x?\xa4", 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(harmless_text), cmocka_unit_test(numbers),
		cmocka_unit_test(sizes),         cmocka_unit_test(booleans),
		cmocka_unit_test(vectors),       cmocka_unit_test(affixes),
	};

	return cmocka_run_group_tests_name("str", tests, NULL, NULL);
}
