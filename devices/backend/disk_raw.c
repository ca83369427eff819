/* SPDX-License-Identifier: Apache-2.0 */
/* A raw disk image: requests become reads, writes and fallocates of one file or block device. */
/*
 * A READ, WRITE, DISCARD or WRITE_ZEROES takes a slot, which carries it through as many system
 * calls as it needs: the rest of a short read or write, more iovecs than one call takes, zeroes
 * written by hand where the file system cannot punch or zero a range. Without a free slot it waits
 * its turn. Several run at once and complete in any order; a front that cares about order waits for
 * done().
 *
 * Flushes take no slot. One fdatasync() is in flight at a time, and every flush submitted while it
 * runs is served by the next one, never by the one running: that may have passed over writes which
 * completed after it began. So each flush's fdatasync() starts after all writes completed before
 * its submission, which is the promise. One at a time is also for errors: the kernel reports a
 * failed write-back to one fdatasync() only, and marks the pages clean. With two at once one of
 * them could succeed past lost data. For the same reason an error sticks.
 *
 * The lock is of the open file description (fcntl(2), F_OFD_SETLK): requests in flight keep that
 * alive, so even after kill -9 a successor cannot have the file before the last write of its
 * predecessor has ended.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "devices/backend/disk.h"
#include "devices/backend/disk_engine.h"

#define RAW_SLOTS        (DISK_ENGINE_DEPTH - 1) /* and the flush */
#define RAW_SLOT_IOV     16
#define RAW_RETRIES      16
#define RAW_FILE_BLOCK   4096 /* what file systems allocate and punch by */
#define RAW_LOCK_TRIES   26
#define RAW_LOCK_WAIT_MS 20

#define SECTOR           512

struct raw_slot {
	struct disk_io io;
	struct raw *raw;
	struct disk_req *req;
	struct list node;  /* in raw->free_slots */
	struct iobuf left; /* READ, WRITE: what is not transferred yet */
	uint64_t offset;   /* where left, or the zeroes, go */
	uint64_t zeroes;   /* zeroes still to be written by hand */
	unsigned retries;  /* in a row, without progress */
	struct iovec iov[RAW_SLOT_IOV];
};

struct raw {
	struct disk disk;
	char *path;
	int fd;
	bool no_punch, no_zero_range; /* the file system said so */
	struct loop *loop;
	struct disk_engine *engine;
	unsigned in_flight; /* submitted, done() not called yet */
	bool draining; /* no further steps: what is not complete after this one never will be */
	struct list waiting;  /* requests without a slot */
	struct list finished; /* requests answered without I/O: done() is due from the loop */
	struct loop_work finish;
	struct list flush_waiting, flush_running;
	struct disk_io flush;
	unsigned flush_retries;
	int flush_error; /* once set, for ever */
	struct log_limit limit;
	struct list free_slots;
	unsigned slots_used; /* slots[] from here on were never in use: their memory is untouched */
	struct raw_slot slots[RAW_SLOTS];
};

/* Never written: all readers share the kernel's zero page. */
static uint8_t raw_zeroes[64 * 1024];

/* What a request carries for us between submit and done: it is in one list at most. */
struct raw_private {
	struct list node;
	intptr_t result; /* in raw->finished */
};
_Static_assert(sizeof(struct raw_private) <= sizeof(((struct disk_req *)0)->backend_private),
	       "no room in disk_req");

static struct raw_private *raw_private(struct disk_req *r)
{
	return (struct raw_private *)r->backend_private;
}

static struct disk_req *raw_take(struct list *head)
{
	struct list *node = list_take(head);

	return node ? container_of(node, struct disk_req, backend_private) : NULL;
}

static struct raw *to_raw(struct disk *d)
{
	return container_of(d, struct raw, disk);
}

static const char *raw_verb(enum disk_op op)
{
	static const char *const verb[] = {
		[DISK_READ] = "read",         [DISK_WRITE] = "write",
		[DISK_FLUSH] = "flush",       [DISK_DISCARD] = "discard",
		[DISK_WRITE_ZEROES] = "zero", [DISK_WRITE_ZEROES_UNMAP] = "zero",
	};

	return verb[op];
}

/* ---- completion */

static void raw_done(struct raw *raw, struct disk_req *r, int result)
{
	raw->in_flight--;
	r->done(r, result);
}

/* Completes r from the loop: done() must not be called inside submit(). */
static void raw_finish_later(struct raw *raw, struct disk_req *r, int result)
{
	raw_private(r)->result = result;
	list_append(&raw->finished, &raw_private(r)->node);
	loop_defer(raw->loop, &raw->finish);
}

static void raw_finish(struct loop_work *w)
{
	struct raw *raw = container_of(w, struct raw, finish);
	struct disk_req *r;

	while ((r = raw_take(&raw->finished)))
		raw_done(raw, r, (int)raw_private(r)->result);
	raw->disk.ops->commit(&raw->disk);
}

/* Ends a request that had a slot, and gives the slot to the next. */
static void raw_start(struct raw *raw, struct disk_req *r);
static void raw_end(struct raw_slot *slot, int result)
{
	struct raw *raw = slot->raw;
	struct disk_req *r = slot->req, *next;

	if (result < 0 && result != -ECANCELED)
		log_guest(&raw->limit, "disk '%s': cannot %s %llu bytes at %llu: %s%s", raw->path,
			  raw_verb(r->op), (unsigned long long)r->len,
			  (unsigned long long)r->offset, strerror(-result),
			  result == -ENODATA ? "; the file is shorter than the disk" : "");
	list_append(&raw->free_slots, &slot->node);
	next = raw_take(&raw->waiting);
	if (next)
		raw_start(raw, next);
	raw_done(raw, r, result);
}

/*
 * Whether the same system call is worth another try: the kernel was interrupted or short of memory.
 */
static bool raw_is_transient(int64_t result, unsigned *retries)
{
	if (result != -EINTR && result != -EAGAIN && result != -ECANCELED)
		return false;
	return ++*retries <= RAW_RETRIES;
}

static bool raw_tries_again(struct raw_slot *slot, int64_t result)
{
	return !slot->raw->draining && raw_is_transient(result, &slot->retries);
}

/* ---- READ and WRITE */

/*
 * The request's own iovecs where they say exactly what is left; otherwise a copy of as many as fit.
 */
static void raw_set_iov(struct raw_slot *slot)
{
	const struct iobuf *left = &slot->left;
	unsigned n = 0;
	size_t sum = 0;

	while (left->off == 0 && sum < left->len && n < left->num && n < IOV_MAX)
		sum += left->iov[n++].iov_len;
	if (sum == left->len) {
		slot->io.iov = left->iov;
		slot->io.num_iov = n;
		return;
	}
	slot->io.iov = slot->iov;
	slot->io.num_iov = iobuf_iov(left, slot->iov, RAW_SLOT_IOV, SSIZE_MAX, NULL);
}

static void raw_transferred(struct disk_io *io, int64_t result);

static void raw_transfer(struct raw_slot *slot)
{
	struct raw *raw = slot->raw;

	raw_set_iov(slot);
	slot->io.op = slot->req->op == DISK_READ ? DISK_IO_READV : DISK_IO_WRITEV;
	slot->io.offset = slot->offset;
	slot->io.done = raw_transferred;
	raw->engine->ops->submit(raw->engine, &slot->io);
}

static void raw_transferred(struct disk_io *io, int64_t result)
{
	struct raw_slot *slot = container_of(io, struct raw_slot, io);

	if (result < 0) {
		if (raw_tries_again(slot, result))
			raw_transfer(slot);
		else
			raw_end(slot, (int)result);
		return;
	}
	/*
	 * End of file inside the disk: somebody truncated it. Zeroes instead would hide the loss.
	 */
	if (result == 0) {
		raw_end(slot, slot->req->op == DISK_READ ? -ENODATA : -EIO);
		return;
	}
	if (!iobuf_skip(&slot->left, (size_t)result)) {
		raw_end(slot, -EIO);
		return;
	}
	slot->offset += (uint64_t)result;
	slot->retries = 0;
	if (slot->left.len && !slot->raw->draining)
		raw_transfer(slot);
	else
		raw_end(slot, slot->left.len ? -ECANCELED : 0);
}

/* ---- DISCARD and WRITE_ZEROES */

static void raw_zeroed_by_hand(struct disk_io *io, int64_t result);

static void raw_zero_by_hand(struct raw_slot *slot)
{
	struct raw *raw = slot->raw;
	uint64_t left = slot->zeroes;
	unsigned n = 0;

	for (; left && n < RAW_SLOT_IOV; n++) {
		size_t here = left < sizeof(raw_zeroes) ? (size_t)left : sizeof(raw_zeroes);

		slot->iov[n] = (struct iovec){.iov_base = raw_zeroes, .iov_len = here};
		left -= here;
	}
	slot->io.op = DISK_IO_WRITEV;
	slot->io.iov = slot->iov;
	slot->io.num_iov = n;
	slot->io.offset = slot->offset;
	slot->io.done = raw_zeroed_by_hand;
	raw->engine->ops->submit(raw->engine, &slot->io);
}

static void raw_zeroed_by_hand(struct disk_io *io, int64_t result)
{
	struct raw_slot *slot = container_of(io, struct raw_slot, io);

	if (result <= 0) {
		if (raw_tries_again(slot, result))
			raw_zero_by_hand(slot);
		else
			raw_end(slot, result < 0 ? (int)result : -EIO);
		return;
	}
	if ((uint64_t)result > slot->zeroes) {
		raw_end(slot, -EIO);
		return;
	}
	slot->offset += (uint64_t)result;
	slot->zeroes -= (uint64_t)result;
	slot->retries = 0;
	if (slot->zeroes && !slot->raw->draining)
		raw_zero_by_hand(slot);
	else
		raw_end(slot, slot->zeroes ? -ECANCELED : 0);
}

static void raw_allocated(struct disk_io *io, int64_t result);

/* The best way that is known to be left; KEEP_SIZE because the disk never grows by itself. */
static void raw_allocate(struct raw_slot *slot)
{
	struct raw *raw = slot->raw;
	bool keep = slot->req->op == DISK_WRITE_ZEROES;

	if (!keep && !raw->no_punch) {
		slot->io.mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	} else if (!raw->no_zero_range) {
		slot->io.mode = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
	} else {
		raw_zero_by_hand(slot);
		return;
	}
	slot->io.op = DISK_IO_FALLOCATE;
	slot->io.offset = slot->offset;
	slot->io.len = slot->zeroes;
	slot->io.done = raw_allocated;
	raw->engine->ops->submit(raw->engine, &slot->io);
}

static void raw_allocated(struct disk_io *io, int64_t result)
{
	struct raw_slot *slot = container_of(io, struct raw_slot, io);
	struct raw *raw = slot->raw;

	if (result >= 0) {
		raw_end(slot, 0);
		return;
	}
	if (raw_tries_again(slot, result)) {
		raw_allocate(slot);
		return;
	}
	if (result != -EOPNOTSUPP && result != -ENOSYS && result != -EINVAL) {
		raw_end(slot, (int)result);
		return;
	}
	/* EINVAL is about this range only: a block device with sectors larger than ours. */
	if (result != -EINVAL && (io->mode & FALLOC_FL_PUNCH_HOLE))
		raw->no_punch = true;
	else if (result != -EINVAL)
		raw->no_zero_range = true;
	if (slot->req->op == DISK_DISCARD)
		raw_end(slot, 0);
	else if (result == -EINVAL)
		raw_zero_by_hand(slot);
	else
		raw_allocate(slot);
}

/* ---- FLUSH */

static void raw_flushed(struct disk_io *io, int64_t result);

static void raw_issue_flush(struct raw *raw)
{
	raw->flush.op = DISK_IO_FDATASYNC;
	raw->flush.done = raw_flushed;
	raw->engine->ops->submit(raw->engine, &raw->flush);
}

static void raw_start_flush(struct raw *raw)
{
	struct list *node;

	if (list_empty(&raw->flush_waiting) || !list_empty(&raw->flush_running))
		return;
	while ((node = list_take(&raw->flush_waiting)))
		list_append(&raw->flush_running, node);
	raw->flush_retries = 0;
	raw_issue_flush(raw);
}

static void raw_flushed(struct disk_io *io, int64_t result)
{
	struct raw *raw = container_of(io, struct raw, flush);
	struct disk_req *r;
	struct list served, *node;

	if (raw_is_transient(result, &raw->flush_retries)) {
		raw_issue_flush(raw);
		return;
	}
	if (result < 0 && !raw->flush_error) {
		raw->flush_error = (int)result;
		log_error(
			"disk '%s': cannot flush: %s; data may be lost; every flush fails from now on",
			raw->path, strerror(-raw->flush_error));
	}
	list_init(&served);
	while ((node = list_take(&raw->flush_running)))
		list_append(&served, node);
	raw_start_flush(raw);
	while ((r = raw_take(&served)))
		raw_done(raw, r, raw->flush_error);
}

/* ---- requests */

/* Begins a request that passed raw_submit()'s checks, in a free slot or as soon as there is one. */
static void raw_start(struct raw *raw, struct disk_req *r)
{
	struct list *node = list_take(&raw->free_slots);
	struct raw_slot *slot;

	if (node) {
		slot = container_of(node, struct raw_slot, node);
	} else if (raw->slots_used < RAW_SLOTS) {
		slot = &raw->slots[raw->slots_used++];
		slot->raw = raw;
		list_init(&slot->node);
	} else {
		list_append(&raw->waiting, &raw_private(r)->node);
		return;
	}
	slot->req = r;
	slot->offset = r->offset;
	slot->retries = 0;
	if (r->op == DISK_READ || r->op == DISK_WRITE) {
		slot->left = r->data;
		raw_transfer(slot);
	} else {
		slot->zeroes = r->len;
		raw_allocate(slot);
	}
}

static void raw_submit(struct disk *d, struct disk_req *r)
{
	struct raw *raw = to_raw(d);

	raw->in_flight++;
	if (raw->draining)
		raw_finish_later(raw, r, -ECANCELED);
	else if (r->op == DISK_FLUSH && raw->flush_error)
		raw_finish_later(raw, r, raw->flush_error);
	else if (r->op == DISK_FLUSH)
		list_append(&raw->flush_waiting, &raw_private(r)->node);
	else if (d->read_only && r->op != DISK_READ)
		raw_finish_later(raw, r, -EROFS);
	else if (r->offset > d->capacity || r->len > d->capacity - r->offset)
		raw_finish_later(raw, r, -EINVAL);
	else if ((r->op == DISK_READ || r->op == DISK_WRITE) && r->data.len != r->len)
		raw_finish_later(raw, r, -EINVAL);
	else if (!r->len || (r->op == DISK_DISCARD && raw->no_punch))
		raw_finish_later(raw, r, 0);
	else
		raw_start(raw, r);
}

static void raw_commit(struct disk *d)
{
	struct raw *raw = to_raw(d);

	raw_start_flush(raw);
	raw->engine->ops->commit(raw->engine);
}

static void raw_drain(struct disk *d)
{
	struct raw *raw = to_raw(d);
	struct disk_req *r;

	raw->draining = true;
	while ((r = raw_take(&raw->waiting)) || (r = raw_take(&raw->flush_waiting)))
		raw_finish_later(raw, r, -ECANCELED);
	while (raw->in_flight) {
		raw_finish(&raw->finish);
		/* All that is left is in the engine, or behind something that is. */
		if (raw->in_flight)
			raw->engine->ops->wait(raw->engine);
	}
	raw->draining = false;
}

/* ---- the file */

/* Size in bytes, and the block it is allocated by. */
static int raw_measure(int fd, uint64_t *ret_size, uint32_t *ret_block)
{
	struct stat st;
	unsigned block = 0;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISBLK(st.st_mode)) {
		*ret_size = (uint64_t)st.st_size;
		*ret_block = RAW_FILE_BLOCK;
		return 0;
	}
	if (ioctl(fd, BLKGETSIZE64, ret_size) < 0)
		return -errno;
	*ret_block = ioctl(fd, BLKPBSZGET, &block) == 0 && block >= SECTOR ? block : SECTOR;
	return 0;
}

static int raw_refresh(struct disk *d)
{
	struct raw *raw = to_raw(d);
	uint64_t size;
	uint32_t block;
	int r = raw_measure(raw->fd, &size, &block);

	if (r < 0)
		return r;
	if (size == 0 || size % SECTOR || size > INT64_MAX)
		return -EINVAL;
	d->capacity = size;
	return 0;
}

static void raw_free(struct disk *d)
{
	struct raw *raw = to_raw(d);

	assert(!raw->in_flight);
	loop_undefer(&raw->finish);
	if (raw->engine)
		raw->engine->ops->free(raw->engine);
	if (raw->fd >= 0)
		(void)close(raw->fd);
	free(raw->path);
	free(raw);
}

static const struct disk_ops raw_ops = {
	.name = "raw",
	.submit = raw_submit,
	.commit = raw_commit,
	.drain = raw_drain,
	.refresh = raw_refresh,
	.free = raw_free,
};

/* Whole file, exclusive for writers. A process that was just killed may need a moment to let go. */
static int raw_lock(int fd, const char *path, bool read_only, struct err *err)
{
	struct flock lock = {.l_type = read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};

	for (int i = 0; i < RAW_LOCK_TRIES; i++) {
		if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
			return 0;
		if (errno != EAGAIN && errno != EACCES)
			return err_set(err, errno, "cannot lock disk '%s'", path);
		(void)nanosleep(&(struct timespec){.tv_nsec = RAW_LOCK_WAIT_MS * 1000000L}, NULL);
	}
	return err_say(err, EBUSY,
		       "disk '%s' is in use by another VM or program: stop that one first%s", path,
		       read_only ? "" : ", or use a copy of the file");
}

static int raw_open_file(const char *path, bool read_only, int *ret_fd, struct err *err)
{
	/*
	 * O_NONBLOCK: a fifo or a device without medium must not hold us up before fstat() tells
	 * what it is.
	 */
	int flags = (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	cleanup_close int fd = -1;
	struct stat st;
	int r;

	/* A block device opened with O_EXCL is refused while the host has it mounted. */
	if (!read_only && stat(path, &st) == 0 && S_ISBLK(st.st_mode))
		flags |= O_EXCL;
	fd = open(path, flags);
	if (fd < 0 && errno == EBUSY)
		return err_say(err, EBUSY, "disk '%s' is in use by this host: unmount it first",
			       path);
	if (fd < 0 && errno != EISDIR)
		return err_set(err, errno, "cannot open disk '%s' for %s", path,
			       read_only ? "reading" : "reading and writing");
	if (fd >= 0 && fstat(fd, &st) < 0)
		return err_set(err, errno, "cannot examine disk '%s'", path);
	if (fd < 0 || !(S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)))
		return err_say(
			err, EINVAL,
			"'%s' cannot be a disk: it is neither a regular file nor a block device",
			path);
	/* io_uring would take O_NONBLOCK to mean that a request may fail with EAGAIN. */
	r = fd_set_nonblock(fd, false);
	if (r < 0)
		return err_set(err, -r, "cannot open disk '%s'", path);
	*ret_fd = steal_fd(&fd);
	return 0;
}

static int raw_check_size(struct raw *raw, struct err *err)
{
	int r = raw_measure(raw->fd, &raw->disk.capacity, &raw->disk.block_size);
	uint64_t size = raw->disk.capacity;

	if (r < 0)
		return err_set(err, -r, "cannot find the size of disk '%s'", raw->path);
	if (size == 0)
		return err_say(err, EINVAL,
			       "disk '%s' is empty: give it a size, or install a system on it",
			       raw->path);
	if (size % SECTOR || size > INT64_MAX)
		return err_say(
			err, EINVAL,
			"disk '%s' is %llu bytes long, no multiple of %d: it is truncated, or "
			"not a raw disk image",
			raw->path, (unsigned long long)size, SECTOR);
	return 0;
}

static int raw_open_engine(struct raw *raw, const struct disk_options *opt, struct err *err)
{
	int r;

	if (!opt->no_uring) {
		r = disk_uring_new(raw->loop, raw->fd, &raw->engine);
		if (r == 0)
			return 0;
		log_debug("no io_uring for disk '%s', using threads: %s", raw->path, strerror(-r));
	}
	r = disk_pool_new(raw->loop, raw->fd, &raw->engine, err);
	return r < 0 ? err_wrap(err, "disk '%s'", raw->path) : 0;
}

int disk_raw_open(struct loop *loop, const char *path, const struct disk_options *opt,
		  struct disk **ret_disk, struct err *err)
{
	/* Large, so it comes as untouched pages. */
	struct raw *raw = xcalloc(1, sizeof(*raw));
	int r;

	raw->disk.ops = &raw_ops;
	raw->disk.read_only = opt->read_only;
	raw->path = str_dup(path);
	raw->fd = -1;
	raw->loop = loop;
	raw->finish.fn = raw_finish;
	list_init(&raw->waiting);
	list_init(&raw->finished);
	list_init(&raw->flush_waiting);
	list_init(&raw->flush_running);
	list_init(&raw->free_slots);
	r = raw_open_file(path, opt->read_only, &raw->fd, err);
	/* The lock comes before the size: whoever holds it may be making the file. */
	if (r == 0)
		r = raw_lock(raw->fd, path, opt->read_only, err);
	if (r == 0)
		r = raw_check_size(raw, err);
	if (r == 0)
		r = raw_open_engine(raw, opt, err);
	if (r < 0) {
		raw_free(&raw->disk);
		return r;
	}
	*ret_disk = &raw->disk;
	return 0;
}
