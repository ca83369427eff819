/* SPDX-License-Identifier: Apache-2.0 */
/* base/loop.c: order, removal in mid-batch, timers, deferred work, and entering from another thread. */
#include "base/loop.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

struct probe {
	struct loop_fd fd;
	struct loop_timer timer;
	struct loop_work work;
	struct probe *other;
	struct loop *loop;
	int calls;
};

static int setup(void **state)
{
	struct loop *loop;

	if (loop_new(&loop, NULL) < 0)
		return -1;
	*state = loop;
	return 0;
}

static int teardown(void **state)
{
	loop_free(*state);
	return 0;
}

static void ring(struct probe *p)
{
	uint64_t one = 1;

	assert_int_equal(write(p->fd.fd, &one, sizeof(one)), sizeof(one));
}

static void removes_other(struct loop_fd *f, uint32_t events)
{
	struct probe *p = container_of(f, struct probe, fd);

	p->calls++;
	loop_remove(&p->other->fd);
}

static void removal_in_a_batch_is_final(void **state)
{
	struct loop *loop = *state;
	struct probe a = {.fd.fn = removes_other}, b = {.fd.fn = removes_other};

	a.other = &b;
	b.other = &a;
	a.fd.fd = eventfd(1, EFD_NONBLOCK);
	b.fd.fd = eventfd(1, EFD_NONBLOCK);
	assert_int_equal(loop_add(loop, &a.fd, EPOLLIN, NULL), 0);
	assert_int_equal(loop_add(loop, &b.fd, EPOLLIN, NULL), 0);
	assert_int_equal(loop_run_once(loop, 1000), 0);
	assert_int_equal(a.calls + b.calls, 1);
	loop_remove(&a.fd);
	loop_remove(&b.fd);
	loop_remove(&b.fd);
	close(a.fd.fd);
	close(b.fd.fd);
}

static void counts_timer(struct loop_timer *t)
{
	container_of(t, struct probe, timer)->calls++;
}

static void timers_fire_once_and_in_order(void **state)
{
	struct loop *loop = *state;
	struct probe early = {.timer.fn = counts_timer}, late = {.timer.fn = counts_timer};
	struct probe never = {.timer.fn = counts_timer};

	loop_timer_arm(loop, &late.timer, 60000);
	loop_timer_arm(loop, &never.timer, 2);
	loop_timer_arm(loop, &early.timer, 1);
	loop_timer_disarm(&never.timer);
	while (!early.calls)
		assert_int_equal(loop_run_once(loop, 1000), 0);
	assert_int_equal(loop_run_once(loop, 5), 0);
	assert_int_equal(early.calls, 1);
	assert_int_equal(late.calls, 0);
	assert_int_equal(never.calls, 0);
	loop_timer_disarm(&late.timer);
	loop_timer_disarm(&late.timer);
}

static void counts_work(struct loop_work *w)
{
	struct probe *p = container_of(w, struct probe, work);

	if (p->calls++ == 0 && p->loop)
		loop_defer(p->loop, w);
}

static void work_runs_once_before_sleep(void **state)
{
	struct loop *loop = *state;
	struct probe p = {.work.fn = counts_work}, again = {.work.fn = counts_work, .loop = loop};
	struct probe gone = {.work.fn = counts_work};

	loop_defer(loop, &p.work);
	loop_defer(loop, &p.work);
	loop_defer(loop, &again.work);
	loop_defer(loop, &gone.work);
	loop_undefer(&gone.work);
	assert_int_equal(loop_run_once(loop, 0), 0);
	assert_int_equal(p.calls, 1);
	assert_int_equal(again.calls, 2);
	assert_int_equal(gone.calls, 0);
}

#define ROUNDS 2000

static void counts_unlocked(struct loop_fd *f, uint32_t events)
{
	struct probe *p = container_of(f, struct probe, fd);
	uint64_t n;

	if (read(f->fd, &n, sizeof(n)) == sizeof(n))
		p->calls++;
}

/* Adds and removes a ready source from outside, and counts with the same plain int as the callback. */
static void *entering_thread(void *arg)
{
	struct probe *p = arg;

	for (int i = 0; i < ROUNDS; i++) {
		struct probe *extra = test_malloc(sizeof(*extra));

		*extra = (struct probe){.fd.fn = counts_unlocked};
		extra->fd.fd = eventfd(0, EFD_NONBLOCK);
		loop_enter(p->loop);
		(void)loop_add(p->loop, &extra->fd, EPOLLIN, NULL);
		p->calls++;
		loop_leave(p->loop);
		ring(extra);
		ring(p);
		loop_enter(p->loop);
		loop_remove(&extra->fd);
		loop_leave(p->loop);
		close(extra->fd.fd);
		test_free(extra);
	}
	loop_stop(p->loop);
	return NULL;
}

static void entering_excludes_callbacks(void **state)
{
	struct loop *loop = *state;
	struct probe p = {.fd.fn = counts_unlocked, .loop = loop};
	pthread_t thread;

	p.fd.fd = eventfd(0, EFD_NONBLOCK);
	assert_int_equal(loop_add(loop, &p.fd, EPOLLIN, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, entering_thread, &p), 0);
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(p.calls > ROUNDS && p.calls <= 2 * ROUNDS);
	loop_remove(&p.fd);
	close(p.fd.fd);
}

static void *arming_thread(void *arg)
{
	struct probe *p = arg;

	loop_enter(p->loop);
	loop_timer_arm(p->loop, &p->timer, 1);
	loop_leave(p->loop);
	return NULL;
}

static void stops_loop(struct loop_timer *t)
{
	struct probe *p = container_of(t, struct probe, timer);

	p->calls++;
	loop_stop(p->loop);
}

static void a_timer_from_outside_wakes_the_sleeper(void **state)
{
	struct probe p = {.timer.fn = stops_loop, .loop = *state};
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, arming_thread, &p), 0);
	assert_int_equal(loop_run(*state), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(p.calls, 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(removal_in_a_batch_is_final),
		T(timers_fire_once_and_in_order),
		T(work_runs_once_before_sleep),
		T(entering_excludes_callbacks),
		T(a_timer_from_outside_wakes_the_sleeper),
	};

	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
