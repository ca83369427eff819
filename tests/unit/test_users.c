/* SPDX-License-Identifier: Apache-2.0 */
/* guest/users.c: passwd and group files as distributions have them, and as they should not be. */
#include "guest/users.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"

static const char passwd[] = "# comment:x:1:1::/:/bin/sh\n"
			     "\n"
			     "short:x:1\n"
			     "neg:x:-1:0::/:/bin/sh\n"
			     "huge:x:4294967295:0::/:/bin/sh\n"
			     "wide:x:99999999999999999999:0::/:/bin/sh\n"
			     ":x:5:5::/:/bin/sh\n"
			     "+::::::\n"
			     "root:x:0:0:root:/root:/bin/bash\n"
			     "joe:x:1000:1001:Joe,,,:/home/joe:/bin/zsh\n"
			     "bare:x:7:7:::\n"
			     "7:x:1007:7::/seven:/bin/sh\n"
			     "joe:x:2000:2000::/other:/bin/sh\n"
			     "last:x:9:9::/l:/bin/l";

static void users_are_found(void **state)
{
	struct user u;

	assert_int_equal(users_find(passwd, strlen(passwd), "joe", &u), 0);
	assert_int_equal(u.uid, 1000);
	assert_int_equal(u.gid, 1001);
	assert_string_equal(u.home, "/home/joe");
	assert_string_equal(u.shell, "/bin/zsh");
	user_done(&u);
	assert_int_equal(users_find(passwd, strlen(passwd), "last", &u), 0);
	assert_string_equal(u.shell, "/bin/l");
	user_done(&u);
	assert_int_equal(users_find(passwd, strlen(passwd), "bare", &u), 0);
	assert_string_equal(u.home, "/");
	assert_string_equal(u.shell, "/bin/sh");
	user_done(&u);
}

static void numbers_find_users_after_names(void **state)
{
	struct user u;

	assert_int_equal(users_find(passwd, strlen(passwd), "7", &u), 0);
	assert_int_equal(u.uid, 1007);
	user_done(&u);
	assert_int_equal(users_find(passwd, strlen(passwd), "1000", &u), 0);
	assert_string_equal(u.name, "joe");
	user_done(&u);
}

static void no_user_is_no_user(void **state)
{
	static const char *const names[] = {"",    "nobody",     "jo",   "joe:",      "short",
					    "neg", "huge",       "wide", "+",         "-1",
					    "#",   "4294967295", "5",    "# comment", "12"};
	struct user u;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_int_equal(users_find(passwd, strlen(passwd), names[i], &u), -ENOENT);
	assert_int_equal(users_find("", 0, "root", &u), -ENOENT);
}

static void groups_list_their_members(void **state)
{
	static const char group[] = "root:x:0:\n"
				    "own:x:1001:joe\n"
				    "a:x:10:joe\n"
				    "b:x:11:x,joe,y\n"
				    "c:x:12:joey,moe\n"
				    "d:x:bad:joe\n"
				    "e:x:13:y,joe\n"
				    "again:x:10:joe\n"
				    "f:x:14:joe";
	static const gid_t want[] = {10, 11, 13, 14};
	struct user u;

	assert_int_equal(users_find(passwd, strlen(passwd), "joe", &u), 0);
	users_add_groups(&u, group, strlen(group));
	assert_int_equal(u.num_groups, 4);
	assert_memory_equal(u.groups, want, sizeof(want));
	user_done(&u);
}

static void groups_are_bounded(void **state)
{
	size_t num = USER_MAX_GROUPS / 16, len = 0;
	char *group = malloc(num * 32);
	struct user u;

	for (size_t i = 0; i < num; i++)
		len += (size_t)sprintf(group + len, "g:x:%zu:joe\n", 5000 + i);
	assert_int_equal(users_find(passwd, strlen(passwd), "joe", &u), 0);
	users_add_groups(&u, group, len);
	assert_int_equal(u.num_groups, num);
	user_done(&u);
	free(group);
}

static void ids_of_names(void **state)
{
	unsigned id;

	assert_int_equal(users_find_id("a:x:3:\nb:x:4:m\n", 15, "b", &id), 0);
	assert_int_equal(id, 4);
	assert_int_equal(users_find_id("a:x:3:\nb:x:4:m\n", 15, "c", &id), -ENOENT);
}

static void root_is_always_there(void **state)
{
	struct user u;
	struct err err;

	assert_int_equal(users_lookup("/nonexistent", "root", &u, &err), 0);
	assert_int_equal(u.uid, 0);
	assert_string_equal(u.shell, "/bin/sh");
	user_done(&u);
	assert_int_equal(users_lookup("/nonexistent", "joe", &u, &err), -ENOENT);
	assert_non_null(strstr(err.text, "'joe'"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(users_are_found),
		cmocka_unit_test(numbers_find_users_after_names),
		cmocka_unit_test(no_user_is_no_user),
		cmocka_unit_test(groups_list_their_members),
		cmocka_unit_test(groups_are_bounded),
		cmocka_unit_test(ids_of_names),
		cmocka_unit_test(root_is_always_there),
	};

	return cmocka_run_group_tests_name("users", tests, NULL, NULL);
}
