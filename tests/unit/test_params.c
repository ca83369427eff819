/* SPDX-License-Identifier: Apache-2.0 */
/* boot/x86/params.c: the memory map and boot_params, field by field (Linux x86/zero-page.rst). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "boot/x86/params.h"

#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)

struct expect {
	uint64_t start, end;
	uint32_t type; /* 1 RAM, 2 reserved, 3 ACPI */
};

static void check_map(const struct guest_mem *mem, const struct boot_reserved *res,
		      unsigned num_res, const struct expect *want, unsigned num)
{
	struct boot_request req = {.mem = mem, .reserved = res, .num_reserved = num_res};
	struct boot_params bp = {0};
	struct err err;

	assert_int_equal(params_e820(&bp, &req, &err), 0);
	assert_int_equal(bp.e820_entries, num);
	for (unsigned i = 0; i < num; i++) {
		assert_int_equal(bp.e820_table[i].addr, want[i].start);
		assert_int_equal(bp.e820_table[i].addr + bp.e820_table[i].size, want[i].end);
		assert_int_equal(bp.e820_table[i].type, want[i].type);
	}
}

static const struct boot_reserved machine[] = {
	{.gpa = 0xe0000000, .len = MIB(1)},
	{.gpa = BOOT_ACPI_GPA, .len = BOOT_ACPI_LEN, .acpi = true},
};

static void map_of_a_small_machine(void **state)
{
	struct guest_mem mem = {.region = {{0, MIB(128), NULL}}, .num = 1};
	const struct expect want[] = {
		{0, 0xa0000, 1},         {0xa0000, 0xe0000, 2},       {0xe0000, 0x100000, 3},
		{0x100000, MIB(128), 1}, {0xe0000000, 0xe0100000, 2},
	};

	check_map(&mem, machine, 2, want, 5);
}

static void map_around_the_hole(void **state)
{
	struct guest_mem mem = {.region = {{0, GIB(3), NULL}, {GIB(4), GIB(1), NULL}}, .num = 2};
	const struct expect want[] = {
		{0, 0xa0000, 1},       {0xa0000, 0xe0000, 2},       {0xe0000, 0x100000, 3},
		{0x100000, GIB(3), 1}, {0xe0000000, 0xe0100000, 2}, {GIB(4), GIB(5), 1},
	};

	check_map(&mem, machine, 2, want, 6);
}

/*
 * Neighbours of a type are one range, the stronger claim wins, RAM around a reserved part is kept.
 */
static void map_of_odd_requests(void **state)
{
	struct guest_mem mem = {.region = {{0, MIB(64), NULL}, {MIB(64), MIB(64), NULL}}, .num = 2};
	const struct boot_reserved odd[] = {
		{.gpa = MIB(32), .len = MIB(4)},
		{.gpa = MIB(34), .len = MIB(1), .acpi = true},
		{.gpa = MIB(36), .len = MIB(1)},
		{.gpa = MIB(40), .len = 0},
	};
	const struct expect want[] = {
		{0, 0xa0000, 1},        {0xa0000, 0x100000, 2}, {0x100000, MIB(32), 1},
		{MIB(32), MIB(34), 2},  {MIB(34), MIB(35), 3},  {MIB(35), MIB(37), 2},
		{MIB(37), MIB(128), 1},
	};

	check_map(&mem, odd, 4, want, 7);
}

static void map_that_is_too_long_is_refused(void **state)
{
	struct guest_mem mem = {.region = {{0, GIB(1), NULL}}, .num = 1};
	struct boot_reserved many[200];
	struct boot_request req = {.mem = &mem, .reserved = many, .num_reserved = 200};
	struct boot_params bp = {0};
	struct err err;

	for (unsigned i = 0; i < 200; i++)
		many[i] = (struct boot_reserved){.gpa = MIB(2 + 2 * i), .len = MIB(1)};
	assert_int_equal(params_e820(&bp, &req, &err), -E2BIG);
}

static uint8_t *ram;
static struct guest_mem small = {.region = {{.gpa = 0, .len = MIB(2)}}, .num = 1};

static int setup(void **state)
{
	ram = small.region[0].hva = xcalloc(1, MIB(2));
	return 0;
}

static int teardown(void **state)
{
	free(ram);
	return 0;
}

static void fields_are_set(void **state)
{
	struct boot_request req = {
		.mem = &small, .cmdline = "console=ttyS0 quiet", .rsdp = 0xe0000};
	struct params_layout layout = {.initrd = 0x123456000, .initrd_len = 0x2abcdef01};
	struct setup_header hdr = {.header = 0x53726448,
				   .version = 0x20f,
				   .loadflags =
					   LOADED_HIGH | KASLR_FLAG | CAN_USE_HEAP | QUIET_FLAG,
				   .setup_data = 0xdead,
				   .cmdline_size = 2047,
				   .init_size = 0x1234};
	const struct boot_params *bp = (void *)(ram + LOW_PARAMS_GPA);
	const struct setup_data *sd = (void *)(ram + LOW_SETUP_DATA_GPA);
	uint8_t zero[32] = {0};
	struct err err;

	assert_int_equal(params_write(&req, &hdr, &layout, &err), 0);
	assert_int_equal(bp->hdr.type_of_loader, 0xff);
	assert_int_equal(bp->hdr.loadflags, LOADED_HIGH | QUIET_FLAG);
	assert_int_equal(bp->hdr.version, 0x20f);
	assert_int_equal(bp->hdr.init_size, 0x1234);
	assert_int_equal(bp->hdr.vid_mode, 0xffff);
	assert_int_equal(bp->hdr.ramdisk_image, 0x23456000);
	assert_int_equal(bp->ext_ramdisk_image, 1);
	assert_int_equal(bp->hdr.ramdisk_size, 0xabcdef01);
	assert_int_equal(bp->ext_ramdisk_size, 2);
	assert_int_equal(bp->acpi_rsdp_addr, 0xe0000);
	assert_int_equal(bp->ext_cmd_line_ptr, 0);
	assert_string_equal((char *)ram + bp->hdr.cmd_line_ptr, "console=ttyS0 quiet");
	assert_int_equal(bp->sentinel, 0); /* else the kernel distrusts all of it */
	assert_int_equal(bp->e820_entries, 3);
	assert_int_equal(bp->hdr.setup_data, LOW_SETUP_DATA_GPA);
	assert_int_equal(sd->next, 0);
	assert_int_equal(sd->type, SETUP_RNG_SEED);
	assert_int_equal(sd->len, 32);
	assert_memory_not_equal(sd->data, zero, 32);
}

static void no_initrd_and_no_header(void **state)
{
	struct boot_request req = {.mem = &small};
	struct params_layout layout = {.initrd = 0x5000};
	const struct boot_params *bp = (void *)(ram + LOW_PARAMS_GPA);
	struct err err;

	assert_int_equal(params_write(&req, NULL, &layout, &err), 0);
	assert_int_equal(bp->hdr.ramdisk_image, 0);
	assert_int_equal(bp->hdr.ramdisk_size, 0);
	assert_int_equal(bp->hdr.boot_flag, 0xaa55);
	assert_int_equal(bp->hdr.header, 0x53726448);
	assert_int_equal(bp->hdr.loadflags, LOADED_HIGH);
	assert_string_equal((char *)ram + bp->hdr.cmd_line_ptr, "");
}

static void cmdline_is_as_long_as_the_kernel_says(void **state)
{
	char line[2049];
	struct boot_request req = {.mem = &small, .cmdline = line};
	struct params_layout layout = {0};
	struct setup_header hdr = {.cmdline_size = 2047};
	struct err err;

	memset(line, 'x', sizeof(line));
	line[2047] = 0;
	assert_int_equal(params_write(&req, &hdr, &layout, &err), 0);
	assert_int_equal(strlen((char *)ram + LOW_CMDLINE_GPA), 2047);
	line[2047] = 'x';
	line[2048] = 0;
	assert_int_equal(params_write(&req, &hdr, &layout, &err), -E2BIG);
	assert_non_null(strstr(err.text, "has 2048 bytes and this kernel takes 2047"));
	assert_int_equal(params_write(&req, NULL, &layout, &err), -E2BIG);
}

/* A header that allows any length does not make us overrun our own place. */
static void cmdline_is_bounded_by_us_too(void **state)
{
	char *line = xcalloc(1, LOW_CMDLINE_MAX + 1);
	struct boot_request req = {.mem = &small, .cmdline = line};
	struct params_layout layout = {0};
	struct setup_header hdr = {.cmdline_size = UINT32_MAX};
	struct err err;

	memset(line, 'x', LOW_CMDLINE_MAX);
	assert_int_equal(params_write(&req, &hdr, &layout, &err), -E2BIG);
	line[LOW_CMDLINE_MAX - 1] = 0;
	assert_int_equal(params_write(&req, &hdr, &layout, &err), 0);
	free(line);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(map_of_a_small_machine),
		cmocka_unit_test(map_around_the_hole),
		cmocka_unit_test(map_of_odd_requests),
		cmocka_unit_test(map_that_is_too_long_is_refused),
		cmocka_unit_test_setup_teardown(fields_are_set, setup, teardown),
		cmocka_unit_test_setup_teardown(no_initrd_and_no_header, setup, teardown),
		cmocka_unit_test_setup_teardown(cmdline_is_as_long_as_the_kernel_says, setup,
						teardown),
		cmocka_unit_test_setup_teardown(cmdline_is_bounded_by_us_too, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
