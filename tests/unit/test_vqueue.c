/* SPDX-License-Identifier: Apache-2.0 */
/* The split ring, both as the spec has it and as a bad guest would (virtio 1.2 §2.7). */
#include <errno.h>
#include <linux/virtio_ring.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "devices/virtio/vqueue.h"

#define SIZE    8
#define RAM_LEN (1u << 20)
#define BASE    0x10000 /* gpa of RAM: 0 is nothing */
#define DESC    BASE
#define AVAIL   (BASE + 0x1000)
#define USED    (BASE + 0x2000)
#define DATA    (BASE + 0x4000)
#define W       VRING_DESC_F_WRITE
#define N       VRING_DESC_F_NEXT
#define I       VRING_DESC_F_INDIRECT

struct request {
	struct vchain chain;
	uint64_t state[3];
};

static _Alignas(4096) uint8_t ram[RAM_LEN];
static const struct guest_mem mem = {.region = {{BASE, RAM_LEN, ram}}, .num = 1};
static struct vqueue *vq;
static struct vqueue_config cfg;
static unsigned num_interrupts, num_broken, num_pushed;
static const char *broken_why;

static struct vring_desc *const desc = (struct vring_desc *)ram;
static struct vring_avail *const avail = (struct vring_avail *)(ram + 0x1000);
static struct vring_used *const used = (struct vring_used *)(ram + 0x2000);

static void on_interrupt(void *opaque)
{
	num_interrupts++;
}

static void on_broken(void *opaque, const char *why)
{
	num_broken++;
	broken_why = why;
}

static void on_pushed(void *opaque)
{
	num_pushed++;
}

static void open_queue(bool event_idx, bool indirect)
{
	memset(ram, 0, sizeof(ram));
	num_interrupts = num_broken = num_pushed = 0;
	broken_why = "";
	cfg = (struct vqueue_config){.mem = &mem,
				     .size = SIZE,
				     .desc = DESC,
				     .avail = AVAIL,
				     .used = USED,
				     .event_idx = event_idx,
				     .indirect = indirect,
				     .req_size = sizeof(struct request),
				     .pushed = on_pushed,
				     .interrupt = on_interrupt,
				     .broken = on_broken};
	assert_int_equal(vqueue_new(&cfg, &vq), 0);
}

static int setup(void **state)
{
	open_queue(false, true);
	return 0;
}

static int setup_event_idx(void **state)
{
	open_queue(true, true);
	return 0;
}

static int teardown(void **state)
{
	vqueue_free(vq);
	return 0;
}

static void set(struct vring_desc *d, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	*d = (struct vring_desc){.addr = addr, .len = len, .flags = flags, .next = next};
}

static void offer(uint16_t head)
{
	avail->ring[avail->idx % SIZE] = head;
	avail->idx++;
}

static uint16_t *used_event(void)
{
	return &avail->ring[SIZE];
}

static uint16_t *avail_event(void)
{
	return (uint16_t *)&used->ring[SIZE];
}

/* One buffer from descriptor i, there and back. */
static void cycle(uint16_t i)
{
	struct vchain *c;

	set(&desc[i], DATA, 16, W, 0);
	offer(i);
	c = vqueue_pop(vq);
	assert_non_null(c);
	vqueue_push(c, 16);
}

static void test_one_chain(void **state)
{
	struct vchain *c;
	char text[8];

	set(&desc[3], DATA, 4, N, 5);
	set(&desc[5], DATA + 100, 2, N, 0);
	set(&desc[0], DATA + 200, 10, N | W, 1);
	set(&desc[1], DATA + 300, 20, W, 7);
	memcpy(ram + DATA - BASE, "abcd", 4);
	memcpy(ram + DATA + 100 - BASE, "ef", 2);
	assert_null(vqueue_pop(vq));
	offer(3);
	c = vqueue_pop(vq);
	assert_non_null(c);
	assert_null(vqueue_pop(vq));
	assert_int_equal(c->head, 3);
	assert_int_equal(c->rd.len, 6);
	assert_int_equal(c->wr.len, 30);
	assert_int_equal(vqueue_in_flight(vq), 1);
	assert_true(iobuf_get(&c->rd, text, 6));
	assert_memory_equal(text, "abcdef", 6);
	assert_true(iobuf_put(&c->wr, "0123456789AB", 12));
	vqueue_push(c, 12);
	assert_memory_equal(ram + DATA + 200 - BASE, "0123456789", 10);
	assert_memory_equal(ram + DATA + 300 - BASE, "AB", 2);
	assert_int_equal(used->idx, 1);
	assert_int_equal(used->ring[0].id, 3);
	assert_int_equal(used->ring[0].len, 12);
	assert_int_equal(vqueue_in_flight(vq), 0);
	assert_int_equal(num_broken, 0);
}

/* A queue is done in any order, and its indices wrap. */
static void test_out_of_order_and_wrap(void **state)
{
	struct vchain *c[3];

	for (unsigned i = 0; i < 3; i++) {
		set(&desc[i], DATA + 64 * i, 64, W, 0);
		offer(i);
	}
	for (unsigned i = 0; i < 3; i++)
		c[i] = vqueue_pop(vq);
	vqueue_push(c[1], 1);
	vqueue_push(c[2], 2);
	vqueue_push(c[0], 0);
	assert_int_equal(used->ring[0].id, 1);
	assert_int_equal(used->ring[1].id, 2);
	assert_int_equal(used->ring[2].id, 0);
	for (unsigned i = 0; i < 70000; i++)
		cycle(i % SIZE);
	assert_int_equal(used->idx, (uint16_t)70003);
	assert_int_equal(avail->idx, (uint16_t)70003);
	assert_int_equal(num_broken, 0);
}

static void test_private_copy(void **state)
{
	struct vchain *c;

	set(&desc[0], DATA, 100, W, 0);
	offer(0);
	c = vqueue_pop(vq);
	set(&desc[0], 0, UINT32_MAX, N, 77);
	avail->ring[0] = 5;
	assert_ptr_equal(c->wr.iov[0].iov_base, ram + DATA - BASE);
	assert_int_equal(c->wr.iov[0].iov_len, 100);
	vqueue_push(c, 100);
	assert_int_equal(used->ring[0].id, 0);
}

static void test_request_is_zeroed(void **state)
{
	struct request *r;

	for (unsigned round = 0; round < 2; round++) {
		set(&desc[0], DATA, 1, W, 0);
		offer(0);
		r = (struct request *)vqueue_pop(vq);
		assert_non_null(r);
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(r->state[i], 0);
		memset(r->state, 0xff, sizeof(r->state));
		vqueue_push(&r->chain, 0);
	}
}

static void test_zero_length(void **state)
{
	struct vchain *c;

	set(&desc[0], 0, 0, N, 1); /* its address is nobody's business */
	set(&desc[1], DATA, 5, N, 2);
	set(&desc[2], UINT64_MAX, 0, N | W, 3);
	set(&desc[3], DATA + 5, 6, 0, 0);
	offer(0);
	c = vqueue_pop(vq);
	assert_non_null(c);
	assert_int_equal(c->rd.len, 11);
	assert_int_equal(c->rd.num, 2);
	assert_int_equal(c->wr.len, 0);
	vqueue_push(c, 0);
	set(&desc[0], 0, 0, W, 0);
	offer(0);
	c = vqueue_pop(vq);
	assert_non_null(c);
	assert_int_equal(c->rd.len + c->wr.len, 0);
	vqueue_push(c, 0);
}

static void test_unpop(void **state)
{
	struct vchain *a, *b;

	for (unsigned i = 0; i < 2; i++) {
		set(&desc[i], DATA, 8, W, 0);
		offer(i);
	}
	a = vqueue_pop(vq);
	b = vqueue_pop(vq);
	assert_int_equal(b->head, 1);
	vqueue_unpop(b);
	vqueue_unpop(a);
	assert_int_equal(vqueue_in_flight(vq), 0);
	a = vqueue_pop(vq);
	assert_int_equal(a->head, 0);
	vqueue_push(a, 8);
	b = vqueue_pop(vq);
	assert_int_equal(b->head, 1);
	vqueue_drop(b);
	assert_int_equal(used->idx, 1);
	assert_null(vqueue_pop(vq));
}

static void test_indirect(void **state)
{
	struct vring_desc *table = (struct vring_desc *)(ram + 0x8000);
	struct vchain *c;

	/*
	 * A direct one, then a table (§2.7.5.3.2), whose reference has a WRITE flag that means
	 * nothing.
	 */
	set(&desc[0], DATA, 1, N, 4);
	set(&desc[4], BASE + 0x8000, 3 * 16, I | W, 0);
	set(&table[0], DATA + 1, 2, N, 2);
	set(&table[2], DATA + 3, 3, N | W, 1);
	set(&table[1], DATA + 6, 4, W, 0);
	offer(0);
	c = vqueue_pop(vq);
	assert_non_null(c);
	assert_int_equal(c->rd.len, 3);
	assert_int_equal(c->wr.len, 7);
	vqueue_push(c, 7);
	/* A table may lie at any address, and be as long as the queue. */
	table = (struct vring_desc *)(ram + 0x8001);
	for (unsigned i = 0; i < SIZE; i++) {
		struct vring_desc d = {
			.addr = DATA, .len = 1, .flags = i < SIZE - 1 ? N : 0, .next = i + 1};

		memcpy((uint8_t *)table + i * sizeof(d), &d, sizeof(d));
	}
	set(&desc[1], BASE + 0x8001, SIZE * 16, I, 0);
	offer(1);
	c = vqueue_pop(vq);
	assert_non_null(c);
	assert_int_equal(c->rd.len, SIZE);
	vqueue_push(c, 0);
}

static void expect_broken(const char *part)
{
	assert_null(vqueue_pop(vq));
	assert_int_equal(num_broken, 1);
	assert_true(vqueue_is_broken(vq));
	assert_non_null(strstr(broken_why, part));
	/* It stays so, and says so once. */
	offer(0);
	assert_null(vqueue_pop(vq));
	assert_false(vqueue_enable_kick(vq));
	vqueue_disable_kick(vq);
	vqueue_flush(vq);
	assert_int_equal(num_broken, 1);
	assert_int_equal(num_interrupts, 0);
	assert_int_equal(vqueue_in_flight(vq), 0);
}

/* Descriptor 0, made available, must break the queue. */
static void bad_desc(uint64_t addr, uint32_t len, uint16_t flags, uint16_t next, const char *part)
{
	vqueue_free(vq);
	open_queue(false, true);
	set(&desc[0], addr, len, flags, next);
	offer(0);
	expect_broken(part);
}

static void test_bad_descriptors(void **state)
{
	bad_desc(0, 1, 0, 0, "not in RAM");
	bad_desc(BASE - 1, 2, 0, 0, "not in RAM");
	bad_desc(BASE + RAM_LEN - 1, 2, W, 0, "not in RAM");
	bad_desc(BASE + RAM_LEN, 1, W, 0, "not in RAM");
	bad_desc(UINT64_MAX, 2, W, 0, "not in RAM");
	bad_desc(UINT64_MAX - 4095, 4096, 0, 0, "not in RAM");
	bad_desc(DATA, UINT32_MAX, W, 0, "not in RAM");
	bad_desc(DATA, 1, N, SIZE, "next is out of bounds");
	bad_desc(DATA, 1, N, UINT16_MAX, "next is out of bounds");
	bad_desc(DATA, 1, N, 0, "loops");
	bad_desc(DATA, 0, N, 0, "loops");
	bad_desc(DATA, 16, I | N, 1, "has a next");
	bad_desc(DATA, 0, I, 0, "odd length");
	bad_desc(DATA, 17, I, 0, "odd length");
	bad_desc(DATA, UINT32_MAX - 15, I, 0, "table is not in RAM");
	bad_desc(0, 16, I, 0, "table is not in RAM");
	bad_desc(UINT64_MAX - 15, 32, I, 0, "table is not in RAM");
}

static void test_bad_order(void **state)
{
	set(&desc[0], DATA, 1, N | W, 1);
	set(&desc[1], DATA, 1, 0, 0);
	offer(0);
	expect_broken("readable buffer follows");
}

static void bad_table(uint64_t addr, uint32_t len, uint16_t flags, uint16_t next, const char *part)
{
	struct vring_desc *table = (struct vring_desc *)(ram + 0x8000);

	vqueue_free(vq);
	open_queue(false, true);
	set(&table[0], addr, len, flags, next);
	set(&desc[0], BASE + 0x8000, 2 * 16, I, 0);
	offer(0);
	expect_broken(part);
}

static void test_bad_tables(void **state)
{
	bad_table(BASE + 0x8000, 16, I, 0, "table is in an indirect table");
	bad_table(DATA, 1, N, 2, "next is out of bounds");
	bad_table(DATA, 1, N, 0, "loops");
	bad_table(1, 1, 0, 0, "not in RAM");
}

static void test_table_not_negotiated(void **state)
{
	vqueue_free(vq);
	open_queue(false, false);
	set(&desc[0], BASE + 0x8000, 16, I, 0);
	offer(0);
	expect_broken("not negotiated");
}

/* A table longer than the queue is fine; a chain is not. */
static void test_long_table(void **state)
{
	struct vring_desc *table = (struct vring_desc *)(ram + 0x8000);

	for (unsigned i = 0; i <= SIZE; i++)
		set(&table[i], DATA, 1, N, i + 1);
	set(&desc[0], BASE + 0x8000, 2 * SIZE * 16, I, 0);
	offer(0);
	expect_broken("longer than the queue");
}

static void test_over_4g(void **state)
{
	static struct guest_mem big;
	struct vchain *c;

	/* Never touched beyond the rings: only the arithmetic is of interest. */
	big = mem;
	big.region[1] = (struct guest_mem_region){1ull << 40, 1ull << 33, ram};
	big.num = 2;
	vqueue_free(vq);
	open_queue(false, true);
	vqueue_free(vq);
	cfg.mem = &big;
	assert_int_equal(vqueue_new(&cfg, &vq), 0);
	set(&desc[0], 1ull << 40, UINT32_MAX, N | W, 1);
	set(&desc[1], 1ull << 40, 1, W, 0);
	offer(0);
	c = vqueue_pop(vq);
	assert_non_null(c);
	assert_int_equal(c->wr.len, 1ull << 32);
	vqueue_drop(c);
	set(&desc[1], 1ull << 40, 2, W, 0);
	offer(0);
	assert_null(vqueue_pop(vq));
	assert_non_null(strstr(broken_why, "4 GiB"));
}

static void test_bad_heads(void **state)
{
	struct vchain *c;

	offer(SIZE);
	expect_broken("head is out of bounds");
	vqueue_free(vq);
	open_queue(false, true);
	avail->idx = SIZE + 1;
	expect_broken("further ahead");
	vqueue_free(vq);
	open_queue(false, true);
	avail->idx = UINT16_MAX;
	expect_broken("further ahead");
	vqueue_free(vq);
	open_queue(false, true);
	set(&desc[0], DATA, 1, W, 0);
	offer(0);
	c = vqueue_pop(vq);
	offer(0);
	assert_null(vqueue_pop(vq));
	assert_non_null(strstr(broken_why, "twice"));
	/* What was in flight comes to its end without touching the ring. */
	vqueue_push(c, 1);
	assert_int_equal(used->idx, 0);
	assert_int_equal(vqueue_in_flight(vq), 0);
}

/* As many in flight as there are descriptors, in the worst case of chains of one. */
static void test_all_in_flight(void **state)
{
	struct vchain *c[SIZE];

	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < SIZE; i++) {
			set(&desc[i], DATA + i, 1, W, 0);
			offer(i);
		}
		for (unsigned i = 0; i < SIZE; i++) {
			c[i] = vqueue_pop(vq);
			assert_non_null(c[i]);
			for (unsigned j = 0; j < i; j++)
				assert_ptr_not_equal(c[i], c[j]);
		}
		assert_null(vqueue_pop(vq));
		for (unsigned i = 0; i < SIZE; i++)
			vqueue_push(c[(i * 3 + round) % SIZE], 1);
	}
	assert_int_equal(num_broken, 0);
	assert_int_equal(used->idx, 3 * SIZE);
}

static void test_interrupt_per_batch(void **state)
{
	vqueue_flush(vq);
	assert_int_equal(num_interrupts, 0);
	for (unsigned i = 0; i < 4; i++)
		cycle(i);
	assert_int_equal(num_pushed, 1);
	assert_int_equal(num_interrupts, 0);
	vqueue_flush(vq);
	vqueue_flush(vq);
	assert_int_equal(num_interrupts, 1);
	avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	cycle(0);
	assert_int_equal(num_pushed, 2);
	vqueue_flush(vq);
	assert_int_equal(num_interrupts, 1);
}

static void test_used_event(void **state)
{
	*used_event() = 2; /* tell me when the third is used */
	cycle(0);
	vqueue_flush(vq);
	cycle(1);
	vqueue_flush(vq);
	assert_int_equal(num_interrupts, 0);
	cycle(2);
	vqueue_flush(vq);
	assert_int_equal(num_interrupts, 1);
	cycle(3);
	vqueue_flush(vq);
	assert_int_equal(num_interrupts, 1);
	*used_event() = 5; /* passed in the middle of a batch */
	for (unsigned i = 0; i < 4; i++)
		cycle(i);
	vqueue_flush(vq);
	assert_int_equal(num_interrupts, 2);
	/* The flag means nothing now. */
	avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	*used_event() = used->idx;
	cycle(0);
	vqueue_flush(vq);
	assert_int_equal(num_interrupts, 3);
}

static void test_kick_flag(void **state)
{
	vqueue_disable_kick(vq);
	assert_int_equal(used->flags, VRING_USED_F_NO_NOTIFY);
	assert_false(vqueue_enable_kick(vq));
	assert_int_equal(used->flags, 0);
	vqueue_disable_kick(vq);
	cycle(0); /* came meanwhile, but seen */
	assert_false(vqueue_enable_kick(vq));
	set(&desc[1], DATA, 1, W, 0);
	offer(1);
	assert_true(vqueue_enable_kick(vq));
	/* The device leaves it lying: that is no reason to be called again. */
	vqueue_disable_kick(vq);
	assert_false(vqueue_enable_kick(vq));
	offer(2);
	assert_true(vqueue_enable_kick(vq));
}

static void test_avail_event(void **state)
{
	vqueue_disable_kick(vq);
	assert_false(vqueue_enable_kick(vq));
	assert_int_equal(*avail_event(), 0);
	cycle(0);
	cycle(1);
	vqueue_disable_kick(vq);
	assert_int_equal(used->flags, 0);
	assert_false(vqueue_enable_kick(vq));
	assert_int_equal(*avail_event(), 2);
	for (unsigned i = 0; i < 3; i++) {
		set(&desc[i], DATA, 1, W, 0);
		offer(i);
	}
	assert_true(vqueue_enable_kick(vq));
	vqueue_disable_kick(vq);
	/* None popped: the next addition must still ring. */
	assert_false(vqueue_enable_kick(vq));
	assert_int_equal(*avail_event(), 5);
}

static int new_with(uint16_t size, gpa_t d, gpa_t a, gpa_t u)
{
	struct vqueue_config c = cfg;
	struct vqueue *other = NULL;
	int r;

	c.size = size;
	c.desc = d;
	c.avail = a;
	c.used = u;
	r = vqueue_new(&c, &other);
	assert_true(r == 0 || !other);
	vqueue_free(other);
	return r;
}

static void test_geometry(void **state)
{
	assert_int_equal(new_with(SIZE, DESC, AVAIL, USED), 0);
	assert_int_equal(new_with(1, DESC, AVAIL, USED), 0);
	assert_int_equal(new_with(1024, BASE, BASE + 0x4000, BASE + 0x5000), 0);
	assert_int_equal(new_with(0, DESC, AVAIL, USED), -EINVAL);
	assert_int_equal(new_with(3, DESC, AVAIL, USED), -EINVAL);
	assert_int_equal(new_with(2048, DESC, AVAIL, USED), -EINVAL);
	assert_int_equal(new_with(32768, DESC, AVAIL, USED), -EINVAL);
	assert_int_equal(new_with(SIZE, DESC + 8, AVAIL, USED), -EINVAL);
	assert_int_equal(new_with(SIZE, DESC, AVAIL + 1, USED), -EINVAL);
	assert_int_equal(new_with(SIZE, DESC, AVAIL, USED + 2), -EINVAL);
	assert_int_equal(new_with(SIZE, 0, AVAIL, USED), -EINVAL);
	assert_int_equal(new_with(SIZE, DESC, 0, USED), -EINVAL);
	assert_int_equal(new_with(SIZE, DESC, AVAIL, 0), -EINVAL);
	/* Up to the last byte of RAM, and one more. */
	assert_int_equal(new_with(SIZE, BASE + RAM_LEN - 16 * SIZE, AVAIL, USED), 0);
	assert_int_equal(new_with(SIZE, BASE + RAM_LEN - 16 * SIZE + 16, AVAIL, USED), -EINVAL);
	assert_int_equal(new_with(SIZE, DESC, BASE + RAM_LEN - 6 - 2 * SIZE, USED), 0);
	assert_int_equal(new_with(SIZE, DESC, BASE + RAM_LEN - 4 - 2 * SIZE, USED), -EINVAL);
	assert_int_equal(new_with(SIZE, DESC, AVAIL, BASE + RAM_LEN - 8 - 8 * SIZE), 0);
	assert_int_equal(new_with(SIZE, DESC, AVAIL, BASE + RAM_LEN - 4 - 8 * SIZE), -EINVAL);
	assert_int_equal(new_with(SIZE, UINT64_MAX - 15, AVAIL, USED), -EINVAL);
}

#define T(fn)       cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define T_EVENT(fn) cmocka_unit_test_setup_teardown(fn, setup_event_idx, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_one_chain),
		T(test_out_of_order_and_wrap),
		T_EVENT(test_out_of_order_and_wrap),
		T(test_private_copy),
		T(test_request_is_zeroed),
		T(test_zero_length),
		T(test_unpop),
		T(test_indirect),
		T(test_bad_descriptors),
		T(test_bad_order),
		T(test_bad_tables),
		T(test_table_not_negotiated),
		T(test_long_table),
		T(test_over_4g),
		T(test_bad_heads),
		T(test_all_in_flight),
		T(test_interrupt_per_batch),
		T_EVENT(test_used_event),
		T(test_kick_flag),
		T_EVENT(test_avail_event),
		T(test_geometry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
