/* SPDX-License-Identifier: Apache-2.0 */
/* guest/env.c: variables replace each other; files as pam_env and login read them. */
#include "guest/env.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static int put(struct env *e, const char *s)
{
	return env_put(e, s, strlen(s));
}

static void later_values_replace_earlier(void **state)
{
	struct env e = {0};

	assert_int_equal(put(&e, "A=1"), 0);
	assert_int_equal(put(&e, "AB=2"), 0);
	assert_int_equal(put(&e, "A=3=4"), 0);
	assert_int_equal(put(&e, "C="), 0);
	assert_int_equal(e.num, 3);
	assert_string_equal(env_get(&e, "A"), "3=4");
	assert_string_equal(env_get(&e, "C"), "");
	assert_null(env_get(&e, "B"));
	assert_null(e.v[3]);
	assert_int_equal(put(&e, "novalue"), -EINVAL);
	assert_int_equal(put(&e, "=x"), -EINVAL);
	assert_int_equal(env_put(&e, "A=\0b", 4), -EINVAL);
	env_done(&e);
}

static void there_is_a_largest_number(void **state)
{
	struct env e = {0};
	char name[32];

	for (int i = 0; i < ENV_MAX; i++) {
		snprintf(name, sizeof(name), "V%d=1", i);
		assert_int_equal(put(&e, name), 0);
	}
	assert_int_equal(put(&e, "ONE=more"), -E2BIG);
	assert_int_equal(put(&e, "V0=2"), 0);
	env_done(&e);
}

static void environment_files_are_read(void **state)
{
	static const char text[] = "# comment\n"
				   "PLAIN=a b \t\r\n"
				   "  export EXPORTED=yes\n"
				   "QUOTED=\"x # y\" rest\n"
				   "SINGLE='it'\n"
				   "OPEN=\"to the end\n"
				   "HASH=v#comment\n"
				   "no assignment\n"
				   "BAD NAME=1\n"
				   "=nothing\n"
				   "EMPTY=\n"
				   "LAST=l";
	struct env e = {0};

	env_add_file(&e, text, strlen(text));
	assert_int_equal(e.num, 8);
	assert_string_equal(env_get(&e, "PLAIN"), "a b");
	assert_string_equal(env_get(&e, "EXPORTED"), "yes");
	assert_string_equal(env_get(&e, "QUOTED"), "x # y");
	assert_string_equal(env_get(&e, "SINGLE"), "it");
	assert_string_equal(env_get(&e, "OPEN"), "to the end");
	assert_string_equal(env_get(&e, "HASH"), "v");
	assert_string_equal(env_get(&e, "EMPTY"), "");
	assert_string_equal(env_get(&e, "LAST"), "l");
	env_done(&e);
}

static void login_defs_are_read(void **state)
{
	static const char text[] =
		"#ENV_PATH PATH=/no\nENV_PATHS x\nENV_PATH\tPATH=/a:/b \nENV_SUPATH  "
		"\"PATH=/s\"\nKEY";
	char *v = login_defs_get(text, strlen(text), "ENV_PATH");

	assert_string_equal(v, "PATH=/a:/b");
	free(v);
	assert_null(login_defs_get(text, strlen(text), "KEY"));
	assert_null(login_defs_get(text, strlen(text), "NONE"));
	assert_null(login_defs_get("", 0, "NONE"));
}

static void write_file(const char *dir, const char *name, const char *text)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "we");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void a_login_has_its_variables(void **state)
{
	struct user root = {
		.name = (char *)"root", .home = (char *)"/root", .shell = (char *)"/bin/sh"};
	struct user joe = {
		.name = (char *)"joe", .home = (char *)"/j", .shell = (char *)"/bin/j", .uid = 5};
	char dir[] = "/tmp/lvm-env-test.XXXXXX", path[128];
	struct env e = {0};

	assert_non_null(mkdtemp(dir));
	/* A fifo in a file's place must not block. */
	snprintf(path, sizeof(path), "%s/environment", dir);
	assert_int_equal(mkfifo(path, 0644), 0);
	env_login(&e, dir, &root);
	assert_string_equal(env_get(&e, "PATH"),
			    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	env_done(&e);
	assert_int_equal(unlink(path), 0);
	write_file(dir, "login.defs", "ENV_SUPATH PATH=/su\nENV_PATH PATH=/us\n");
	env_login(&e, dir, &root);
	assert_string_equal(env_get(&e, "PATH"), "/su");
	env_done(&e);
	write_file(dir, "locale.conf", "LANG=C.UTF-8\n");
	env_login(&e, dir, &joe);
	assert_string_equal(env_get(&e, "PATH"), "/us");
	assert_string_equal(env_get(&e, "LANG"), "C.UTF-8");
	assert_string_equal(env_get(&e, "HOME"), "/j");
	assert_string_equal(env_get(&e, "LOGNAME"), "joe");
	env_done(&e);
	write_file(dir, "environment", "PATH=\"/env\"\n");
	env_login(&e, dir, &joe);
	assert_string_equal(env_get(&e, "PATH"), "/env");
	env_done(&e);
	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir,
			 i == 0   ? "login.defs"
			 : i == 1 ? "locale.conf"
				  : "environment");
		assert_int_equal(unlink(path), 0);
	}
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(later_values_replace_earlier),
		cmocka_unit_test(there_is_a_largest_number),
		cmocka_unit_test(environment_files_are_read),
		cmocka_unit_test(login_defs_are_read),
		cmocka_unit_test(a_login_has_its_variables),
	};

	return cmocka_run_group_tests_name("env", tests, NULL, NULL);
}
