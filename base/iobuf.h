/* SPDX-License-Identifier: Apache-2.0 */
/* A cursor over scattered bytes, so no code depends on how a guest cut its buffers (virtio 1.2 §2.7.4). */
#ifndef LVM_BASE_IOBUF_H
#define LVM_BASE_IOBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

/*
 * `len` bytes are left, beginning `off` bytes into iov[0]. The iovec array is owned by whoever made the
 * iobuf; the calls below never change its elements, so copies of an iobuf are independent cursors.
 * len never exceeds SSIZE_MAX. Not thread-safe.
 */
struct iobuf {
	const struct iovec *iov;
	unsigned num; /* elements left, counting the one the cursor is in */
	size_t off;
	size_t len;
};

/* Over num elements; their lengths must add up to at most SSIZE_MAX (the caller has checked). */
void iobuf_init(struct iobuf *b, const struct iovec *iov, unsigned num);

/* Copy n bytes out of / into the buffer and advance. All n, or nothing and false when fewer are left. */
bool iobuf_get(struct iobuf *b, void *dst, size_t n);
bool iobuf_put(struct iobuf *b, const void *src, size_t n);
/* As iobuf_get, without advancing. */
bool iobuf_peek(const struct iobuf *b, void *dst, size_t n);
/* Stores n zero bytes and advances; all or nothing. */
bool iobuf_zero(struct iobuf *b, size_t n);
bool iobuf_skip(struct iobuf *b, size_t n);

/* Splits the first n bytes off into *ret_head (sharing the iovecs) and advances past them; all or nothing. */
bool iobuf_take(struct iobuf *b, size_t n, struct iobuf *ret_head);
/* Drops everything after the first n bytes. n <= b->len or nothing happens and false. */
bool iobuf_truncate(struct iobuf *b, size_t n);

/*
 * Writes the remaining bytes as iovecs for readv(2) and friends; at most max elements and limit bytes.
 * Returns the number of elements, and their byte sum in *ret_bytes if not NULL.
 */
unsigned iobuf_iov(const struct iobuf *b, struct iovec *iov, unsigned max, size_t limit,
		   size_t *ret_bytes);

#endif
