/* SPDX-License-Identifier: Apache-2.0 */
/* What all virtio devices share: status, features, queues, notifications (virtio 1.2 §2.1-§2.5, §3.1). */
#include "devices/virtio/device.h"

#include <assert.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"
#include "devices/virtio/transport.h"

#define QUEUE_DEFAULT_SIZE 256
#define KICK_ROUNDS \
	4 /* how often in a row a device is called for one queue before others get a turn */

#define CORE_FEATURES                                                   \
	(1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_EVENT_IDX | \
	 1ull << VIRTIO_RING_F_INDIRECT_DESC)

#define STATUS_BY_DRIVER                                                                      \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK | \
	 VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FAILED)

struct queue {
	struct virtio_dev *d;
	unsigned index;
	struct virtio_queue_regs regs;
	struct loop_fd kick;
	struct loop_work flush;
};

struct virtio_core {
	const struct virtio_transport_ops *transport;
	void *opaque;
	uint8_t status, generation;
	uint64_t driver_features;
	struct log_limit limit;
	struct queue queue[];
};

static void queue_signal(const struct queue *q)
{
	uint64_t one = 1;

	(void)!write(q->kick.fd, &one, sizeof(one));
}

static void queue_pushed(void *opaque)
{
	struct queue *q = opaque;

	loop_defer(q->d->loop, &q->flush);
}

static void queue_flush(struct loop_work *w)
{
	struct queue *q = container_of(w, struct queue, flush);

	if (q->d->vq[q->index])
		vqueue_flush(q->d->vq[q->index]);
}

static void queue_interrupt(void *opaque)
{
	struct queue *q = opaque;
	struct virtio_core *core = q->d->core;

	if (core->transport)
		core->transport->queue_interrupt(core->opaque, q->index);
}

static void queue_broken(void *opaque, const char *why)
{
	struct queue *q = opaque;
	char text[160];

	(void)snprintf(text, sizeof(text), "queue %u: %s", q->index, why);
	virtio_needs_reset(q->d, text);
}

static bool device_live(const struct virtio_dev *d)
{
	return d->running && !(d->core->status & VIRTIO_CONFIG_S_NEEDS_RESET);
}

/*
 * The driver rang, or somebody asked for another go. While the device works the driver need not
 * ring; before leaving, what came meanwhile is worked off. A guest that fills as fast as we drain
 * gets KICK_ROUNDS rounds, then we ring our own bell: the loop looks at everybody else first.
 */
static void queue_kicked(struct loop_fd *f, uint32_t events)
{
	struct queue *q = container_of(f, struct queue, kick);
	struct virtio_dev *d = q->d;
	uint64_t n;

	(void)!read(f->fd, &n, sizeof(n));
	for (unsigned round = 0; round < KICK_ROUNDS; round++) {
		if (!device_live(d) || !d->vq[q->index])
			return;
		vqueue_disable_kick(d->vq[q->index]);
		d->ops->kick(d, q->index);
		if (!device_live(d) || !vqueue_enable_kick(d->vq[q->index]))
			return;
	}
	queue_signal(q);
}

static int queue_init(struct queue *q, struct virtio_dev *d, unsigned index, struct err *err)
{
	q->d = d;
	q->index = index;
	q->regs.max_size = d->vq_max_size[index] ? d->vq_max_size[index] : QUEUE_DEFAULT_SIZE;
	assert(q->regs.max_size <= VQUEUE_MAX_SIZE && !(q->regs.max_size & (q->regs.max_size - 1)));
	q->regs.size = q->regs.max_size;
	q->flush.fn = queue_flush;
	q->kick.fn = queue_kicked;
	q->kick.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (q->kick.fd < 0)
		return err_set(err, errno, "cannot make a doorbell for virtio device '%s'",
			       d->ops->name);
	return loop_add(d->loop, &q->kick, EPOLLIN, err);
}

static void core_free(struct virtio_dev *d)
{
	struct virtio_core *core = d->core;

	for (unsigned i = 0; core && i < d->num_vq; i++) {
		struct queue *q = &core->queue[i];

		if (!q->d)
			continue;
		loop_undefer(&q->flush);
		loop_remove(&q->kick);
		if (q->kick.fd >= 0)
			(void)close(q->kick.fd);
	}
	free(core);
	d->core = NULL;
}

int virtio_init(struct virtio_dev *d, struct err *err)
{
	int r = 0;

	assert(d->num_vq >= 1 && d->num_vq <= VIRTIO_MAX_QUEUES);
	assert(!(d->features & CORE_FEATURES));
	d->core = xcalloc(1, sizeof(*d->core) + d->num_vq * sizeof(d->core->queue[0]));
	for (unsigned i = 0; r == 0 && i < d->num_vq; i++)
		r = queue_init(&d->core->queue[i], d, i, err);
	if (r < 0)
		core_free(d);
	return r;
}

/* Ends between start and stop: afterwards nobody touches guest memory. */
static void device_stop(struct virtio_dev *d)
{
	if (!d->running)
		return;
	d->ops->stop(d);
	d->running = false;
	for (unsigned i = 0; i < d->num_vq; i++) {
		loop_undefer(&d->core->queue[i].flush);
		vqueue_free(d->vq[i]);
		d->vq[i] = NULL;
	}
}

void virtio_free(struct virtio_dev *d)
{
	if (!d)
		return;
	device_stop(d);
	core_free(d);
	d->ops->free(d);
}

void virtio_attach(struct virtio_dev *d, const struct virtio_transport_ops *ops, void *opaque)
{
	d->core->transport = ops;
	d->core->opaque = opaque;
}

static void notify_config(struct virtio_dev *d)
{
	struct virtio_core *core = d->core;

	if (core->transport && core->status & VIRTIO_CONFIG_S_DRIVER_OK)
		core->transport->config_interrupt(core->opaque);
}

void virtio_config_changed(struct virtio_dev *d)
{
	d->core->generation++;
	notify_config(d);
}

void virtio_needs_reset(struct virtio_dev *d, const char *why)
{
	struct virtio_core *core = d->core;

	if (core->status & VIRTIO_CONFIG_S_NEEDS_RESET)
		return;
	log_guest(&core->limit, "virtio-%s stopped until the guest resets it: %s", d->ops->name,
		  why);
	core->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	notify_config(d);
}

void virtio_rekick(struct virtio_dev *d, unsigned q)
{
	assert(q < d->num_vq);
	/*
	 * By the bell and not as deferred work: the loop gets to its other descriptors in between.
	 */
	queue_signal(&d->core->queue[q]);
}

uint64_t virtio_offered(const struct virtio_dev *d)
{
	return d->features | CORE_FEATURES;
}

uint64_t virtio_driver_features(const struct virtio_dev *d)
{
	return d->core->driver_features;
}

void virtio_set_driver_features(struct virtio_dev *d, uint64_t features)
{
	if (!(d->core->status & VIRTIO_CONFIG_S_FEATURES_OK))
		d->core->driver_features = features;
}

uint8_t virtio_status(const struct virtio_dev *d)
{
	return d->core->status;
}

static void device_reset(struct virtio_dev *d)
{
	struct virtio_core *core = d->core;

	device_stop(d);
	core->status = 0;
	core->driver_features = 0;
	d->acked = 0;
	for (unsigned i = 0; i < d->num_vq; i++) {
		uint16_t max_size = core->queue[i].regs.max_size;

		core->queue[i].regs =
			(struct virtio_queue_regs){.max_size = max_size, .size = max_size};
	}
}

static int queue_start(struct queue *q)
{
	struct virtio_dev *d = q->d;
	struct vqueue_config cfg = {
		.mem = d->mem,
		.size = q->regs.size,
		.desc = q->regs.desc,
		.avail = q->regs.avail,
		.used = q->regs.used,
		.event_idx = virtio_has(d, VIRTIO_RING_F_EVENT_IDX),
		.indirect = virtio_has(d, VIRTIO_RING_F_INDIRECT_DESC),
		.req_size = d->ops->req_size,
		.pushed = queue_pushed,
		.interrupt = queue_interrupt,
		.broken = queue_broken,
		.opaque = q,
	};

	return q->regs.enabled ? vqueue_new(&cfg, &d->vq[q->index]) : 0;
}

/* DRIVER_OK (§3.1.1 step 8): the queues come to life with the geometry of this moment. */
static void device_start(struct virtio_dev *d)
{
	unsigned i;
	int r = 0;

	for (i = 0; r == 0 && i < d->num_vq; i++)
		r = queue_start(&d->core->queue[i]);
	if (r == 0 && d->ops->start)
		r = d->ops->start(d);
	if (r < 0) {
		for (i = 0; i < d->num_vq; i++) {
			vqueue_free(d->vq[i]);
			d->vq[i] = NULL;
		}
		virtio_needs_reset(d,
				   r == -EINVAL ? "a queue's rings are misplaced" : strerror(-r));
		return;
	}
	d->running = true;
	/* Drivers exist that make buffers available, or even ring, before DRIVER_OK. */
	for (i = 0; i < d->num_vq; i++) {
		if (d->vq[i])
			queue_signal(&d->core->queue[i]);
	}
}

/* §2.2.2, §3.1.1 step 5: only a subset of what was offered, and never without VERSION_1. */
static void device_negotiate(struct virtio_dev *d)
{
	struct virtio_core *core = d->core;
	uint64_t want = core->driver_features;

	if (want & ~virtio_offered(d) || !(want >> VIRTIO_F_VERSION_1 & 1)) {
		log_guest(&core->limit,
			  "virtio-%s: the guest's driver wants features 0x%llx of 0x%llx",
			  d->ops->name, (unsigned long long)want,
			  (unsigned long long)virtio_offered(d));
		return;
	}
	d->acked = want;
	core->status |= VIRTIO_CONFIG_S_FEATURES_OK;
}

void virtio_set_status(struct virtio_dev *d, uint8_t status)
{
	struct virtio_core *core = d->core;
	uint8_t fresh = status & STATUS_BY_DRIVER & ~core->status;

	if (status == 0) {
		device_reset(d);
		return;
	}
	core->status |= fresh & ~(VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
	if (fresh & VIRTIO_CONFIG_S_FEATURES_OK)
		device_negotiate(d);
	/* A driver that goes on after its features were refused gets no device. */
	if (fresh & VIRTIO_CONFIG_S_DRIVER_OK && core->status & VIRTIO_CONFIG_S_FEATURES_OK &&
	    !(core->status & VIRTIO_CONFIG_S_NEEDS_RESET)) {
		core->status |= VIRTIO_CONFIG_S_DRIVER_OK;
		device_start(d);
	}
}

const struct virtio_queue_regs *virtio_queue(const struct virtio_dev *d, unsigned q)
{
	return q < d->num_vq ? &d->core->queue[q].regs : NULL;
}

/* The registers of queue q while the driver may still change them. */
static struct virtio_queue_regs *queue_settable(struct virtio_dev *d, unsigned q)
{
	if (q >= d->num_vq || d->core->queue[q].regs.enabled ||
	    d->core->status & VIRTIO_CONFIG_S_DRIVER_OK)
		return NULL;
	return &d->core->queue[q].regs;
}

bool virtio_queue_set_size(struct virtio_dev *d, unsigned q, uint16_t size)
{
	struct virtio_queue_regs *regs = queue_settable(d, q);

	if (!regs || size == 0 || size > regs->max_size || (size & (size - 1)))
		return false;
	regs->size = size;
	return true;
}

bool virtio_queue_set_addr(struct virtio_dev *d, unsigned q, gpa_t desc, gpa_t avail, gpa_t used)
{
	struct virtio_queue_regs *regs = queue_settable(d, q);

	if (!regs)
		return false;
	regs->desc = desc;
	regs->avail = avail;
	regs->used = used;
	return true;
}

bool virtio_queue_enable(struct virtio_dev *d, unsigned q)
{
	struct virtio_queue_regs *regs = queue_settable(d, q);

	if (regs)
		regs->enabled = true;
	return regs;
}

int virtio_kick_fd(const struct virtio_dev *d, unsigned q)
{
	assert(q < d->num_vq);
	return d->core->queue[q].kick.fd;
}

void virtio_kick(struct virtio_dev *d, unsigned q)
{
	virtio_rekick(d, q);
}

uint8_t virtio_config_generation(const struct virtio_dev *d)
{
	return d->core->generation;
}

void virtio_config_read(const struct virtio_dev *d, size_t off, void *data, size_t len)
{
	size_t n = 0;

	if (off < d->config_len)
		n = len < d->config_len - off ? len : d->config_len - off;
	if (n)
		memcpy(data, (const uint8_t *)d->config + off, n);
	memset((uint8_t *)data + n, 0, len - n);
}

void virtio_config_write(struct virtio_dev *d, size_t off, const void *data, size_t len)
{
	if (!d->ops->config_written || off >= d->config_len)
		return;
	if (len > d->config_len - off)
		len = d->config_len - off;
	memcpy((uint8_t *)d->config + off, data, len);
	d->ops->config_written(d, off, len);
}
