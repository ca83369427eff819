/* SPDX-License-Identifier: Apache-2.0 */
/* The console behind its transport, as a guest sees it (virtio 1.2 §5.3). */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/str.h"
#include "tests/support/fake_driver.h"

#define RX 0
#define TX 1

struct fixture {
	struct fake_machine m;
	struct fake_driver drv;
	int fd;
	char *path;
};

static void begin(struct fixture *f, int fd)
{
	struct virtio_dev *dev;

	memset(f, 0, sizeof(*f));
	f->fd = fd;
	fake_machine_init(&f->m);
	assert_int_equal(console_new(&f->m.env, fd, &dev, NULL), 0);
	fake_driver_init(&f->drv, &f->m, dev);
	fake_driver_start(&f->drv, UINT64_MAX);
}

static void end(struct fixture *f)
{
	fake_driver_done(&f->drv);
	fake_machine_done(&f->m);
	(void)close(f->fd);
}

static int setup(void **state)
{
	static struct fixture f;
	char *path = str_fmt("%s/lvm-test-console.XXXXXX", getenv("TMPDIR") ?: "/tmp");
	int fd = mkostemp(path, O_APPEND | O_CLOEXEC);

	if (fd < 0)
		return -1;
	begin(&f, fd);
	f.path = path;
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	end(f);
	(void)unlink(f->path);
	free(f->path);
	return 0;
}

static void print(struct fixture *f, const void *text, uint32_t len)
{
	uint32_t written = 7;

	assert_int_equal(fake_driver_request(&f->drv, TX, text, len, NULL, 0, &written), 0);
	assert_int_equal(written, 0);
}

/* The whole file, NUL-terminated; caller frees. */
static char *log_text(struct fixture *f, size_t *ret_len)
{
	char *text;

	assert_int_equal(file_read(f->path, 64 << 20, &text, ret_len, NULL), 0);
	return text;
}

static void test_output(void **state)
{
	struct fixture *f = *state;
	size_t len;
	char *text;

	print(f, "hello ", 6);
	print(f, "world\n\0x", 8);
	text = log_text(f, &len);
	assert_int_equal(len, 14);
	assert_memory_equal(text, "hello world\n\0x", 14);
	free(text);
}

static void test_scattered_output(void **state)
{
	struct fixture *f = *state;
	struct fake_queue *q = &f->drv.queue[TX];
	gpa_t at = fake_alloc(&f->m, 8192, 4096);
	uint8_t *p = fake_ptr(&f->m, at, 8192);
	struct fake_seg seg[40];
	uint32_t len = 0, written = 7;
	size_t got;
	char *text;

	for (unsigned i = 0; i < 8192; i++)
		p[i] = 'a' + i % 26;
	for (unsigned i = 0; i < 39; i++) {
		seg[i] = (struct fake_seg){at + len, 1 + i * 5, false};
		len += 1 + i * 5;
	}
	/* Room for an answer that never comes. */
	seg[39] = (struct fake_seg){at + 8000, 10, true};
	(void)fake_queue_add_indirect(q, seg, 40);
	assert_true(fake_queue_kick(q));
	assert_true(fake_queue_wait(q, 2000));
	assert_true(fake_queue_take_used(q, NULL, &written));
	assert_int_equal(written, 0);
	text = log_text(f, &got);
	assert_int_equal(got, len);
	assert_memory_equal(text, p, len);
	free(text);
}

static void test_input_stays_idle(void **state)
{
	struct fixture *f = *state;
	struct fake_queue *q = &f->drv.queue[RX];
	gpa_t at = fake_alloc(&f->m, 4096, 4096);
	struct fake_seg seg = {at, 4096, true};

	for (unsigned i = 0; i < q->size; i++)
		(void)fake_queue_add(q, &seg, 1);
	fake_queue_ring(q);
	fake_run_idle(&f->m);
	assert_false(fake_queue_take_used(q, NULL, NULL));
	assert_false(fake_driver_needs_reset(&f->drv));
	print(f, "x", 1);
}

static void test_config_is_empty_and_read_only(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(fake_driver_offered(&f->drv) & 0xffffff, 0);
	fake_config_write(&f->drv, 0, 0xffffffff, 4);
	fake_config_write(&f->drv, 8, 'x', 4);
	assert_int_equal(fake_config_read(&f->drv, 0, 4), 0);
	assert_int_equal(fake_config_read(&f->drv, 8, 4), 0);
}

/* All of it is taken, at once; a part of it is kept, and the log says so. */
static void test_flood(void **state)
{
	static char line[65536];
	struct fixture *f = *state;
	struct timespec rest = {.tv_nsec = 300000000};
	size_t len;
	char *text;

	memset(line, 'f', sizeof(line));
	for (unsigned i = 0; i < 100; i++)
		print(f, line, sizeof(line));
	text = log_text(f, &len);
	assert_true(len >= 16384);
	assert_true(len < 3 << 20);
	free(text);
	(void)nanosleep(&rest, NULL);
	print(f, "the end\n", 8);
	text = log_text(f, &len);
	assert_non_null(strstr(text, " bytes of output dropped]\nthe end\n"));
	free(text);
}

/* A chain of gigabytes costs no more than one of CONSOLE_CHAIN_MAX. */
static void test_huge_chain(void **state)
{
	struct fixture *f = *state;
	struct fake_queue *q = &f->drv.queue[TX];
	struct fake_seg seg[200];
	struct stat st;

	for (unsigned i = 0; i < 200; i++)
		seg[i] = (struct fake_seg){0, 15 << 20, false};
	(void)fake_queue_add_indirect(q, seg, 200);
	fake_queue_ring(q);
	assert_true(fake_queue_wait(q, 2000));
	assert_true(fake_queue_take_used(q, NULL, NULL));
	assert_int_equal(fstat(f->fd, &st), 0);
	assert_true(st.st_size <= 65536);
}

/*
 * The file is begun anew when it is full, with what came last, and without what was in it before
 * us.
 */
static void test_file_starts_over(void **state)
{
	static char line[65536];
	struct fixture *f = *state;
	int fd = open(f->path, O_WRONLY | O_APPEND | O_CLOEXEC);
	size_t len;
	char *text;
	bool over = false;

	assert_int_equal(write(fd, "mine\n", 5), 5);
	fake_driver_done(&f->drv);
	fake_machine_done(&f->m);
	(void)close(f->fd);
	text = f->path;
	begin(f, fd);
	f->path = text;
	memset(line, 's', sizeof(line));
	/* The burst, then as much as the rate allows, until the file shrinks. */
	for (unsigned i = 0; !over && i < 200; i++) {
		struct timespec rest = {.tv_nsec = 50000000};
		struct stat before, after;

		assert_int_equal(fstat(f->fd, &before), 0);
		print(f, line, sizeof(line));
		assert_int_equal(fstat(f->fd, &after), 0);
		over = after.st_size < before.st_size;
		if (i >= 31 && !over)
			(void)nanosleep(&rest, NULL);
	}
	assert_true(over);
	(void)nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
	print(f, "last....", 8);
	text = log_text(f, &len);
	assert_true(len > 16384 && len < 16384 + 2 * sizeof(line));
	assert_memory_equal(text, "mine\n[lvm: ", 11);
	assert_memory_equal(text + len - 8, "last....", 8);
	free(text);
}

/* A reader that stopped reading does not stop the guest. */
static void test_full_pipe(void **state)
{
	static struct fixture f;
	static char line[4096], back[1 << 20];
	int fd[2];
	ssize_t n;

	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	begin(&f, fd[1]);
	memset(line, 'p', sizeof(line));
	for (unsigned i = 0; i < 40; i++)
		print(&f, line, sizeof(line));
	n = read(fd[0], back, sizeof(back));
	assert_true(n >= 32768 && n < 40 * 4096);
	print(&f, "again\n", 6);
	n = read(fd[0], back, sizeof(back) - 1);
	assert_true(n > 6);
	back[n] = 0;
	assert_non_null(strstr(back, "bytes of output dropped]\nagain\n"));
	(void)close(fd[0]);
	end(&f);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_output),
		TEST(test_scattered_output),
		TEST(test_input_stays_idle),
		TEST(test_config_is_empty_and_read_only),
		TEST(test_flood),
		TEST(test_huge_chain),
		TEST(test_file_starts_over),
		cmocka_unit_test(test_full_pipe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
