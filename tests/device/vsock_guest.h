/* SPDX-License-Identifier: Apache-2.0 */
/* A guest's virtual socket driver, as far as tests of the device need one (virtio 1.2 §5.10). */
#ifndef LVM_TESTS_DEVICE_VSOCK_GUEST_H
#define LVM_TESTS_DEVICE_VSOCK_GUEST_H

#include <linux/virtio_vsock.h>

#include "tests/support/fake_driver.h"

#define VG_CID         42
#define VG_HDR         ((uint32_t)sizeof(struct virtio_vsock_hdr))
#define VG_MAX_CONNS   512
#define VG_NUM_RX      80
#define VG_RX_LEN      4096
#define VG_NUM_TX      32
#define VG_TX_LEN      16384
#define VG_BUF_ALLOC   65536
#define VG_CLOSED_PORT 1000 /* nobody listens in the guest from here on */

enum { VG_RX, VG_TX, VG_EVENT };

/* Bytes of a stream at a position, in either direction. */
static inline uint8_t vg_byte(uint32_t seed, uint64_t at)
{
	return (uint8_t)((at * 2654435761u >> 13) ^ at ^ seed);
}

struct vg_conn {
	struct vsock_guest *g;
	uint32_t port, host_port;
	bool open, reset;
	uint32_t host_shut; /* VIRTIO_VSOCK_SHUTDOWN_* it told */
	bool hold;          /* what comes is not consumed: no credit is given back */
	uint64_t sent, received;
	uint32_t host_alloc, host_fwd, buf_alloc, fwd, fwd_told;
	uint32_t seed_in, seed_out;
	bool corrupt; /* a byte was wrong, or credit was overrun */
};

struct vsock_guest {
	struct fake_machine m;
	struct fake_driver drv;
	char dir[64], path[96];
	gpa_t rx_gpa, tx_gpa;
	unsigned rx_of[VQUEUE_MAX_SIZE], tx_of[VQUEUE_MAX_SIZE]; /* head -> slot */
	bool tx_busy[VG_NUM_TX];
	bool keep_rx; /* do not give buffers back */
	struct vg_conn conn[VG_MAX_CONNS];
	unsigned num_conns;
	uint32_t next_port;
	struct virtio_vsock_hdr stray; /* the last packet for no connection */
	unsigned num_strays;
	unsigned num_packets;
};

/* The device and its driver, with num_rx receive buffers available. */
void vg_init(struct vsock_guest *g, unsigned num_rx);
void vg_done(struct vsock_guest *g);
/* Sets the driver up again after a reset. */
void vg_restart(struct vsock_guest *g, unsigned num_rx);
void vg_give_rx(struct vsock_guest *g, unsigned slot);

/* The device has its say, then the guest handles what came. */
void vg_step(struct vsock_guest *g);
/* Steps until *what is true; whether that came within five seconds. */
bool vg_until(struct vsock_guest *g, const bool *what);

/* NULL: no such one (any more). */
struct vg_conn *vg_find(struct vsock_guest *g, uint32_t port, uint32_t host_port);
/* Sends REQUEST. */
struct vg_conn *vg_connect(struct vsock_guest *g, uint32_t host_port);
void vg_say(struct vg_conn *c, uint16_t op, uint32_t flags);
/* Sends at most n of the stream's next bytes, as credit and free slots allow; how many. */
uint32_t vg_write(struct vg_conn *c, uint32_t n);
/* Sends whatever it is; false when no slot is free. */
bool vg_raw(struct vsock_guest *g, const struct virtio_vsock_hdr *h, const void *data,
	    uint32_t len);
bool vg_tx_free(const struct vsock_guest *g);

#endif
