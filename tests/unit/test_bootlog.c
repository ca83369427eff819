/* SPDX-License-Identifier: Apache-2.0 */
/* guest/bootlog.c: priorities go, everything else stays. */
#include "guest/bootlog.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void expect(const char *in, const char *want)
{
	char text[256];
	size_t n = strlen(in);

	memcpy(text, in, n);
	assert_int_equal(bootlog_strip(text, n), strlen(want));
	assert_memory_equal(text, want, strlen(want));
}

static void priorities_go_and_text_stays(void **state)
{
	expect("<6>[    0.0] Linux version\n<14>[    1.2] lvm-guest: x\n",
	       "[    0.0] Linux version\n[    1.2] lvm-guest: x\n");
	expect("<6>a <b> c\n", "a <b> c\n");
	expect("no priority\n<4>cut", "no priority\ncut");
	expect("<not a priority>\n", "<not a priority>\n");
	expect("<6", "<6");
	expect("", "");
	expect("<6>", "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(priorities_go_and_text_stays)};

	return cmocka_run_group_tests_name("bootlog", tests, NULL, NULL);
}
