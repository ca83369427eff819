/* SPDX-License-Identifier: Apache-2.0 */
/* Disk I/O by a few threads that make the blocking system calls, for hosts without io_uring. */
/*
 * commit() moves what was submitted to `queue`, from which the threads take; they put what is done
 * on `finished` and signal an eventfd, on which the loop calls done(). `lock` covers both lists; a
 * disk_io belongs to whoever took it off a list.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/str.h"
#include "devices/backend/disk_engine.h"

#define POOL_THREADS     4
#define POOL_STACK_BYTES (256 * 1024) /* address space: what is not used is never touched */

struct disk_pool {
	struct disk_engine e;
	int fd;
	struct loop_fd event;
	/* The loop's alone. */
	struct list pending; /* submitted, not committed */
	struct list fetched; /* finished, done() not called yet; not a local, for done() may wait */
	unsigned in_flight;  /* submitted, done() not called yet */

	pthread_mutex_t lock;
	pthread_cond_t has_work, has_finished;
	struct list queue, finished;
	bool stop;

	pthread_t thread[POOL_THREADS];
	unsigned num_threads;
};

static int64_t pool_perform(int fd, const struct disk_io *io)
{
	ssize_t r = -1;

	switch (io->op) {
	case DISK_IO_READV:
		r = preadv(fd, io->iov, (int)io->num_iov, (off_t)io->offset);
		break;
	case DISK_IO_WRITEV:
		r = pwritev(fd, io->iov, (int)io->num_iov, (off_t)io->offset);
		break;
	case DISK_IO_FDATASYNC:
		r = fdatasync(fd);
		break;
	case DISK_IO_FALLOCATE:
		r = fallocate(fd, io->mode, (off_t)io->offset, (off_t)io->len);
		break;
	}
	return r < 0 ? -errno : r;
}

static void *pool_thread(void *opaque)
{
	struct disk_pool *p = opaque;
	uint64_t one = 1;

	(void)pthread_setname_np(pthread_self(), "disk-io");
	pthread_mutex_lock(&p->lock);
	for (;;) {
		struct list *node = list_take(&p->queue);
		struct disk_io *io;

		if (!node) {
			if (p->stop)
				break;
			pthread_cond_wait(&p->has_work, &p->lock);
			continue;
		}
		pthread_mutex_unlock(&p->lock);
		io = container_of(node, struct disk_io, node);
		io->result = pool_perform(p->fd, io);
		pthread_mutex_lock(&p->lock);
		/* One signal for as many completions as the loop has not fetched. */
		if (list_empty(&p->finished)) {
			(void)!write(p->event.fd, &one, sizeof(one));
			pthread_cond_signal(&p->has_finished);
		}
		list_append(&p->finished, &io->node);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static void pool_submit(struct disk_engine *e, struct disk_io *io)
{
	struct disk_pool *p = container_of(e, struct disk_pool, e);

	list_append(&p->pending, &io->node);
	p->in_flight++;
}

static void pool_commit(struct disk_engine *e)
{
	struct disk_pool *p = container_of(e, struct disk_pool, e);
	struct list *node;

	if (list_empty(&p->pending))
		return;
	pthread_mutex_lock(&p->lock);
	while ((node = list_take(&p->pending))) {
		list_append(&p->queue, node);
		pthread_cond_signal(&p->has_work);
	}
	pthread_mutex_unlock(&p->lock);
}

static void pool_reap(struct disk_pool *p)
{
	struct list *node;

	pthread_mutex_lock(&p->lock);
	while ((node = list_take(&p->finished)))
		list_append(&p->fetched, node);
	pthread_mutex_unlock(&p->lock);
	while ((node = list_take(&p->fetched))) {
		struct disk_io *io = container_of(node, struct disk_io, node);

		p->in_flight--;
		io->done(io, io->result);
	}
	pool_commit(&p->e);
}

static void pool_event(struct loop_fd *f, uint32_t events)
{
	uint64_t n;

	(void)!read(f->fd, &n, sizeof(n));
	pool_reap(container_of(f, struct disk_pool, event));
}

static void pool_wait(struct disk_engine *e)
{
	struct disk_pool *p = container_of(e, struct disk_pool, e);

	assert(p->in_flight);
	pool_commit(e);
	pthread_mutex_lock(&p->lock);
	while (list_empty(&p->finished) && list_empty(&p->fetched))
		pthread_cond_wait(&p->has_finished, &p->lock);
	pthread_mutex_unlock(&p->lock);
	pool_reap(p);
}

static void pool_free(struct disk_engine *e)
{
	struct disk_pool *p = container_of(e, struct disk_pool, e);

	assert(!p->in_flight);
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->has_work);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->num_threads; i++)
		(void)pthread_join(p->thread[i], NULL);
	loop_remove(&p->event);
	if (p->event.fd >= 0)
		(void)close(p->event.fd);
	pthread_cond_destroy(&p->has_work);
	pthread_cond_destroy(&p->has_finished);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static const struct disk_engine_ops pool_ops = {
	.name = "threads",
	.submit = pool_submit,
	.commit = pool_commit,
	.wait = pool_wait,
	.free = pool_free,
};

/* The threads take no signal: those are for the process's main thread. */
static int pool_start_threads(struct disk_pool *p, struct err *err)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int r = 0;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, POOL_STACK_BYTES);
	while (r == 0 && p->num_threads < POOL_THREADS) {
		r = pthread_create(&p->thread[p->num_threads], &attr, pool_thread, p);
		if (r == 0)
			p->num_threads++;
	}
	(void)pthread_attr_destroy(&attr);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r ? err_set(err, r, "cannot start a thread for disk I/O") : 0;
}

int disk_pool_new(struct loop *loop, int fd, struct disk_engine **ret_e, struct err *err)
{
	struct disk_pool *p = xcalloc(1, sizeof(*p));
	int r;

	p->e.ops = &pool_ops;
	p->fd = fd;
	p->event.fn = pool_event;
	list_init(&p->pending);
	list_init(&p->fetched);
	list_init(&p->queue);
	list_init(&p->finished);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->has_work, NULL);
	pthread_cond_init(&p->has_finished, NULL);
	p->event.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->event.fd < 0)
		r = err_set(err, errno, "cannot make an event descriptor for disk I/O");
	else
		r = loop_add(loop, &p->event, EPOLLIN, err);
	if (r == 0)
		r = pool_start_threads(p, err);
	if (r < 0) {
		pool_free(&p->e);
		return r;
	}
	*ret_e = &p->e;
	return 0;
}
