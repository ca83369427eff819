/* SPDX-License-Identifier: Apache-2.0 */
/* Both sides of the virtual socket connections, scripted. */
#include "tests/support/fake_vsock.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "tests/support/check.h"

struct fake_vsock_buf {
	struct vsock_buf b;
	struct fake_vsock_buf *next;
	struct iovec iov[3];
	size_t len;
	uint8_t bytes[];
};

/* ---- the host */

static struct fake_stream *to_fake(struct vsock_stream *s)
{
	struct fake_stream *f = container_of(s, struct fake_stream, s);

	check(!f->closed);
	return f;
}

static ssize_t fake_read(struct vsock_stream *s, const struct iovec *iov, unsigned num)
{
	struct fake_stream *f = to_fake(s);
	size_t asked = 0, done = 0;

	for (unsigned i = 0; i < num; i++) {
		asked += iov[i].iov_len;
		for (size_t k = 0; k < iov[i].iov_len && f->readable; k++, done++, f->readable--)
			((uint8_t *)iov[i].iov_base)[k] = fake_vsock_byte(f->port, f->bytes_read++);
	}
	check(asked);
	f->num_reads++;
	if (asked > f->longest_read)
		f->longest_read = asked;
	return done ? (ssize_t)done : f->eof ? 0 : -EAGAIN;
}

static ssize_t fake_write(struct vsock_stream *s, const struct iovec *iov, unsigned num)
{
	struct fake_stream *f = to_fake(s);
	size_t done = 0;

	check(!(f->shut & VSOCK_SHUT_WR));
	if (f->write_error)
		return f->write_error;
	for (unsigned i = 0; i < num; i++) {
		const uint8_t *p = iov[i].iov_base;

		for (size_t k = 0; k < iov[i].iov_len && f->room; k++, done++, f->room--) {
			if (p[k] != fake_vsock_byte(f->port, f->bytes_written++))
				f->out_of_order = true;
		}
	}
	return done ? (ssize_t)done : -EAGAIN;
}

static void fake_watch(struct vsock_stream *s, unsigned events)
{
	to_fake(s)->watched = events;
}

static void fake_shut(struct vsock_stream *s, unsigned how)
{
	struct fake_stream *f = to_fake(s);

	check(how && !(f->shut & how));
	f->shut |= how;
}

static int fake_accept(struct vsock_stream *s, uint32_t port)
{
	struct fake_stream *f = to_fake(s);

	check(!f->accepted && port);
	f->accepted = port;
	return f->accept_error;
}

static void fake_close(struct vsock_stream *s, bool clean)
{
	struct fake_stream *f = to_fake(s);

	f->closed = true;
	f->clean = clean;
}

static const struct vsock_stream_ops fake_stream_ops = {
	.read = fake_read,
	.write = fake_write,
	.watch = fake_watch,
	.shut = fake_shut,
	.accept = fake_accept,
	.close = fake_close,
};

static struct fake_stream *fake_stream_new(struct fake_vsock *f, uint32_t port)
{
	struct fake_stream *s = xcalloc(1, sizeof(*s));

	check(f->num_streams < FAKE_VSOCK_STREAMS);
	s->s.ops = &fake_stream_ops;
	s->f = f;
	s->port = port;
	s->room = f->connect_room;
	f->stream[f->num_streams++] = s;
	return s;
}

static int fake_connect(struct vsock_host *h, uint32_t port, struct vsock_stream **ret_s)
{
	struct fake_vsock *f = container_of(h, struct fake_vsock, host);

	if (f->connect_result < 0)
		return f->connect_result;
	*ret_s = &fake_stream_new(f, port)->s;
	return f->connect_result;
}

static const struct vsock_host_ops fake_host_ops = {
	.name = "fake",
	.connect = fake_connect,
};

struct fake_stream *fake_vsock_incoming(struct fake_vsock *f, uint32_t port)
{
	struct fake_stream *s = fake_stream_new(f, port);

	if (f->host.incoming(&f->host, &s->s, port))
		return s;
	s->closed = true;
	return NULL;
}

void fake_stream_event(struct fake_stream *s, unsigned events)
{
	events &= s->watched | VSOCK_HUNG_UP | VSOCK_OPENED | VSOCK_FAILED;
	if (events && !s->closed)
		s->s.event(&s->s, events);
}

/* ---- the guest */

/* In three pieces, cut at odd places: nobody may rely on where a guest cuts. */
static struct vsock_buf *fake_get(void *guest)
{
	struct fake_vsock *f = guest;
	struct fake_vsock_buf *b;
	struct iobuf all;

	if (!f->num_bufs)
		return NULL;
	f->num_bufs--;
	f->num_got++;
	b = xcalloc(1, sizeof(*b) + f->buf_len);
	b->len = f->buf_len;
	b->iov[0] = (struct iovec){b->bytes, 11};
	b->iov[1] = (struct iovec){b->bytes + 11, 34};
	b->iov[2] = (struct iovec){b->bytes + 45, f->buf_len - 45};
	iobuf_init(&all, b->iov, 3);
	check(iobuf_take(&all, VSOCK_HDR_LEN, &b->b.hdr));
	b->b.data = all;
	b->next = f->got;
	f->got = b;
	return &b->b;
}

static void fake_unget(void *guest, struct vsock_buf *buf)
{
	struct fake_vsock *f = guest;
	struct fake_vsock_buf *b = f->got;

	check(b && &b->b == buf);
	f->got = b->next;
	f->num_got--;
	f->num_bufs++;
	free(b);
}

static void fake_send(void *guest, struct vsock_buf *buf, uint32_t len)
{
	struct fake_vsock *f = guest;
	struct fake_vsock_buf *b = container_of(buf, struct fake_vsock_buf, b), **at;
	struct fake_vsock_packet *p;

	/* The oldest one. */
	for (at = &f->got; *at != b; at = &(*at)->next)
		check(*at);
	check(!b->next);
	*at = NULL;
	f->num_got--;
	check(len >= VSOCK_HDR_LEN && len <= b->len);
	f->packet = xrealloc(f->packet, f->num_packets + 1, sizeof(*f->packet));
	p = &f->packet[f->num_packets++];
	memcpy(&p->h, b->bytes, sizeof(p->h));
	check(le32toh(p->h.len) == len - VSOCK_HDR_LEN);
	p->data = xcalloc(1, len);
	memcpy(p->data, b->bytes + VSOCK_HDR_LEN, len - VSOCK_HDR_LEN);
	free(b);
}

static void fake_wake(void *guest)
{
	((struct fake_vsock *)guest)->woken = true;
}

static const struct vsock_guest_ops fake_guest_ops = {
	.get = fake_get,
	.unget = fake_unget,
	.send = fake_send,
	.wake = fake_wake,
};

void fake_vsock_input(struct fake_vsock *f, const struct virtio_vsock_hdr *h, const void *data,
		      size_t len)
{
	struct iovec iov[2] = {{(void *)h, sizeof(*h)}, {(void *)data, len}};
	struct iobuf b;

	iobuf_init(&b, iov, len ? 2 : 1);
	vsock_mux_input(f->mux, &b);
}

const struct fake_vsock_packet *fake_vsock_next(struct fake_vsock *f)
{
	fake_vsock_run(f);
	return f->first_packet < f->num_packets ? &f->packet[f->first_packet++] : NULL;
}

/* ---- both */

void fake_vsock_run(struct fake_vsock *f)
{
	/*
	 * woken is what a caller has to go by: running without it would hide a wake that was
	 * forgotten.
	 */
	while (f->woken) {
		f->woken = vsock_mux_run(f->mux);
		check(!f->got && !f->num_got);
	}
}

void fake_vsock_sleep(struct fake_vsock *f, int ms)
{
	int64_t end = loop_now_ms() + ms, left;

	while ((left = end - loop_now_ms()) >= 0)
		check(loop_run_once(f->loop, (int)left) == 0);
}

void fake_vsock_init(struct fake_vsock *f, const struct vsock_limits *limits)
{
	struct vsock_mux_config cfg = {
		.host = &f->host,
		.guest_cid = FAKE_VSOCK_CID,
		.ops = &fake_guest_ops,
		.guest = f,
	};

	*f = (struct fake_vsock){.connect_room = UINT64_MAX, .num_bufs = 1 << 20, .buf_len = 4140};
	f->host.ops = &fake_host_ops;
	check(loop_new(&f->loop, NULL) == 0);
	cfg.loop = f->loop;
	if (limits)
		cfg.limits = *limits;
	vsock_mux_new(&cfg, &f->mux);
	vsock_mux_start(f->mux);
}

void fake_vsock_done(struct fake_vsock *f)
{
	vsock_mux_free(f->mux);
	for (unsigned i = 0; i < f->num_streams; i++) {
		check(f->stream[i]->closed);
		free(f->stream[i]);
	}
	for (unsigned i = 0; i < f->num_packets; i++)
		free(f->packet[i].data);
	free(f->packet);
	loop_free(f->loop);
}
