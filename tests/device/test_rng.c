/* SPDX-License-Identifier: Apache-2.0 */
/* The entropy device behind its transport, as a guest sees it (virtio 1.2 §5.4). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/fake_driver.h"

struct fixture {
	struct fake_machine m;
	struct fake_driver drv;
};

static int setup(void **state)
{
	static struct fixture f;
	struct virtio_dev *dev;

	memset(&f, 0, sizeof(f));
	fake_machine_init(&f.m);
	assert_int_equal(rng_new(&f.m.env, &dev, NULL), 0);
	fake_driver_init(&f.drv, &f.m, dev);
	fake_driver_start(&f.drv, UINT64_MAX);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	fake_driver_done(&f->drv);
	fake_machine_done(&f->m);
	return 0;
}

/* How many of n bytes are zero: of random ones about n/256. */
static size_t zeros(const uint8_t *p, size_t n)
{
	size_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += p[i] == 0;
	return sum;
}

static void test_fills(void **state)
{
	struct fixture *f = *state;
	uint8_t a[4096] = {0}, b[4096] = {0};
	uint32_t n = 0;

	assert_int_equal(fake_driver_request(&f->drv, 0, NULL, 0, a, sizeof(a), &n), 0);
	assert_int_equal(n, sizeof(a));
	assert_true(zeros(a, sizeof(a)) < 100);
	assert_int_equal(fake_queue_interrupts(&f->drv.queue[0]), 1);
	assert_int_equal(fake_driver_request(&f->drv, 0, NULL, 0, b, sizeof(b), &n), 0);
	assert_memory_not_equal(a, b, sizeof(a));
	assert_int_equal(fake_queue_interrupts(&f->drv.queue[0]), 1);
}

static void test_odd_lengths(void **state)
{
	struct fixture *f = *state;

	for (uint32_t len = 1; len < 70; len++) {
		uint8_t buf[80] = {0};
		uint32_t n = 0;

		assert_int_equal(fake_driver_request(&f->drv, 0, NULL, 0, buf, len, &n), 0);
		assert_int_equal(n, len);
	}
}

/* What the guest reads beyond the used length must be what it was. */
static void test_huge_buffer_is_bounded(void **state)
{
	static uint8_t buf[1 << 20];
	struct fixture *f = *state;
	uint32_t n = 0;

	assert_int_equal(fake_driver_request(&f->drv, 0, NULL, 0, buf, sizeof(buf), &n), 0);
	assert_int_equal(n, 65536);
	assert_true(zeros(buf, n) < 1000);
	assert_int_equal(zeros(buf + n, sizeof(buf) - n), sizeof(buf) - n);
}

static void test_scattered(void **state)
{
	struct fixture *f = *state;
	struct fake_queue *q = &f->drv.queue[0];
	gpa_t at = fake_alloc(&f->m, 4096, 4096);
	struct fake_seg seg[] = {{at, 16, false},
				 {at + 1024, 1, true},
				 {at + 1030, 0, true},
				 {at + 2048, 700, true}};
	uint8_t *p = fake_ptr(&f->m, at, 4096);
	uint32_t n = 0;

	(void)fake_queue_add_indirect(q, seg, 4);
	assert_true(fake_queue_kick(q));
	assert_true(fake_queue_wait(q, 2000));
	assert_true(fake_queue_take_used(q, NULL, &n));
	assert_int_equal(n, 701);
	assert_int_equal(zeros(p, 1024), 1024);
	assert_true(zeros(p + 2048, 700) < 50);
	assert_int_equal(zeros(p + 2748, 1348), 1348);
}

/* A readable buffer only: nothing to fill, but it comes back. */
static void test_nothing_to_write(void **state)
{
	struct fixture *f = *state;
	uint32_t n = 7;

	assert_int_equal(fake_driver_request(&f->drv, 0, "hello", 5, NULL, 0, &n), 0);
	assert_int_equal(n, 0);
}

/* All of a full ring is answered from one kick, although one go of the device is bounded. */
static void test_full_ring(void **state)
{
	struct fixture *f = *state;
	struct fake_queue *q = &f->drv.queue[0];
	gpa_t at = fake_alloc(&f->m, 65536, 4096);
	struct fake_seg seg = {at, 65536, true};
	unsigned got = 0;

	for (unsigned i = 0; i < q->size; i++)
		(void)fake_queue_add(q, &seg, 1);
	assert_true(fake_queue_kick(q));
	while (got < q->size && fake_queue_wait(q, 2000)) {
		uint32_t n;

		assert_true(fake_queue_take_used(q, NULL, &n));
		assert_int_equal(n, 65536);
		got++;
	}
	assert_int_equal(got, q->size);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_fills, setup, teardown),
		cmocka_unit_test_setup_teardown(test_odd_lengths, setup, teardown),
		cmocka_unit_test_setup_teardown(test_huge_buffer_is_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_scattered, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing_to_write, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_ring, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
