/* SPDX-License-Identifier: Apache-2.0 */
/* Moves one stream's bytes between frames and a descriptor, and keeps its credits. */
#include "guest/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/str.h"

#define MAX_CREDIT (1u << 30)

void stream_init(struct stream *s, int fd, bool takes, bool gives)
{
	*s = (struct stream){.fd = fd,
			     .takes = takes && fd >= 0,
			     .gives = gives && fd >= 0,
			     .rx_left = PROTO_WINDOW,
			     .tx_left = PROTO_WINDOW};
	if (s->takes)
		s->ring = xcalloc(
			1, PROTO_WINDOW); /* fresh memory: only what is used becomes resident */
}

void stream_close(struct stream *s)
{
	if (s->fd >= 0)
		close(s->fd);
	free(s->ring);
	s->ring = NULL;
	s->fd = -1;
	s->rx_done += (uint32_t)s->held;
	s->held = 0;
	s->takes = s->gives = false;
}

/* The command reads no more: drop what it left. The terminal stays open for its output. */
static void stop_taking(struct stream *s)
{
	s->rx_done += (uint32_t)s->held;
	s->held = 0;
	s->takes = false;
	if (!s->gives)
		stream_close(s);
}

static ssize_t write_some(struct stream *s, const uint8_t *buf, size_t len)
{
	ssize_t n;

	do {
		n = write(s->fd, buf, len);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return 0;
	return n;
}

int stream_receive(struct stream *s, const uint8_t *buf, size_t len)
{
	size_t tail, run;
	ssize_t n = 0;

	if (len > s->rx_left)
		return -EPROTO;
	s->rx_left -= (uint32_t)len;
	if (s->takes && !s->end && s->held == 0) {
		n = write_some(s, buf, len);
		if (n < 0) {
			stop_taking(s);
			n = 0;
		}
	}
	s->rx_done += (uint32_t)n;
	buf += n;
	len -= (size_t)n;
	if (!s->takes || s->end) {
		s->rx_done += (uint32_t)len;
		return 0;
	}
	/* Fits: the ring is as large as the window, and rx_left counts what is held. */
	tail = (s->head + s->held) % PROTO_WINDOW;
	run = len < PROTO_WINDOW - tail ? len : PROTO_WINDOW - tail;
	memcpy(s->ring + tail, buf, run);
	memcpy(s->ring, buf + run, len - run);
	s->held += len;
	return 0;
}

void stream_receive_end(struct stream *s)
{
	if (s->gives) {
		/* The reader of its output has gone: now the command gets its SIGPIPE. */
		stream_close(s);
		return;
	}
	s->end = true;
	if (s->held == 0)
		stream_close(s);
}

void stream_flush(struct stream *s)
{
	while (s->takes && s->held > 0) {
		size_t run = s->held < PROTO_WINDOW - s->head ? s->held : PROTO_WINDOW - s->head;
		ssize_t n = write_some(s, s->ring + s->head, run);

		if (n < 0) {
			stop_taking(s);
			return;
		}
		s->head = (s->head + (size_t)n) % PROTO_WINDOW;
		s->held -= (size_t)n;
		s->rx_done += (uint32_t)n;
		if ((size_t)n < run)
			return;
	}
	if (s->held == 0)
		s->head = 0;
	if (s->takes && s->end)
		stream_close(s);
}

uint32_t stream_credit(struct stream *s)
{
	uint32_t n = s->rx_done;

	if (n < PROTO_WINDOW / 4)
		return 0;
	s->rx_done = 0;
	s->rx_left += n;
	return n;
}

int stream_add_credit(struct stream *s, uint32_t n)
{
	if (n > MAX_CREDIT - s->tx_left)
		return -EPROTO;
	s->tx_left += n;
	return 0;
}

ssize_t stream_read(struct stream *s, uint8_t *buf, size_t n)
{
	ssize_t got;

	do {
		got = read(s->fd, buf, n);
	} while (got < 0 && errno == EINTR);
	if (got < 0 && errno == EAGAIN) {
		s->owed = 0;
		return -EAGAIN;
	}
	if (got <= 0) { /* EIO is how a terminal says that no process has it open any more */
		stream_close(s);
		return 0;
	}
	s->tx_left -= (uint32_t)got;
	s->owed -= s->owed < (size_t)got ? s->owed : (size_t)got;
	return got;
}
