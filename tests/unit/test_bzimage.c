/* SPDX-License-Identifier: Apache-2.0 */
/* boot/x86/bzimage.c: header fields against Linux x86/boot.rst. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/endian.h"
#include "boot/x86/bzimage.h"
#include "tests/support/kernel_image.h"

static struct image make(void)
{
	struct image elf = image_elf(), bz = image_bzimage(&elf, COMPRESSION_GZIP);

	image_done(&elf);
	return bz;
}

static void good_header_is_read(void **state)
{
	struct image im = make();
	struct bzimage bz;
	struct err err;

	assert_true(bzimage_probe(im.p, BZIMAGE_HEAD_LEN));
	assert_int_equal(bzimage_parse(im.p, BZIMAGE_HEAD_LEN, im.len, &bz, &err), 0);
	assert_int_equal(bz.payload_off, IMAGE_PAYLOAD_OFF);
	assert_int_equal(bz.payload_len, im.len - 64 - IMAGE_PAYLOAD_OFF);
	assert_int_equal(bz.hdr.pref_address, IMAGE_TEXT_GPA);
	assert_int_equal(bz.hdr.cmdline_size, 2047);
	/* 0 setup sectors mean 4. */
	im.p[0x1f1] = 0;
	assert_int_equal(bzimage_parse(im.p, BZIMAGE_HEAD_LEN, im.len + 2048, &bz, &err), 0);
	assert_int_equal(bz.payload_off, 5 * 512);
	image_done(&im);
}

/* Bytes behind the header's end are code, not fields. */
static void short_header_has_no_later_fields(void **state)
{
	struct image im = make();
	struct bzimage bz;
	struct err err;

	im.p[0x201] = 0x250 - 0x202; /* ends where payload_length does */
	assert_int_equal(bzimage_parse(im.p, BZIMAGE_HEAD_LEN, im.len, &bz, &err), 0);
	assert_int_not_equal(bz.payload_len, 0);
	assert_int_equal(bz.hdr.pref_address, 0);
	assert_int_equal(bz.hdr.init_size, 0);
	image_done(&im);
}

static const struct spoilt {
	const char *name;
	size_t off, len;
	uint32_t value;
	int code;
	const char *words;
} spoilt[] = {
	{"boot flag", 0x1fe, 2, 0, ENOEXEC, "not a bzImage"},
	{"magic", 0x202, 4, 0, ENOEXEC, "not a bzImage"},
	{"version 2.11", 0x206, 2, 0x020b, EOPNOTSUPP, "protocol 2.11"},
	{"zImage", 0x211, 1, 0, EOPNOTSUPP, "zImage"},
	{"no XLF_KERNEL_64", 0x236, 2, 0xfffe, EOPNOTSUPP, "XLF_KERNEL_64"},
	{"no payload", 0x24c, 4, 0, ENOEXEC, "names no payload"},
	{"payload too long", 0x24c, 4, 0xffffffff, ENOEXEC, "truncated"},
	{"payload too far", 0x248, 4, 0xffffffff, ENOEXEC, "truncated"},
	{"many setup sectors", 0x1f1, 1, 0xff, ENOEXEC, "truncated"},
};

static void bad_fields_are_refused(void **state)
{
	for (size_t i = 0; i < sizeof(spoilt) / sizeof(spoilt[0]); i++) {
		const struct spoilt *s = &spoilt[i];
		struct image im = make();
		struct bzimage bz;
		struct err err;
		int r;

		memcpy(im.p + s->off, &s->value, s->len);
		r = bzimage_parse(im.p, BZIMAGE_HEAD_LEN, im.len, &bz, &err);
		if (r != -s->code || !strstr(err.text, s->words))
			fail_msg("%s: %d '%s'", s->name, r, r < 0 ? err.text : "");
		image_done(&im);
	}
}

static void every_truncation_is_refused(void **state)
{
	struct image im = make();
	size_t payload_end = im.len - 64;
	struct bzimage bz;
	struct err err;

	for (size_t len = 0; len < payload_end; len++) {
		size_t head = len < BZIMAGE_HEAD_LEN ? len : BZIMAGE_HEAD_LEN;

		assert_int_equal(bzimage_parse(im.p, head, len, &bz, &err), -ENOEXEC);
	}
	assert_int_equal(bzimage_parse(im.p, BZIMAGE_HEAD_LEN, payload_end, &bz, &err), 0);
	image_done(&im);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_header_is_read),
		cmocka_unit_test(short_header_has_no_later_fields),
		cmocka_unit_test(bad_fields_are_refused),
		cmocka_unit_test(every_truncation_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
