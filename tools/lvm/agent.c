/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's connection: the CONNECT handshake, buffers, frames. */
#include "tools/lvm/agent.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/loop.h"
#include "base/str.h"

/* Frames to the host are small but for DATA: two of the largest fit, so a receive always has room. */
#define AGENT_IN_BYTES (2 * (PROTO_HEADER_LEN + PROTO_MAX_PAYLOAD))

struct agent {
	int fd;
	uint8_t *in;
	size_t in_off, in_len; /* unread bytes are in[in_off, in_len) */
	uint8_t *out;
	size_t out_off, out_len, out_cap; /* unsent bytes are out[out_off, out_len) */
};

void agent_close(struct agent *a)
{
	if (!a)
		return;
	if (a->fd >= 0)
		(void)close(a->fd);
	free(a->in);
	free(a->out);
	free(a);
}

int agent_fd(const struct agent *a)
{
	return a->fd;
}

size_t agent_pending(const struct agent *a)
{
	return a->out_len - a->out_off;
}

static uint8_t *out_room(struct agent *a, size_t n)
{
	if (a->out_off == a->out_len)
		a->out_off = a->out_len = 0;
	if (a->out_len + n > a->out_cap && a->out_off) {
		memmove(a->out, a->out + a->out_off, a->out_len - a->out_off);
		a->out_len -= a->out_off;
		a->out_off = 0;
	}
	if (a->out_len + n > a->out_cap) {
		a->out_cap = 2 * (a->out_len + n);
		a->out = xrealloc(a->out, a->out_cap, 1);
	}
	a->out_len += n;
	return a->out + a->out_len - n;
}

void agent_queue(struct agent *a, const void *frame, size_t len)
{
	memcpy(out_room(a, len), frame, len);
}

void agent_queue_data(struct agent *a, enum proto_stream stream, const void *data, size_t len)
{
	uint8_t *p = out_room(a, PROTO_HEADER_LEN + len);

	proto_put_header(p, PROTO_DATA, stream, len);
	memcpy(p + PROTO_HEADER_LEN, data, len);
}

int agent_flush(struct agent *a)
{
	while (a->out_off < a->out_len) {
		ssize_t n = send(a->fd, a->out + a->out_off, a->out_len - a->out_off, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		a->out_off += (size_t)n;
	}
	return 0;
}

int agent_receive(struct agent *a)
{
	ssize_t n;

	if (a->in_off) {
		memmove(a->in, a->in + a->in_off, a->in_len - a->in_off);
		a->in_len -= a->in_off;
		a->in_off = 0;
	}
	do {
		n = recv(a->fd, a->in + a->in_len, AGENT_IN_BYTES - a->in_len, 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	if (n == 0)
		return -ECONNRESET;
	a->in_len += (size_t)n;
	return 0;
}

int agent_next(struct agent *a, struct proto_frame *ret_f)
{
	size_t size;
	int r = proto_parse(a->in + a->in_off, a->in_len - a->in_off, ret_f, &size);

	if (r > 0)
		a->in_off += size;
	/* Nothing the guest sends here is larger: one that claims so would never become whole. */
	return r == 0 && size > AGENT_IN_BYTES ? -EPROTO : r;
}

/* Until something came in, or the deadline. */
static int wait_input(struct agent *a, int64_t deadline_ms)
{
	int64_t left = deadline_ms - loop_now_ms();
	struct pollfd p = {.fd = a->fd, .events = POLLIN | (agent_pending(a) ? POLLOUT : 0)};
	int r;

	if (left <= 0)
		return -ETIMEDOUT;
	r = poll(&p, 1, (int)left);
	if (r < 0)
		return errno == EINTR ? 0 : -errno;
	if (p.revents & POLLOUT) {
		r = agent_flush(a);
		if (r < 0)
			return r;
	}
	return p.revents & (POLLIN | POLLHUP | POLLERR) ? agent_receive(a) : 0;
}

static int wait_frame(struct agent *a, int64_t deadline_ms, struct proto_frame *ret_f)
{
	int r;

	while ((r = agent_next(a, ret_f)) == 0) {
		r = wait_input(a, deadline_ms);
		if (r < 0)
			return r;
	}
	return r < 0 ? r : 0;
}

int agent_wait(struct agent *a, int timeout_ms, struct proto_frame *ret_f)
{
	int r = agent_flush(a);

	return r < 0 ? r : wait_frame(a, loop_now_ms() + timeout_ms, ret_f);
}

/* The front's answer to CONNECT: "OK <port>\n", or the end of the connection. */
static int wait_connected(struct agent *a, int64_t deadline_ms)
{
	const uint8_t *nl;

	while (!(nl = memchr(a->in, '\n', a->in_len))) {
		int r = a->in_len > 64 ? -EPROTO : wait_input(a, deadline_ms);

		if (r < 0)
			return r;
	}
	if (a->in_len < 3 || memcmp(a->in, "OK ", 3) != 0)
		return -EPROTO;
	a->in_off = (size_t)(nl + 1 - a->in);
	return 0;
}

int agent_open(const struct store *s, const char *name, int timeout_ms, struct agent **ret_a,
	       struct err *err)
{
	cleanup_free char *path = store_socket_path(s, name, "vsock");
	cleanup_free char *connect_line = str_fmt("CONNECT %d\n", PROTO_PORT_AGENT);
	int64_t deadline = loop_now_ms() + timeout_ms;
	struct agent *a = xcalloc(1, sizeof(*a));
	uint8_t hello[PROTO_SMALL_FRAME];
	struct proto_frame f;
	int r;

	a->fd = -1;
	a->in = xcalloc(1, AGENT_IN_BYTES);
	r = unix_connect(path, true, &a->fd, err);
	if (r < 0)
		goto fail;
	/* What follows the line belongs to the stream, so the greeting needs no second round trip. */
	agent_queue(a, connect_line, strlen(connect_line));
	agent_queue(a, hello, proto_put_hello(hello));
	r = agent_flush(a);
	if (r == 0)
		r = wait_connected(a, deadline);
	if (r == 0)
		r = wait_frame(a, deadline, &f);
	if (r == 0)
		r = proto_get_hello(&f);
	if (r < 0) {
		(void)err_set(err, -r, "the agent in '%s' did not answer", name);
		goto fail;
	}
	*ret_a = a;
	return 0;
fail:
	agent_close(a);
	return r;
}
