/* SPDX-License-Identifier: Apache-2.0 */
/* tools/lvm/settings.c: what is written is read again, and what is wrong is said with its line. */
#include "tools/lvm/settings.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int setup(void **state)
{
	static struct settings s;

	settings_init(&s);
	*state = &s;
	return 0;
}

static int teardown(void **state)
{
	settings_done(*state);
	return 0;
}

static void a_round_trip_keeps_everything(void **state)
{
	struct settings *s = *state, again;
	char *text, *text2;

	assert_int_equal(settings_set(s, "cpus", "3", NULL), 0);
	assert_int_equal(settings_set(s, "memory", "1536M", NULL), 0);
	assert_int_equal(settings_set(s, "kernel", "tuned", NULL), 0);
	assert_int_equal(settings_set(s, "cmdline", "quiet a=\"b c\" # =x", NULL), 0);
	assert_int_equal(settings_set(s, "systemd", "yes", NULL), 0);
	assert_int_equal(settings_set(s, "boot_timeout", "300", NULL), 0);
	text = settings_format(s);
	settings_init(&again);
	assert_int_equal(settings_parse(&again, text, strlen(text), NULL), 0);
	assert_int_equal(again.cpus, 3);
	assert_true(again.memory == 1536ull << 20);
	assert_string_equal(again.kernel, "tuned");
	assert_string_equal(again.cmdline, "quiet a=\"b c\" # =x");
	assert_true(again.systemd);
	assert_int_equal(again.boot_timeout, 300);
	text2 = settings_format(&again);
	assert_string_equal(text, text2);
	settings_done(&again);
	free(text);
	free(text2);
}

static void wrong_values_change_nothing(void **state)
{
	static const char *const wrong[][2] = {
		{"cpus", "0"},         {"cpus", "33"},         {"cpus", "two"},
		{"cpus", "-1"},        {"memory", "1M"},       {"memory", "lots"},
		{"memory", "4.5G"},    {"systemd", "perhaps"}, {"cmdline", "a\nb"},
		{"boot_timeout", "0"}, {"user", "a\tb"},       {"user", "a lvm.debug=1"},
	};
	struct settings *s = *state;
	char *before = settings_format(s);

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct err err = {0};
		char *after;

		assert_true(settings_set(s, wrong[i][0], wrong[i][1], &err) < 0);
		assert_non_null(strstr(err.text, wrong[i][0]));
		after = settings_format(s);
		assert_string_equal(before, after);
		free(after);
	}
	free(before);
}

static void an_unknown_key_is_told_the_known_ones(void **state)
{
	struct err err = {0};

	assert_int_equal(settings_set(*state, "cpu", "1", &err), -ENOENT);
	assert_non_null(strstr(err.text, "cpus"));
	assert_non_null(strstr(err.text, "boot_timeout"));
}

static void a_bad_file_names_its_line_and_counts_for_nothing(void **state)
{
	static const char text[] = "# fine\ncpus = 2\n\nmemory: 4G\n";
	struct settings *s = *state;
	struct err err = {0};

	assert_int_equal(settings_parse(s, text, strlen(text), &err), -EINVAL);
	assert_non_null(strstr(err.text, "line 4"));
	assert_int_equal(s->cpus, 0);
}

static void an_empty_value_is_the_default(void **state)
{
	struct settings *s = *state;
	char *value;

	assert_int_equal(settings_set(s, "cpus", "2", NULL), 0);
	assert_int_equal(settings_set(s, "boot_timeout", "5", NULL), 0);
	assert_int_equal(settings_set(s, "cpus", "", NULL), 0);
	assert_int_equal(settings_set(s, "boot_timeout", "", NULL), 0);
	assert_int_equal(s->boot_timeout, 60);
	assert_int_equal(settings_get(s, "cpus", &value, NULL), 0);
	assert_true(atoi(value) >= 1);
	free(value);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_round_trip_keeps_everything),
		T(wrong_values_change_nothing),
		T(an_unknown_key_is_told_the_known_ones),
		T(a_bad_file_names_its_line_and_counts_for_nothing),
		T(an_empty_value_is_the_default),
	};

	return cmocka_run_group_tests_name("settings", tests, NULL, NULL);
}
