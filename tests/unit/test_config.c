/* SPDX-License-Identifier: Apache-2.0 */
/* lvm-vmm's command line: what is accepted, and that writing and reading are inverse. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/config.h"

static int parse(struct vmm_config *c, struct err *err, const char *const *args)
{
	char *argv[64] = {(char *)"lvm-vmm"};
	int argc = 1;

	while (*args)
		argv[argc++] = (char *)*args++;
	vmm_config_defaults(c);
	return vmm_config_parse(c, argc, argv, err);
}

#define PARSE(c, err, ...) parse(c, err, (const char *const[]){__VA_ARGS__, NULL})

static void test_round_trip(void **state)
{
	struct vmm_config a = {0}, b = {0};
	struct strv argv = {0};
	struct strv again = {0};
	struct err err;

	assert_int_equal(PARSE(&a, &err, "--name", "my, distro", "--cpus", "4", "--memory", "2G",
			       "--kernel", "/k", "--initrd", "/i1", "--initrd=/i2", "--cmdline",
			       "a=b  c \"d\"", "--disk", "path=/a,,b,ro,serial=x,,y", "--disk",
			       "path=/c", "--vsock", "/v", "--cid", "77", "--control", "/c",
			       "--console-log", "/l", "--cache-dir", "/d", "--ready-fd", "5",
			       "--lock-fd", "6", "--no-sandbox", "--no-early-console", "--debug"),
			 0);
	assert_string_equal(a.disk[0].path, "/a,b");
	assert_string_equal(a.disk[0].serial, "x,y");
	assert_true(a.disk[0].read_only);
	assert_false(a.disk[1].read_only);
	assert_null(a.disk[1].serial);
	assert_int_equal(a.num_disks, 2);
	assert_int_equal(a.memory_bytes, UINT64_C(2) << 30);
	assert_string_equal(a.initrd[1], "/i2");

	strv_add(&argv, "lvm-vmm");
	vmm_config_to_argv(&a, &argv);
	vmm_config_defaults(&b);
	assert_int_equal(vmm_config_parse(&b, (int)argv.num, argv.v, &err), 0);
	strv_add(&again, "lvm-vmm");
	vmm_config_to_argv(&b, &again);
	assert_int_equal(argv.num, again.num);
	for (size_t i = 0; i < argv.num; i++)
		assert_string_equal(argv.v[i], again.v[i]);
	assert_string_equal(b.name, "my, distro");
	assert_string_equal(b.cmdline, "a=b  c \"d\"");
	assert_int_equal(b.num_vcpus, 4);
	assert_int_equal(b.cid, 77);
	assert_int_equal(b.ready_fd, 5);
	assert_int_equal(b.lock_fd, 6);
	assert_false(b.sandbox);
	assert_false(b.early_console);
	assert_true(b.debug);
	strv_done(&argv);
	strv_done(&again);
	vmm_config_done(&a);
	vmm_config_done(&b);
}

static void test_defaults(void **state)
{
	struct vmm_config c = {0};
	struct err err;

	assert_int_equal(PARSE(&c, &err, "--kernel", "a", "--kernel", "b"), 0);
	assert_string_equal(c.kernel, "b");
	assert_int_equal(c.num_vcpus, 1);
	assert_int_equal(c.cid, 3);
	assert_int_equal(c.ready_fd, -1);
	assert_true(c.sandbox);
	assert_true(c.early_console);
	vmm_config_done(&c);
}

static void test_refused(void **state)
{
	static const char *const bad[][3] = {
		{"--cpus", "0"},
		{"--cpus", "33"},
		{"--cpus", "x"},
		{"--memory", "31M"},
		{"--memory", "33M"},
		{"--memory", "-1"},
		{"--memory", "9000000000000T"},
		{"--cid", "2"},
		{"--cid", "4294967295"},
		{"--kernel"},
		{"--disk", "ro"},
		{"--disk", "path="},
		{"--disk", "path=a,rw"},
		{"--disk", ""},
		{"--debug=1"},
		{"--kernels", "a"},
		{"kernel"},
		{"--ready-fd", "-1"},
		{"-k", "a"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct vmm_config c = {0};
		struct err err = {0};

		if (PARSE(&c, &err, bad[i][0], bad[i][1]) == 0)
			fail_msg("%s %s was accepted", bad[i][0], bad[i][1] ? bad[i][1] : "");
		assert_true(err.code > 0);
		assert_true(err.text[0] != '\0');
		vmm_config_done(&c);
	}
}

static void test_bounds(void **state)
{
	struct vmm_config c = {0};
	struct err err;
	char *argv[] = {(char *)"lvm-vmm", (char *)"--disk", (char *)"path=/x"};
	char *initrd[] = {(char *)"lvm-vmm", (char *)"--initrd", (char *)"/x"};

	vmm_config_defaults(&c);
	for (unsigned i = 0; i < VMM_MAX_DISKS; i++)
		assert_int_equal(vmm_config_parse(&c, 3, argv, &err), 0);
	assert_int_equal(vmm_config_parse(&c, 3, argv, &err), -E2BIG);
	for (unsigned i = 0; i < VMM_MAX_INITRDS; i++)
		assert_int_equal(vmm_config_parse(&c, 3, initrd, &err), 0);
	assert_int_equal(vmm_config_parse(&c, 3, initrd, &err), -E2BIG);
	vmm_config_done(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
