/* SPDX-License-Identifier: Apache-2.0 */
/* devices/backend/disk_raw.c and its engines: two file systems, by io_uring and by threads. */
#include "devices/backend/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/list.h"
#include "base/str.h"

#define KIB 1024ull
#define MIB (1024 * KIB)

/* One combination: a directory on some file system, and an engine. */
struct world {
	const char *base;
	bool no_uring;
	struct loop *loop;
	char *dir, *path;
};

struct req {
	struct disk_req r;
	int result;
	unsigned num_done;
};

static bool inside;

static void req_done(struct disk_req *r, int result)
{
	struct req *q = container_of(r, struct req, r);

	assert_false(inside);
	q->result = result;
	q->num_done++;
}

static void submit(struct disk *d, struct req *q)
{
	q->r.done = req_done;
	q->num_done = 0;
	inside = true;
	d->ops->submit(d, &q->r);
	inside = false;
}

static void commit(struct disk *d)
{
	inside = true;
	d->ops->commit(d);
	inside = false;
}

static void finish(struct world *w, struct req *q)
{
	int64_t deadline = loop_now_ms() + 20000;

	while (!q->num_done) {
		assert_true(loop_now_ms() < deadline);
		assert_int_equal(loop_run_once(w->loop, 5), 0);
	}
	assert_int_equal(q->num_done, 1);
}

/* One request from beginning to end; data is read or written where op says so. */
static int perform(struct world *w, struct disk *d, enum disk_op op, uint64_t offset, void *data,
		   size_t len)
{
	struct iovec iov = {.iov_base = data, .iov_len = len};
	struct req q = {.r = {.op = op, .offset = offset, .len = len}};

	if (op == DISK_READ || op == DISK_WRITE)
		iobuf_init(&q.r.data, &iov, 1);
	submit(d, &q);
	commit(d);
	finish(w, &q);
	return q.result;
}

static void make_file(const char *path, uint64_t size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	assert_int_equal(close(fd), 0);
}

static struct disk *open_disk(struct world *w, bool read_only)
{
	struct disk_options opt = {.read_only = read_only, .no_uring = w->no_uring};
	struct err err = {0};
	struct disk *d = NULL;

	if (disk_raw_open(w->loop, w->path, &opt, &d, &err) < 0)
		fail_msg("%s", err.text);
	return d;
}

static void fill_random(uint8_t *p, size_t n, unsigned seed)
{
	uint32_t x = seed * 2654435761u + 1;

	for (size_t i = 0; i < n; i++) {
		x = x * 1664525 + 1013904223;
		p[i] = (uint8_t)(x >> 24);
	}
}

static void read_file(const char *path, uint64_t offset, void *buf, size_t n)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, buf, n, (off_t)offset), n);
	assert_int_equal(close(fd), 0);
}

static uint64_t allocated(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static int setup(void **state)
{
	struct world *w = *state;
	struct err err = {0};

	if (!w->base || access(w->base, W_OK) < 0)
		w->base = getenv("TMPDIR") ?: "/tmp";
	w->dir = str_fmt("%s/lvm-test-disk.XXXXXX", w->base);
	if (!mkdtemp(w->dir))
		return -1;
	w->path = str_fmt("%s/disk", w->dir);
	return loop_new(&w->loop, &err);
}

static int teardown(void **state)
{
	struct world *w = *state;

	loop_free(w->loop);
	(void)unlink(w->path);
	(void)rmdir(w->dir);
	free(w->path);
	free(w->dir);
	return 0;
}

/* ---- data */

#define MODEL_REQS 400
#define MODEL_AREA (8 * KIB) /* each request has its own: there is no order between them */

/* Cuts [p, p + n) into odd pieces. */
static unsigned cut(struct iovec *iov, unsigned max, uint8_t *p, size_t n, unsigned seed)
{
	unsigned num = 0;

	for (; n && num + 1 < max; num++) {
		size_t here = 1 + (seed = seed * 1103515245 + 12345) / 65536 % 700;

		here = here < n ? here : n;
		iov[num] = (struct iovec){.iov_base = p, .iov_len = here};
		p += here;
		n -= here;
	}
	iov[num] = (struct iovec){.iov_base = p, .iov_len = n};
	return num + 1;
}

static void test_many_requests_in_odd_pieces(void **state)
{
	struct world *w = *state;
	uint8_t *data = xcalloc(MODEL_REQS, MODEL_AREA), *back = xcalloc(MODEL_REQS, MODEL_AREA);
	struct req *q = xcalloc(MODEL_REQS, sizeof(*q));
	struct iovec(*iov)[40] = xcalloc(MODEL_REQS, sizeof(*iov));
	struct disk *d;

	make_file(w->path, MODEL_REQS * MODEL_AREA);
	d = open_disk(w, false);
	assert_int_equal(d->capacity, MODEL_REQS * MODEL_AREA);
	fill_random(data, MODEL_REQS * MODEL_AREA, 1);
	for (int pass = 0; pass < 2; pass++) {
		/* More than the backend has slots for, all at once. */
		for (unsigned i = 0; i < MODEL_REQS; i++) {
			uint8_t *p = (pass ? back : data) + i * MODEL_AREA;
			/*
			 * A piece that belongs to nobody before and after the request's own part.
			 */
			unsigned n = cut(iov[i], 40, p, MODEL_AREA, i);

			q[i].r = (struct disk_req){.op = pass ? DISK_READ : DISK_WRITE,
						   .offset = i * MODEL_AREA + 512,
						   .len = MODEL_AREA - 1024};
			iobuf_init(&q[i].r.data, iov[i], n);
			assert_true(iobuf_skip(&q[i].r.data, 512));
			assert_true(iobuf_truncate(&q[i].r.data, MODEL_AREA - 1024));
			submit(d, &q[i]);
		}
		commit(d);
		for (unsigned i = 0; i < MODEL_REQS; i++) {
			finish(w, &q[i]);
			assert_int_equal(q[i].result, 0);
		}
	}
	/* What the requests did not cover is untouched, in the file and in memory. */
	for (unsigned i = 0; i < MODEL_REQS; i++) {
		memset(data + i * MODEL_AREA, 0, 512);
		memset(data + (i + 1) * MODEL_AREA - 512, 0, 512);
	}
	assert_memory_equal(data, back, MODEL_REQS * MODEL_AREA);
	read_file(w->path, 0, back, MODEL_REQS * MODEL_AREA);
	assert_memory_equal(data, back, MODEL_REQS * MODEL_AREA);
	d->ops->free(d);
	free(data);
	free(back);
	free(q);
	free(iov);
}

static void test_more_iovecs_than_a_call_takes(void **state)
{
	enum { NUM = 3000, LEN = NUM * 512 };
	struct world *w = *state;
	uint8_t *data = xcalloc(1, LEN), *back = xcalloc(1, LEN);
	struct iovec *iov = xcalloc(NUM, sizeof(*iov));
	struct req q = {.r = {.op = DISK_WRITE, .len = LEN}};
	struct disk *d;

	make_file(w->path, 2 * LEN);
	d = open_disk(w, false);
	fill_random(data, LEN, 2);
	for (unsigned i = 0; i < NUM; i++)
		iov[i] = (struct iovec){.iov_base = data + i * 512, .iov_len = 512};
	iobuf_init(&q.r.data, iov, NUM);
	submit(d, &q);
	commit(d);
	finish(w, &q);
	assert_int_equal(q.result, 0);
	assert_int_equal(perform(w, d, DISK_READ, 0, back, LEN), 0);
	assert_memory_equal(data, back, LEN);
	d->ops->free(d);
	free(data);
	free(back);
	free(iov);
}

static void test_flush_after_write(void **state)
{
	struct world *w = *state;
	uint8_t data[4096], back[4096];
	struct disk *d;

	make_file(w->path, MIB);
	d = open_disk(w, false);
	fill_random(data, sizeof(data), 3);
	assert_int_equal(perform(w, d, DISK_WRITE, 8192, data, sizeof(data)), 0);
	assert_int_equal(perform(w, d, DISK_FLUSH, 0, NULL, 0), 0);
	read_file(w->path, 8192, back, sizeof(back));
	assert_memory_equal(data, back, sizeof(back));
	d->ops->free(d);
}

/* ---- discard and zeroes */

static bool all_zero(const uint8_t *p, size_t n)
{
	return n == 0 || (p[0] == 0 && !memcmp(p, p + 1, n - 1));
}

/* [from, to) of a file full of ones is zeroed; nothing else is. */
static void check_zeroing(struct world *w, enum disk_op op, size_t from, size_t to, bool frees)
{
	enum { LEN = 4 * 1024 * 1024 };
	uint8_t *data = xcalloc(1, LEN);
	struct disk *d;
	uint64_t before, after;

	make_file(w->path, LEN);
	d = open_disk(w, false);
	memset(data, 1, LEN);
	assert_int_equal(perform(w, d, DISK_WRITE, 0, data, LEN), 0);
	assert_int_equal(perform(w, d, DISK_FLUSH, 0, NULL, 0), 0);
	before = allocated(w->path);
	assert_int_equal(perform(w, d, op, from, NULL, to - from), 0);
	assert_int_equal(perform(w, d, DISK_READ, 0, data, LEN), 0);
	assert_true(all_zero(data + from, to - from));
	memset(data + from, 1, to - from);
	for (size_t i = 0; i < LEN; i++)
		assert_int_equal(data[i], 1);
	after = allocated(w->path);
	if (frees)
		assert_true(after + (to - from) / 2 < before);
	else
		assert_true(after + 65536 >= before);
	d->ops->free(d);
	free(data);
}

static void test_discard_makes_a_hole(void **state)
{
	check_zeroing(*state, DISK_DISCARD, MIB, 3 * MIB, true);
}

static void test_write_zeroes_keeps_or_frees(void **state)
{
	check_zeroing(*state, DISK_WRITE_ZEROES, MIB, 3 * MIB, false);
	check_zeroing(*state, DISK_WRITE_ZEROES_UNMAP, MIB, 3 * MIB, true);
}

static void test_zeroing_is_exact_when_unaligned(void **state)
{
	check_zeroing(*state, DISK_DISCARD, MIB + 512, 3 * MIB - 1536, true);
	check_zeroing(*state, DISK_WRITE_ZEROES, MIB + 512, 3 * MIB - 1536, false);
	check_zeroing(*state, DISK_WRITE_ZEROES_UNMAP, 512, 1024, false);
}

/* ---- refusals */

static void test_requests_that_cannot_be(void **state)
{
	struct world *w = *state;
	uint8_t data[1024] = {0};
	struct disk *d;

	make_file(w->path, MIB);
	d = open_disk(w, false);
	assert_int_equal(perform(w, d, DISK_READ, MIB - 512, data, 1024), -EINVAL);
	assert_int_equal(perform(w, d, DISK_WRITE, UINT64_MAX - 511, data, 1024), -EINVAL);
	assert_int_equal(perform(w, d, DISK_DISCARD, MIB, NULL, 512), -EINVAL);
	assert_int_equal(perform(w, d, DISK_READ, MIB, NULL, 0), 0);
	d->ops->free(d);
}

static void test_read_only(void **state)
{
	struct world *w = *state;
	uint8_t data[512] = {1}, back[512];
	struct disk *d;

	make_file(w->path, MIB);
	d = open_disk(w, true);
	assert_true(d->read_only);
	assert_int_equal(perform(w, d, DISK_WRITE, 0, data, 512), -EROFS);
	assert_int_equal(perform(w, d, DISK_DISCARD, 0, NULL, 4096), -EROFS);
	assert_int_equal(perform(w, d, DISK_WRITE_ZEROES, 0, NULL, 4096), -EROFS);
	assert_int_equal(perform(w, d, DISK_READ, 0, back, 512), 0);
	assert_true(all_zero(back, 512));
	assert_int_equal(perform(w, d, DISK_FLUSH, 0, NULL, 0), 0);
	d->ops->free(d);
}

static void test_read_past_the_end_of_a_truncated_file(void **state)
{
	struct world *w = *state;
	uint8_t data[8192];
	struct disk *d;

	make_file(w->path, MIB);
	d = open_disk(w, false);
	assert_int_equal(truncate(w->path, 6144), 0);
	assert_int_equal(perform(w, d, DISK_READ, 0, data, 4096), 0);
	/* Half of it is there; half of an answer would be a lie. */
	assert_true(perform(w, d, DISK_READ, 4096, data, 4096) < 0);
	assert_true(perform(w, d, DISK_READ, 512 * KIB, data, 4096) < 0);
	d->ops->free(d);
}

static void test_capacity_follows_the_file(void **state)
{
	struct world *w = *state;
	uint8_t data[512] = {7};
	struct disk *d;

	make_file(w->path, MIB);
	d = open_disk(w, false);
	assert_int_equal(truncate(w->path, 2 * MIB), 0);
	assert_int_equal(d->capacity, MIB);
	assert_int_equal(d->ops->refresh(d), 0);
	assert_int_equal(d->capacity, 2 * MIB);
	assert_int_equal(perform(w, d, DISK_WRITE, 2 * MIB - 512, data, 512), 0);
	assert_int_equal(truncate(w->path, 1000), 0);
	assert_int_equal(d->ops->refresh(d), -EINVAL);
	assert_int_equal(d->capacity, 2 * MIB);
	d->ops->free(d);
}

/* ---- drain */

static void test_drain_waits_for_all(void **state)
{
	enum { NUM = 300, LEN = 64 * 1024 };
	struct world *w = *state;
	struct req *q = xcalloc(NUM + 1, sizeof(*q));
	uint8_t *data = xcalloc(1, LEN);
	struct iovec iov = {.iov_base = data, .iov_len = LEN};
	struct disk *d;

	make_file(w->path, NUM * LEN);
	d = open_disk(w, false);
	memset(data, 9, LEN);
	for (unsigned i = 0; i < NUM; i++) {
		q[i].r = (struct disk_req){.op = DISK_WRITE, .offset = i * LEN, .len = LEN};
		iobuf_init(&q[i].r.data, &iov, 1);
		submit(d, &q[i]);
	}
	q[NUM].r.op = DISK_FLUSH;
	submit(d, &q[NUM]);
	/* No commit, and the loop never runs: drain has to do it all. */
	d->ops->drain(d);
	for (unsigned i = 0; i <= NUM; i++) {
		assert_int_equal(q[i].num_done, 1);
		if (q[i].result == 0 && i < NUM) {
			uint8_t back[LEN];

			read_file(w->path, i * LEN, back, LEN);
			assert_memory_equal(back, data, LEN);
		} else {
			/* No slot was free: it was never begun. */
			assert_true(q[i].result == 0 || q[i].result == -ECANCELED);
		}
	}
	assert_int_equal(q[0].result, 0);
	/* And the disk goes on afterwards. */
	assert_int_equal(perform(w, d, DISK_READ, 0, data, LEN), 0);
	d->ops->free(d);
	free(q);
	free(data);
}

/* ---- opening */

static void expect_refusal(struct world *w, const char *path, bool read_only, const char *reason)
{
	struct disk_options opt = {.read_only = read_only, .no_uring = w->no_uring};
	struct err err = {0};
	struct disk *d = NULL;
	int r = disk_raw_open(w->loop, path, &opt, &d, &err);

	assert_true(r < 0);
	assert_null(d);
	assert_int_equal(err.code, -r);
	if (!strstr(err.text, path) || !strstr(err.text, reason))
		fail_msg("'%s' names neither '%s' nor '%s'", err.text, path, reason);
}

static void test_what_is_no_disk(void **state)
{
	struct world *w = *state;
	char *fifo = str_fmt("%s/fifo", w->dir);

	expect_refusal(w, w->path, false, "No such file");
	expect_refusal(w, w->dir, false, "neither a regular file");
	expect_refusal(w, w->dir, true, "neither a regular file");
	expect_refusal(w, "/dev/null", false, "neither a regular file");
	assert_int_equal(mkfifo(fifo, 0600), 0);
	expect_refusal(w, fifo, false, "neither a regular file");
	expect_refusal(w, fifo, true, "neither a regular file");
	(void)unlink(fifo);
	free(fifo);
	make_file(w->path, 0);
	expect_refusal(w, w->path, false, "empty");
	make_file(w->path, 1000);
	expect_refusal(w, w->path, false, "1000 bytes");
}

static void test_lock(void **state)
{
	struct world *w = *state;
	struct disk *d, *second;

	make_file(w->path, MIB);
	d = open_disk(w, false);
	expect_refusal(w, w->path, true, "in use by another VM");
	d->ops->free(d);
	d = open_disk(w, true);
	second = open_disk(w, true);
	expect_refusal(w, w->path, false, "in use by another VM");
	d->ops->free(d);
	second->ops->free(second);
	d = open_disk(w, false);
	d->ops->free(d);
}

/* The lock of a VM that was killed a moment ago is waited for. */
static void test_lock_of_a_dying_process(void **state)
{
	struct world *w = *state;
	int ready[2], status;
	struct disk *d;
	pid_t pid;
	char c;

	make_file(w->path, MIB);
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
		int fd = open(w->path, O_RDWR | O_CLOEXEC);

		if (fd < 0 || fcntl(fd, F_OFD_SETLK, &lock) < 0 || write(ready[1], "x", 1) != 1)
			_exit(1);
		(void)nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
		_exit(0);
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	d = open_disk(w, false);
	d->ops->free(d);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	(void)close(ready[0]);
	(void)close(ready[1]);
}

static void test_descriptors_close_on_exec(void **state)
{
	struct world *w = *state;
	struct disk *d;

	make_file(w->path, MIB);
	d = open_disk(w, false);
	for (int fd = 3; fd < 256; fd++) {
		int flags = fcntl(fd, F_GETFD);
		char *link = str_fmt("/proc/self/fd/%d", fd), target[256] = "";

		if (readlink(link, target, sizeof(target) - 1) > 0 &&
		    (!strcmp(target, w->path) || strstr(target, "anon_inode")))
			assert_true(flags >= 0 && flags & FD_CLOEXEC);
		free(link);
	}
	d->ops->free(d);
}

#define ON(world, test)                                                                \
	{                                                                              \
		.name = #test " (" #world ")", .test_func = test, .setup_func = setup, \
		.teardown_func = teardown, .initial_state = &world                     \
	}
#define EVERYWHERE(test) \
	ON(disk_uring, test), ON(disk_threads, test), ON(tmpfs_uring, test), ON(tmpfs_threads, test)

int main(void)
{
	static struct world disk_uring = {0}, disk_threads = {.no_uring = true};
	static struct world tmpfs_uring = {.base = "/dev/shm"};
	static struct world tmpfs_threads = {.base = "/dev/shm", .no_uring = true};
	const struct CMUnitTest tests[] = {
		EVERYWHERE(test_many_requests_in_odd_pieces),
		EVERYWHERE(test_more_iovecs_than_a_call_takes),
		EVERYWHERE(test_flush_after_write),
		EVERYWHERE(test_discard_makes_a_hole),
		EVERYWHERE(test_write_zeroes_keeps_or_frees),
		EVERYWHERE(test_zeroing_is_exact_when_unaligned),
		EVERYWHERE(test_requests_that_cannot_be),
		EVERYWHERE(test_read_only),
		EVERYWHERE(test_read_past_the_end_of_a_truncated_file),
		EVERYWHERE(test_capacity_follows_the_file),
		EVERYWHERE(test_drain_waits_for_all),
		EVERYWHERE(test_what_is_no_disk),
		EVERYWHERE(test_descriptors_close_on_exec),
		ON(disk_threads, test_lock),
		ON(disk_uring, test_lock_of_a_dying_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
