/* SPDX-License-Identifier: Apache-2.0 */
/* The virtual socket device: its queues, and how packets pass through them (virtio 1.2 §5.10). */
/*
 * No buffer is held between two callbacks: a packet of the guest is consumed and returned at once,
 * and receive buffers are taken when there is something to put into them. So there is nothing in
 * flight at a reset.
 */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_vsock.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/str.h"
#include "devices/backend/vsock_unix.h"
#include "devices/virtio/devices.h"
#include "devices/virtio/vsock_mux.h"

enum { RX, TX, EVENT, NUM_QUEUES }; /* §5.10.2 */

/* §5.10.3; no constant in the kernel's header, since its driver takes it for granted. */
#define VSOCK_F_STREAM 0

/* What one go at a queue may cost before others have their turn. */
#define TX_GO_BYTES   (1u << 20)
#define TX_CHAIN_COST 1024
#define RX_MAX_BAD    64

struct vsock {
	struct virtio_dev dev;
	struct virtio_vsock_config config;
	struct vsock_host *host;
	struct vsock_mux *mux;
	struct loop_work work;
	bool tx_waits; /* packets wait in the guest's queue for room for a reply */
	struct log_limit limit;
};

struct vsock_req {
	struct vchain chain;
	struct vsock_buf buf;
};

static struct vsock *to_vsock(struct virtio_dev *d)
{
	return container_of(d, struct vsock, dev);
}

/* ---- the receive queue, as the mux sees the guest */

static struct vsock_buf *rx_get(void *guest)
{
	struct vsock *v = guest;
	struct vqueue *vq = v->dev.vq[RX];
	struct vsock_req *r;

	for (unsigned bad = 0; vq && bad < RX_MAX_BAD; bad++) {
		r = (struct vsock_req *)vqueue_pop(vq);
		if (!r)
			return NULL;
		r->buf.data = r->chain.wr;
		if (iobuf_take(&r->buf.data, VSOCK_HDR_LEN, &r->buf.hdr) && r->buf.data.len)
			return &r->buf;
		log_guest(&v->limit, "vsock: the guest gave a receive buffer of %zu bytes",
			  r->chain.wr.len);
		vqueue_push(&r->chain, 0);
	}
	if (vq)
		virtio_rekick(&v->dev, RX);
	return NULL;
}

static void rx_unget(void *guest, struct vsock_buf *b)
{
	vqueue_unpop(&container_of(b, struct vsock_req, buf)->chain);
}

static void rx_send(void *guest, struct vsock_buf *b, uint32_t len)
{
	vqueue_push(&container_of(b, struct vsock_req, buf)->chain, len);
}

static void rx_wake(void *guest)
{
	struct vsock *v = guest;

	loop_defer(v->dev.loop, &v->work);
}

static const struct vsock_guest_ops guest_ops = {
	.get = rx_get,
	.unget = rx_unget,
	.send = rx_send,
	.wake = rx_wake,
};

/* Deferred, so that one go answers everything a batch of events or of packets has brought. */
static void vsock_work(struct loop_work *w)
{
	struct vsock *v = container_of(w, struct vsock, work);

	if (vsock_mux_run(v->mux))
		virtio_rekick(&v->dev, RX);
	if (v->tx_waits && !vsock_mux_is_full(v->mux)) {
		v->tx_waits = false;
		virtio_rekick(&v->dev, TX);
	}
}

/* ---- the transmit queue */

static void vsock_transmit(struct vsock *v)
{
	struct vchain *c;

	for (size_t cost = 0; cost < TX_GO_BYTES; cost += TX_CHAIN_COST) {
		if (vsock_mux_is_full(v->mux)) {
			v->tx_waits = true;
			return;
		}
		c = vqueue_pop(v->dev.vq[TX]);
		if (!c)
			return;
		vsock_mux_input(v->mux, &c->rd);
		cost += c->rd.len;
		vqueue_push(c, 0);
	}
	virtio_rekick(&v->dev, TX);
}

/* ---- the device */

static void vsock_kick(struct virtio_dev *d, unsigned q)
{
	struct vsock *v = to_vsock(d);

	if (q == TX)
		vsock_transmit(v);
	else if (q == RX)
		loop_defer(d->loop, &v->work);
	/* EVENT: only for what moves to another host (§5.10.6.7), which we do not. */
}

static int vsock_start(struct virtio_dev *d)
{
	vsock_mux_start(to_vsock(d)->mux);
	return 0;
}

static void vsock_stop(struct virtio_dev *d)
{
	struct vsock *v = to_vsock(d);

	vsock_mux_stop(v->mux);
	loop_undefer(&v->work);
	v->tx_waits = false;
}

static void vsock_free(struct virtio_dev *d)
{
	struct vsock *v = to_vsock(d);

	vsock_mux_free(v->mux);
	loop_undefer(&v->work);
	v->host->ops->free(v->host);
	free(v);
}

static const struct virtio_ops vsock_ops = {
	.name = "vsock",
	.id = VIRTIO_ID_VSOCK,
	.req_size = sizeof(struct vsock_req),
	.start = vsock_start,
	.stop = vsock_stop,
	.kick = vsock_kick,
	.free = vsock_free,
};

int vsock_new(const struct virtio_env *env, const char *path, uint32_t cid,
	      struct virtio_dev **ret_d, struct err *err)
{
	struct vsock_mux_config cfg = {.loop = env->loop, .guest_cid = cid, .ops = &guest_ops};
	struct vsock *v;
	int r;

	if (cid <= VSOCK_HOST_CID || cid == UINT32_MAX)
		return err_say(err, EINVAL, "%u cannot be a guest's CID: give one from 3 on", cid);
	v = xcalloc(1, sizeof(*v));
	r = vsock_unix_new(env->loop, path, NULL, &v->host, err);
	if (r < 0)
		goto fail;
	cfg.host = v->host;
	cfg.guest = v;
	vsock_mux_new(&cfg, &v->mux);
	v->work.fn = vsock_work;
	v->config.guest_cid = htole64(cid);
	v->dev.ops = &vsock_ops;
	v->dev.loop = env->loop;
	v->dev.mem = env->mem;
	v->dev.features = 1ull << VSOCK_F_STREAM;
	v->dev.config = &v->config;
	v->dev.config_len = sizeof(v->config);
	v->dev.num_vq = NUM_QUEUES;
	v->dev.vq_max_size[EVENT] = 16;
	r = virtio_init(&v->dev, err);
	if (r < 0)
		goto fail;
	*ret_d = &v->dev;
	return 0;
fail:
	vsock_mux_free(v->mux);
	if (v->host)
		v->host->ops->free(v->host);
	free(v);
	return r;
}
