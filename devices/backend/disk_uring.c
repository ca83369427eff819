/* SPDX-License-Identifier: Apache-2.0 */
/* Disk I/O by io_uring (io_uring(7), Linux 5.10), straight from and to the caller's memory. */
/*
 * What is submitted waits in `backlog` until commit() moves it to the submission ring and tells the
 * kernel, once a batch. Should the kernel be short of memory just then, the rest stays where it is
 * and a timer tries again.
 *
 * The completion ring cannot overflow: it has room for DISK_ENGINE_DEPTH. The kernel signals an
 * eventfd for each completion, which the loop watches. The ring is set up without
 * IORING_SETUP_SINGLE_ISSUER or DEFER_TASKRUN, because a vCPU thread that entered the loop (a
 * device reset) must be able to wait for what the loop's thread began.
 */
#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"
#include "devices/backend/disk_engine.h"

#define URING_SQ_ENTRIES 128
#define URING_CQ_ENTRIES 512
#define URING_RETRY_MS   5

_Static_assert(URING_CQ_ENTRIES >= DISK_ENGINE_DEPTH, "completions would overflow");

static const uint8_t needed_ops[] = {IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC,
				     IORING_OP_FALLOCATE};
#define NUM_OPS (sizeof(needed_ops) / sizeof(needed_ops[0]))

struct disk_uring {
	struct disk_engine e;
	struct loop *loop;
	int fd;
	struct io_uring ring;
	struct loop_fd event;
	struct loop_timer retry;
	struct list backlog;
	unsigned in_ring; /* moved to the ring, completion not seen yet */
	struct log_limit limit;
};

static void uring_prepare(struct disk_uring *u, struct io_uring_sqe *sqe, struct disk_io *io)
{
	switch (io->op) {
	case DISK_IO_READV:
		io_uring_prep_readv(sqe, u->fd, io->iov, io->num_iov, io->offset);
		break;
	case DISK_IO_WRITEV:
		io_uring_prep_writev(sqe, u->fd, io->iov, io->num_iov, io->offset);
		break;
	case DISK_IO_FDATASYNC:
		io_uring_prep_fsync(sqe, u->fd, IORING_FSYNC_DATASYNC);
		break;
	case DISK_IO_FALLOCATE:
		io_uring_prep_fallocate(sqe, u->fd, io->mode, (off_t)io->offset, (off_t)io->len);
		break;
	}
	io_uring_sqe_set_data(sqe, io);
}

static void uring_submit(struct disk_engine *e, struct disk_io *io)
{
	struct disk_uring *u = container_of(e, struct disk_uring, e);

	list_append(&u->backlog, &io->node);
}

/* Moves as much of the backlog to the submission ring as fits. */
static void uring_fill(struct disk_uring *u)
{
	struct io_uring_sqe *sqe;

	while (!list_empty(&u->backlog) && (sqe = io_uring_get_sqe(&u->ring))) {
		struct list *node = list_take(&u->backlog);

		uring_prepare(u, sqe, container_of(node, struct disk_io, node));
		u->in_ring++;
	}
}

static void uring_commit(struct disk_engine *e)
{
	struct disk_uring *u = container_of(e, struct disk_uring, e);
	int r;

	do {
		uring_fill(u);
		if (!io_uring_sq_ready(&u->ring))
			return;
		r = io_uring_submit(&u->ring);
	} while (r > 0 || r == -EINTR);
	/* Nothing is lost: what the kernel did not take is still in the submission ring. */
	if (r != -EAGAIN && r != -EBUSY)
		log_guest(&u->limit, "io_uring does not take disk requests, trying again: %s",
			  r ? strerror(-r) : "no reason given");
	loop_timer_arm(u->loop, &u->retry, URING_RETRY_MS);
}

static void uring_retry(struct loop_timer *t)
{
	uring_commit(&container_of(t, struct disk_uring, retry)->e);
}

static void uring_reap(struct disk_uring *u)
{
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(&u->ring, &cqe) == 0) {
		struct disk_io *io = io_uring_cqe_get_data(cqe);
		int64_t result = cqe->res;

		/* Given back first: done() may submit and commit. */
		io_uring_cqe_seen(&u->ring, cqe);
		u->in_ring--;
		io->done(io, result);
	}
	uring_commit(&u->e);
}

static void uring_event(struct loop_fd *f, uint32_t events)
{
	uint64_t n;

	(void)!read(f->fd, &n, sizeof(n));
	uring_reap(container_of(f, struct disk_uring, event));
}

static void uring_wait(struct disk_engine *e)
{
	struct disk_uring *u = container_of(e, struct disk_uring, e);
	struct io_uring_cqe *cqe;

	uring_commit(e);
	/*
	 * With requests the kernel would not take, wait a little instead of for a completion that
	 * cannot come.
	 */
	if (io_uring_sq_ready(&u->ring))
		(void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	else if (u->in_ring)
		(void)io_uring_wait_cqe(&u->ring, &cqe);
	uring_reap(u);
}

static void uring_free(struct disk_engine *e)
{
	struct disk_uring *u = container_of(e, struct disk_uring, e);

	assert(list_empty(&u->backlog) && !u->in_ring);
	loop_timer_disarm(&u->retry);
	loop_remove(&u->event);
	io_uring_queue_exit(&u->ring);
	if (u->event.fd >= 0)
		(void)close(u->event.fd);
	free(u);
}

static const struct disk_engine_ops uring_ops = {
	.name = "io_uring",
	.submit = uring_submit,
	.commit = uring_commit,
	.wait = uring_wait,
	.free = uring_free,
};

/* Whether the kernel's io_uring does all we ask of it. */
static bool uring_is_able(struct io_uring *ring)
{
	struct io_uring_probe *probe;
	bool able = ring->features & IORING_FEAT_NODROP;

	probe = io_uring_get_probe_ring(ring);
	if (!probe)
		return false;
	for (unsigned i = 0; i < NUM_OPS; i++)
		able = able && io_uring_opcode_supported(probe, needed_ops[i]);
	io_uring_free_probe(probe);
	return able;
}

/*
 * The ring, set up disabled, can from now on do what uring_prepare() asks for and nothing else, for
 * ever: io_uring opens files and makes sockets of any kind past a seccomp filter, so without bounds
 * it would be a hole in the process's sandbox. (By system call: liburing's library does not export
 * the functions of its header.)
 */
static int uring_restrict_and_enable(const struct io_uring *ring)
{
	struct io_uring_restriction only[NUM_OPS] = {0};

	for (unsigned i = 0; i < NUM_OPS; i++) {
		only[i].opcode = IORING_RESTRICTION_SQE_OP;
		only[i].sqe_op = needed_ops[i];
	}
	if (syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_RESTRICTIONS, only,
		    NUM_OPS) < 0 ||
	    syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) <
		    0)
		return -errno;
	return 0;
}

int disk_uring_new(struct loop *loop, int fd, struct disk_engine **ret_e)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED,
		.cq_entries = URING_CQ_ENTRIES,
	};
	struct disk_uring *u = xcalloc(1, sizeof(*u));
	int r;

	u->e.ops = &uring_ops;
	u->loop = loop;
	u->fd = fd;
	u->event.fd = -1;
	u->event.fn = uring_event;
	u->retry.fn = uring_retry;
	list_init(&u->backlog);
	r = io_uring_queue_init_params(URING_SQ_ENTRIES, &u->ring, &params);
	if (r < 0) {
		free(u);
		return r;
	}
	r = -EOPNOTSUPP;
	if (!uring_is_able(&u->ring))
		goto fail;
	u->event.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (u->event.fd < 0) {
		r = -errno;
		goto fail;
	}
	r = io_uring_register_eventfd(&u->ring, u->event.fd);
	if (r == 0)
		r = uring_restrict_and_enable(&u->ring);
	if (r == 0)
		r = loop_add(loop, &u->event, EPOLLIN, NULL);
	if (r < 0)
		goto fail;
	*ret_e = &u->e;
	return 0;
fail:
	uring_free(&u->e);
	return r;
}
