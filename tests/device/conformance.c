/* SPDX-License-Identifier: Apache-2.0 */
/* The bad-guest matrix: what a driver may do wrong, over every device (virtio 1.2 §2, §4.1). */
/*
 * Each case spoils one thing and then shows three: the harness is alive (ASan and UBSan builds look
 * closer), the device answered as the spec says or asked for a reset, and after a reset it serves a
 * good request again.
 */
#include "tests/device/conformance.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/check.h"

#define MAX_TESTS 1024

static int rig_setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	check(rig);
	rig->maker = *state;
	fake_machine_init(&rig->m);
	fake_driver_init(&rig->drv, &rig->m, rig->maker->make(&rig->m.env));
	rig->q = &rig->drv.queue[rig->maker->queue];
	rig->mark = rig->m.next;
	*state = rig;
	return 0;
}

static int rig_teardown(void **state)
{
	struct rig *rig = *state;

	fake_driver_done(&rig->drv);
	fake_machine_done(&rig->m);
	free(rig);
	return 0;
}

void rig_start(struct rig *rig, uint64_t want)
{
	/* Everything allocated before is the guest's to use again: the device has been reset. */
	fake_driver_reset(&rig->drv);
	rig->m.next = rig->mark;
	fake_driver_start(&rig->drv, want);
}

void assert_works(struct rig *rig)
{
	struct sample s = {0};
	uint8_t wr[SAMPLE_MAX];
	uint32_t written = UINT32_MAX;

	rig->maker->good(&s);
	assert_int_equal(fake_driver_request(&rig->drv, rig->maker->queue, s.rd, s.rd_len, wr,
					     s.wr_len, &written),
			 0);
	assert_int_equal(written, s.written);
	assert_true(fake_queue_interrupts(rig->q) >= 1);
}

void assert_recovers(struct rig *rig)
{
	rig_start(rig, UINT64_MAX);
	(void)fake_queue_interrupts(rig->q);
	assert_works(rig);
}

void offer_sample(struct rig *rig, const struct sample *s, uint32_t piece, bool indirect)
{
	struct fake_seg seg[SAMPLE_MAX * 2];
	gpa_t at = fake_alloc(&rig->m, s->rd_len + s->wr_len, 16);
	uint32_t total = s->rd_len + s->wr_len;
	unsigned num = 0;

	if (s->rd_len)
		memcpy(fake_ptr(&rig->m, at, s->rd_len), s->rd, s->rd_len);
	for (uint32_t off = 0; off < total;) {
		bool write = off >= s->rd_len;
		uint32_t left = (write ? total : s->rd_len) - off;
		uint32_t n = piece && piece < left ? piece : left;

		seg[num++] = (struct fake_seg){at + off, n, write};
		off += n;
	}
	if (indirect)
		(void)fake_queue_add_indirect(rig->q, seg, num);
	else
		(void)fake_queue_add(rig->q, seg, num);
}

/* One test for each case over each device. */
struct matrix {
	struct CMUnitTest test[MAX_TESTS];
	char name[MAX_TESTS][64];
	unsigned num;
};

static void matrix_add(struct matrix *x, const struct maker *maker,
		       const struct conformance_case *c, unsigned num)
{
	for (unsigned i = 0; i < num; i++, x->num++) {
		check(x->num < MAX_TESTS);
		(void)snprintf(x->name[x->num], sizeof(x->name[0]), "%s: %s", maker->name,
			       c[i].name);
		x->test[x->num] = (struct CMUnitTest){x->name[x->num], c[i].fn, rig_setup,
						      rig_teardown, (void *)maker};
	}
}

int main(void)
{
	static struct matrix x;

	for (unsigned i = 0; i < num_makers; i++) {
		matrix_add(&x, &makers[i], ring_cases, num_ring_cases);
		matrix_add(&x, &makers[i], register_cases, num_register_cases);
	}
	return _cmocka_run_group_tests("conformance", x.test, x.num, makers_setup, makers_teardown);
}
