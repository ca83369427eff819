/* SPDX-License-Identifier: Apache-2.0 */
/* The connections of a virtual socket device: packets here, streams there (virtio 1.2 §5.10.6). */
#ifndef LVM_DEVICES_VIRTIO_VSOCK_MUX_H
#define LVM_DEVICES_VIRTIO_VSOCK_MUX_H

#include <linux/virtio_vsock.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/iobuf.h"
#include "base/loop.h"
#include "devices/backend/vsock_host.h"

#define VSOCK_HDR_LEN  sizeof(struct virtio_vsock_hdr)
#define VSOCK_HOST_CID 2

struct vsock_mux;

/*
 * Room for one packet to the guest. The mux writes the header and then the data in place, never
 * more than given.
 */
struct vsock_buf {
	struct iobuf hdr;  /* VSOCK_HDR_LEN bytes */
	struct iobuf data; /* at least one byte */
};

/* The guest as the mux sees it. */
struct vsock_guest_ops {
	/*
	 * Room for one more packet; NULL: none now. Then whoever gets some calls vsock_mux_run().
	 */
	struct vsock_buf *(*get)(void *guest);
	/* The buffer got last is not needed. */
	void (*unget)(void *guest, struct vsock_buf *b);
	/* A packet of len bytes, header and data, is in b. Called in the order of get. */
	void (*send)(void *guest, struct vsock_buf *b, uint32_t len);
	/* There is something to send: call vsock_mux_run() soon, not from in here. */
	void (*wake)(void *guest);
};

/* Bounds; 0 stands for the value named. */
struct vsock_limits {
	unsigned max_conns; /* 1 024, those that linger counted */
	/*
	 * 60 000: for the guest to answer a connection request. Long, for a crowded guest may take
	 * ten seconds, and a host program that does not want to wait can leave.
	 */
	unsigned request_ms;
	unsigned close_ms; /* 30 000: for the guest to end a connection whose host side is over */
	/*
	 * What the guest wrote before it closed is kept for a host program that does not read it:
	 * this long (10 000) in any case, longer while there is room for new connections, and this
	 * long (3 600 000) without progress at most.
	 */
	unsigned linger_ms, linger_max_ms;
};

struct vsock_mux_config {
	struct loop *loop;       /* borrowed, as all below; every call here is on it */
	struct vsock_host *host; /* the mux sets its incoming and front */
	uint64_t guest_cid;
	const struct vsock_guest_ops *ops;
	void *guest;
	struct vsock_limits limits;
};

void vsock_mux_new(const struct vsock_mux_config *cfg, struct vsock_mux **ret_m);
/* Closes everything, also what lingers; the host is left. NULL is fine. */
void vsock_mux_free(struct vsock_mux *m);

/* While not started, host programs are refused. Stop closes every connection the guest knows of. */
void vsock_mux_start(struct vsock_mux *m);
void vsock_mux_stop(struct vsock_mux *m);

/*
 * A packet of the guest: header and data, nothing about it checked. All of it is consumed at once.
 * Not while vsock_mux_is_full(): replies wait for room, and this packet may need one more (virtio
 * 1.2 §5.10.6.1).
 */
void vsock_mux_input(struct vsock_mux *m, const struct iobuf *packet);
bool vsock_mux_is_full(const struct vsock_mux *m);

/*
 * Sends to the guest what there is and fits. True when it stopped only so that others have their
 * turn: call it again after they had.
 */
bool vsock_mux_run(struct vsock_mux *m);

/* Connections now, those that linger counted. */
unsigned vsock_mux_num_conns(const struct vsock_mux *m);

#endif
