/* SPDX-License-Identifier: Apache-2.0 */
/* Virtual socket connections of a fairly right guest and fickle programs (virtio 1.2 §5.10). */
/*
 * The input is a list of steps: packets of the guest, wrong in one field now and then; host
 * programs that connect, write, read, stall and vanish; receive buffers that run out and come back;
 * time that passes; resets. Checked are that bytes arrive in order both ways and only on open
 * connections, that credit is kept, that every stream is closed once and not used after, that
 * connections and replies stay bounded, and that in the end nothing the guest sent by the rules is
 * missing.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/check.h"
#include "tests/support/fake_vsock.h"

#define MAX_STEPS 300
#define MAX_PEERS 64
#define MAX_CONNS 6
#define MAX_DATA  70000
#define BOTH      (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)
#define MAX_ALLOC (1u << 20) /* the mux believes no more */

/* The guest's end of a connection; gone when reset, and then found no more. */
struct peer {
	uint32_t port, host_port, seed;
	bool known, open, lied, shut;
	uint32_t buf_alloc, max_alloc, fwd, host_alloc, host_fwd;
	uint64_t sent, received;
	struct fake_stream *s; /* NULL: not known yet */
};

struct world {
	struct fuzz in;
	struct fake_vsock f;
	struct peer peer[MAX_PEERS];
	unsigned num_peers;
	bool pending[FAKE_VSOCK_STREAMS], hung[FAKE_VSOCK_STREAMS];
};

/* ---- the guest listens */

static struct peer *find(struct world *w, uint32_t port, uint32_t host_port)
{
	for (unsigned i = 0; i < w->num_peers; i++) {
		struct peer *p = &w->peer[i];

		if (p->known && p->port == port && p->host_port == host_port)
			return p;
	}
	return NULL;
}

static struct peer *meet(struct world *w, uint32_t port, uint32_t host_port, uint32_t seed)
{
	struct peer *p = find(w, port, host_port);

	if (p)
		return p;
	if (w->num_peers == MAX_PEERS)
		return NULL;
	p = &w->peer[w->num_peers++];
	*p = (struct peer){.port = port, .host_port = host_port, .seed = seed, .known = true};
	p->buf_alloc = p->max_alloc = 1u << fuzz_pick(&w->in, 19);
	return p;
}

static void hear(struct world *w, const struct fake_vsock_packet *k)
{
	uint32_t port = le32toh(k->h.dst_port), host_port = le32toh(k->h.src_port);
	uint32_t len = le32toh(k->h.len);
	uint16_t op = le16toh(k->h.op);
	struct peer *p = find(w, port, host_port);

	check(le64toh(k->h.dst_cid) == FAKE_VSOCK_CID);
	check(op == VIRTIO_VSOCK_OP_RW ? len : !len);
	if (op == VIRTIO_VSOCK_OP_REQUEST && !p)
		p = meet(w, port, host_port, port);
	if (!p)
		return;
	if (op == VIRTIO_VSOCK_OP_RST) {
		p->known = false;
		return;
	}
	p->host_alloc = le32toh(k->h.buf_alloc);
	p->host_fwd = le32toh(k->h.fwd_cnt);
	if (op == VIRTIO_VSOCK_OP_RESPONSE)
		p->open = true;
	if (p->lied || op != VIRTIO_VSOCK_OP_RW)
		return;
	check(p->open);
	for (uint32_t i = 0; i < len; i++)
		check(k->data[i] == fake_vsock_byte(p->seed, p->received + i));
	p->received += len;
	check((uint32_t)p->received - p->fwd <= p->max_alloc);
}

static void run(struct world *w)
{
	const struct fake_vsock_packet *k;

	while ((k = fake_vsock_next(&w->f)))
		hear(w, k);
	check(vsock_mux_num_conns(w->f.mux) <= MAX_CONNS);
}

/* ---- the guest speaks */

static uint32_t pick_len(struct world *w, const struct peer *p)
{
	uint32_t room = p->host_alloc - ((uint32_t)p->sent - p->host_fwd);
	uint32_t len = fuzz_flaw(&w->in, 4) ? MAX_DATA : 1 + fuzz_pick(&w->in, 4096);

	if (fuzz_flaw(&w->in, 32))
		return len;
	len = len < room ? len : room;
	return len < MAX_DATA ? len : MAX_DATA;
}

/* One field that is not as it should be. */
static void spoil(struct world *w, struct virtio_vsock_hdr *h)
{
	switch (fuzz_pick(&w->in, 8)) {
	case 0:
		h->src_cid = fuzz_bits(&w->in, 8);
		break;
	case 1:
		h->dst_cid = fuzz_bits(&w->in, 8);
		break;
	case 2:
		h->len = (uint32_t)fuzz_bits(&w->in, 4);
		break;
	case 3:
		h->type = (uint16_t)fuzz_bits(&w->in, 2);
		break;
	case 4:
		h->op = (uint16_t)fuzz_bits(&w->in, 2);
		break;
	case 5:
		h->flags = (uint32_t)fuzz_bits(&w->in, 4);
		break;
	case 6:
		h->buf_alloc = (uint32_t)fuzz_bits(&w->in, 4);
		break;
	case 7:
		h->fwd_cnt = (uint32_t)fuzz_bits(&w->in, 4);
		break;
	}
}

/* What the words mean for the guest's own view. False: it may not say them, and knows it. */
static bool allowed(struct peer *p, uint16_t op, uint32_t flags, uint32_t len)
{
	switch (op) {
	case VIRTIO_VSOCK_OP_RW:
		return p->open && !p->shut &&
		       len <= p->host_alloc - ((uint32_t)p->sent - p->host_fwd);
	case VIRTIO_VSOCK_OP_RESPONSE:
		return !p->open;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		p->shut |= flags & VIRTIO_VSOCK_SHUTDOWN_SEND;
		return p->open;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		return p->open;
	}
	return false;
}

static struct fake_stream *stream_of(struct world *w, const struct peer *p)
{
	for (unsigned i = 0; i < w->f.num_streams; i++) {
		struct fake_stream *s = w->f.stream[i];

		if (s->accepted == p->host_port && s->port == p->port)
			return s;
	}
	return NULL;
}

static void speak(struct world *w, struct peer *p, uint16_t op)
{
	static uint8_t data[MAX_DATA];
	uint32_t len = op == VIRTIO_VSOCK_OP_RW ? pick_len(w, p) : 0;
	uint32_t flags = op == VIRTIO_VSOCK_OP_SHUTDOWN ? 1 + fuzz_pick(&w->in, BOTH) : 0;
	struct virtio_vsock_hdr h = {
		.src_cid = htole64(FAKE_VSOCK_CID),
		.dst_cid = htole64(VSOCK_HOST_CID),
		.src_port = htole32(p->port),
		.dst_port = htole32(p->host_port),
		.len = htole32(len),
		.type = htole16(VIRTIO_VSOCK_TYPE_STREAM),
		.op = htole16(op),
		.flags = htole32(flags),
	};

	if (vsock_mux_is_full(w->f.mux))
		return;
	if (fuzz_pick(&w->in, 2))
		p->fwd = (uint32_t)p->received;
	if (fuzz_flaw(&w->in, 8))
		p->buf_alloc = (uint32_t)fuzz_bits(&w->in, 4);
	if (p->buf_alloc > p->max_alloc)
		p->max_alloc = p->buf_alloc < MAX_ALLOC ? p->buf_alloc : MAX_ALLOC;
	h.buf_alloc = htole32(p->buf_alloc);
	h.fwd_cnt = htole32(p->fwd);
	p->lied |= op != VIRTIO_VSOCK_OP_REQUEST && !allowed(p, op, flags, len);
	if (fuzz_flaw(&w->in, 32)) {
		spoil(w, &h);
		p->lied = true;
	}
	for (uint32_t i = 0; i < len; i++)
		data[i] = fake_vsock_byte(p->seed, p->sent + i);
	p->sent += len;
	fake_vsock_input(&w->f, &h, data, len);
	if (op == VIRTIO_VSOCK_OP_RESPONSE && !p->lied) {
		p->open = true;
		p->s = stream_of(w, p);
	}
	if (op == VIRTIO_VSOCK_OP_RST)
		p->known = false;
}

static void guest_connects(struct world *w)
{
	static const int results[] = {0, 0, 0, 1, -ECONNREFUSED};
	unsigned before = w->f.num_streams;
	uint32_t port = 10 + fuzz_pick(&w->in, 4), host_port = 20 + fuzz_pick(&w->in, 4);
	struct peer *p = find(w, port, host_port);

	if (vsock_mux_is_full(w->f.mux) || before > FAKE_VSOCK_STREAMS - 2)
		return;
	if (p)
		p->lied = true; /* REQUEST for what is connected */
	else
		p = meet(w, port, host_port, host_port);
	if (!p)
		return;
	w->f.connect_result = results[fuzz_pick(&w->in, 5)];
	w->f.connect_room = fuzz_pick(&w->in, 2) ? UINT64_MAX : fuzz_pick(&w->in, 65536);
	speak(w, p, VIRTIO_VSOCK_OP_REQUEST);
	if (w->f.num_streams > before) {
		p->s = w->f.stream[before];
		w->pending[before] = w->f.connect_result == 1;
	}
}

static void guest_speaks(struct world *w)
{
	static const uint16_t ops[] = {
		VIRTIO_VSOCK_OP_RW,
		VIRTIO_VSOCK_OP_RW,
		VIRTIO_VSOCK_OP_RW,
		VIRTIO_VSOCK_OP_RESPONSE,
		VIRTIO_VSOCK_OP_RESPONSE,
		VIRTIO_VSOCK_OP_CREDIT_UPDATE,
		VIRTIO_VSOCK_OP_CREDIT_UPDATE,
		VIRTIO_VSOCK_OP_CREDIT_REQUEST,
		VIRTIO_VSOCK_OP_SHUTDOWN,
		VIRTIO_VSOCK_OP_RST,
	};

	struct peer *p, *heir;

	if (!w->num_peers)
		return;
	p = &w->peer[fuzz_pick(&w->in, w->num_peers)];
	/* The ports of one that is gone may be another's by now. */
	heir = find(w, p->port, p->host_port);
	speak(w, heir ? heir : p, ops[fuzz_pick(&w->in, sizeof(ops) / sizeof(ops[0]))]);
}

/* ---- host programs */

static void host_connects(struct world *w)
{
	if (w->f.num_streams > FAKE_VSOCK_STREAMS - 2)
		return;
	w->f.connect_room = fuzz_pick(&w->in, 2) ? UINT64_MAX : fuzz_pick(&w->in, 65536);
	(void)fake_vsock_incoming(&w->f, 30 + fuzz_pick(&w->in, 4));
}

static void hang_up(struct world *w, unsigned i)
{
	struct fake_stream *s = w->f.stream[i];

	w->hung[i] = s->eof = true;
	if (!s->write_error)
		s->write_error = fuzz_pick(&w->in, 2) ? -EPIPE : -ECONNRESET;
	fake_stream_event(s, VSOCK_HUNG_UP | VSOCK_READABLE | VSOCK_WRITABLE);
}

static void host_acts(struct world *w)
{
	unsigned i = w->f.num_streams ? fuzz_pick(&w->in, w->f.num_streams) : 0;
	struct fake_stream *s = w->f.stream[i];

	if (!w->f.num_streams || s->closed || w->hung[i])
		return;
	if (w->pending[i]) {
		w->pending[i] = false;
		fake_stream_event(s, fuzz_flaw(&w->in, 4) ? VSOCK_FAILED : VSOCK_OPENED);
		return;
	}
	switch (fuzz_pick(&w->in, 8)) {
	default:
		if (!s->eof)
			s->readable += fuzz_pick(&w->in, 20000);
		fake_stream_event(s, VSOCK_READABLE);
		break;
	case 3:
	case 4:
		s->room += fuzz_pick(&w->in, 65536);
		if (s->room)
			fake_stream_event(s, VSOCK_WRITABLE);
		break;
	case 5:
		s->eof = true;
		fake_stream_event(s, VSOCK_READABLE);
		break;
	case 6:
		s->write_error = -EPIPE;
		fake_stream_event(s, VSOCK_WRITABLE);
		break;
	case 7:
		hang_up(w, i);
		break;
	}
}

/* ---- steps */

static void restart(struct world *w)
{
	vsock_mux_stop(w->f.mux);
	run(w);
	w->num_peers = 0;
	vsock_mux_start(w->f.mux);
}

static void pass_time(struct world *w)
{
	fake_vsock_sleep(&w->f, 2);
	run(w);
}

static void step(struct world *w)
{
	switch (fuzz_pick(&w->in, 16)) {
	case 0:
	case 1:
		guest_connects(w);
		break;
	case 2:
		host_connects(w);
		break;
	default:
		guest_speaks(w);
		break;
	case 8:
	case 9:
	case 10:
		host_acts(w);
		break;
	case 11:
	case 12:
		run(w);
		break;
	case 13:
		w->f.num_bufs = fuzz_pick(&w->in, 40);
		w->f.buf_len = VSOCK_HDR_LEN + 200 + fuzz_pick(&w->in, 65536) / 4;
		w->f.woken = true;
		run(w);
		break;
	case 14:
		if (fuzz_flaw(&w->in, 16))
			pass_time(w);
		break;
	case 15:
		if (fuzz_flaw(&w->in, 16))
			restart(w);
		break;
	}
}

/* With room everywhere, what was sent by the rules has arrived. */
static void settle(struct world *w)
{
	w->f.num_bufs = 1 << 20;
	for (unsigned i = 0; i < w->f.num_streams; i++) {
		w->f.stream[i]->room = UINT64_MAX;
		if (!w->pending[i] && !w->hung[i])
			fake_stream_event(w->f.stream[i], VSOCK_WRITABLE);
	}
	w->f.woken = true;
	run(w);
	for (unsigned i = 0; i < w->num_peers; i++) {
		const struct peer *p = &w->peer[i];

		if (!p->known || !p->open || p->lied || !p->s || p->s->write_error)
			continue;
		check(!p->s->out_of_order);
		check(p->s->bytes_written == p->sent);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct vsock_limits limits = {
		.max_conns = MAX_CONNS,
		.request_ms = 1,
		.close_ms = 1,
		.linger_ms = 1,
		.linger_max_ms = 1,
	};
	static struct world w;

	memset(&w, 0, sizeof(w));
	w.in = (struct fuzz){.p = data, .left = size};
	log_init("fuzz", LOG_LEVEL_ERROR, 2);
	fake_vsock_init(&w.f, &limits);
	for (unsigned i = 0; i < MAX_STEPS && w.in.left; i++)
		step(&w);
	settle(&w);
	fake_vsock_done(&w.f);
	return 0;
}
