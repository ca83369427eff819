/* SPDX-License-Identifier: Apache-2.0 */
/* The side of a virtio device that its transport uses: status, features, queues (virtio 1.2 §2). */
#ifndef LVM_DEVICES_VIRTIO_TRANSPORT_H
#define LVM_DEVICES_VIRTIO_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/virtio/device.h"

/* Everything here is called on the device's loop, and the guest may be behind every value. */
struct virtio_transport_ops {
	/*
	 * A notification for the driver: used buffers in queue q (§2.3), or a change of config or
	 * status (§2.5).
	 */
	void (*queue_interrupt)(void *opaque, unsigned q);
	void (*config_interrupt)(void *opaque);
};

/* One queue's registers, as the driver wrote them. */
struct virtio_queue_regs {
	uint16_t max_size, size;
	bool enabled;
	gpa_t desc, avail, used;
};

/* Before the driver can reach the device. ops and opaque are borrowed until virtio_free(). */
void virtio_attach(struct virtio_dev *d, const struct virtio_transport_ops *ops, void *opaque);

/* All features offered, the core's own included. */
uint64_t virtio_offered(const struct virtio_dev *d);
/* What the driver wrote; it takes effect at FEATURES_OK and is refused afterwards. */
uint64_t virtio_driver_features(const struct virtio_dev *d);
void virtio_set_driver_features(struct virtio_dev *d, uint64_t features);

uint8_t virtio_status(const struct virtio_dev *d);
/*
 * 0 resets: once this returns, nothing of the device touches guest memory. Other bits can only be
 * added.
 */
void virtio_set_status(struct virtio_dev *d, uint8_t status);

/* The registers of queue q, or NULL when there is no such queue. */
const struct virtio_queue_regs *virtio_queue(const struct virtio_dev *d, unsigned q);
/*
 * Each false, changing nothing: no such queue, it is enabled already, DRIVER_OK is set, or a size
 * that is not allowed.
 */
bool virtio_queue_set_size(struct virtio_dev *d, unsigned q, uint16_t size);
bool virtio_queue_set_addr(struct virtio_dev *d, unsigned q, gpa_t desc, gpa_t avail, gpa_t used);
bool virtio_queue_enable(struct virtio_dev *d, unsigned q);

/* An eventfd whose signal is the driver's notification of queue q; lives as long as the device. */
int virtio_kick_fd(const struct virtio_dev *d, unsigned q);
/* The same from code. */
void virtio_kick(struct virtio_dev *d, unsigned q);

uint8_t virtio_config_generation(const struct virtio_dev *d);
/* Any offset and length: what lies past the end reads as zero and is not written. */
void virtio_config_read(const struct virtio_dev *d, size_t off, void *data, size_t len);
void virtio_config_write(struct virtio_dev *d, size_t off, const void *data, size_t len);

#endif
