/* SPDX-License-Identifier: Apache-2.0 */
/* The conformance matrix, rings and notifications: virtio 1.2 §2.7. */
#include <linux/virtio_config.h>
#include <string.h>

#include "tests/device/conformance.h"
#include "tests/support/check.h"

#define W VRING_DESC_F_WRITE
#define N VRING_DESC_F_NEXT
#define I VRING_DESC_F_INDIRECT

/* The queue broke: the driver is told once, by status and interrupt, and nothing is used. */
static void assert_broken(struct rig *rig)
{
	uint16_t used = rig->q->used->idx;

	fake_queue_ring(rig->q);
	fake_run_idle(&rig->m);
	assert_true(fake_driver_needs_reset(&rig->drv));
	assert_int_equal(fake_config_interrupts(&rig->drv), 1);
	assert_int_equal(rig->q->used->idx, used);
	fake_queue_ring(rig->q);
	fake_run_idle(&rig->m);
	assert_int_equal(fake_config_interrupts(&rig->drv), 0);
	assert_int_equal(rig->q->used->idx, used);
	assert_recovers(rig);
}

/* The request was answered, somehow, and the device goes on without a reset. */
static void assert_answered(struct rig *rig)
{
	assert_true(fake_queue_wait(rig->q, 2000));
	assert_true(fake_queue_take_used(rig->q, NULL, NULL));
	assert_false(fake_driver_needs_reset(&rig->drv));
	fake_run_idle(&rig->m);
	(void)fake_queue_interrupts(rig->q);
	assert_works(rig);
}

/* Descriptor 0 as given (and 1 as a harmless end), made available. */
static void offer_desc(struct rig *rig, gpa_t gpa, uint32_t len, uint16_t flags, uint16_t next)
{
	gpa_t data = fake_alloc(&rig->m, 4096, 16);

	fake_queue_set_desc(rig->q, 0, gpa ? gpa : data, len, flags, next);
	fake_queue_set_desc(rig->q, 1, data, 16, 0, 0);
	fake_queue_publish(rig->q, 0);
}

static void bad_desc(struct rig *rig, gpa_t gpa, uint32_t len, uint16_t flags, uint16_t next)
{
	rig_start(rig, UINT64_MAX);
	offer_desc(rig, gpa, len, flags, next);
	assert_broken(rig);
}

static void test_looping_chain(void **state)
{
	struct rig *rig = *state;

	bad_desc(rig, 0, 16, N, 0);
	bad_desc(rig, 0, 0, N, 0); /* of zero length, so that it costs nothing */
	rig_start(rig, UINT64_MAX);
	for (uint16_t i = 0; i < rig->q->size; i++)
		fake_queue_set_desc(rig->q, i, 4096, 1, N, (i + 1) % rig->q->size);
	fake_queue_publish(rig->q, 3);
	assert_broken(rig);
}

static void test_next_out_of_bounds(void **state)
{
	struct rig *rig = *state;

	bad_desc(rig, 0, 16, N, 1024);
	bad_desc(rig, 0, 16, N, UINT16_MAX);
	rig_start(rig, UINT64_MAX);
	offer_desc(rig, 0, 16, N, rig->q->size);
	assert_broken(rig);
}

static void test_address_outside(void **state)
{
	struct rig *rig = *state;

	bad_desc(rig, FAKE_NOT_RAM, 16, 0, 0);
	bad_desc(rig, FAKE_NOT_RAM, 16, W, 0);
	bad_desc(rig, FAKE_ECAM, 16, W, 0);
	bad_desc(rig, rig->drv.common, 16, W, 0);
	bad_desc(rig, FAKE_RAM_LOW_LEN - 8, 16, W, 0);
	bad_desc(rig, FAKE_RAM_HIGH + FAKE_RAM_HIGH_LEN - 15, 16, 0, 0);
	bad_desc(rig, FAKE_RAM_HIGH - 8, 16, 0, 0);
	bad_desc(rig, 4096, UINT32_MAX, W, 0);
}

static void test_address_wraps(void **state)
{
	struct rig *rig = *state;

	bad_desc(rig, UINT64_MAX, 2, W, 0);
	bad_desc(rig, UINT64_MAX - 15, 16, 0, 0);
	bad_desc(rig, UINT64_MAX - 4095, UINT32_MAX, 0, 0);
	bad_desc(rig, BIT(63), UINT32_MAX, 0, 0);
}

static void test_writable_before_readable(void **state)
{
	struct rig *rig = *state;

	bad_desc(rig, 0, 16, N | W, 1);
}

static void test_zero_length(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, UINT64_MAX);
	for (unsigned flags = 0; flags <= W; flags += W) {
		uint16_t head = fake_queue_take_desc(rig->q, UINT16_MAX);

		fake_queue_set_desc(rig->q, head, FAKE_NOT_RAM, 0, flags, 0);
		fake_queue_publish(rig->q, head);
		fake_queue_ring(rig->q);
		assert_answered(rig);
	}
}

static void good_in_pieces(struct rig *rig, uint64_t features, uint32_t piece, bool indirect)
{
	struct sample s = {0};
	uint32_t written = UINT32_MAX;

	rig_start(rig, features);
	rig->maker->good(&s);
	/* A chain must not be longer than its queue. */
	while (piece && piece * rig->q->size < s.rd_len + s.wr_len + piece)
		piece++;
	offer_sample(rig, &s, piece, indirect);
	(void)fake_queue_kick(rig->q);
	assert_true(fake_queue_wait(rig->q, 2000));
	assert_true(fake_queue_take_used(rig->q, NULL, &written));
	assert_int_equal(written, s.written);
	assert_true(fake_queue_interrupts(rig->q) >= 1);
	assert_works(rig);
}

/* §2.7.4.1: no device depends on how the driver cut its buffers. */
static void test_any_framing(void **state)
{
	struct rig *rig = *state;

	for (uint32_t piece = 0; piece < 9; piece++) {
		good_in_pieces(rig, UINT64_MAX, piece, false);
		good_in_pieces(rig, UINT64_MAX, piece, true);
		good_in_pieces(rig, 0, piece, false);
		good_in_pieces(rig, EVENT_IDX, piece, false);
		good_in_pieces(rig, INDIRECT, piece, true);
	}
}

static void test_unknown_request(void **state)
{
	struct rig *rig = *state;
	struct sample s = {0};

	rig_start(rig, UINT64_MAX);
	rig->maker->unknown(&s);
	offer_sample(rig, &s, 0, false);
	fake_queue_ring(rig->q);
	assert_answered(rig);
}

/* Every length of a request from nothing to the whole, and each side of it missing. */
static void test_short_requests(void **state)
{
	struct rig *rig = *state;
	struct sample s = {0};

	rig_start(rig, UINT64_MAX);
	rig->maker->good(&s);
	for (uint32_t rd = 0; rd <= s.rd_len; rd++) {
		for (uint32_t wr = 0; wr <= s.wr_len; wr += s.wr_len ? s.wr_len : 1) {
			struct sample cut = s;

			if (rd + wr == 0)
				continue;
			cut.rd_len = rd;
			cut.wr_len = wr;
			offer_sample(rig, &cut, 0, false);
			fake_queue_ring(rig->q);
			assert_answered(rig);
		}
	}
}

/* Descriptor 0 refers to a table of num descriptors; returns the table. */
static struct vring_desc *offer_table(struct rig *rig, unsigned num, uint32_t len, uint16_t flags)
{
	gpa_t table = fake_alloc(&rig->m, 4096, 16);

	fake_queue_set_desc(rig->q, 0, table, len, I | flags, 1);
	fake_queue_set_desc(rig->q, 1, table, 16, 0, 0);
	fake_queue_publish(rig->q, 0);
	return fake_ptr(&rig->m, table, num * sizeof(struct vring_desc));
}

static void bad_table(struct rig *rig, uint32_t len, uint16_t flags, struct vring_desc first)
{
	struct vring_desc *table;

	rig_start(rig, UINT64_MAX);
	table = offer_table(rig, 4, len, flags);
	table[0] = first;
	assert_broken(rig);
}

static void test_bad_indirect(void **state)
{
	struct rig *rig = *state;
	struct vring_desc good = {.addr = htole64(8192), .len = htole32(4)};
	struct vring_desc inner = good, far = good, loop = good, outside = good;

	inner.flags = htole16(I);
	far.flags = loop.flags = htole16(N);
	far.next = htole16(4);
	outside.addr = htole64(FAKE_NOT_RAM);
	bad_table(rig, 64, 0, inner);
	bad_table(rig, 64, 0, far);
	bad_table(rig, 64, 0, loop);
	bad_table(rig, 64, 0, outside);
	bad_table(rig, 64, N, good);
	bad_table(rig, 0, 0, good);
	bad_table(rig, 15, 0, good);
	bad_table(rig, 63, 0, good);
	bad_table(rig, UINT32_MAX - 15, 0, good);
	bad_desc(rig, FAKE_NOT_RAM, 16, I, 0);
	bad_desc(rig, UINT64_MAX - 15, 32, I, 0);
}

static void test_indirect_unnegotiated(void **state)
{
	struct rig *rig = *state;
	struct vring_desc *table;

	rig_start(rig, EVENT_IDX);
	table = offer_table(rig, 1, 16, 0);
	table[0] = (struct vring_desc){.addr = htole64(8192), .len = htole32(4)};
	assert_broken(rig);
}

static void test_avail_idx_jumps(void **state)
{
	struct rig *rig = *state;
	static const uint16_t by[] = {1, 2, 1000, 0x7fff};

	for (unsigned i = 0; i < 4; i++) {
		rig_start(rig, UINT64_MAX);
		rig->q->avail->idx = htole16(rig->q->size + by[i]);
		assert_broken(rig);
	}
	rig_start(rig, UINT64_MAX);
	rig->q->avail->idx = htole16(UINT16_MAX);
	assert_broken(rig);
}

static void test_bad_head(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, UINT64_MAX);
	fake_queue_publish(rig->q, rig->q->size);
	assert_broken(rig);
	rig_start(rig, UINT64_MAX);
	fake_queue_publish(rig->q, UINT16_MAX);
	assert_broken(rig);
}

/*
 * One that is in flight breaks the queue, one that has come back does not: which of them it is, is
 * a race.
 */
static void test_same_head_twice(void **state)
{
	struct rig *rig = *state;
	struct sample s = {0};

	rig_start(rig, UINT64_MAX);
	rig->maker->good(&s);
	offer_sample(rig, &s, 0, false);
	for (unsigned i = 1; i < rig->q->size; i++)
		fake_queue_publish(rig->q, 0);
	fake_queue_ring(rig->q);
	fake_run_idle(&rig->m);
	assert_true(le16toh(rig->q->used->idx) <= rig->q->size);
	assert_true(fake_driver_needs_reset(&rig->drv) || le16toh(rig->q->used->idx) > 0);
	assert_recovers(rig);
}

/* The rings themselves as the buffer: the device writes over what it reads. */
static void test_rings_as_buffer(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, UINT64_MAX);
	fake_queue_set_desc(rig->q, 0, rig->q->desc_gpa, 16 * rig->q->size, W, 0);
	fake_queue_set_desc(rig->q, 1, rig->q->avail_gpa, 6 + 2 * rig->q->size, W, 0);
	fake_queue_set_desc(rig->q, 2, rig->q->used_gpa, 6 + 8 * rig->q->size, W, 0);
	for (uint16_t i = 0; i < 3; i++)
		fake_queue_publish(rig->q, i);
	fake_queue_ring(rig->q);
	fake_run_idle(&rig->m);
	assert_recovers(rig);
}

/* ---- notifications */

/* A device that suppresses kicks must look again by itself; one with a full ring must interrupt. */
static void test_many_without_kicks(void **state)
{
	static const uint64_t features[] = {0, EVENT_IDX, UINT64_MAX};
	struct rig *rig = *state;
	struct sample s = {0};

	rig->maker->good(&s);
	for (unsigned f = 0; f < 3; f++) {
		rig_start(rig, features[f]);
		for (unsigned i = 0; i < 300; i++) {
			offer_sample(rig, &s, 0, false);
			offer_sample(rig, &s, 0, false);
			(void)fake_queue_kick(rig->q);
			for (unsigned got = 0; got < 2; got++) {
				assert_true(fake_queue_wait(rig->q, 2000));
				assert_true(fake_queue_take_used(rig->q, NULL, NULL));
			}
		}
		assert_true(fake_queue_interrupts(rig->q) >= 1);
	}
}

/* §2.7.7.2: silence when it is asked for. */
static void test_no_interrupts(void **state)
{
	struct rig *rig = *state;
	struct sample s = {0};

	rig_start(rig, 0);
	rig->maker->good(&s);
	rig->q->avail->flags = htole16(VRING_AVAIL_F_NO_INTERRUPT);
	offer_sample(rig, &s, 0, false);
	(void)fake_queue_kick(rig->q);
	assert_true(fake_queue_wait(rig->q, 2000));
	fake_run_idle(&rig->m);
	assert_int_equal(fake_queue_interrupts(rig->q), 0);
	assert_true(fake_queue_take_used(rig->q, NULL, NULL));
	rig->q->avail->flags = 0;
	assert_works(rig);
}

static void test_kick_before_driver_ok(void **state)
{
	struct rig *rig = *state;
	struct sample s = {0};

	fake_driver_reset(&rig->drv);
	assert_true(fake_driver_negotiate(&rig->drv, fake_driver_offered(&rig->drv)));
	fake_driver_setup_msix(&rig->drv);
	for (unsigned i = 0; i < rig->drv.num_queues; i++)
		fake_driver_setup_queue(&rig->drv, i, 0);
	rig->maker->good(&s);
	offer_sample(rig, &s, 0, false);
	fake_queue_ring(rig->q);
	fake_run_idle(&rig->m);
	assert_int_equal(rig->q->used->idx, 0); /* §3.1.2: no buffer is consumed before DRIVER_OK */
	fake_driver_ok(&rig->drv);
	assert_true(fake_queue_wait(rig->q, 2000)); /* and none is forgotten */
	assert_true(fake_queue_take_used(rig->q, NULL, NULL));
	fake_run_idle(&rig->m);
	assert_works(rig);
}

/* Queues that were never enabled are not there. */
static void test_queues_not_enabled(void **state)
{
	struct rig *rig = *state;

	rig_start(rig, UINT64_MAX);
	fake_driver_reset(&rig->drv);
	assert_true(fake_driver_negotiate(&rig->drv, fake_driver_offered(&rig->drv)));
	fake_driver_ok(&rig->drv);
	for (unsigned i = 0; i < rig->drv.num_queues; i++)
		fake_queue_ring(&rig->drv.queue[i]);
	fake_run_idle(&rig->m);
	assert_false(fake_driver_needs_reset(&rig->drv));
	assert_recovers(rig);
}

const struct conformance_case ring_cases[] = {
	{"looping chain", test_looping_chain},
	{"next out of bounds", test_next_out_of_bounds},
	{"address outside of RAM", test_address_outside},
	{"address wraps", test_address_wraps},
	{"writable before readable", test_writable_before_readable},
	{"zero length", test_zero_length},
	{"any framing", test_any_framing},
	{"unknown request", test_unknown_request},
	{"short requests", test_short_requests},
	{"bad indirect tables", test_bad_indirect},
	{"indirect not negotiated", test_indirect_unnegotiated},
	{"available index jumps", test_avail_idx_jumps},
	{"bad head", test_bad_head},
	{"same head twice", test_same_head_twice},
	{"rings as buffer", test_rings_as_buffer},
	{"many without kicks", test_many_without_kicks},
	{"no interrupts", test_no_interrupts},
	{"kick before DRIVER_OK", test_kick_before_driver_ok},
	{"queues not enabled", test_queues_not_enabled},
};
const unsigned num_ring_cases = sizeof(ring_cases) / sizeof(ring_cases[0]);
