/* SPDX-License-Identifier: Apache-2.0 */
/* guest/options.c: the kernel's command line, its quotes, and what is ours in it. */
#include "guest/options.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void the_empty_line_has_defaults(void **state)
{
	struct guest_options o;

	assert_int_equal(guest_options_parse("\n", &o, NULL), 0);
	assert_string_equal(o.root, "/dev/vda");
	assert_string_equal(o.rootfstype, "ext4");
	assert_string_equal(o.user, "root");
	assert_string_equal(o.hostname, "");
	assert_false(o.systemd || o.installer);
}

static void every_option_is_taken(void **state)
{
	struct guest_options o;

	assert_int_equal(
		guest_options_parse("quiet console=hvc0 lvm.root=/dev/vdb lvm.rootfstype=ext3 "
				    "lvm.rootflags=a,b=c "
				    "lvm.hostname=h lvm.user=joe lvm.systemd=1 lvm.installer=no "
				    "lvm.debug -- x=1\n",
				    &o, NULL),
		0);
	assert_string_equal(o.root, "/dev/vdb");
	assert_string_equal(o.rootfstype, "ext3");
	assert_string_equal(o.rootflags, "a,b=c");
	assert_string_equal(o.hostname, "h");
	assert_string_equal(o.user, "joe");
	assert_true(o.systemd && o.debug && !o.installer);
}

static void quotes_keep_spaces(void **state)
{
	struct guest_options o;

	assert_int_equal(
		guest_options_parse(
			"\"\" foo=\"x lvm.systemd=1 y\" lvm.rootflags=\"a b\" \"lvm.user=j k\"", &o,
			NULL),
		0);
	assert_string_equal(o.rootflags, "a b");
	assert_string_equal(o.user, "j k");
	assert_false(o.systemd);
}

static void mistakes_are_named(void **state)
{
	char line[2048] = "lvm.user=";
	struct guest_options o;
	struct err err;

	assert_int_equal(guest_options_parse("lvm.rott=/dev/vda", &o, &err), -EINVAL);
	assert_non_null(strstr(err.text, "lvm.rott"));
	assert_int_equal(guest_options_parse("lvm.systemd=perhaps", &o, &err), -EINVAL);
	assert_non_null(strstr(err.text, "perhaps"));
	memset(line + 9, 'x', 300);
	assert_int_equal(guest_options_parse(line, &o, &err), -EINVAL);
	assert_non_null(strstr(err.text, "lvm.user"));
	/* A word of any length that is not ours is nobody's business. */
	memset(line, 'x', sizeof(line) - 1);
	assert_int_equal(guest_options_parse(line, &o, &err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_empty_line_has_defaults),
		cmocka_unit_test(every_option_is_taken),
		cmocka_unit_test(quotes_keep_spaces),
		cmocka_unit_test(mistakes_are_named),
	};

	return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
