/* SPDX-License-Identifier: Apache-2.0 */
/* boot/decompress.c: every format there and back, cut, spoilt and too large. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "boot/decompress.h"
#include "tests/support/kernel_image.h"

static const enum compression known[] = {COMPRESSION_NONE, COMPRESSION_GZIP, COMPRESSION_XZ,
					 COMPRESSION_LZ4, COMPRESSION_ZSTD};
#define NUM_KNOWN (sizeof(known) / sizeof(known[0]))

/* What the kernel's build appends is not the decompressor's. */
static size_t data_len(const struct image *im, enum compression c)
{
	return c == COMPRESSION_NONE || c == COMPRESSION_GZIP ? im->len : im->len - 4;
}

static void formats_go_there_and_back(void **state)
{
	struct image elf = image_elf();
	uint8_t *out = xcalloc(1, elf.len + 1);

	for (size_t i = 0; i < NUM_KNOWN; i++) {
		struct image im = image_compress(&elf, known[i]);
		size_t len = 0, n = data_len(&im, known[i]);
		struct err err;

		assert_int_equal(compression_of(im.p, im.len), known[i]);
		memset(out, 0, elf.len);
		assert_int_equal(decompress(known[i], im.p, n, out, elf.len, &len, &err), 0);
		assert_int_equal(len, elf.len);
		assert_memory_equal(out, elf.p, elf.len);
		/* More room than needed is fine, less is not. */
		assert_int_equal(decompress(known[i], im.p, n, out, elf.len + 1, &len, &err), 0);
		assert_int_equal(len, elf.len);
		assert_int_equal(decompress(known[i], im.p, n, out, elf.len - 1, &len, &err),
				 -ENOEXEC);
		image_done(&im);
	}
	free(out);
	image_done(&elf);
}

/* 8 MiB is one block of the lz4 legacy frame. */
static void lz4_has_many_blocks(void **state)
{
	struct image big = {.len = (17u << 20) + 5}, im;
	size_t len = 0;
	struct err err;
	uint8_t *out;

	big.p = xcalloc(1, big.len);
	for (size_t i = 0; i < big.len; i += 4099)
		big.p[i] = image_byte(i);
	im = image_compress(&big, COMPRESSION_LZ4);
	out = xcalloc(1, big.len);
	assert_int_equal(decompress(COMPRESSION_LZ4, im.p, im.len - 4, out, big.len, &len, &err),
			 0);
	assert_int_equal(len, big.len);
	assert_memory_equal(out, big.p, big.len);
	free(out);
	image_done(&im);
	image_done(&big);
}

static void truncated_data_is_refused(void **state)
{
	struct image elf = image_elf();
	uint8_t *out = xcalloc(1, elf.len);

	for (size_t i = 1; i < NUM_KNOWN; i++) {
		struct image im = image_compress(&elf, known[i]);
		size_t n = data_len(&im, known[i]);

		for (size_t cut = 0; cut < n; cut += cut < 64 || n - cut < 64 ? 1 : 61) {
			size_t len = 0;
			struct err err;
			int r = decompress(known[i], im.p, cut, out, elf.len, &len, &err);

			/* lz4 has no end mark: a cut after the magic is an empty file. */
			if (r == 0 && !(known[i] == COMPRESSION_LZ4 && len < elf.len) &&
			    !(known[i] == COMPRESSION_ZSTD && cut == 0))
				fail_msg("%s of %zu bytes cut at %zu passed",
					 compression_name(known[i]), n, cut);
		}
		image_done(&im);
	}
	free(out);
	image_done(&elf);
}

/* The formats with a checksum notice any flipped bit of the content. */
static void spoilt_data_is_refused(void **state)
{
	struct image elf = image_elf();
	uint8_t *out = xcalloc(1, elf.len);

	for (size_t i = 1; i < NUM_KNOWN; i++) {
		struct image im = image_compress(&elf, known[i]);
		size_t n = data_len(&im, known[i]);

		for (size_t at = n / 4; at < n; at += 41) {
			size_t len = 0;
			struct err err;
			int r;

			im.p[at] ^= 0x10;
			r = decompress(known[i], im.p, n, out, elf.len, &len, &err);
			if (known[i] == COMPRESSION_GZIP || known[i] == COMPRESSION_XZ)
				assert_int_equal(r, -ENOEXEC);
			im.p[at] ^= 0x10;
		}
		image_done(&im);
	}
	free(out);
	image_done(&elf);
}

static void others_are_named(void **state)
{
	static const struct {
		enum compression c;
		const char *magic, *name;
	} others[] = {
		{COMPRESSION_BZIP2, "BZh91AY", "bzip2"},
		{COMPRESSION_LZMA, "\x5d\0\0\x80", "lzma"},
		{COMPRESSION_LZO, "\x89LZO\0\r", "lzo"},
		{COMPRESSION_UNKNOWN, "hello", "unknown"},
	};

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		struct err err;
		char out[8];
		size_t len;

		assert_int_equal(compression_of(others[i].magic, 4), others[i].c);
		assert_int_equal(
			decompress(others[i].c, others[i].magic, 4, out, sizeof(out), &len, &err),
			-EOPNOTSUPP);
		assert_non_null(strstr(err.text, others[i].name));
	}
	assert_int_equal(compression_of("", 0), COMPRESSION_UNKNOWN);
	assert_int_equal(compression_of("\xfd"
					"7zX",
					4),
			 COMPRESSION_UNKNOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(formats_go_there_and_back),
		cmocka_unit_test(lz4_has_many_blocks),
		cmocka_unit_test(truncated_data_is_refused),
		cmocka_unit_test(spoilt_data_is_refused),
		cmocka_unit_test(others_are_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
