/* SPDX-License-Identifier: Apache-2.0 */
/* Virtual socket connections: table, ports, turns, replies to strays (virtio 1.2 §5.10.6). */
/*
 * Bounded by construction: at most max_conns connections; what a connection has to say is a set of
 * flags and credit, not a queue; only an RST for a packet that belongs to no connection has to be
 * remembered by itself, and when that queue is full no more packets are taken from the guest.
 *
 * Turns: connections with something to send and credit for it stand in a circle, each gets one turn
 * of at most VSOCK_TURN_BYTES. Without receive buffers the circle stands still, and the one whose
 * turn it was stays first.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/endian.h"
#include "base/str.h"
#include "devices/virtio/vsock_conn.h"

#define RUN_TURNS 64 /* in one vsock_mux_run() */

/* Ports of ours for host programs: above what people choose for services. */
#define FIRST_PORT 0x40000000U
#define LAST_PORT  0x7fffffffU

/* ---- the table */

static struct list *mux_bucket(struct vsock_mux *m, uint32_t host_port, uint32_t guest_port)
{
	uint64_t key = ((uint64_t)host_port << 32 | guest_port) ^ m->hash_seed;

	key *= 0x9e3779b97f4a7c15ULL;
	key ^= key >> 32;
	key *= 0x9e3779b97f4a7c15ULL;
	return &m->hash[key >> 40 & (VSOCK_HASH_SIZE - 1)];
}

static struct vsock_conn *mux_find(struct vsock_mux *m, uint32_t host_port, uint32_t guest_port)
{
	list_for_each (node, mux_bucket(m, host_port, guest_port)) {
		struct vsock_conn *c = container_of(node, struct vsock_conn, hash);

		if (c->host_port == host_port && c->guest_port == guest_port)
			return c;
	}
	return NULL;
}

void vsock_mux_forget(struct vsock_conn *c)
{
	list_remove(&c->hash);
	list_remove(&c->ready);
}

void vsock_mux_linger(struct vsock_conn *c)
{
	c->state = VSOCK_LINGERING;
	c->pend = 0;
	c->since_ms = loop_now_ms();
	list_append(&c->mux->lingering, &c->hash);
}

void vsock_mux_delete(struct vsock_conn *c, bool clean)
{
	assert(list_empty(&c->hash) && list_empty(&c->ready));
	loop_timer_disarm(&c->timer);
	if (c->stream)
		c->stream->ops->close(c->stream, clean);
	c->mux->num_conns--;
	free(c->buf);
	free(c);
}

/* Room for one more; whoever has lingered longest gives way, if that was long enough. */
static bool mux_make_room(struct vsock_mux *m)
{
	struct vsock_conn *c;

	if (m->num_conns < m->cfg.limits.max_conns)
		return true;
	if (list_empty(&m->lingering))
		return false;
	c = container_of(m->lingering.next, struct vsock_conn, hash);
	if (loop_now_ms() - c->since_ms < m->cfg.limits.linger_ms)
		return false;
	vsock_conn_drop(c, true);
	return true;
}

/* NULL: the table is full, or the host's memory is. */
static struct vsock_conn *mux_add(struct vsock_mux *m, enum vsock_state state, uint32_t host_port,
				  uint32_t guest_port)
{
	struct vsock_conn *c;

	if (!mux_make_room(m))
		return NULL;
	c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->mux = m;
	c->state = state;
	c->host_port = host_port;
	c->guest_port = guest_port;
	c->burst = 1;
	c->alloc = m->num_conns < VSOCK_MANY_CONNS ? VSOCK_BUF_ALLOC : VSOCK_BUF_ALLOC_MANY;
	list_init(&c->ready);
	list_append(mux_bucket(m, host_port, guest_port), &c->hash);
	m->num_conns++;
	return c;
}

static void conn_take_stream(struct vsock_conn *c, struct vsock_stream *s)
{
	c->stream = s;
	s->front = c;
	s->event = vsock_conn_event;
}

/* ---- a host program connects */

/* Ends: there are fewer connections than ports. */
static uint32_t mux_pick_port(struct vsock_mux *m, uint32_t guest_port)
{
	uint32_t port;

	do {
		port = m->next_port;
		m->next_port = port == LAST_PORT ? FIRST_PORT : port + 1;
	} while (mux_find(m, port, guest_port));
	return port;
}

static void mux_request_late(struct loop_timer *t)
{
	struct vsock_conn *c = container_of(t, struct vsock_conn, timer);

	log_guest(&c->mux->limit, "vsock: the guest did not answer a connection to port %u in time",
		  c->guest_port);
	vsock_conn_reset(c);
}

static bool mux_incoming(struct vsock_host *h, struct vsock_stream *s, uint32_t port)
{
	struct vsock_mux *m = h->front;
	struct vsock_conn *c;

	if (!m->running)
		return false;
	c = mux_add(m, VSOCK_REQUESTED, mux_pick_port(m, port), port);
	if (!c)
		return false;
	conn_take_stream(c, s);
	c->timer.fn = mux_request_late;
	loop_timer_arm(m->cfg.loop, &c->timer, m->cfg.limits.request_ms);
	c->pend = VSOCK_PEND_REQUEST;
	vsock_conn_schedule(c);
	return true;
}

/* ---- packets of the guest */

bool vsock_mux_is_full(const struct vsock_mux *m)
{
	return m->num_replies == VSOCK_MAX_REPLIES;
}

/* An RST is never answered: two ends that did would go on for ever. */
static void mux_refuse(struct vsock_mux *m, const struct virtio_vsock_hdr *h)
{
	struct vsock_reply *r;

	if (le16toh(h->op) == VIRTIO_VSOCK_OP_RST)
		return;
	assert(!vsock_mux_is_full(m));
	r = &m->reply[(m->reply_at + m->num_replies++) % VSOCK_MAX_REPLIES];
	*r = (struct vsock_reply){
		.src_cid = le64toh(h->dst_cid),
		.src_port = le32toh(h->dst_port),
		.dst_port = le32toh(h->src_port),
		.type = le16toh(h->type),
	};
	m->cfg.ops->wake(m->cfg.guest);
}

static void mux_input_request(struct vsock_mux *m, const struct virtio_vsock_hdr *h)
{
	struct vsock_conn *c =
		mux_add(m, VSOCK_CONNECTING, le32toh(h->dst_port), le32toh(h->src_port));
	struct vsock_stream *s;
	int r;

	if (!c) {
		log_guest(&m->limit, "vsock: no room for a connection of the guest to port %u",
			  le32toh(h->dst_port));
		mux_refuse(m, h);
		return;
	}
	r = m->cfg.host->ops->connect(m->cfg.host, c->host_port, &s);
	if (r < 0) {
		vsock_conn_drop(c, false);
		mux_refuse(m, h);
		return;
	}
	conn_take_stream(c, s);
	if (!vsock_conn_credit(c, h))
		vsock_conn_reset(c);
	else if (r == 0)
		vsock_conn_opened(c);
}

void vsock_mux_input(struct vsock_mux *m, const struct iobuf *packet)
{
	struct iobuf data = *packet;
	struct virtio_vsock_hdr h;
	struct vsock_conn *c;

	if (!iobuf_get(&data, &h, sizeof(h))) {
		log_guest(&m->limit, "vsock: the guest sent a packet of %zu bytes", packet->len);
		return;
	}
	if (le64toh(h.src_cid) != m->cfg.guest_cid) {
		log_guest(&m->limit, "vsock: the guest sent a packet as CID %llu",
			  (unsigned long long)le64toh(h.src_cid));
		return;
	}
	if (le64toh(h.dst_cid) != VSOCK_HOST_CID || le16toh(h.type) != VIRTIO_VSOCK_TYPE_STREAM) {
		mux_refuse(m, &h);
		return;
	}
	c = mux_find(m, le32toh(h.dst_port), le32toh(h.src_port));
	if (!iobuf_truncate(&data, le32toh(h.len))) {
		log_guest(&m->limit, "vsock: the guest sent %zu bytes and said %u", data.len,
			  le32toh(h.len));
		if (c && c->state != VSOCK_CLOSING)
			vsock_conn_reset(c);
		else if (!c)
			mux_refuse(m, &h);
	} else if (c) {
		vsock_conn_input(c, &h, &data);
	} else if (le16toh(h.op) == VIRTIO_VSOCK_OP_REQUEST) {
		mux_input_request(m, &h);
	} else {
		mux_refuse(m, &h);
	}
}

/* ---- packets to the guest */

void vsock_mux_send(struct vsock_mux *m, struct vsock_buf *b, const struct virtio_vsock_hdr *h)
{
	struct virtio_vsock_hdr full = *h;
	bool fits;

	full.dst_cid = htole64(m->cfg.guest_cid);
	fits = iobuf_put(&b->hdr, &full, sizeof(full));
	assert(fits);
	(void)fits;
	m->cfg.ops->send(m->cfg.guest, b, (uint32_t)VSOCK_HDR_LEN + le32toh(h->len));
}

/* Sends the replies to strays. False: no buffers. */
static bool mux_send_replies(struct vsock_mux *m)
{
	while (m->num_replies) {
		const struct vsock_reply *r = &m->reply[m->reply_at];
		struct virtio_vsock_hdr h = {
			.src_cid = htole64(r->src_cid),
			.src_port = htole32(r->src_port),
			.dst_port = htole32(r->dst_port),
			.type = htole16(r->type),
			.op = htole16(VIRTIO_VSOCK_OP_RST),
		};
		struct vsock_buf *b = m->cfg.ops->get(m->cfg.guest);

		if (!b)
			return false;
		vsock_mux_send(m, b, &h);
		m->reply_at = (m->reply_at + 1) % VSOCK_MAX_REPLIES;
		m->num_replies--;
	}
	return true;
}

bool vsock_mux_run(struct vsock_mux *m)
{
	struct vsock_conn *c;

	if (!m->running)
		return false;
	for (unsigned turn = 0; turn < RUN_TURNS; turn++) {
		if (!mux_send_replies(m) || list_empty(&m->ready))
			return false;
		c = container_of(m->ready.next, struct vsock_conn, ready);
		list_remove(&c->ready);
		if (!vsock_conn_turn(c)) {
			/* Before the first: the turn is still its own. */
			if (list_empty(&c->ready))
				list_append(m->ready.next, &c->ready);
			return false;
		}
	}
	return !list_empty(&m->ready);
}

/* ---- life */

void vsock_mux_new(const struct vsock_mux_config *cfg, struct vsock_mux **ret_m)
{
	struct vsock_mux *m = xcalloc(1, sizeof(*m));
	struct vsock_limits *l = &m->cfg.limits;

	m->cfg = *cfg;
	l->max_conns = l->max_conns ? l->max_conns : 1024;
	l->request_ms = l->request_ms ? l->request_ms : 60000;
	l->close_ms = l->close_ms ? l->close_ms : 30000;
	l->linger_ms = l->linger_ms ? l->linger_ms : 10000;
	l->linger_max_ms = l->linger_max_ms ? l->linger_max_ms : 3600000;
	m->next_port = FIRST_PORT;
	/* Against a guest that picks ports of one bucket; without it that costs time, no more. */
	(void)!getrandom(&m->hash_seed, sizeof(m->hash_seed), GRND_NONBLOCK);
	for (unsigned i = 0; i < VSOCK_HASH_SIZE; i++)
		list_init(&m->hash[i]);
	list_init(&m->lingering);
	list_init(&m->ready);
	cfg->host->incoming = mux_incoming;
	cfg->host->front = m;
	*ret_m = m;
}

void vsock_mux_start(struct vsock_mux *m)
{
	m->running = true;
}

void vsock_mux_stop(struct vsock_mux *m)
{
	m->running = false;
	m->num_replies = 0;
	for (unsigned i = 0; i < VSOCK_HASH_SIZE; i++) {
		list_for_each (node, &m->hash[i])
			vsock_conn_stop(container_of(node, struct vsock_conn, hash));
	}
}

void vsock_mux_free(struct vsock_mux *m)
{
	if (!m)
		return;
	vsock_mux_stop(m);
	while (!list_empty(&m->lingering))
		vsock_conn_drop(container_of(m->lingering.next, struct vsock_conn, hash), true);
	m->cfg.host->incoming = NULL;
	free(m);
}

unsigned vsock_mux_num_conns(const struct vsock_mux *m)
{
	return m->num_conns;
}
