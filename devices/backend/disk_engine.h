/* SPDX-License-Identifier: Apache-2.0 */
/* How disk_raw gets a system call done without waiting for it: by io_uring, or by a few threads. */
#ifndef LVM_DEVICES_BACKEND_DISK_ENGINE_H
#define LVM_DEVICES_BACKEND_DISK_ENGINE_H

#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"
#include "base/list.h"
#include "base/loop.h"

/* The most an engine is given at once, submitted and not done. */
#define DISK_ENGINE_DEPTH 257

enum disk_io_op {
	DISK_IO_READV,
	DISK_IO_WRITEV,
	DISK_IO_FDATASYNC,
	DISK_IO_FALLOCATE,
};

/* One system call on the engine's file. The owner keeps it untouched between submit and done. */
struct disk_io {
	enum disk_io_op op;
	int mode;                /* FALLOCATE: FALLOC_FL_* */
	unsigned num_iov;        /* READV, WRITEV: 1..IOV_MAX */
	const struct iovec *iov; /* borrowed until done */
	uint64_t offset;
	uint64_t len; /* FALLOCATE */
	/*
	 * What the system call returned, or -errno; it may well be -EINTR, -EAGAIN or a short
	 * count.
	 */
	void (*done)(struct disk_io *io, int64_t result);
	/* The engine's. */
	struct list node;
	int64_t result;
};

struct disk_engine {
	const struct disk_engine_ops *ops;
};

/* All on the loop. done() is called on the loop as well, never from inside submit() or commit(). */
struct disk_engine_ops {
	const char *name;
	/* Takes io; it may not start before commit(). */
	void (*submit)(struct disk_engine *e, struct disk_io *io);
	void (*commit)(struct disk_engine *e);
	/*
	 * Commits, and blocks until something that was submitted is done (calling done()). Only
	 * while something is.
	 */
	void (*wait)(struct disk_engine *e);
	/* Nothing is in flight. */
	void (*free)(struct disk_engine *e);
};

/* fd is borrowed. -ENOSYS, -EPERM and the like where the kernel has no io_uring, or none for us. */
int disk_uring_new(struct loop *loop, int fd, struct disk_engine **ret_e);
/* Starts its threads at once, so that a sandbox entered later need not allow making any. */
int disk_pool_new(struct loop *loop, int fd, struct disk_engine **ret_e, struct err *err);

#endif
