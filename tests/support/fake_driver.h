/* SPDX-License-Identifier: Apache-2.0 */
/* A guest's virtio driver: finds a device through PCI and talks to it through its rings. */
#ifndef LVM_TESTS_SUPPORT_FAKE_DRIVER_H
#define LVM_TESTS_SUPPORT_FAKE_DRIVER_H

#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/virtio/device.h"
#include "devices/virtio/pci.h"
#include "tests/support/fake_machine.h"

/*
 * The short way:
 *
 *	struct fake_machine m;
 *	struct fake_driver drv;
 *
 *	fake_machine_init(&m);
 *	check(rng_new(&m.env, &dev, NULL) == 0);
 *	fake_driver_init(&drv, &m, dev);
 *	fake_driver_start(&drv, ~0ull);
 *	r = fake_driver_request(&drv, 0, NULL, 0, buf, sizeof(buf), &written);
 *	fake_driver_done(&drv);
 *	fake_machine_done(&m);
 *
 * Everything below start is there too, and so are the rings themselves, for whoever wants to do it
 * wrong. What cannot fail with a device that works aborts; what a bad guest provokes is returned.
 */

struct fake_driver;

/*
 * Rings as the driver made them; d, avail and used point into guest RAM and may be written at will.
 */
struct fake_queue {
	struct fake_driver *drv;
	unsigned index;
	uint16_t size;
	gpa_t desc_gpa, avail_gpa, used_gpa;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	gpa_t doorbell;
	uint16_t next_avail;             /* what avail->idx is or will be */
	uint16_t last_used;              /* used elements taken */
	uint16_t last_kick;              /* next_avail when last we thought about a kick */
	uint16_t taken[VQUEUE_MAX_SIZE]; /* descriptor -> 1 + its chain's head; 0: free */
};

struct fake_driver {
	struct fake_machine *m;
	struct virtio_dev *dev;
	struct virtio_pci *pci;
	unsigned slot;
	gpa_t bar[PCI_NUM_BARS];
	gpa_t common, isr, config, notify; /* 0: the device has no such structure */
	uint32_t config_len, notify_step;
	unsigned cfg_cap, msix_cap; /* offsets of these capabilities */
	gpa_t msix_table, msix_pba;
	unsigned num_vectors;
	uint64_t acked;
	unsigned num_queues;
	struct fake_queue queue[VIRTIO_MAX_QUEUES];
};

/*
 * Puts dev (taken over) behind virtio-pci, finds it by its configuration space, turns on memory and
 * bus mastering.
 */
void fake_driver_init(struct fake_driver *drv, struct fake_machine *m, struct virtio_dev *dev);
/* Frees the device too. */
void fake_driver_done(struct fake_driver *drv);

/*
 * Reset, negotiate what is offered of `want` (VERSION_1 always), MSI-X, all queues at their
 * largest, DRIVER_OK.
 */
void fake_driver_start(struct fake_driver *drv, uint64_t want);

/* The steps of it (virtio 1.2 §3.1.1). */
void fake_driver_reset(struct fake_driver *drv);
uint64_t fake_driver_offered(struct fake_driver *drv);
/* Acks exactly these and sets FEATURES_OK; false when the device refused. */
bool fake_driver_negotiate(struct fake_driver *drv, uint64_t features);
/* Vector 0 for config changes, 1 + i for queue i; all unmasked. */
void fake_driver_setup_msix(struct fake_driver *drv);
/* size 0: the largest. */
void fake_driver_setup_queue(struct fake_driver *drv, unsigned q, uint16_t size);
void fake_driver_ok(struct fake_driver *drv);

/* Registers of the common configuration, by offset (VIRTIO_PCI_COMMON_*). */
uint64_t fake_common_read(struct fake_driver *drv, unsigned off, unsigned len);
void fake_common_write(struct fake_driver *drv, unsigned off, uint64_t v, unsigned len);
uint8_t fake_driver_status(struct fake_driver *drv);
bool fake_driver_needs_reset(struct fake_driver *drv);
/* Device configuration, §2.5. */
uint64_t fake_config_read(struct fake_driver *drv, unsigned off, unsigned len);
void fake_config_write(struct fake_driver *drv, unsigned off, uint64_t v, unsigned len);

/* The message the driver gave a vector, and how often it came since last asked. */
uint64_t fake_msi_addr(const struct fake_driver *drv, unsigned vector);
uint32_t fake_msi_data(const struct fake_driver *drv, unsigned vector);
unsigned fake_config_interrupts(struct fake_driver *drv);
unsigned fake_queue_interrupts(struct fake_queue *q);

/* One buffer of a chain. */
struct fake_seg {
	gpa_t gpa;
	uint32_t len;
	bool write; /* by the device */
};

/*
 * Links the segments into descriptors and makes the chain available, without kicking. Returns its
 * head.
 */
uint16_t fake_queue_add(struct fake_queue *q, const struct fake_seg *seg, unsigned num);
/* The same by an indirect table. */
uint16_t fake_queue_add_indirect(struct fake_queue *q, const struct fake_seg *seg, unsigned num);
/*
 * A free descriptor, taken for the chain that begins at head (or itself, when head is UINT16_MAX).
 */
uint16_t fake_queue_take_desc(struct fake_queue *q, uint16_t head);
void fake_queue_set_desc(struct fake_queue *q, uint16_t i, gpa_t gpa, uint32_t len, uint16_t flags,
			 uint16_t next);
/* Makes a head available. */
void fake_queue_publish(struct fake_queue *q, uint16_t head);
/* Kicks if the device wants to hear of what was published since the last time; whether it did. */
bool fake_queue_kick(struct fake_queue *q);
/* Kicks, wanted or not. */
void fake_queue_ring(struct fake_queue *q);
/*
 * Takes the next used element, if there is one; its descriptors are free again, and interrupts
 * wanted for the next.
 */
bool fake_queue_take_used(struct fake_queue *q, uint32_t *ret_id, uint32_t *ret_len);
/*
 * Runs the loop until a used element waits, or the device needs a reset: then, and after ms, false.
 */
bool fake_queue_wait(struct fake_queue *q, int ms);

/*
 * One request from start to end: rd_len bytes for the device, wr_len from it (each may be 0, in one
 * segment of fresh RAM each). 0, -EIO when the device needs a reset, -ETIMEDOUT after two seconds.
 * wr gets what the device wrote.
 */
int fake_driver_request(struct fake_driver *drv, unsigned q, const void *rd, uint32_t rd_len,
			void *wr, uint32_t wr_len, uint32_t *ret_written);

#endif
