/* SPDX-License-Identifier: Apache-2.0 */
/* tools/lvm/store.c: names, defaults, and locks between processes. */
#include "tools/lvm/store.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
	char *dir;
	struct store store;
};

static int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	char *home, *runtime;

	f->dir = mkdtemp(str_fmt("%s/lvm-test-store.XXXXXX", getenv("TMPDIR") ?: "/tmp"));
	if (!f->dir)
		return -1;
	home = str_fmt("%s/home", f->dir);
	runtime = str_fmt("%s/run", f->dir);
	setenv("LVM_HOME", home, 1);
	setenv("LVM_RUNTIME_DIR", runtime, 1);
	free(home);
	free(runtime);
	*state = f;
	return store_open(&f->store, NULL);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	int r = store_remove_tree(f->dir, NULL);

	store_done(&f->store);
	free(f->dir);
	free(f);
	return r;
}

static void make_distro(struct fixture *f, const char *name)
{
	char *path = store_distro_path(&f->store, name, NULL);

	assert_int_equal(mkdir(path, 0700), 0);
	free(path);
}

static void names_are_plain(void **state)
{
	static const char *const bad[] = {"",   ".",   "..",  "../x",     "a/b", ".a", "-a",
					  "_a", "a b", "a\n", "\xc3\xa4", "a:b", "a*"};
	char longest[STORE_NAME_MAX + 2];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err err = {0};

		assert_int_equal(store_check_name("distro", bad[i], &err), -EINVAL);
		assert_non_null(strstr(err.text, "cannot name a distro"));
	}
	assert_int_equal(store_check_name("distro", "Debian-12.1_x", NULL), 0);
	memset(longest, 'a', sizeof(longest));
	longest[STORE_NAME_MAX] = '\0';
	assert_int_equal(store_check_name("distro", longest, NULL), 0);
	longest[STORE_NAME_MAX] = 'a';
	longest[STORE_NAME_MAX + 1] = '\0';
	assert_int_equal(store_check_name("distro", longest, NULL), -EINVAL);
}

static void an_unknown_distro_is_told_the_known_ones(void **state)
{
	struct fixture *f = *state;
	struct err err = {0};

	assert_int_equal(store_require_distro(&f->store, "x", &err), -ENOENT);
	assert_non_null(strstr(err.text, "lvm help install"));
	make_distro(f, "alpha");
	make_distro(f, "beta");
	assert_int_equal(store_require_distro(&f->store, "x", &err), -ENOENT);
	assert_non_null(strstr(err.text, "alpha, beta"));
	assert_int_equal(store_require_distro(&f->store, "beta", &err), 0);
}

static void the_default_is_the_chosen_or_the_only_one(void **state)
{
	struct fixture *f = *state;
	char *name;

	assert_null(store_get_default(&f->store, STORE_DEFAULT_DISTRO));
	make_distro(f, "alpha");
	name = store_get_default(&f->store, STORE_DEFAULT_DISTRO);
	assert_string_equal(name, "alpha");
	free(name);
	make_distro(f, "beta");
	assert_null(store_get_default(&f->store, STORE_DEFAULT_DISTRO));
	assert_int_equal(store_set_default(&f->store, STORE_DEFAULT_DISTRO, "beta", NULL), 0);
	name = store_get_default(&f->store, STORE_DEFAULT_DISTRO);
	assert_string_equal(name, "beta");
	free(name);
	assert_int_equal(store_set_default(&f->store, STORE_DEFAULT_DISTRO, "gone", NULL), 0);
	assert_null(store_get_default(&f->store, STORE_DEFAULT_DISTRO));
}

/* Exit status of a child that tries the lock without waiting. */
static int try_in_child(struct fixture *f, enum store_lock kind, const char *name)
{
	pid_t pid = fork();
	int status, fd;

	if (pid == 0)
		_exit(store_lock(&f->store, kind, name, false, &fd, NULL) == -EAGAIN ? 1 : 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WEXITSTATUS(status);
}

static void a_lock_excludes_its_name_and_kind_only(void **state)
{
	struct fixture *f = *state;
	int fd;

	assert_int_equal(store_lock(&f->store, STORE_LOCK_OPERATION, "alpha", true, &fd, NULL), 0);
	assert_int_equal(try_in_child(f, STORE_LOCK_OPERATION, "alpha"), 1);
	assert_int_equal(try_in_child(f, STORE_LOCK_VM, "alpha"), 0);
	assert_int_equal(try_in_child(f, STORE_LOCK_KERNEL, "alpha"), 0);
	assert_int_equal(try_in_child(f, STORE_LOCK_OPERATION, "beta"), 0);
	close(fd);
	assert_int_equal(try_in_child(f, STORE_LOCK_OPERATION, "alpha"), 0);
}

static void a_vm_lock_lives_with_its_last_holder(void **state)
{
	struct fixture *f = *state;
	int fd, hold[2], status;
	char byte;
	pid_t pid;

	assert_false(store_is_running(&f->store, "alpha"));
	assert_int_equal(pipe(hold), 0);
	assert_int_equal(store_lock(&f->store, STORE_LOCK_VM, "alpha", false, &fd, NULL), 0);
	pid = fork();
	if (pid == 0) {
		close(hold[1]);
		_exit(read(hold[0], &byte, 1) == 0 ? 0 : 1);
	}
	close(fd);
	close(hold[0]);
	assert_true(store_is_running(&f->store, "alpha"));
	assert_false(store_is_running(&f->store, "beta"));
	close(hold[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_false(store_is_running(&f->store, "alpha"));
}

static void leftovers_are_swept_unless_somebody_works_on_them(void **state)
{
	struct fixture *f = *state;
	char *busy = store_distro_path(&f->store, ".busy", NULL);
	char *left = store_distro_path(&f->store, ".left", NULL);
	struct store again;
	int fd;

	make_distro(f, ".busy");
	make_distro(f, ".left");
	assert_int_equal(store_lock(&f->store, STORE_LOCK_OPERATION, "busy", true, &fd, NULL), 0);
	assert_int_equal(store_open(&again, NULL), 0);
	assert_int_equal(access(busy, F_OK), 0);
	assert_int_equal(access(left, F_OK), -1);
	store_done(&again);
	close(fd);
	free(busy);
	free(left);
}

static void a_runtime_directory_open_to_others_is_refused(void **state)
{
	struct fixture *f = *state;
	struct store again;
	struct err err = {0};

	assert_int_equal(chmod(f->store.runtime, 0755), 0);
	assert_int_equal(store_open(&again, &err), -EPERM);
	assert_non_null(strstr(err.text, "LVM_RUNTIME_DIR"));
	store_done(&again);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(names_are_plain),
		T(an_unknown_distro_is_told_the_known_ones),
		T(the_default_is_the_chosen_or_the_only_one),
		T(a_lock_excludes_its_name_and_kind_only),
		T(a_vm_lock_lives_with_its_last_holder),
		T(leftovers_are_swept_unless_somebody_works_on_them),
		T(a_runtime_directory_open_to_others_is_refused),
	};

	return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
