/* SPDX-License-Identifier: Apache-2.0 */
/* Buffers between a socket and whole frames (docs/agent-protocol.md). */
#include "guest/conn.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/endian.h"
#include "base/fd.h"
#include "base/loop.h"
#include "base/str.h"

#define IN_CAP (2 * (PROTO_HEADER_LEN + PROTO_MAX_PAYLOAD))

int conn_init(struct conn *c, int fd)
{
	*c = (struct conn){.fd = fd, .in_cap = IN_CAP};
	c->in = xcalloc(1, c->in_cap);
	c->out = xcalloc(1, CONN_OUT_CAP);
	return fd_set_nonblock(fd, true);
}

void conn_done(struct conn *c)
{
	if (c->fd >= 0)
		close(c->fd);
	free(c->in);
	free(c->out);
	*c = (struct conn){.fd = -1};
}

/* Moves what is left to the front, where small exchanges keep touching the same page. */
static void compact(uint8_t *buf, size_t *off, size_t *len)
{
	if (*off == 0)
		return;
	memmove(buf, buf + *off, *len - *off);
	*len -= *off;
	*off = 0;
}

void conn_fill(struct conn *c)
{
	ssize_t n;

	if (c->eof || c->broken)
		return;
	compact(c->in, &c->in_off, &c->in_len);
	if (c->in_len == c->in_cap)
		return;
	n = read(c->fd, c->in + c->in_len, c->in_cap - c->in_len);
	if (n > 0)
		c->in_len += (size_t)n;
	else if (n == 0)
		c->eof = true;
	else if (errno != EAGAIN && errno != EINTR)
		c->eof = c->broken = true;
}

int conn_next(struct conn *c, struct proto_frame *ret)
{
	size_t size;
	int r = proto_parse(c->in + c->in_off, c->in_len - c->in_off, ret, &size);

	if (r == 1)
		c->in_off += size;
	if (r == 0 && size > c->in_cap) {
		/* A request; proto_parse() has checked its length against PROTO_MAX_REQUEST. */
		c->in = xrealloc(c->in, size, 1);
		c->in_cap = size;
	}
	return r;
}

size_t conn_space(const struct conn *c)
{
	return CONN_OUT_CAP - (c->out_len - c->out_off);
}

uint8_t *conn_reserve(struct conn *c, size_t n)
{
	assert(n <= conn_space(c));
	if (c->out_off == c->out_len)
		c->out_off = c->out_len = 0;
	if (CONN_OUT_CAP - c->out_len < n)
		compact(c->out, &c->out_off, &c->out_len);
	return c->out + c->out_len;
}

void conn_queued(struct conn *c, size_t n)
{
	c->out_len += n;
}

void conn_flush(struct conn *c)
{
	while (c->out_off < c->out_len && !c->broken) {
		ssize_t n = send(c->fd, c->out + c->out_off, c->out_len - c->out_off, MSG_NOSIGNAL);

		if (n >= 0)
			c->out_off += (size_t)n;
		else if (errno == EAGAIN)
			return;
		else if (errno != EINTR)
			c->broken = true;
	}
	c->out_off = c->out_len = 0;
}

void conn_wait(struct conn *c, short events, int timeout_ms)
{
	struct pollfd p = {.fd = c->fd, .events = events};

	(void)poll(&p, 1, timeout_ms);
}

/* Waits for room of n bytes, or until the peer is gone. */
static uint8_t *wait_room(struct conn *c, size_t n)
{
	conn_flush(c);
	while (conn_space(c) < n) {
		conn_wait(c, POLLOUT, -1);
		conn_flush(c);
	}
	return conn_reserve(c, n);
}

void conn_send(struct conn *c, const uint8_t *frame, size_t len)
{
	memcpy(wait_room(c, len), frame, len);
	conn_queued(c, len);
}

void conn_send_data(struct conn *c, enum proto_stream stream, const void *buf, size_t len)
{
	uint8_t *p = wait_room(c, PROTO_HEADER_LEN + len);

	proto_put_header(p, PROTO_DATA, stream, len);
	memcpy(p + PROTO_HEADER_LEN, buf, len);
	conn_queued(c, PROTO_HEADER_LEN + len);
}

void conn_send_error(struct conn *c, int code, enum proto_fault fault, const char *sentence)
{
	size_t len = strnlen(sentence, 4096);
	uint8_t *p = wait_room(c, PROTO_HEADER_LEN + 8 + len);

	proto_put_header(p, PROTO_ERROR, 0, 8 + len);
	put_le32(p + 8, (uint32_t)code);
	put_le32(p + 12, (uint32_t)fault);
	memcpy(p + 16, sentence, len);
	conn_queued(c, PROTO_HEADER_LEN + 8 + len);
}

static void discard_input(struct conn *c)
{
	c->in_off = c->in_len = 0;
	conn_fill(c);
	c->in_off = c->in_len = 0;
}

void conn_finish(struct conn *c, int timeout_ms)
{
	int64_t until;

	conn_flush(c);
	while (c->out_len > 0) {
		conn_wait(c, c->eof ? POLLOUT : POLLIN | POLLOUT, -1);
		discard_input(c);
		conn_flush(c);
	}
	(void)shutdown(c->fd, SHUT_WR);
	until = loop_now_ms() + timeout_ms;
	while (!c->eof && !c->broken && loop_now_ms() < until) {
		conn_wait(c, POLLIN, timeout_ms);
		discard_input(c);
	}
}
