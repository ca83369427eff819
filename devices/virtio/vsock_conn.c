/* SPDX-License-Identifier: Apache-2.0 */
/* One virtual socket connection: credit, data both ways, shutdown (virtio 1.2 §5.10.6.3 ff). */
/*
 * Guest to host: the payload goes from the guest's buffers straight into the stream; what the
 * stream does not take is copied into the connection's ring, which is as large as the credit we
 * gave, so it always fits: who sends more is reset. "Passed on" is what fwd_cnt reports: bytes the
 * stream has taken, never bytes in the ring.
 *
 * Host to guest: bytes are read from the stream straight into as many receive buffers as the turn
 * has, never more than the guest's credit. Nothing is kept here: what the guest has no credit for
 * stays in the stream.
 *
 * Watching the stream: it reports again and again while it is readable. We go on watching after the
 * first report, since mostly the bytes are read at once; a report of what is known already means
 * they are not (no receive buffers, no credit), and only then watching stops until they have been
 * read. So nothing spins, and the usual case costs no system call.
 *
 * The end: the guest's SHUTDOWN with both flags is answered by RST at once, because everything it
 * sent is here; the ring goes on being written while the connection lingers without the guest. The
 * host's end is told by SHUTDOWN, and the guest answers with RST, or a deadline does.
 *
 * What a guest may try, beyond malformed headers: fwd_cnt ahead of what we sent (reset), buf_alloc
 * that shrinks below what is under way (no credit, not a wrap-around), an enormous buf_alloc
 * (clamped), data after its own SHUTDOWN (reset), control packets in masses (pending ones are a
 * set).
 */
#include "devices/virtio/vsock_conn.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"

#define CONN_MAX_IOV 64

static void conn_watch(struct vsock_conn *c, unsigned events)
{
	if (!c->stream || events == c->watched)
		return;
	c->watched = events;
	c->stream->ops->watch(c->stream, events);
}

/* ---- credit */

static uint32_t conn_buffered(const struct vsock_conn *c)
{
	return c->received - c->passed;
}

/* What the guest lets us send; 0 when it took back credit that was used already. */
static uint32_t conn_credit(const struct vsock_conn *c)
{
	uint32_t under_way = c->sent - c->peer_passed;

	return c->peer_alloc > under_way ? c->peer_alloc - under_way : 0;
}

bool vsock_conn_credit(struct vsock_conn *c, const struct virtio_vsock_hdr *h)
{
	uint32_t passed = le32toh(h->fwd_cnt), alloc = le32toh(h->buf_alloc);
	int32_t step = (int32_t)(passed - c->peer_passed);

	/*
	 * Backwards is no lie: a reader and a writer in the guest each stamp a packet, then queue
	 * it, in whatever order. The higher count has been said, so it is true.
	 */
	if (step > 0) {
		if ((uint32_t)step > c->sent - c->peer_passed)
			return false;
		c->peer_passed = passed;
	}
	c->peer_alloc = alloc < VSOCK_MAX_PEER_ALLOC ? alloc : VSOCK_MAX_PEER_ALLOC;
	if (conn_credit(c))
		c->credit_asked = false;
	return true;
}

/* The guest thinks less than half of our buffer is free, and it is wrong. */
static void conn_grant(struct vsock_conn *c)
{
	if (c->passed - c->passed_told < c->alloc / 2)
		return;
	c->pend |= VSOCK_PEND_CREDIT_UPDATE;
	vsock_conn_schedule(c);
}

/* ---- what is to be sent */

static bool conn_may_read(const struct vsock_conn *c)
{
	return c->state == VSOCK_OPEN && c->readable && !c->host_eof;
}

void vsock_conn_schedule(struct vsock_conn *c)
{
	struct vsock_mux *m = c->mux;

	if (c->state == VSOCK_LINGERING || !list_empty(&c->ready))
		return;
	if (!c->pend && conn_may_read(c) && !conn_credit(c) && !c->credit_asked) {
		c->credit_asked = true;
		c->pend |= VSOCK_PEND_CREDIT_REQUEST;
	}
	if (!c->pend && !(conn_may_read(c) && conn_credit(c)))
		return;
	list_append(&m->ready, &c->ready);
	m->cfg.ops->wake(m->cfg.guest);
}

/* Which directions are over on the host's side, in a SHUTDOWN's words. */
static uint32_t conn_host_shut(const struct vsock_conn *c)
{
	return (c->host_eof ? VIRTIO_VSOCK_SHUTDOWN_SEND : 0) |
	       (c->host_deaf ? VIRTIO_VSOCK_SHUTDOWN_RCV : 0);
}

/* Tells the guest, if that is news. */
static void conn_tell_shutdown(struct vsock_conn *c)
{
	if (c->state != VSOCK_OPEN || conn_host_shut(c) == c->told_shut)
		return;
	c->pend |= VSOCK_PEND_SHUTDOWN;
	vsock_conn_schedule(c);
}

static void conn_late(struct loop_timer *t)
{
	struct vsock_conn *c = container_of(t, struct vsock_conn, timer);

	if (c->state == VSOCK_LINGERING)
		vsock_conn_drop(c, true);
	else
		vsock_conn_reset(c);
}

static void conn_deadline(struct vsock_conn *c, unsigned ms)
{
	c->timer.fn = conn_late;
	loop_timer_arm(c->mux->cfg.loop, &c->timer, ms);
}

/* ---- the ring: what the host program has not taken yet */

static void ring_discard(struct vsock_conn *c)
{
	free(c->buf);
	c->buf = NULL;
	c->buf_at = 0;
	c->passed = c->received;
}

/* Copies all of data behind what is there; the credit check has made sure that it fits. */
static bool ring_put(struct vsock_conn *c, struct iobuf *data)
{
	uint32_t end, here;

	if (!c->buf) {
		c->buf = malloc(c->alloc);
		c->buf_at = 0;
	}
	if (!c->buf)
		return false;
	assert(data->len <= c->alloc - conn_buffered(c));
	while (data->len) {
		end = (c->buf_at + conn_buffered(c)) % c->alloc;
		here = data->len < c->alloc - end ? (uint32_t)data->len : c->alloc - end;
		(void)iobuf_get(data, c->buf + end, here);
		c->received += here;
	}
	return true;
}

static unsigned ring_iov(const struct vsock_conn *c, struct iovec iov[2])
{
	uint32_t len = conn_buffered(c), first = c->alloc - c->buf_at;

	iov[0] = (struct iovec){c->buf + c->buf_at, len < first ? len : first};
	iov[1] = (struct iovec){c->buf, len < first ? 0 : len - first};
	return len > first ? 2 : 1;
}

static void conn_host_deaf(struct vsock_conn *c)
{
	c->host_deaf = true;
	ring_discard(c);
	conn_watch(c, c->watched & ~VSOCK_WRITABLE);
	conn_tell_shutdown(c);
}

/* The ring is empty: whatever waited for that. */
static void conn_flushed(struct vsock_conn *c)
{
	ring_discard(c);
	if (c->state == VSOCK_LINGERING) {
		vsock_conn_drop(c, true);
		return;
	}
	if (c->state == VSOCK_CLOSING) {
		c->stream->ops->close(c->stream, true);
		c->stream = NULL;
		return;
	}
	conn_watch(c, c->watched & ~VSOCK_WRITABLE);
	if (c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND)
		c->stream->ops->shut(c->stream, VSOCK_SHUT_WR);
}

static void conn_flush(struct vsock_conn *c)
{
	struct iovec iov[2];
	ssize_t n = 0;

	while (conn_buffered(c)) {
		n = c->stream->ops->write(c->stream, iov, ring_iov(c, iov));
		if (n <= 0)
			break;
		c->buf_at = (c->buf_at + (uint32_t)n) % c->alloc;
		c->passed += (uint32_t)n;
		if (c->state == VSOCK_LINGERING)
			conn_deadline(c, c->mux->cfg.limits.linger_max_ms);
	}
	if (n == -EAGAIN) {
		conn_watch(c, c->watched | VSOCK_WRITABLE);
		if (c->state == VSOCK_OPEN)
			conn_grant(c);
		return;
	}
	if (conn_buffered(c))
		conn_host_deaf(c);
	if (c->state == VSOCK_OPEN)
		conn_grant(c);
	conn_flushed(c);
}

/* ---- the end */

void vsock_conn_drop(struct vsock_conn *c, bool clean)
{
	vsock_mux_forget(c);
	vsock_mux_delete(c, clean);
}

void vsock_conn_reset(struct vsock_conn *c)
{
	/* A host program that was never told OK is refused, not cut off. */
	bool clean = c->state == VSOCK_REQUESTED;

	if (c->pend & VSOCK_PEND_REQUEST) {
		vsock_conn_drop(c, true);
		return;
	}
	if (c->stream)
		c->stream->ops->close(c->stream, clean);
	c->stream = NULL;
	ring_discard(c);
	loop_timer_disarm(&c->timer);
	c->state = VSOCK_CLOSING;
	c->pend = VSOCK_PEND_RST;
	vsock_conn_schedule(c);
}

/* Nothing of it is left for the guest; something may be for the host program. */
static void conn_left(struct vsock_conn *c)
{
	vsock_mux_forget(c);
	if (!c->stream) {
		vsock_mux_delete(c, true);
		return;
	}
	vsock_mux_linger(c);
	conn_deadline(c, c->mux->cfg.limits.linger_max_ms);
}

/* The guest is through with both directions, and all it sent is here. */
static void conn_finish(struct vsock_conn *c)
{
	loop_timer_disarm(&c->timer);
	c->state = VSOCK_CLOSING;
	c->pend = VSOCK_PEND_RST;
	c->readable = false;
	if (conn_buffered(c)) {
		c->stream->ops->shut(c->stream, VSOCK_SHUT_RD);
		conn_watch(c, c->watched & ~VSOCK_READABLE);
	} else {
		c->stream->ops->close(c->stream, true);
		c->stream = NULL;
	}
	vsock_conn_schedule(c);
}

void vsock_conn_stop(struct vsock_conn *c)
{
	if (c->state == VSOCK_CLOSING)
		conn_left(c);
	else
		vsock_conn_drop(c, c->state == VSOCK_REQUESTED);
}

/* ---- packets of the guest */

/* As much as the stream takes now. False: it takes nothing any more. */
static bool conn_write(struct vsock_conn *c, struct iobuf *data)
{
	struct iovec iov[CONN_MAX_IOV];
	size_t asked;
	ssize_t n;

	while (data->len) {
		unsigned num = iobuf_iov(data, iov, CONN_MAX_IOV, data->len, &asked);

		n = c->stream->ops->write(c->stream, iov, num);
		if (n < 0)
			return n == -EAGAIN;
		(void)iobuf_skip(data, (size_t)n);
		c->received += (uint32_t)n;
		c->passed += (uint32_t)n;
		if ((size_t)n < asked)
			break;
	}
	return true;
}

static void conn_input_data(struct vsock_conn *c, struct iobuf *data)
{
	if (c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND || data->len > c->alloc - conn_buffered(c)) {
		log_guest(&c->mux->limit, "vsock: port %u: the guest sent more than it may",
			  c->guest_port);
		vsock_conn_reset(c);
		return;
	}
	if (!c->host_deaf && !c->buf && !conn_write(c, data))
		conn_host_deaf(c);
	if (c->host_deaf) {
		c->received += (uint32_t)data->len;
		c->passed = c->received;
	} else if (data->len) {
		if (!ring_put(c, data)) {
			vsock_conn_reset(c);
			return;
		}
		conn_watch(c, c->watched | VSOCK_WRITABLE);
	}
	conn_grant(c);
	vsock_conn_schedule(c);
}

static void conn_input_shutdown(struct vsock_conn *c, uint32_t flags)
{
	uint32_t news = flags & VSOCK_SHUTDOWN_BOTH & ~c->guest_shut;

	c->guest_shut |= news;
	if (c->guest_shut == VSOCK_SHUTDOWN_BOTH) {
		conn_finish(c);
		return;
	}
	if (news & VIRTIO_VSOCK_SHUTDOWN_RCV) {
		c->host_eof = true;
		c->readable = false;
		conn_watch(c, c->watched & ~VSOCK_READABLE);
		c->stream->ops->shut(c->stream, VSOCK_SHUT_RD);
		conn_tell_shutdown(c);
	}
	if (news & VIRTIO_VSOCK_SHUTDOWN_SEND && !c->buf)
		c->stream->ops->shut(c->stream, VSOCK_SHUT_WR);
	vsock_conn_schedule(c);
}

static void conn_input_response(struct vsock_conn *c)
{
	if (c->stream->ops->accept(c->stream, c->host_port) < 0)
		vsock_conn_reset(c);
	else
		vsock_conn_opened(c);
}

void vsock_conn_input(struct vsock_conn *c, const struct virtio_vsock_hdr *h, struct iobuf *data)
{
	uint16_t op = le16toh(h->op);

	if (op == VIRTIO_VSOCK_OP_RST) {
		vsock_conn_stop(c);
		return;
	}
	if (c->state == VSOCK_CLOSING)
		return;
	if (!vsock_conn_credit(c, h)) {
		log_guest(&c->mux->limit, "vsock: port %u: the guest received more than was sent",
			  c->guest_port);
		vsock_conn_reset(c);
		return;
	}
	if (c->state == VSOCK_REQUESTED && op == VIRTIO_VSOCK_OP_RESPONSE &&
	    !(c->pend & VSOCK_PEND_REQUEST)) {
		conn_input_response(c);
		return;
	}
	if (c->state != VSOCK_OPEN) {
		vsock_conn_reset(c);
		return;
	}
	switch (op) {
	case VIRTIO_VSOCK_OP_RW:
		conn_input_data(c, data);
		return;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		c->pend |= VSOCK_PEND_CREDIT_UPDATE;
		break;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
		break;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		conn_input_shutdown(c, le32toh(h->flags));
		return;
	default:
		/* Among them REQUEST: the guest has lost track of this connection (§5.10.6.5). */
		vsock_conn_reset(c);
		return;
	}
	vsock_conn_schedule(c);
}

/* ---- the stream's news */

void vsock_conn_opened(struct vsock_conn *c)
{
	if (c->state == VSOCK_CONNECTING)
		c->pend |= VSOCK_PEND_RESPONSE;
	c->state = VSOCK_OPEN;
	loop_timer_disarm(&c->timer);
	conn_watch(c, VSOCK_READABLE);
	vsock_conn_schedule(c);
}

/* Nothing more comes from the host program; gone: and nothing reaches it. */
static void conn_host_eof(struct vsock_conn *c, bool gone)
{
	c->host_eof = true;
	c->readable = false;
	conn_watch(c, c->watched & ~VSOCK_READABLE);
	if (gone)
		conn_host_deaf(c);
	conn_tell_shutdown(c);
}

static void conn_event_open(struct vsock_conn *c, unsigned events)
{
	if (events & VSOCK_HUNG_UP)
		c->hung_up = true;
	if (events & (VSOCK_WRITABLE | VSOCK_HUNG_UP) && c->buf)
		conn_flush(c);
	if (c->hung_up && c->host_eof) {
		conn_host_eof(c, true);
		return;
	}
	if (!(events & (VSOCK_READABLE | VSOCK_HUNG_UP)))
		return;
	if (c->readable)
		conn_watch(c, c->watched & ~VSOCK_READABLE);
	c->readable = true;
	vsock_conn_schedule(c);
}

void vsock_conn_event(struct vsock_stream *s, unsigned events)
{
	struct vsock_conn *c = s->front;

	switch (c->state) {
	case VSOCK_CONNECTING:
		if (events & VSOCK_OPENED)
			vsock_conn_opened(c);
		else
			vsock_conn_reset(c);
		return;
	case VSOCK_REQUESTED:
		if (events & VSOCK_HUNG_UP)
			vsock_conn_reset(c);
		return;
	case VSOCK_OPEN:
		conn_event_open(c, events);
		return;
	case VSOCK_CLOSING:
	case VSOCK_LINGERING:
		conn_flush(c);
		return;
	}
}

/* ---- its turn at the receive queue */

static void conn_send(struct vsock_conn *c, struct vsock_buf *b, uint16_t op, uint32_t flags,
		      uint32_t len)
{
	struct virtio_vsock_hdr h = {
		.src_cid = htole64(VSOCK_HOST_CID),
		.src_port = htole32(c->host_port),
		.dst_port = htole32(c->guest_port),
		.len = htole32(len),
		.type = htole16(VIRTIO_VSOCK_TYPE_STREAM),
		.op = htole16(op),
		.flags = htole32(flags),
		.buf_alloc = htole32(c->alloc),
		.fwd_cnt = htole32(c->passed),
	};

	c->passed_told = c->passed;
	c->pend &= ~VSOCK_PEND_CREDIT_UPDATE;
	vsock_mux_send(c->mux, b, &h);
}

/* Sends one packet of those pending in `which`. False: no room. */
static bool conn_send_pending(struct vsock_conn *c, unsigned which)
{
	static const uint16_t op[] = {
		VIRTIO_VSOCK_OP_RST,
		VIRTIO_VSOCK_OP_REQUEST,
		VIRTIO_VSOCK_OP_RESPONSE,
		VIRTIO_VSOCK_OP_SHUTDOWN,
		VIRTIO_VSOCK_OP_CREDIT_REQUEST,
		VIRTIO_VSOCK_OP_CREDIT_UPDATE,
	};
	struct vsock_buf *b;
	uint32_t flags = 0;
	int bit;

	if (!(c->pend & which))
		return true;
	b = c->mux->cfg.ops->get(c->mux->cfg.guest);
	if (!b)
		return false;
	bit = __builtin_ctz(c->pend & which);
	c->pend &= ~(1U << bit);
	if (1U << bit == VSOCK_PEND_SHUTDOWN) {
		flags = c->told_shut = conn_host_shut(c);
		if (flags == VSOCK_SHUTDOWN_BOTH)
			conn_deadline(c, c->mux->cfg.limits.close_ms);
	}
	conn_send(c, b, op[bit], flags, 0);
	return true;
}

/*
 * Receive buffers for one read, and what of them to use: no more than the credit and the turn's
 * share.
 */
struct burst {
	struct vsock_buf *buf[VSOCK_MAX_BURST];
	size_t room[VSOCK_MAX_BURST];
	struct iovec iov[CONN_MAX_IOV];
	unsigned num, num_iov;
	size_t total;
};

static void burst_gather(struct burst *g, struct vsock_conn *c)
{
	size_t limit = conn_credit(c) < VSOCK_TURN_BYTES ? conn_credit(c) : VSOCK_TURN_BYTES;
	struct vsock_buf *b;

	g->num = g->num_iov = 0;
	g->total = 0;
	while (g->num < c->burst && g->num_iov < CONN_MAX_IOV && g->total < limit) {
		b = c->mux->cfg.ops->get(c->mux->cfg.guest);
		if (!b)
			break;
		g->num_iov += iobuf_iov(&b->data, g->iov + g->num_iov, CONN_MAX_IOV - g->num_iov,
					limit - g->total, &g->room[g->num]);
		g->total += g->room[g->num];
		g->buf[g->num++] = b;
	}
}

/*
 * The first n bytes of the burst are there: sends the buffers they lie in, gives the others back.
 * Returns how many.
 */
static unsigned burst_send(struct burst *g, struct vsock_conn *c, size_t n)
{
	unsigned used;
	size_t here;

	for (used = 0; n; used++, n -= here) {
		here = n < g->room[used] ? n : g->room[used];
		c->sent += (uint32_t)here;
		conn_send(c, g->buf[used], VIRTIO_VSOCK_OP_RW, 0, (uint32_t)here);
	}
	while (g->num > used)
		c->mux->cfg.ops->unget(c->mux->cfg.guest, g->buf[--g->num]);
	return used;
}

/* One read of the stream into the receive queue. False: no room. */
static bool conn_send_data(struct vsock_conn *c)
{
	struct burst g;
	unsigned used;
	ssize_t n;

	burst_gather(&g, c);
	if (!g.num)
		return false;
	n = c->stream->ops->read(c->stream, g.iov, g.num_iov);
	used = burst_send(&g, c, n > 0 ? (size_t)n : 0);
	if (n > 0 && (size_t)n == g.total) {
		c->burst = c->burst * 2 < VSOCK_MAX_BURST ? c->burst * 2 : VSOCK_MAX_BURST;
	} else if (n > 0 || n == -EAGAIN) {
		/*
		 * Less than asked for: that was all. A stream that hung up will not say when there
		 * is more.
		 */
		c->burst = used ? used : 1;
		c->readable = c->hung_up;
		conn_watch(c, c->watched | VSOCK_READABLE);
	} else {
		conn_host_eof(c, n < 0 || c->hung_up);
	}
	return true;
}

bool vsock_conn_turn(struct vsock_conn *c)
{
	if (c->pend & VSOCK_PEND_RST) {
		if (!conn_send_pending(c, VSOCK_PEND_RST))
			return false;
		conn_left(c);
		return true;
	}
	if (!conn_send_pending(c, VSOCK_PEND_REQUEST | VSOCK_PEND_RESPONSE))
		return false;
	if (conn_may_read(c) && conn_credit(c) && !conn_send_data(c))
		return false;
	if (!conn_send_pending(c, VSOCK_PEND_SHUTDOWN | VSOCK_PEND_CREDIT_REQUEST |
					  VSOCK_PEND_CREDIT_UPDATE))
		return false;
	vsock_conn_schedule(c);
	return true;
}
