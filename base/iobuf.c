/* SPDX-License-Identifier: Apache-2.0 */
/* The cursor over scattered bytes. */
#include "base/iobuf.h"

#include <assert.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>

/* Moves past elements that are used up, so that iov[0] has bytes whenever len > 0. */
static void iobuf_settle(struct iobuf *b)
{
	while (b->num && b->off == b->iov->iov_len) {
		b->iov++;
		b->num--;
		b->off = 0;
	}
}

void iobuf_init(struct iobuf *b, const struct iovec *iov, unsigned num)
{
	*b = (struct iobuf){.iov = iov, .num = num};
	for (unsigned i = 0; i < num; i++) {
		assert(iov[i].iov_len <= SSIZE_MAX - b->len);
		b->len += iov[i].iov_len;
	}
	iobuf_settle(b);
}

/* The next piece that is contiguous, at most n bytes, and past it. */
static void *iobuf_piece(struct iobuf *b, size_t n, size_t *ret_n)
{
	uint8_t *p = (uint8_t *)b->iov->iov_base + b->off;
	size_t here = b->iov->iov_len - b->off;

	if (here > n)
		here = n;
	b->off += here;
	b->len -= here;
	iobuf_settle(b);
	*ret_n = here;
	return p;
}

bool iobuf_get(struct iobuf *b, void *dst, size_t n)
{
	uint8_t *out = dst;
	size_t here;

	if (n > b->len)
		return false;
	for (; n; n -= here, out += here) {
		const void *p = iobuf_piece(b, n, &here);

		memcpy(out, p, here);
	}
	return true;
}

bool iobuf_put(struct iobuf *b, const void *src, size_t n)
{
	const uint8_t *in = src;
	size_t here;

	if (n > b->len)
		return false;
	for (; n; n -= here, in += here) {
		void *p = iobuf_piece(b, n, &here);

		memcpy(p, in, here);
	}
	return true;
}

bool iobuf_peek(const struct iobuf *b, void *dst, size_t n)
{
	struct iobuf copy = *b;

	return iobuf_get(&copy, dst, n);
}

bool iobuf_zero(struct iobuf *b, size_t n)
{
	size_t here;

	if (n > b->len)
		return false;
	for (; n; n -= here) {
		void *p = iobuf_piece(b, n, &here);

		memset(p, 0, here);
	}
	return true;
}

bool iobuf_skip(struct iobuf *b, size_t n)
{
	size_t here;

	if (n > b->len)
		return false;
	for (; n; n -= here)
		(void)iobuf_piece(b, n, &here);
	return true;
}

bool iobuf_take(struct iobuf *b, size_t n, struct iobuf *ret_head)
{
	struct iobuf head = *b;

	if (!iobuf_skip(b, n))
		return false;
	/* num may count elements past the end: len is what bounds a cursor. */
	head.len = n;
	*ret_head = head;
	return true;
}

bool iobuf_truncate(struct iobuf *b, size_t n)
{
	if (n > b->len)
		return false;
	b->len = n;
	return true;
}

unsigned iobuf_iov(const struct iobuf *b, struct iovec *iov, unsigned max, size_t limit,
		   size_t *ret_bytes)
{
	struct iobuf rest = *b;
	size_t left = rest.len < limit ? rest.len : limit;
	size_t sum = 0;
	unsigned n = 0;

	while (left && n < max) {
		size_t here;

		iov[n].iov_base = iobuf_piece(&rest, left, &here);
		iov[n].iov_len = here;
		left -= here;
		sum += here;
		n++;
	}
	if (ret_bytes)
		*ret_bytes = sum;
	return n;
}
