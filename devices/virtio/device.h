/* SPDX-License-Identifier: Apache-2.0 */
/* What every virtio device is made of, and its life from reset to reset (virtio 1.2 §2.1). */
#ifndef LVM_DEVICES_VIRTIO_DEVICE_H
#define LVM_DEVICES_VIRTIO_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "devices/guest_mem.h"
#include "devices/virtio/vqueue.h"

#define VIRTIO_MAX_QUEUES 64

struct virtio_dev;

/* Constant description of a kind of device. Everything is called on d->loop. */
struct virtio_ops {
	const char *name; /* "blk": log prefix, trace category, test name */
	uint16_t id;      /* device ID, virtio 1.2 §5 */
	/* sizeof(struct X_req), whose first member is struct vchain; 0: plain chain. */
	size_t req_size;
	/*
	 * DRIVER_OK (§2.1): d->vq[] and d->acked are set. Failing (-errno) sets DEVICE_NEEDS_RESET.
	 * Optional.
	 */
	int (*start)(struct virtio_dev *d);
	/*
	 * Reset (§2.4): returns once no I/O can touch guest memory; every popped chain is pushed or
	 * dropped.
	 */
	void (*stop)(struct virtio_dev *d);
	/* Queue q has buffers. */
	void (*kick)(struct virtio_dev *d, unsigned q);
	/*
	 * The driver wrote [off, off + len) of d->config, already stored. Optional; without it
	 * config is read-only.
	 */
	void (*config_written)(struct virtio_dev *d, size_t off, size_t len);
	void (*free)(struct virtio_dev *d);
};

/*
 * First member of a device's structure. The device fills the part above the line and calls
 * virtio_init().
 */
struct virtio_dev {
	const struct virtio_ops *ops;
	struct loop *loop;           /* all callbacks run on it; a device never locks */
	const struct guest_mem *mem; /* borrowed */
	/* Offered, device-specific bits; the core adds VERSION_1, EVENT_IDX and INDIRECT_DESC. */
	uint64_t features;
	void *config; /* device-specific configuration, little-endian bytes (§2.5); device's own */
	size_t config_len;
	unsigned num_vq;
	uint16_t vq_max_size[VIRTIO_MAX_QUEUES]; /* 0 is taken as 256 */
	/* ---- the core's from here on; a device reads */
	uint64_t acked; /* negotiated features, subset of those offered */
	/* Non-NULL between start and stop for queues the driver enabled. */
	struct vqueue *vq[VIRTIO_MAX_QUEUES];
	bool running;             /* between start and stop */
	struct virtio_core *core; /* transport-independent state, owned by device.c */
};

/* Called by a device's X_new() when its part is filled in. */
int virtio_init(struct virtio_dev *d, struct err *err);
/*
 * Stops the device if it runs, then ops->free(). Called by the transport (or by whoever never gave
 * it one).
 */
void virtio_free(struct virtio_dev *d);

static inline bool virtio_has(const struct virtio_dev *d, unsigned feature_bit)
{
	return d->acked >> feature_bit & 1;
}

/*
 * The device changed its config bytes: tells the driver (§2.5, config interrupt) and bumps the
 * generation.
 */
void virtio_config_changed(struct virtio_dev *d);
/* The device cannot go on with this driver: DEVICE_NEEDS_RESET and a config interrupt (§2.1.2). */
void virtio_needs_reset(struct virtio_dev *d, const char *why);
/*
 * Calls ops->kick() for queue q once from the loop, for work that became possible without the
 * driver's doing.
 */
void virtio_rekick(struct virtio_dev *d, unsigned q);

#endif
