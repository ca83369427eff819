/* SPDX-License-Identifier: Apache-2.0 */
/* devices/backend/disk_raw.c step by step: the test's engine stands in for the kernel. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/list.h"
#include "base/log.h"
#include "base/str.h"
#include "devices/backend/disk.h"
#include "devices/backend/disk_engine.h"

#define DISK_LEN (64ull << 20)

/* ---- the engine: keeps what is submitted until the test completes it */

static struct engine {
	struct disk_engine e;
	struct list submitted, started; /* before and after commit() */
	unsigned num_started;
	int64_t (*wait_answer)(const struct disk_io *io);
} engine;

static void engine_submit(struct disk_engine *e, struct disk_io *io)
{
	list_append(&engine.submitted, &io->node);
}

static void engine_commit(struct disk_engine *e)
{
	struct list *node;

	while ((node = list_take(&engine.submitted))) {
		list_append(&engine.started, node);
		engine.num_started++;
	}
	assert_true(engine.num_started <= DISK_ENGINE_DEPTH);
}

/* Completes the oldest system call; the number of a list's call may be given instead. */
static void complete_nth(unsigned n, int64_t result)
{
	struct list *node = engine.started.next;
	struct disk_io *io;

	while (n-- && node != &engine.started)
		node = node->next;
	assert_true(node != &engine.started);
	list_remove(node);
	engine.num_started--;
	io = container_of(node, struct disk_io, node);
	io->done(io, result);
	engine_commit(&engine.e);
}

static void complete(int64_t result)
{
	complete_nth(0, result);
}

static void engine_wait(struct disk_engine *e)
{
	engine_commit(e);
	assert_true(engine.num_started > 0);
	complete(engine.wait_answer(container_of(engine.started.next, struct disk_io, node)));
}

static void engine_free(struct disk_engine *e)
{
	assert_int_equal(engine.num_started, 0);
}

static const struct disk_engine_ops engine_ops = {
	.name = "test",
	.submit = engine_submit,
	.commit = engine_commit,
	.wait = engine_wait,
	.free = engine_free,
};

/* These two take the place of the real ones when the program is linked. */
int disk_uring_new(struct loop *loop, int fd, struct disk_engine **ret_e)
{
	return -ENOSYS;
}

int disk_pool_new(struct loop *loop, int fd, struct disk_engine **ret_e, struct err *err)
{
	engine.e.ops = &engine_ops;
	list_init(&engine.submitted);
	list_init(&engine.started);
	engine.num_started = 0;
	*ret_e = &engine.e;
	return 0;
}

/* The nth system call that has started and not ended. */
static const struct disk_io *call(unsigned n)
{
	struct list *node = engine.started.next;

	while (n-- && node != &engine.started)
		node = node->next;
	assert_true(node != &engine.started);
	return container_of(node, struct disk_io, node);
}

/* ---- the disk */

struct world {
	struct loop *loop;
	char *path;
	struct disk *d;
};

struct req {
	struct disk_req r;
	struct iovec iov;
	int result;
	unsigned num_done;
};

static uint8_t data[4096];

static int setup(void **state)
{
	struct disk_options opt = {0};
	struct world *w = xcalloc(1, sizeof(*w));
	struct err err = {0};
	int fd;

	w->path = str_fmt("%s/lvm-test-disk-raw.XXXXXX", getenv("TMPDIR") ?: "/tmp");
	fd = mkstemp(w->path);
	if (fd < 0 || ftruncate(fd, DISK_LEN) < 0)
		return -1;
	(void)close(fd);
	*state = w;
	if (loop_new(&w->loop, &err) < 0)
		return -1;
	/* What the faults below say to the log is not for this test's reader. */
	log_init("test", LOG_LEVEL_ERROR, open("/dev/null", O_WRONLY | O_CLOEXEC));
	return disk_raw_open(w->loop, w->path, &opt, &w->d, &err);
}

static int teardown(void **state)
{
	struct world *w = *state;

	w->d->ops->free(w->d);
	loop_free(w->loop);
	(void)unlink(w->path);
	free(w->path);
	free(w);
	return 0;
}

static void req_done(struct disk_req *r, int result)
{
	struct req *q = container_of(r, struct req, r);

	q->result = result;
	q->num_done++;
}

static void submit(struct world *w, struct req *q, enum disk_op op, uint64_t offset, uint64_t len)
{
	*q = (struct req){.r = {.op = op, .offset = offset, .len = len, .done = req_done}};
	if (op == DISK_READ || op == DISK_WRITE) {
		q->iov = (struct iovec){.iov_base = data, .iov_len = len};
		iobuf_init(&q->r.data, &q->iov, 1);
	}
	w->d->ops->submit(w->d, &q->r);
}

static void start(struct world *w, struct req *q, enum disk_op op, uint64_t offset, uint64_t len)
{
	submit(w, q, op, offset, len);
	w->d->ops->commit(w->d);
}

static void expect_done(const struct req *q, int result)
{
	assert_int_equal(q->num_done, 1);
	assert_int_equal(q->result, result);
}

/* ---- short and failing transfers */

static void test_short_transfer_goes_on_where_it_ended(void **state)
{
	static const enum disk_op op[] = {DISK_READ, DISK_WRITE};
	struct world *w = *state;
	struct req q;

	for (int i = 0; i < 2; i++) {
		start(w, &q, op[i], 8192, 4096);
		assert_int_equal(call(0)->offset, 8192);
		complete(100);
		assert_int_equal(call(0)->op, i ? DISK_IO_WRITEV : DISK_IO_READV);
		assert_int_equal(call(0)->offset, 8292);
		assert_int_equal(call(0)->num_iov, 1);
		assert_ptr_equal(call(0)->iov[0].iov_base, data + 100);
		assert_int_equal(call(0)->iov[0].iov_len, 3996);
		complete(3995);
		assert_int_equal(q.num_done, 0);
		assert_int_equal(call(0)->offset, 12287);
		assert_int_equal(call(0)->iov[0].iov_len, 1);
		complete(1);
		expect_done(&q, 0);
	}
}

static void test_end_of_file_is_an_error(void **state)
{
	struct world *w = *state;
	struct req q;

	start(w, &q, DISK_READ, 0, 4096);
	complete(1024);
	complete(0);
	expect_done(&q, -ENODATA);
	start(w, &q, DISK_WRITE, 0, 4096);
	complete(0);
	expect_done(&q, -EIO);
}

static void test_errors_reach_the_front(void **state)
{
	static const int code[] = {EIO, ENOSPC, EFBIG, EDQUOT};
	struct world *w = *state;
	struct req q;

	for (unsigned i = 0; i < sizeof(code) / sizeof(code[0]); i++) {
		start(w, &q, DISK_WRITE, 0, 4096);
		complete(512);
		complete(-code[i]);
		expect_done(&q, -code[i]);
		start(w, &q, DISK_WRITE_ZEROES, 0, 4096);
		complete(-code[i]);
		expect_done(&q, -code[i]);
	}
}

static void test_interruptions_are_tried_again_but_not_for_ever(void **state)
{
	struct world *w = *state;
	struct req q;
	unsigned tries = 0;

	start(w, &q, DISK_WRITE, 0, 4096);
	complete(-EINTR);
	complete(-EAGAIN);
	complete(-ECANCELED);
	assert_int_equal(call(0)->iov[0].iov_len, 4096);
	complete(4096);
	expect_done(&q, 0);

	start(w, &q, DISK_READ, 0, 4096);
	for (; !q.num_done; tries++) {
		assert_true(tries < 1000);
		complete(-EAGAIN);
	}
	expect_done(&q, -EAGAIN);
}

/* ---- zeroes */

static void test_zeroes_by_the_best_way_there_is(void **state)
{
	struct world *w = *state;
	struct req q;
	uint64_t at = 512, left = 5 << 20;

	start(w, &q, DISK_WRITE_ZEROES_UNMAP, at, left);
	assert_int_equal(call(0)->mode, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
	assert_int_equal(call(0)->offset, at);
	assert_int_equal(call(0)->len, left);
	complete(-EOPNOTSUPP);
	assert_int_equal(call(0)->mode, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE);
	complete(-EOPNOTSUPP);
	while (!q.num_done) {
		const struct disk_io *io = call(0);
		uint64_t n = 0;

		assert_int_equal(io->op, DISK_IO_WRITEV);
		assert_int_equal(io->offset, at);
		for (unsigned i = 0; i < io->num_iov; i++) {
			const uint8_t *p = io->iov[i].iov_base;

			for (size_t k = 0; k < io->iov[i].iov_len; k++)
				assert_int_equal(p[k], 0);
			n += io->iov[i].iov_len;
		}
		assert_true(n <= left);
		/* Some of it, as a full disk would. */
		n = n > 1000 ? n - 1000 : n;
		at += n;
		left -= n;
		complete((int64_t)n);
	}
	expect_done(&q, 0);
	assert_int_equal(left, 0);
	/* It remembers. */
	start(w, &q, DISK_WRITE_ZEROES, 0, 512);
	assert_int_equal(call(0)->op, DISK_IO_WRITEV);
	complete(512);
	expect_done(&q, 0);
	start(w, &q, DISK_DISCARD, 0, 512);
	assert_int_equal(engine.num_started, 0);
	assert_int_equal(q.num_done, 0);
	assert_int_equal(loop_run_once(w->loop, 0), 0);
	expect_done(&q, 0);
}

static void test_zeroes_where_only_this_range_is_refused(void **state)
{
	struct world *w = *state;
	struct req q;

	start(w, &q, DISK_WRITE_ZEROES, 512, 512);
	complete(-EINVAL);
	assert_int_equal(call(0)->op, DISK_IO_WRITEV);
	complete(512);
	expect_done(&q, 0);
	start(w, &q, DISK_DISCARD, 512, 512);
	complete(-EINVAL);
	expect_done(&q, 0);
	start(w, &q, DISK_WRITE_ZEROES, 0, 4096);
	assert_int_equal(call(0)->mode, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE);
	complete(0);
	expect_done(&q, 0);
}

/* ---- flush */

static void test_a_flush_begins_after_it_was_asked_for(void **state)
{
	struct world *w = *state;
	struct req write, first, second, third;

	start(w, &first, DISK_FLUSH, 0, 0);
	assert_int_equal(call(0)->op, DISK_IO_FDATASYNC);
	/* A write completes while that fdatasync runs: it may have been passed over. */
	start(w, &write, DISK_WRITE, 0, 4096);
	complete_nth(1, 4096);
	expect_done(&write, 0);
	start(w, &second, DISK_FLUSH, 0, 0);
	start(w, &third, DISK_FLUSH, 0, 0);
	assert_int_equal(engine.num_started, 1);
	complete(0);
	expect_done(&first, 0);
	assert_int_equal(second.num_done, 0);
	/* Its own, and one for both. */
	assert_int_equal(engine.num_started, 1);
	assert_int_equal(call(0)->op, DISK_IO_FDATASYNC);
	complete(0);
	expect_done(&second, 0);
	expect_done(&third, 0);
	assert_int_equal(engine.num_started, 0);
}

static void test_a_flush_waits_for_no_write_in_flight(void **state)
{
	struct world *w = *state;
	struct req write, flush;

	start(w, &write, DISK_WRITE, 0, 4096);
	start(w, &flush, DISK_FLUSH, 0, 0);
	complete_nth(1, 0);
	expect_done(&flush, 0);
	complete(4096);
	expect_done(&write, 0);
}

static void test_a_failed_flush_is_never_forgotten(void **state)
{
	struct world *w = *state;
	struct req first, second, third;

	start(w, &first, DISK_FLUSH, 0, 0);
	start(w, &second, DISK_FLUSH, 0, 0);
	complete(-EINTR);
	assert_int_equal(first.num_done, 0);
	complete(-EIO);
	expect_done(&first, -EIO);
	/* The kernel would say 0 now, having dropped the pages it could not write. */
	complete(0);
	expect_done(&second, -EIO);
	start(w, &third, DISK_FLUSH, 0, 0);
	assert_int_equal(third.num_done, 0);
	assert_int_equal(loop_run_once(w->loop, 0), 0);
	expect_done(&third, -EIO);
}

/* ---- many, and the end */

static void test_more_requests_than_slots(void **state)
{
	enum { NUM = DISK_ENGINE_DEPTH + 100 };
	struct world *w = *state;
	struct req *q = xcalloc(NUM, sizeof(*q)), flush;

	for (unsigned i = 0; i < NUM; i++)
		submit(w, &q[i], DISK_READ, i * 4096ull, 4096);
	submit(w, &flush, DISK_FLUSH, 0, 0);
	w->d->ops->commit(w->d);
	assert_int_equal(engine.num_started, DISK_ENGINE_DEPTH);
	/* The flush does not queue behind the reads. */
	complete_nth(DISK_ENGINE_DEPTH - 1, 0);
	expect_done(&flush, 0);
	for (unsigned i = 0; i < NUM; i++) {
		assert_int_equal(call(0)->offset, i * 4096ull);
		complete(4096);
		expect_done(&q[i], 0);
	}
	free(q);
}

static int64_t answer_short(const struct disk_io *io)
{
	return io->op == DISK_IO_FDATASYNC || io->op == DISK_IO_FALLOCATE ? 0 : 512;
}

static void test_drain_begins_nothing_new(void **state)
{
	enum { NUM = DISK_ENGINE_DEPTH + 9 };
	struct world *w = *state;
	struct req *q = xcalloc(NUM, sizeof(*q)), flush[2], nothing;

	for (unsigned i = 0; i < NUM; i++)
		submit(w, &q[i], DISK_READ, i * 4096ull, i == 0 ? 512 : 4096);
	start(w, &flush[0], DISK_FLUSH, 0, 0);
	submit(w, &flush[1], DISK_FLUSH, 0, 0);
	submit(w, &nothing, DISK_READ, 0, 0);
	engine.wait_answer = answer_short;
	w->d->ops->drain(w->d);
	expect_done(&q[0], 0);
	for (unsigned i = 1; i < NUM; i++)
		expect_done(&q[i], -ECANCELED);
	expect_done(&flush[0], 0);
	expect_done(&flush[1], -ECANCELED);
	expect_done(&nothing, 0);
	assert_int_equal(engine.num_started, 0);
	start(w, &q[0], DISK_READ, 0, 512);
	complete(512);
	expect_done(&q[0], 0);
	free(q);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_short_transfer_goes_on_where_it_ended),
		TEST(test_end_of_file_is_an_error),
		TEST(test_errors_reach_the_front),
		TEST(test_interruptions_are_tried_again_but_not_for_ever),
		TEST(test_zeroes_by_the_best_way_there_is),
		TEST(test_zeroes_where_only_this_range_is_refused),
		TEST(test_a_flush_begins_after_it_was_asked_for),
		TEST(test_a_flush_waits_for_no_write_in_flight),
		TEST(test_a_failed_flush_is_never_forgotten),
		TEST(test_more_requests_than_slots),
		TEST(test_drain_begins_nothing_new),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
