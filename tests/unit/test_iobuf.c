/* SPDX-License-Identifier: Apache-2.0 */
/* base/iobuf.c: the cursor against a flat model, whatever the cuts. */
#include "base/iobuf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FLAT 97

static uint8_t flat[FLAT];

/* Cuts flat[] into num pieces at pseudo-random places, empty ones among them. */
static unsigned cut(struct iovec *iov, unsigned num, unsigned seed)
{
	size_t at = 0;

	srand(seed);
	for (unsigned i = 0; i < num; i++) {
		size_t left = FLAT - at;
		size_t n = i + 1 == num ? left : (size_t)rand() % (left / 2 + 1);

		iov[i] = (struct iovec){flat + at, n};
		at += n;
	}
	return num;
}

static void reads_equal_the_flat_bytes(void **state)
{
	for (unsigned seed = 1; seed < 200; seed++) {
		struct iovec iov[9];
		struct iobuf b;
		uint8_t out[FLAT];
		size_t at = 0;

		for (size_t i = 0; i < FLAT; i++)
			flat[i] = (uint8_t)(i * 7 + seed);
		iobuf_init(&b, iov, cut(iov, 1 + seed % 9, seed));
		assert_int_equal(b.len, FLAT);
		while (b.len) {
			size_t n = 1 + (size_t)rand() % 13;

			if (n > b.len) {
				struct iobuf before = b;

				assert_false(iobuf_get(&b, out, n));
				assert_memory_equal(&before, &b, sizeof(b));
				n = b.len;
			}
			assert_true(iobuf_peek(&b, out, n));
			assert_memory_equal(out, flat + at, n);
			assert_true(iobuf_get(&b, out, n));
			assert_memory_equal(out, flat + at, n);
			at += n;
		}
		assert_int_equal(at, FLAT);
	}
}

static void writes_land_in_place(void **state)
{
	for (unsigned seed = 1; seed < 100; seed++) {
		struct iovec iov[9];
		struct iobuf b;
		uint8_t in[FLAT];

		memset(flat, 0xee, sizeof(flat));
		for (size_t i = 0; i < FLAT; i++)
			in[i] = (uint8_t)(i + seed);
		iobuf_init(&b, iov, cut(iov, 1 + seed % 9, seed));
		assert_true(iobuf_put(&b, in, 40));
		assert_true(iobuf_zero(&b, 10));
		assert_true(iobuf_skip(&b, 5));
		assert_true(iobuf_put(&b, in, FLAT - 55));
		assert_int_equal(b.len, 0);
		assert_false(iobuf_put(&b, in, 1));
		assert_memory_equal(flat, in, 40);
		for (size_t i = 40; i < 55; i++)
			assert_int_equal(flat[i], i < 50 ? 0 : 0xee);
		assert_memory_equal(flat + 55, in, FLAT - 55);
	}
}

static void take_splits_and_bounds(void **state)
{
	struct iovec iov[4], out[4];
	struct iobuf b, head;
	size_t bytes;
	unsigned n;

	for (size_t i = 0; i < FLAT; i++)
		flat[i] = (uint8_t)i;
	iov[0] = (struct iovec){flat, 10};
	iov[1] = (struct iovec){flat + 10, 0};
	iov[2] = (struct iovec){flat + 10, 20};
	iov[3] = (struct iovec){flat + 30, FLAT - 30};
	iobuf_init(&b, iov, 4);
	assert_false(iobuf_take(&b, FLAT + 1, &head));
	assert_true(iobuf_take(&b, 15, &head));
	assert_int_equal(head.len, 15);
	assert_int_equal(b.len, FLAT - 15);
	n = iobuf_iov(&head, out, 4, SIZE_MAX, &bytes);
	assert_int_equal(n, 2);
	assert_int_equal(bytes, 15);
	assert_ptr_equal(out[1].iov_base, flat + 10);
	assert_int_equal(out[1].iov_len, 5);
	n = iobuf_iov(&b, out, 1, SIZE_MAX, &bytes);
	assert_int_equal(n, 1);
	assert_int_equal(bytes, 15);
	n = iobuf_iov(&b, out, 4, 16, &bytes);
	assert_int_equal(n, 2);
	assert_int_equal(out[1].iov_len, 1);
	assert_true(iobuf_truncate(&b, 3));
	assert_false(iobuf_truncate(&b, 4));
	assert_int_equal(b.len, 3);
}

static void empty_is_empty(void **state)
{
	struct iobuf b;
	uint8_t c;

	iobuf_init(&b, NULL, 0);
	assert_int_equal(b.len, 0);
	assert_false(iobuf_get(&b, &c, 1));
	assert_true(iobuf_get(&b, &c, 0));
	assert_int_equal(iobuf_iov(&b, NULL, 0, SIZE_MAX, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_equal_the_flat_bytes),
		cmocka_unit_test(writes_land_in_place),
		cmocka_unit_test(take_splits_and_bounds),
		cmocka_unit_test(empty_is_empty),
	};

	return cmocka_run_group_tests_name("iobuf", tests, NULL, NULL);
}
