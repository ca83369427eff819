/* SPDX-License-Identifier: Apache-2.0 */
/* An event loop: descriptors, timers and work to do before sleeping, all run one at a time. */
#ifndef LVM_BASE_LOOP_H
#define LVM_BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"

/*
 * One thread calls loop_run(); every callback runs there. Another thread may loop_enter() to act as
 * if it were the loop's thread: callbacks are held off until loop_leave(). That is how a vCPU's
 * register access reaches a device without the device knowing of threads. "On the loop" below means
 * either of the two. Enter is not recursive.
 */
struct loop;

int loop_new(struct loop **ret_loop, struct err *err);
/* Not while it runs; everything added must have been removed. NULL is fine. */
void loop_free(struct loop *loop);
/* Runs until loop_stop(). Returns 0, or -errno if waiting itself fails. */
int loop_run(struct loop *loop);
/* Handles what is ready, waiting at most timeout_ms (-1: without limit) for the first event. For tests. */
int loop_run_once(struct loop *loop, int timeout_ms);
/* Any thread, any time; async-signal-safe. */
void loop_stop(struct loop *loop);

void loop_enter(struct loop *loop);
/* Also runs the work that was deferred meanwhile. */
void loop_leave(struct loop *loop);

/* A watched descriptor. The owner embeds it, sets fd and fn, and keeps it until loop_remove(). */
struct loop_fd {
	int fd;                                         /* borrowed */
	void (*fn)(struct loop_fd *f, uint32_t events); /* EPOLL* bits */
	struct loop *loop;                              /* set by loop_add(), NULL when not added */
};

/* On the loop, or before it runs. events: EPOLL* bits, never EPOLLET; 0 watches for errors only. */
int loop_add(struct loop *loop, struct loop_fd *f, uint32_t events, struct err *err);
void loop_modify(struct loop_fd *f, uint32_t events);
/* After it returns fn is not called, not even for an event already fetched. Harmless when not added. */
void loop_remove(struct loop_fd *f);

/* One-shot timer; zero-initialised by the owner except fn. */
struct loop_timer {
	void (*fn)(struct loop_timer *t);
	struct loop *loop; /* NULL when not armed */
	int64_t due_ms;
	struct list node;
};

/* On the loop. (Re-)arms for delay_ms from now (CLOCK_MONOTONIC). */
void loop_timer_arm(struct loop *loop, struct loop_timer *t, int64_t delay_ms);
void loop_timer_disarm(struct loop_timer *t);

/* Work to run once, before the loop sleeps: the place to raise one interrupt for a batch. */
struct loop_work {
	void (*fn)(struct loop_work *w);
	struct list node; /* zeroed or list_init()ed when not queued */
};

/* On the loop. Queueing what is queued changes nothing. */
void loop_defer(struct loop *loop, struct loop_work *w);
void loop_undefer(struct loop_work *w);

/* Milliseconds of CLOCK_MONOTONIC. */
int64_t loop_now_ms(void);

#endif
