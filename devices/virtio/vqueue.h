/* SPDX-License-Identifier: Apache-2.0 */
/* A split virtqueue from the device's seat: nobody else touches rings (virtio 1.2 §2.7). */
#ifndef LVM_DEVICES_VIRTIO_VQUEUE_H
#define LVM_DEVICES_VIRTIO_VQUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/iobuf.h"
#include "devices/guest_mem.h"

#define VQUEUE_MAX_SIZE 1024

struct vqueue;

/*
 * One chain of buffers, popped and not yet pushed: a checked private copy. rd is what the driver
 * wrote for the device, wr is where the device answers; a device consumes both as it likes. It is
 * the first member of a device's request structure when virtio_ops.req_size says so; the rest of
 * that structure is zeroed by vqueue_pop().
 */
struct vchain {
	struct iobuf rd, wr;
	struct vqueue *vq;
	uint16_t head;
};

/*
 * Ring geometry as the driver set it, copied at activation and never re-read. The queue allocates
 * everything it will ever need here; nothing later depends on a guest's number.
 */
struct vqueue_config {
	const struct guest_mem *mem; /* borrowed */
	uint16_t size;               /* power of two, 1..VQUEUE_MAX_SIZE */
	gpa_t desc, avail, used;
	bool event_idx, indirect; /* as negotiated */
	size_t req_size;          /* 0: plain struct vchain */
	/* First push since the last flush: call vqueue_flush() soon. Optional. */
	void (*pushed)(void *opaque);
	/* The used ring has news and the driver wants to hear. */
	void (*interrupt)(void *opaque);
	/* Once, when the ring cannot be trusted any more. */
	void (*broken)(void *opaque, const char *why);
	void *opaque;
};

/*
 * -EINVAL when the rings are misaligned or not in RAM, or the size is not allowed; nothing is the
 * guest's fault twice.
 */
int vqueue_new(const struct vqueue_config *cfg, struct vqueue **ret_vq);
/* Every popped chain must have been pushed or dropped. NULL is fine. */
void vqueue_free(struct vqueue *vq);

/*
 * All below: on the loop. Pop gives the next chain or NULL: the ring is empty, or broken (already
 * reported). Push returns it with the number of bytes written to wr, exactly once per pop (virtio
 * 1.2 §2.7.8.2); chain is invalid after.
 */
struct vchain *vqueue_pop(struct vqueue *vq);
void vqueue_push(struct vchain *c, uint32_t written);
/* Puts the chain popped last back, as if it had not been popped. */
void vqueue_unpop(struct vchain *c);
/* Forgets a chain without telling the driver: for stop, when the rings are going away. */
void vqueue_drop(struct vchain *c);

/*
 * For the device core: kicks off while working, back on before sleeping; true when buffers came
 * meanwhile (§2.7.10.2).
 */
void vqueue_disable_kick(struct vqueue *vq);
bool vqueue_enable_kick(struct vqueue *vq);
/* Raises the interrupt now if pushes since the last flush ask for one (§2.7.7.2). */
void vqueue_flush(struct vqueue *vq);
/*
 * Marks the queue broken by hand: the device found the driver breaking its protocol beyond
 * answering.
 */
void vqueue_break(struct vqueue *vq, const char *why);
bool vqueue_is_broken(const struct vqueue *vq);
/* Chains popped and not pushed yet. */
unsigned vqueue_in_flight(const struct vqueue *vq);

#endif
