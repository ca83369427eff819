/* SPDX-License-Identifier: Apache-2.0 */
/* The event loop. */
/*
 * One mutex, `turn`, is held by whoever acts on the loop: the loop's thread from the moment epoll_wait()
 * returns until it sleeps again, or another thread between loop_enter() and loop_leave(). Callbacks therefore never run
 * at the same time, whoever triggers them.
 *
 * A mutex goes to whoever is awake, and while there is work the loop's thread takes it again before
 * one that waits has opened its eyes: a vCPU could wait for most of a second. So one passes through
 * `queue` first, and waits for `turn` there: the loop's thread cannot overtake.
 *
 * Removal while events are in hand: epoll reports a batch, and a callback may remove (and free) a
 * source whose event comes later in the same batch: loop_remove() clears those entries. A thread that
 * enters between epoll_wait()'s return and the loop's thread getting the turn may remove one as well; then `removals`
 * has moved and the whole batch is dropped. Nothing is lost by that, because events are level-triggered.
 *
 * The sleeping thread learns of timers armed and work deferred by an entered thread in two ways: work is run by
 * loop_leave() itself; a timer that became the first one wakes the thread by `wake`.
 */
#include "base/loop.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"

#define LOOP_BATCH 64

struct loop {
	int epoll_fd;
	struct loop_fd wake;
	pthread_mutex_t queue, turn;
	struct list timers; /* by due_ms, earliest first */
	struct list work;
	struct epoll_event batch[LOOP_BATCH];
	int batch_next, batch_num; /* events of the batch still to be handled */
	unsigned removals;
	bool asleep; /* the loop's thread is, or is about to be, in epoll_wait() */
	atomic_bool stop;
};

static void loop_woken(struct loop_fd *f, uint32_t events)
{
	uint64_t n;

	(void)!read(f->fd, &n, sizeof(n));
}

static void loop_wake(struct loop *loop)
{
	uint64_t one = 1;

	(void)!write(loop->wake.fd, &one, sizeof(one));
}

int loop_new(struct loop **ret_loop, struct err *err)
{
	struct loop *loop = xcalloc(1, sizeof(*loop));
	int r;

	list_init(&loop->timers);
	list_init(&loop->work);
	pthread_mutex_init(&loop->queue, NULL);
	pthread_mutex_init(&loop->turn, NULL);
	loop->wake.fn = loop_woken;
	loop->wake.fd = -1;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0) {
		r = err_set(err, errno, "cannot make an event loop");
		goto fail;
	}
	loop->wake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->wake.fd < 0) {
		r = err_set(err, errno, "cannot make an event loop");
		goto fail;
	}
	r = loop_add(loop, &loop->wake, EPOLLIN, err);
	if (r < 0)
		goto fail;
	*ret_loop = loop;
	return 0;
fail:
	loop_free(loop);
	return r;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	loop_remove(&loop->wake);
	if (loop->wake.fd >= 0)
		(void)close(loop->wake.fd);
	if (loop->epoll_fd >= 0)
		(void)close(loop->epoll_fd);
	pthread_mutex_destroy(&loop->turn);
	pthread_mutex_destroy(&loop->queue);
	free(loop);
}

int64_t loop_now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Work may defer work: that is run too, in the same go. */
static void loop_run_work(struct loop *loop)
{
	struct list *node;

	while ((node = list_take(&loop->work))) {
		struct loop_work *w = container_of(node, struct loop_work, node);

		w->fn(w);
	}
}

static void loop_run_timers(struct loop *loop)
{
	int64_t now = loop_now_ms();

	while (!list_empty(&loop->timers)) {
		struct loop_timer *t = container_of(loop->timers.next, struct loop_timer, node);

		if (t->due_ms > now)
			break;
		loop_timer_disarm(t);
		t->fn(t);
	}
}

/* How long epoll may sleep: not past the first timer. */
static int loop_patience(struct loop *loop, int timeout_ms)
{
	int64_t left;

	if (list_empty(&loop->timers))
		return timeout_ms;
	left = container_of(loop->timers.next, struct loop_timer, node)->due_ms - loop_now_ms();
	if (left < 0)
		left = 0;
	if (timeout_ms >= 0 && left > timeout_ms)
		return timeout_ms;
	return left > INT32_MAX ? INT32_MAX : (int)left;
}

static void loop_take_turn(struct loop *loop)
{
	pthread_mutex_lock(&loop->queue);
	pthread_mutex_lock(&loop->turn);
	pthread_mutex_unlock(&loop->queue);
}

int loop_run_once(struct loop *loop, int timeout_ms)
{
	unsigned removals;
	int n, patience, code;

	loop_take_turn(loop);
	loop_run_work(loop);
	patience = loop_patience(loop, timeout_ms);
	removals = loop->removals;
	loop->asleep = true;
	pthread_mutex_unlock(&loop->turn);

	n = epoll_wait(loop->epoll_fd, loop->batch, LOOP_BATCH, patience);
	code = errno;

	loop_take_turn(loop);
	loop->asleep = false;
	if (n < 0 && code != EINTR) {
		pthread_mutex_unlock(&loop->turn);
		return -code;
	}
	loop->batch_num = n < 0 || removals != loop->removals ? 0 : n;
	for (loop->batch_next = 0; loop->batch_next < loop->batch_num;) {
		struct epoll_event *e = &loop->batch[loop->batch_next++];
		struct loop_fd *f = e->data.ptr;

		if (f)
			f->fn(f, e->events);
	}
	loop->batch_next = loop->batch_num = 0;
	loop_run_timers(loop);
	loop_run_work(loop);
	pthread_mutex_unlock(&loop->turn);
	return 0;
}

int loop_run(struct loop *loop)
{
	int r = 0;

	while (r == 0 && !atomic_load(&loop->stop))
		r = loop_run_once(loop, -1);
	return r;
}

void loop_stop(struct loop *loop)
{
	atomic_store(&loop->stop, true);
	loop_wake(loop);
}

void loop_enter(struct loop *loop)
{
	loop_take_turn(loop);
}

void loop_leave(struct loop *loop)
{
	loop_run_work(loop);
	pthread_mutex_unlock(&loop->turn);
}

int loop_add(struct loop *loop, struct loop_fd *f, uint32_t events, struct err *err)
{
	struct epoll_event e = {.events = events, .data.ptr = f};

	assert(!f->loop);
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, f->fd, &e) < 0)
		return err_set(err, errno, "cannot watch descriptor %d", f->fd);
	f->loop = loop;
	return 0;
}

void loop_modify(struct loop_fd *f, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.ptr = f};
	int r;

	assert(f->loop);
	r = epoll_ctl(f->loop->epoll_fd, EPOLL_CTL_MOD, f->fd, &e);
	assert(r == 0);
	(void)r;
}

void loop_remove(struct loop_fd *f)
{
	struct loop *loop = f->loop;

	if (!loop)
		return;
	(void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, f->fd, NULL);
	loop->removals++;
	for (int i = loop->batch_next; i < loop->batch_num; i++) {
		if (loop->batch[i].data.ptr == f)
			loop->batch[i].data.ptr = NULL;
	}
	f->loop = NULL;
}

void loop_timer_arm(struct loop *loop, struct loop_timer *t, int64_t delay_ms)
{
	struct list *at;

	loop_timer_disarm(t);
	t->loop = loop;
	t->due_ms = loop_now_ms() + delay_ms;
	/* From the end: most timers are armed later than those already there. */
	for (at = loop->timers.prev; at != &loop->timers; at = at->prev) {
		if (container_of(at, struct loop_timer, node)->due_ms <= t->due_ms)
			break;
	}
	t->node.prev = at;
	t->node.next = at->next;
	at->next->prev = &t->node;
	at->next = &t->node;
	if (loop->asleep && loop->timers.next == &t->node)
		loop_wake(loop);
}

void loop_timer_disarm(struct loop_timer *t)
{
	if (!t->loop)
		return;
	list_remove(&t->node);
	t->loop = NULL;
}

void loop_defer(struct loop *loop, struct loop_work *w)
{
	if (!w->node.next)
		list_init(&w->node);
	if (list_empty(&w->node))
		list_append(&loop->work, &w->node);
}

void loop_undefer(struct loop_work *w)
{
	if (w->node.next)
		list_remove(&w->node);
}
