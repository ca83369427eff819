/* SPDX-License-Identifier: Apache-2.0 */
/* base/err.c: codes, sentences, and what happens when they are long. */
#include "base/err.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void set_appends_errno_text(void **state)
{
	struct err err = {0};

	assert_int_equal(err_set(&err, ENOENT, "open disk '%s'", "x"), -ENOENT);
	assert_int_equal(err.code, ENOENT);
	assert_string_equal(err.text, "open disk 'x': No such file or directory");
}

static void say_is_the_sentence_alone(void **state)
{
	struct err err = {0};

	assert_int_equal(err_say(&err, EINVAL, "'%s' is no kernel", "k"), -EINVAL);
	assert_string_equal(err.text, "'k' is no kernel");
}

static void wrap_puts_words_before(void **state)
{
	struct err err = {0};

	(void)err_set(&err, EIO, "read");
	assert_int_equal(err_wrap(&err, "start '%s'", "d"), -EIO);
	assert_string_equal(err.text, "start 'd': read: Input/output error");
}

static void wrapping_its_own_text_is_fine(void **state)
{
	struct err err = {0};

	(void)err_say(&err, EIO, "inner");
	(void)err_say(&err, EIO, "outer (%s)", err.text);
	assert_string_equal(err.text, "outer (inner)");
}

static void long_texts_are_cut_not_overrun(void **state)
{
	char huge[5000];
	struct err err = {0};

	memset(huge, 'a', sizeof(huge) - 1);
	huge[sizeof(huge) - 1] = '\0';
	(void)err_set(&err, ENOSPC, "%s", huge);
	assert_non_null(memchr(err.text, '\0', sizeof(err.text)));
	assert_non_null(strstr(err.text, "No space left on device"));
	(void)err_wrap(&err, "%s", huge);
	assert_non_null(memchr(err.text, '\0', sizeof(err.text)));
}

static void null_is_enough(void **state)
{
	assert_int_equal(err_set(NULL, EPERM, "x"), -EPERM);
	assert_int_equal(err_say(NULL, EPERM, "x"), -EPERM);
	assert_int_equal(err_wrap(NULL, "x"), -EIO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(set_appends_errno_text),
		cmocka_unit_test(say_is_the_sentence_alone),
		cmocka_unit_test(wrap_puts_words_before),
		cmocka_unit_test(wrapping_its_own_text_is_fine),
		cmocka_unit_test(long_texts_are_cut_not_overrun),
		cmocka_unit_test(null_is_enough),
	};

	return cmocka_run_group_tests_name("err", tests, NULL, NULL);
}
