/* SPDX-License-Identifier: Apache-2.0 */
/* The virtual socket device between a guest's driver and host programs' unix sockets. */
#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/str.h"
#include "tests/device/vsock_guest.h"

#define BOTH      (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)
#define HOST_PORT 7

/* A host program's end, and how far it is. */
struct program {
	int fd;
	struct vg_conn *c;
	uint64_t to_write, to_read; /* what it and the guest want to send */
	uint64_t written, read;
	bool ended, corrupt;
};

static int setup(void **state)
{
	static struct vsock_guest g;

	vg_init(&g, VG_NUM_RX);
	*state = &g;
	return 0;
}

static int teardown(void **state)
{
	vg_done(*state);
	return 0;
}

static void steps(struct vsock_guest *g, unsigned n)
{
	while (n--)
		vg_step(g);
}

static int listen_at(struct vsock_guest *g, uint32_t port)
{
	char *path = str_fmt("%s_%u", g->path, port);
	int fd;

	assert_int_equal(unix_listen(path, 400, &fd, NULL), 0);
	free(path);
	return fd;
}

static void unlisten(struct vsock_guest *g, int fd, uint32_t port)
{
	char *path = str_fmt("%s_%u", g->path, port);

	assert_int_equal(unlink(path), 0);
	assert_int_equal(close(fd), 0);
	free(path);
}

/* Connects to the VM's socket and asks for a port. */
static int ask(struct vsock_guest *g, uint32_t port, const char *more)
{
	char line[64];
	int fd, n = snprintf(line, sizeof(line), "CONNECT %u\n%s", port, more);

	assert_int_equal(unix_connect(g->path, false, &fd, NULL), 0);
	assert_int_equal(fd_write_full(fd, line, (size_t)n), 0);
	assert_int_equal(fd_set_nonblock(fd, true), 0);
	return fd;
}

/* Reads the answer up to its newline; the port told, or 0 for an end of file without one. */
static uint32_t answer(struct vsock_guest *g, int fd)
{
	char line[64] = "";
	uint64_t port;
	size_t len = 0;
	ssize_t n;

	for (unsigned i = 0; i < 100000 && len < sizeof(line) - 1; i++) {
		n = read(fd, line + len, 1);
		if (n == 0) {
			assert_int_equal(len, 0);
			return 0;
		}
		if (n < 0) {
			assert_int_equal(errno, EAGAIN);
			vg_step(g);
		} else if (line[len++] == '\n') {
			break;
		}
	}
	assert_true(str_starts(line, "OK ") && line[len - 1] == '\n');
	line[len - 1] = '\0';
	assert_int_equal(str_to_u64(line + 3, 1, UINT32_MAX, &port), 0);
	return (uint32_t)port;
}

static void host_opens(struct vsock_guest *g, uint32_t port, struct program *p)
{
	uint32_t host_port;

	*p = (struct program){.fd = ask(g, port, "")};
	host_port = answer(g, p->fd);
	assert_true(host_port);
	p->c = vg_find(g, port, host_port);
	assert_non_null(p->c);
}

static void guest_opens(struct vsock_guest *g, int listener, struct program *p)
{
	*p = (struct program){.c = vg_connect(g, HOST_PORT)};
	assert_true(vg_until(g, &p->c->open));
	p->fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(p->fd >= 0);
}

static uint8_t scratch[65536];

/* Some more bytes in odd pieces, and the end after the last. */
static void program_writes(struct program *p)
{
	size_t n = 1 + (size_t)rand() % (rand() % 4 ? 3000 : sizeof(scratch));
	ssize_t r;

	if (p->written == p->to_write)
		return;
	n = n < p->to_write - p->written ? n : p->to_write - p->written;
	for (size_t i = 0; i < n; i++)
		scratch[i] = vg_byte(p->c->seed_in, p->written + i);
	r = write(p->fd, scratch, n);
	assert_true(r > 0 || errno == EAGAIN);
	p->written += r > 0 ? (uint64_t)r : 0;
	if (p->written == p->to_write)
		assert_int_equal(shutdown(p->fd, SHUT_WR), 0);
}

static void program_reads(struct program *p)
{
	ssize_t r;

	if (p->ended)
		return;
	r = read(p->fd, scratch, 1 + (size_t)rand() % sizeof(scratch));
	assert_true(r >= 0 || errno == EAGAIN);
	for (ssize_t i = 0; i < r; i++)
		p->corrupt |= scratch[i] != vg_byte(p->c->seed_out, p->read + (uint64_t)i);
	p->read += r > 0 ? (uint64_t)r : 0;
	p->ended = r == 0;
}

static void guest_writes(struct program *p)
{
	size_t n = 1 + (size_t)rand() % VG_TX_LEN;

	if (!p->c->open || p->c->sent == p->to_read)
		return;
	n = n < p->to_read - p->c->sent ? n : p->to_read - p->c->sent;
	(void)vg_write(p->c, (uint32_t)n);
	if (p->c->sent == p->to_read)
		vg_say(p->c, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND);
}

static void program_step(struct program *p)
{
	program_writes(p);
	program_reads(p);
	guest_writes(p);
}

/* Everything arrived, in order, and both ends were seen. */
static bool program_through(const struct program *p)
{
	return p->ended && p->read == p->to_read && p->c->received == p->to_write &&
	       p->c->host_shut & VIRTIO_VSOCK_SHUTDOWN_SEND;
}

static void assert_exchange(struct vsock_guest *g, struct program *p, unsigned num, int seconds)
{
	int64_t end = loop_now_ms() + seconds * 1000;
	unsigned through;

	do {
		through = 0;
		for (unsigned i = 0; i < num; i++) {
			program_step(&p[i]);
			if (i % 8 == 0)
				vg_step(g);
			through += program_through(&p[i]);
		}
	} while (through < num && loop_now_ms() < end);
	assert_int_equal(through, num);
	for (unsigned i = 0; i < num; i++) {
		assert_false(p[i].corrupt || p[i].c->corrupt);
		assert_int_equal(close(p[i].fd), 0);
	}
	/* The program's end is the connection's. */
	for (unsigned i = 0; i < num; i++)
		assert_true(vg_until(g, &p[i].c->reset));
}

/* ---- connecting */

static void configuration(void **state)
{
	struct vsock_guest *g = *state;
	struct virtio_dev *d;

	assert_int_equal(fake_config_read(&g->drv, 0, 8), VG_CID);
	assert_int_equal(g->drv.num_queues, 3);
	/* SEQPACKET is not offered. */
	assert_false(fake_driver_offered(&g->drv) >> VIRTIO_VSOCK_F_SEQPACKET & 1);
	for (uint32_t cid = 0; cid < 3; cid++)
		assert_int_equal(vsock_new(&g->m.env, "/tmp/unused", cid, &d, NULL), -EINVAL);
}

static void host_connects(void **state)
{
	struct vsock_guest *g = *state;
	struct program p;
	struct vg_conn *c;
	int fd;

	host_opens(g, 5, &p);
	p.to_write = 20000;
	p.to_read = 30000;
	assert_exchange(g, &p, 1, 10);
	/* What stands behind the greeting is the stream's: "\1" is no byte of ours. */
	fd = ask(g, 6, "\x07");
	c = vg_find(g, 6, answer(g, fd));
	assert_non_null(c);
	steps(g, 20);
	assert_int_equal(c->received, 1);
	assert_false(c->corrupt);
	assert_int_equal(close(fd), 0);
	assert_true(vg_until(g, &c->reset));
}

static void host_is_refused(void **state)
{
	struct vsock_guest *g = *state;
	int fd = ask(g, VG_CLOSED_PORT, "unread");

	assert_int_equal(answer(g, fd), 0);
	assert_int_equal(close(fd), 0);
}

static void guest_connects(void **state)
{
	struct vsock_guest *g = *state;
	int l = listen_at(g, HOST_PORT);
	struct program p;

	guest_opens(g, l, &p);
	p.to_write = 30000;
	p.to_read = 20000;
	assert_exchange(g, &p, 1, 10);
	unlisten(g, l, HOST_PORT);
}

static void guest_is_refused(void **state)
{
	struct vsock_guest *g = *state;
	struct vg_conn *c = vg_connect(g, HOST_PORT);

	assert_true(vg_until(g, &c->reset));
	assert_false(c->open);
}

/* ---- data */

static void bulk(void **state)
{
	struct vsock_guest *g = *state;
	struct program p;

	host_opens(g, 5, &p);
	p.to_write = p.to_read = 16 << 20;
	assert_exchange(g, &p, 1, 60);
}

/* Half from each side; all of them have much to say at the same time, and all get through. */
static void hundreds(void **state)
{
	static struct program p[300];
	struct vsock_guest *g = *state;
	int l = listen_at(g, HOST_PORT);

	for (unsigned i = 0; i < 300; i++) {
		if (i % 2)
			host_opens(g, i, &p[i]);
		else
			guest_opens(g, l, &p[i]);
		p[i].to_write = p[i].to_read = 50000;
	}
	assert_exchange(g, p, 300, 60);
	unlisten(g, l, HOST_PORT);
}

/*
 * One that is not read, on either side, holds up nobody else; when it is read, nothing is missing.
 */
static void stuck_neighbour(void **state)
{
	struct vsock_guest *g = *state;
	struct program p[2], stuck;

	host_opens(g, 5, &stuck);
	host_opens(g, 6, &p[0]);
	host_opens(g, 7, &p[1]);
	stuck.c->hold = true;
	stuck.to_write = stuck.to_read = 1 << 20;
	for (unsigned i = 0; i < 200; i++) {
		program_writes(&stuck);
		guest_writes(&stuck);
		vg_step(g);
	}
	assert_true(stuck.c->sent < stuck.to_read && stuck.written < stuck.to_write);
	assert_int_equal(stuck.c->received, VG_BUF_ALLOC);
	p[0].to_write = p[0].to_read = p[1].to_write = p[1].to_read = 1 << 20;
	assert_exchange(g, p, 2, 20);
	stuck.c->hold = false;
	stuck.c->fwd = (uint32_t)stuck.c->received;
	vg_say(stuck.c, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
	assert_exchange(g, &stuck, 1, 20);
}

static void no_receive_buffers(void **state)
{
	struct vsock_guest *g = *state;
	struct program p;

	host_opens(g, 5, &p);
	g->keep_rx = true;
	p.to_write = 1 << 20;
	for (unsigned i = 0; i < 500; i++) {
		program_step(&p);
		vg_step(g);
	}
	assert_true(p.c->received <= (uint64_t)VG_NUM_RX * VG_RX_LEN);
	/* Nothing is ready any more, however much the program has written: no spinning. */
	for (unsigned i = 0; i < 5; i++) {
		int64_t t = loop_now_ms();

		assert_int_equal(loop_run_once(g->m.loop, 30), 0);
		assert_true(loop_now_ms() - t >= 29);
	}
	g->keep_rx = false;
	for (unsigned i = 0; i < VG_NUM_RX; i++)
		vg_give_rx(g, i);
	p.to_read = 1000;
	assert_exchange(g, &p, 1, 20);
}

static void program_that_reads_nothing(void **state)
{
	struct vsock_guest *g = *state;
	struct program p;
	int64_t t;

	host_opens(g, 5, &p);
	for (unsigned i = 0; i < 200; i++) {
		(void)vg_write(p.c, VG_TX_LEN);
		vg_step(g);
	}
	assert_true(p.c->sent >= 256 << 10 && p.c->sent <= 2 << 20);
	t = loop_now_ms();
	assert_int_equal(loop_run_once(g->m.loop, 30), 0);
	assert_true(loop_now_ms() - t >= 29);
	/* It goes away in the middle: the guest is told, and what it still sends goes nowhere. */
	assert_int_equal(close(p.fd), 0);
	assert_true(vg_until(g, &p.c->reset));
	assert_int_equal(p.c->host_shut, BOTH);
}

/* ---- the end */

static void guest_closes_first(void **state)
{
	static uint8_t all[1 << 20];
	struct vsock_guest *g = *state;
	struct program p;
	ssize_t n;

	host_opens(g, 5, &p);
	while (p.c->sent < 300000) {
		if (!vg_write(p.c, VG_TX_LEN))
			vg_step(g);
	}
	vg_say(p.c, VIRTIO_VSOCK_OP_SHUTDOWN, BOTH);
	assert_true(vg_until(g, &p.c->reset));
	/*
	 * The guest is rid of it; the program reads at its leisure, to the last byte and the end.
	 */
	steps(g, 10);
	for (uint64_t at = 0; at < p.c->sent;) {
		n = read(p.fd, all, 10000);
		if (n < 0)
			steps(g, 1);
		assert_true(n > 0 || errno == EAGAIN);
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(all[i], vg_byte(p.c->seed_out, at + (uint64_t)i));
		at += n > 0 ? (uint64_t)n : 0;
	}
	steps(g, 10);
	assert_int_equal(read(p.fd, all, 1), 0);
	assert_int_equal(close(p.fd), 0);
}

static void program_disconnects_midway(void **state)
{
	struct vsock_guest *g = *state;
	struct program p;

	for (unsigned i = 0; i < 20; i++) {
		host_opens(g, 5, &p);
		p.to_write = p.to_read = 1 << 20;
		for (unsigned k = 0; k < 5 * i; k++) {
			program_step(&p);
			vg_step(g);
		}
		assert_int_equal(close(p.fd), 0);
		while (!p.c->reset) {
			(void)vg_write(p.c, 1000);
			vg_step(g);
		}
		assert_false(p.c->corrupt);
		/* All it wrote before it went came first. */
		assert_int_equal(p.c->received, p.written);
	}
}

static void guest_resets_the_device(void **state)
{
	struct vsock_guest *g = *state;
	int l = listen_at(g, HOST_PORT), waiting;
	struct program p[3];
	char c;

	host_opens(g, 5, &p[0]);
	guest_opens(g, l, &p[1]);
	host_opens(g, 6, &p[2]);
	for (unsigned i = 0; i < 3; i++)
		p[i].to_write = p[i].to_read = 1 << 20;
	for (unsigned i = 0; i < 30; i++) {
		program_step(&p[i % 3]);
		assert_int_equal(loop_run_once(g->m.loop, 0), 0);
	}
	waiting = ask(g, 5, "");
	assert_int_equal(loop_run_once(g->m.loop, 0), 0);
	fake_driver_reset(&g->drv);
	for (unsigned i = 0; i < 3; i++) {
		static uint8_t buf[1 << 20];
		ssize_t n;

		while ((n = read(p[i].fd, buf, sizeof(buf))) > 0)
			;
		assert_true(n == 0 || errno == ECONNRESET);
		assert_int_equal(close(p[i].fd), 0);
	}
	/* A machine without a driver refuses. */
	fake_run_idle(&g->m);
	assert_int_equal(read(waiting, &c, 1), 0);
	assert_int_equal(close(waiting), 0);
	waiting = ask(g, 5, "");
	fake_run_idle(&g->m);
	assert_int_equal(read(waiting, &c, 1), 0);
	assert_int_equal(close(waiting), 0);
	vg_restart(g, VG_NUM_RX);
	guest_opens(g, l, &p[0]);
	p[0].to_write = p[0].to_read = 100000;
	assert_exchange(g, p, 1, 10);
	unlisten(g, l, HOST_PORT);
}

static void device_goes_away(void **state)
{
	struct vsock_guest *g = *state;
	struct program p;
	int greeting;
	char c;

	host_opens(g, 5, &p);
	assert_int_equal(unix_connect(g->path, false, &greeting, NULL), 0);
	steps(g, 3);
	vg_done(g);
	assert_int_equal(read(p.fd, &c, 1), 0);
	assert_int_equal(read(greeting, &c, 1), 0);
	assert_int_equal(close(p.fd) | close(greeting), 0);
	vg_init(g, VG_NUM_RX);
}

/* ---- a guest that does it wrong */

static struct virtio_vsock_hdr stray(uint32_t port)
{
	return (struct virtio_vsock_hdr){
		.src_cid = htole64(VG_CID),
		.dst_cid = htole64(2),
		.src_port = htole32(port),
		.dst_port = htole32(9),
		.type = htole16(VIRTIO_VSOCK_TYPE_STREAM),
		.op = htole16(VIRTIO_VSOCK_OP_RW),
	};
}

/*
 * Thousands of packets that each ask for an RST, and no room for one: the device stops taking them.
 */
static void storm_without_receive_buffers(void **state)
{
	struct vsock_guest *g = *state;
	unsigned sent = 0, before;

	vg_restart(g, 0);
	for (unsigned idle = 0; idle < 10;) {
		struct virtio_vsock_hdr h = stray(sent);

		if (vg_raw(g, &h, NULL, 0)) {
			sent++;
			idle = 0;
		} else {
			vg_step(g);
			idle++;
		}
	}
	assert_in_range(sent, 100, 1000);
	assert_int_equal(g->num_strays, 0);
	for (unsigned i = 0; i < VG_NUM_RX; i++)
		vg_give_rx(g, i);
	before = sent;
	for (unsigned i = 0; i < 100000 && g->num_strays < 5000; i++) {
		struct virtio_vsock_hdr h = stray(sent);

		sent += vg_raw(g, &h, NULL, 0);
		vg_step(g);
	}
	assert_true(sent > before && g->num_strays >= 5000);
	assert_int_equal(le16toh(g->stray.op), VIRTIO_VSOCK_OP_RST);
	assert_int_equal(le32toh(g->stray.src_port), 9);
}

static void credit_overrun(void **state)
{
	struct vsock_guest *g = *state;
	struct program p;
	char c;

	host_opens(g, 5, &p);
	for (unsigned i = 0; i < 1000 && !p.c->reset; i++) {
		p.c->host_alloc = 1 << 30;
		(void)vg_write(p.c, VG_TX_LEN);
		vg_step(g);
	}
	assert_true(p.c->reset);
	/* What was taken before may be read; then it is over. */
	while (read(p.fd, &c, 1) > 0)
		;
	assert_int_equal(close(p.fd), 0);
	host_opens(g, 6, &p);
	p.to_write = p.to_read = 1000;
	assert_exchange(g, &p, 1, 10);
}

/*
 * Too small for a header, or for anything behind it: handed back unused, and the next one is taken.
 */
static void useless_receive_buffers(void **state)
{
	struct vsock_guest *g = *state;
	struct fake_queue *q = &g->drv.queue[VG_RX];
	gpa_t at = fake_alloc(&g->m, 4096, 16);
	uint8_t *p = fake_ptr(&g->m, at, 4096);
	uint32_t len;

	vg_restart(g, 0);
	for (uint32_t i = 1; i <= VG_HDR; i++) {
		struct fake_seg seg = {at, i, true};

		(void)fake_queue_add(q, &seg, 1);
	}
	(void)fake_queue_kick(q);
	fake_run_idle(&g->m);
	(void)vg_connect(g, HOST_PORT);
	fake_run_idle(&g->m);
	for (unsigned i = 0; i < VG_HDR; i++) {
		assert_true(fake_queue_take_used(q, NULL, &len));
		assert_int_equal(len, 0);
	}
	assert_false(fake_queue_take_used(q, NULL, &len));
	for (unsigned i = 0; i < 4096; i++)
		assert_int_equal(p[i], 0);
	vg_give_rx(g, 0);
	assert_true(vg_until(g, &g->conn[0].reset));
}

/* However a packet is cut into buffers, it is the same packet. */
static void one_byte_descriptors(void **state)
{
	struct vsock_guest *g = *state;
	struct fake_seg seg[64];
	struct virtio_vsock_hdr h;
	gpa_t at = fake_alloc(&g->m, 4096, 16);
	struct program p;
	char buf[16] = "";

	host_opens(g, 5, &p);
	h = stray(5);
	h.dst_port = htole32(p.c->host_port);
	h.len = htole32(4);
	h.buf_alloc = htole32(4096);
	memcpy(fake_ptr(&g->m, at, 4096), &h, VG_HDR);
	memcpy(fake_ptr(&g->m, at + VG_HDR, 4), "ping", 4);
	for (unsigned i = 0; i < VG_HDR + 4; i++)
		seg[i] = (struct fake_seg){at + i, 1, false};
	(void)fake_queue_add_indirect(&g->drv.queue[VG_TX], seg, VG_HDR + 4);
	(void)fake_queue_kick(&g->drv.queue[VG_TX]);
	fake_run_idle(&g->m);
	assert_int_equal(read(p.fd, buf, sizeof(buf)), 4);
	assert_string_equal(buf, "ping");
	assert_true(fake_queue_take_used(&g->drv.queue[VG_TX], NULL, NULL));
	assert_int_equal(close(p.fd), 0);
	assert_true(vg_until(g, &p.c->reset));
}

/* Short, empty, or for us to write: returned, not answered. */
static void packets_that_are_none(void **state)
{
	struct vsock_guest *g = *state;
	struct fake_queue *q = &g->drv.queue[VG_TX];
	gpa_t at = fake_alloc(&g->m, 4096, 16);
	const struct fake_seg seg[] = {{at, VG_HDR - 1, false}, {at, 4096, true}, {at, 1, false}};
	uint32_t len;

	for (unsigned i = 0; i < 3; i++)
		(void)fake_queue_add(q, &seg[i], 1);
	(void)fake_queue_kick(q);
	fake_run_idle(&g->m);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(fake_queue_take_used(q, NULL, &len));
		assert_int_equal(len, 0);
	}
	steps(g, 5);
	assert_int_equal(g->num_packets, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(configuration, setup, teardown),
		cmocka_unit_test_setup_teardown(host_connects, setup, teardown),
		cmocka_unit_test_setup_teardown(host_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(guest_connects, setup, teardown),
		cmocka_unit_test_setup_teardown(guest_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(bulk, setup, teardown),
		cmocka_unit_test_setup_teardown(hundreds, setup, teardown),
		cmocka_unit_test_setup_teardown(stuck_neighbour, setup, teardown),
		cmocka_unit_test_setup_teardown(no_receive_buffers, setup, teardown),
		cmocka_unit_test_setup_teardown(program_that_reads_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(guest_closes_first, setup, teardown),
		cmocka_unit_test_setup_teardown(program_disconnects_midway, setup, teardown),
		cmocka_unit_test_setup_teardown(guest_resets_the_device, setup, teardown),
		cmocka_unit_test_setup_teardown(device_goes_away, setup, teardown),
		cmocka_unit_test_setup_teardown(storm_without_receive_buffers, setup, teardown),
		cmocka_unit_test_setup_teardown(credit_overrun, setup, teardown),
		cmocka_unit_test_setup_teardown(useless_receive_buffers, setup, teardown),
		cmocka_unit_test_setup_teardown(one_byte_descriptors, setup, teardown),
		cmocka_unit_test_setup_teardown(packets_that_are_none, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
