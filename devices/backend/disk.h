/* SPDX-License-Identifier: Apache-2.0 */
/* A disk as its front end sees it: asynchronous requests against a range of bytes. */
#ifndef LVM_DEVICES_BACKEND_DISK_H
#define LVM_DEVICES_BACKEND_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/iobuf.h"
#include "base/loop.h"

enum disk_op {
	DISK_READ,
	DISK_WRITE,
	DISK_FLUSH,   /* what was completed before the submit is on stable storage when this is */
	DISK_DISCARD, /* contents become undefined, space may be freed */
	DISK_WRITE_ZEROES,       /* contents become zero, space stays allocated */
	DISK_WRITE_ZEROES_UNMAP, /* contents become zero, space may be freed */
};

/* Embedded in the front's request and untouched by it between submit and done. */
struct disk_req {
	enum disk_op op;
	uint64_t offset, len; /* bytes, inside the capacity; not for FLUSH */
	struct iobuf data;    /* READ and WRITE: len bytes in it, its iovecs borrowed until done */
	/*
	 * On the disk's loop, never from inside submit() or commit(). result: 0 or -errno. Requests
	 * complete in any order. After an error the contents of the range are undefined. r is the
	 * front's again, which may submit and commit here, but not drain.
	 */
	void (*done)(struct disk_req *r, int result);
	void *backend_private[4];
};

struct disk {
	const struct disk_ops *ops;
	uint64_t capacity; /* bytes, a multiple of 512 */
	bool read_only;
	uint32_t block_size; /* bytes: granularity for discard and the physical block */
};

/* All on the disk's loop. */
struct disk_ops {
	const char *name;
	void (*submit)(struct disk *d, struct disk_req *r);
	/* Requests submitted may be batched; called once when the front has no more for now. */
	void (*commit)(struct disk *d);
	/*
	 * Returns when every request submitted has completed (its done() called), those submitted
	 * by done() too. For a reset: what has not begun, or would take several steps, may complete
	 * with -ECANCELED.
	 */
	void (*drain)(struct disk *d);
	/*
	 * Looks at the file's size again; updates capacity. 0, or -errno and the capacity is as it
	 * was.
	 */
	int (*refresh)(struct disk *d);
	/* Drained before. */
	void (*free)(struct disk *d);
};

struct disk_options {
	bool read_only;
	bool no_uring; /* thread pool even where io_uring works */
};

/*
 * A raw image: the file's bytes are the disk's. Takes an exclusive lock (a shared one when
 * read-only) on the file and refuses what is no regular file or block device, is empty, no multiple
 * of 512 bytes, or in use by another VM; waits up to half a second for the lock. After a flush that
 * failed every later one fails too: what the kernel could not write it forgets, and no flush can
 * vouch for it any more.
 */
int disk_raw_open(struct loop *loop, const char *path, const struct disk_options *opt,
		  struct disk **ret_disk, struct err *err);

#endif
