/* SPDX-License-Identifier: Apache-2.0 */
/* Private memory as /proc tells it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm/stats.h"

static void test_parse(void **state)
{
	assert_int_equal(
		stats_parse_private("55e0-7ffe [rollup]\nRss: 9000 kB\nPrivate_Dirty:  8000 kB\n"
				    "Anonymous:          428 kB\nLazyFree: 0 kB\n"),
		428 * 1024);
	assert_int_equal(stats_parse_private("LazyFree: 0 kB\n"), 0);
	assert_int_equal(stats_parse_private(""), 0);
}

/* Memory of a guest's kind is not counted, the process's own is. */
static void test_what_counts(void **state)
{
	const size_t len = 16 << 20;
	int fd = memfd_create("test", MFD_CLOEXEC);
	struct stats st;
	uint64_t before, shared, private;
	char *p, *q;

	assert_int_equal(stats_init(&st, NULL), 0);
	before = stats_private_bytes(&st);
	if (!before) {
		stats_done(&st);
		skip(); /* no /proc, or a kernel without smaps_rollup */
	}
	assert_int_equal(ftruncate(fd, (off_t)len), 0);
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(p != MAP_FAILED);
	memset(p, 1, len);
	shared = stats_private_bytes(&st);
	assert_true(shared < before + (1 << 20));
	q = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(q != MAP_FAILED);
	memset(q, 1, len);
	private = stats_private_bytes(&st);
	assert_true(private >= before + len);
	(void)munmap(p, len);
	(void)munmap(q, len);
	(void)close(fd);
	stats_done(&st);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_what_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
