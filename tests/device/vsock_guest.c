/* SPDX-License-Identifier: Apache-2.0 */
/* A guest's virtual socket driver, as far as tests of the device need one. */
#include "tests/device/vsock_guest.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/check.h"

#define HOST_CID 2
#define BOTH     (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)
#define RX_SLOT  (VG_HDR + VG_RX_LEN + 64)
#define TX_SLOT  (VG_HDR + VG_TX_LEN)

/* Every other buffer in one piece, as newer Linux has them, the rest in two, as older ones. */
void vg_give_rx(struct vsock_guest *g, unsigned slot)
{
	gpa_t at = g->rx_gpa + slot * RX_SLOT;
	struct fake_seg seg[] = {{at, VG_HDR, true}, {at + VG_HDR, VG_RX_LEN, true}};
	uint16_t head;

	if (slot % 2) {
		seg[0].len += VG_RX_LEN;
		head = fake_queue_add(&g->drv.queue[VG_RX], seg, 1);
	} else {
		head = fake_queue_add(&g->drv.queue[VG_RX], seg, 2);
	}
	g->rx_of[head] = slot;
	(void)fake_queue_kick(&g->drv.queue[VG_RX]);
}

void vg_restart(struct vsock_guest *g, unsigned num_rx)
{
	fake_driver_reset(&g->drv);
	fake_driver_start(&g->drv, UINT64_MAX);
	memset(g->tx_busy, 0, sizeof(g->tx_busy));
	memset(g->conn, 0, sizeof(g->conn));
	g->num_conns = 0;
	for (unsigned i = 0; i < num_rx; i++)
		vg_give_rx(g, i);
}

void vg_init(struct vsock_guest *g, unsigned num_rx)
{
	struct virtio_dev *dev;
	struct err err;

	memset(g, 0, sizeof(*g));
	strcpy(g->dir, "/tmp/lvm-vsock-XXXXXX");
	check(mkdtemp(g->dir));
	(void)snprintf(g->path, sizeof(g->path), "%s/vm", g->dir);
	fake_machine_init(&g->m);
	check(vsock_new(&g->m.env, g->path, VG_CID, &dev, &err) == 0);
	fake_driver_init(&g->drv, &g->m, dev);
	g->rx_gpa = fake_alloc(&g->m, VG_NUM_RX * RX_SLOT, 64);
	g->tx_gpa = fake_alloc(&g->m, VG_NUM_TX * TX_SLOT, 64);
	g->next_port = 5000;
	vg_restart(g, num_rx);
}

void vg_done(struct vsock_guest *g)
{
	fake_driver_done(&g->drv);
	fake_machine_done(&g->m);
	/* Nothing may be left in it. */
	check(rmdir(g->dir) == 0);
}

/* ---- sending */

static void reap_tx(struct vsock_guest *g)
{
	uint32_t head, len;

	while (fake_queue_take_used(&g->drv.queue[VG_TX], &head, &len)) {
		check(len == 0 && g->tx_busy[g->tx_of[head]]);
		g->tx_busy[g->tx_of[head]] = false;
	}
}

static int tx_slot(const struct vsock_guest *g)
{
	for (int i = 0; i < VG_NUM_TX; i++) {
		if (!g->tx_busy[i])
			return i;
	}
	return -1;
}

bool vg_tx_free(const struct vsock_guest *g)
{
	return tx_slot(g) >= 0;
}

bool vg_raw(struct vsock_guest *g, const struct virtio_vsock_hdr *h, const void *data, uint32_t len)
{
	int slot = tx_slot(g);
	gpa_t at = g->tx_gpa + slot * TX_SLOT;
	struct fake_seg seg[] = {{at, VG_HDR, false}, {at + VG_HDR, len, false}};
	uint16_t head;

	if (slot < 0)
		return false;
	check(len <= VG_TX_LEN);
	memcpy(fake_ptr(&g->m, at, VG_HDR), h, VG_HDR);
	if (len)
		memcpy(fake_ptr(&g->m, at + VG_HDR, len), data, len);
	head = fake_queue_add(&g->drv.queue[VG_TX], seg, len ? 2 : 1);
	g->tx_busy[slot] = true;
	g->tx_of[head] = (unsigned)slot;
	(void)fake_queue_kick(&g->drv.queue[VG_TX]);
	return true;
}

static void say_data(struct vg_conn *c, uint16_t op, uint32_t flags, const void *data, uint32_t len)
{
	struct virtio_vsock_hdr h = {
		.src_cid = htole64(VG_CID),
		.dst_cid = htole64(HOST_CID),
		.src_port = htole32(c->port),
		.dst_port = htole32(c->host_port),
		.len = htole32(len),
		.type = htole16(VIRTIO_VSOCK_TYPE_STREAM),
		.op = htole16(op),
		.flags = htole32(flags),
		.buf_alloc = htole32(c->buf_alloc),
		.fwd_cnt = htole32(c->fwd),
	};

	c->fwd_told = c->fwd;
	for (unsigned i = 0; !vg_tx_free(c->g); i++) {
		check(i < 10000);
		check(loop_run_once(c->g->m.loop, 0) == 0);
		reap_tx(c->g);
	}
	check(vg_raw(c->g, &h, data, len));
}

void vg_say(struct vg_conn *c, uint16_t op, uint32_t flags)
{
	say_data(c, op, flags, NULL, 0);
}

uint32_t vg_write(struct vg_conn *c, uint32_t n)
{
	static uint8_t data[VG_TX_LEN];
	uint32_t credit = c->host_alloc - ((uint32_t)c->sent - c->host_fwd);

	n = n < credit ? n : credit;
	n = n < VG_TX_LEN ? n : VG_TX_LEN;
	if (!n || !c->open || !vg_tx_free(c->g))
		return 0;
	for (uint32_t i = 0; i < n; i++)
		data[i] = vg_byte(c->seed_out, c->sent + i);
	c->sent += n;
	say_data(c, VIRTIO_VSOCK_OP_RW, 0, data, n);
	return n;
}

/* ---- connections */

struct vg_conn *vg_find(struct vsock_guest *g, uint32_t port, uint32_t host_port)
{
	for (unsigned i = 0; i < g->num_conns; i++) {
		struct vg_conn *c = &g->conn[i];

		if (c->port == port && c->host_port == host_port && !c->reset)
			return c;
	}
	return NULL;
}

static struct vg_conn *conn_new(struct vsock_guest *g, uint32_t port, uint32_t host_port)
{
	struct vg_conn *c = &g->conn[g->num_conns++];

	check(g->num_conns <= VG_MAX_CONNS);
	*c = (struct vg_conn){
		.g = g, .port = port, .host_port = host_port, .buf_alloc = VG_BUF_ALLOC};
	c->seed_out = port;
	c->seed_in = port + 1;
	return c;
}

struct vg_conn *vg_connect(struct vsock_guest *g, uint32_t host_port)
{
	struct vg_conn *c = conn_new(g, g->next_port++, host_port);

	vg_say(c, VIRTIO_VSOCK_OP_REQUEST, 0);
	return c;
}

static void hear_data(struct vg_conn *c, const uint8_t *data, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		c->corrupt |= data[i] != vg_byte(c->seed_in, c->received + i);
	c->received += len;
	c->corrupt |= (uint32_t)c->received - c->fwd > c->buf_alloc;
	if (c->hold)
		return;
	c->fwd = (uint32_t)c->received;
	if (c->fwd - c->fwd_told >= c->buf_alloc / 4)
		vg_say(c, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
}

static void hear(struct vsock_guest *g, const struct virtio_vsock_hdr *h, const uint8_t *data)
{
	uint32_t port = le32toh(h->dst_port), host_port = le32toh(h->src_port);
	uint16_t op = le16toh(h->op);
	struct vg_conn *c = vg_find(g, port, host_port);

	check(le64toh(h->dst_cid) == VG_CID);
	if (!c && op == VIRTIO_VSOCK_OP_REQUEST) {
		c = conn_new(g, port, host_port);
		c->open = port < VG_CLOSED_PORT;
		c->reset = !c->open;
		vg_say(c, c->open ? VIRTIO_VSOCK_OP_RESPONSE : VIRTIO_VSOCK_OP_RST, 0);
	}
	if (!c) {
		g->stray = *h;
		g->num_strays++;
		return;
	}
	c->host_alloc = le32toh(h->buf_alloc);
	c->host_fwd = le32toh(h->fwd_cnt);
	if (op == VIRTIO_VSOCK_OP_RESPONSE)
		c->open = true;
	if (op == VIRTIO_VSOCK_OP_RW)
		hear_data(c, data, le32toh(h->len));
	if (op == VIRTIO_VSOCK_OP_CREDIT_REQUEST)
		vg_say(c, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	if (op == VIRTIO_VSOCK_OP_SHUTDOWN)
		c->host_shut |= le32toh(h->flags);
	if (op == VIRTIO_VSOCK_OP_RST || c->host_shut == BOTH) {
		c->open = false;
		c->reset = true;
		if (op != VIRTIO_VSOCK_OP_RST)
			vg_say(c, VIRTIO_VSOCK_OP_RST, 0);
	}
}

void vg_step(struct vsock_guest *g)
{
	static uint8_t data[VG_RX_LEN];
	struct virtio_vsock_hdr h;
	uint32_t head, len;

	check(loop_run_once(g->m.loop, 0) == 0);
	reap_tx(g);
	while (fake_queue_take_used(&g->drv.queue[VG_RX], &head, &len)) {
		unsigned slot = g->rx_of[head];
		const uint8_t *p = fake_ptr(&g->m, g->rx_gpa + slot * RX_SLOT, RX_SLOT);

		memcpy(&h, p, VG_HDR);
		check(len == VG_HDR + le32toh(h.len) && le32toh(h.len) <= VG_RX_LEN);
		memcpy(data, p + VG_HDR, le32toh(h.len));
		if (!g->keep_rx)
			vg_give_rx(g, slot);
		g->num_packets++;
		hear(g, &h, data);
	}
	check(!fake_driver_needs_reset(&g->drv));
}

bool vg_until(struct vsock_guest *g, const bool *what)
{
	int64_t end = loop_now_ms() + 5000;

	while (!*what && loop_now_ms() < end)
		vg_step(g);
	return *what;
}
