/* SPDX-License-Identifier: Apache-2.0 */
/* The PCI transport (virtio 1.2 §4.1): modern only, MSI-X only, all structures in one BAR. */
/*
 *   BAR 0  +0x0000  common configuration   §4.1.4.3
 *          +0x1000  ISR status             §4.1.4.5
 *          +0x2000  device configuration   §4.1.4.6
 *          +0x3000  notifications          §4.1.4.4, 4 bytes a queue
 *   BAR 2           MSI-X table and pending bits
 *
 * The machine turns a write to a queue's notification address into a signal of the queue's eventfd,
 * so that the vCPU goes on at once; such a write reaches this file only where the machine could not
 * (or by way of the PCI configuration access capability), and then has the same effect.
 */
#include "devices/virtio/pci.h"

#include <assert.h>
#include <linux/pci_regs.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/list.h"
#include "base/log.h"
#include "base/str.h"
#include "devices/pci/msix.h"
#include "devices/virtio/transport.h"

#define VENDOR_ID      0x1af4
#define DEVICE_ID_BASE 0x1040 /* §4.1.2.1 */

#define BAR_VIRTIO     0
#define BAR_MSIX       2

#define COMMON_OFF     0x0000
#define COMMON_LEN     60 /* up to and with queue_reset, whose feature is not offered */
#define ISR_OFF        0x1000
#define DEVICE_OFF     0x2000
#define DEVICE_MAX     0x1000
#define NOTIFY_OFF     0x3000
#define NOTIFY_STEP    4
#define BAR_LEN        0x4000

#define ISR_QUEUE      1
#define ISR_CONFIG     2

struct virtio_pci {
	struct pci_dev pci;
	struct virtio_dev *dev;
	struct msix *msix;
	struct hw *hw;
	unsigned num_vectors;
	unsigned cfg_cap; /* offset of the PCI configuration access capability */
	uint8_t isr;
	uint32_t device_feature_select, driver_feature_select;
	uint16_t queue_select;
	uint16_t config_vector;
	uint16_t queue_vector[VIRTIO_MAX_QUEUES];
	bool doorbell[VIRTIO_MAX_QUEUES]; /* the machine has it */
	struct log_limit limit;
};

/* ---- interrupts */

static void vp_queue_interrupt(void *opaque, unsigned q)
{
	struct virtio_pci *p = opaque;

	p->isr |= ISR_QUEUE;
	msix_raise(p->msix, p->queue_vector[q]);
}

static void vp_config_interrupt(void *opaque)
{
	struct virtio_pci *p = opaque;

	p->isr |= ISR_CONFIG;
	msix_raise(p->msix, p->config_vector);
}

static const struct virtio_transport_ops vp_transport_ops = {
	.queue_interrupt = vp_queue_interrupt,
	.config_interrupt = vp_config_interrupt,
};

/* §4.1.5.1.2.1: a vector that does not exist reads back as none. */
static uint16_t vp_vector(const struct virtio_pci *p, uint16_t v)
{
	return v < p->num_vectors ? v : VIRTIO_MSI_NO_VECTOR;
}

static void vp_reset_registers(struct virtio_pci *p)
{
	p->isr = 0;
	p->device_feature_select = p->driver_feature_select = 0;
	p->queue_select = 0;
	p->config_vector = VIRTIO_MSI_NO_VECTOR;
	for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++)
		p->queue_vector[i] = VIRTIO_MSI_NO_VECTOR;
}

/* ---- common configuration */

static uint32_t feature_word(uint64_t features, uint32_t select)
{
	return select < 2 ? features >> 32 * select : 0;
}

/* The whole structure as it reads now, so that any access width works. */
static void common_image(const struct virtio_pci *p, uint8_t *c)
{
	const struct virtio_queue_regs *q = virtio_queue(p->dev, p->queue_select);

	memset(c, 0, COMMON_LEN);
	put_le32(c + VIRTIO_PCI_COMMON_DFSELECT, p->device_feature_select);
	put_le32(c + VIRTIO_PCI_COMMON_DF,
		 feature_word(virtio_offered(p->dev), p->device_feature_select));
	put_le32(c + VIRTIO_PCI_COMMON_GFSELECT, p->driver_feature_select);
	put_le32(c + VIRTIO_PCI_COMMON_GF,
		 feature_word(virtio_driver_features(p->dev), p->driver_feature_select));
	put_le16(c + VIRTIO_PCI_COMMON_MSIX, p->config_vector);
	put_le16(c + VIRTIO_PCI_COMMON_NUMQ, p->dev->num_vq);
	c[VIRTIO_PCI_COMMON_STATUS] = virtio_status(p->dev);
	c[VIRTIO_PCI_COMMON_CFGGENERATION] = virtio_config_generation(p->dev);
	put_le16(c + VIRTIO_PCI_COMMON_Q_SELECT, p->queue_select);
	if (!q) {
		/* §4.1.4.3.1: a queue_size of 0 says that there is no such queue. */
		put_le16(c + VIRTIO_PCI_COMMON_Q_MSIX, VIRTIO_MSI_NO_VECTOR);
		return;
	}
	put_le16(c + VIRTIO_PCI_COMMON_Q_SIZE, q->size);
	put_le16(c + VIRTIO_PCI_COMMON_Q_MSIX, p->queue_vector[p->queue_select]);
	put_le16(c + VIRTIO_PCI_COMMON_Q_ENABLE, q->enabled);
	put_le16(c + VIRTIO_PCI_COMMON_Q_NOFF, p->queue_select);
	put_le64(c + VIRTIO_PCI_COMMON_Q_DESCLO, q->desc);
	put_le64(c + VIRTIO_PCI_COMMON_Q_AVAILLO, q->avail);
	put_le64(c + VIRTIO_PCI_COMMON_Q_USEDLO, q->used);
}

static void common_write_status(struct virtio_pci *p, uint8_t status)
{
	virtio_set_status(p->dev, status);
	if (status == 0)
		vp_reset_registers(p);
}

static void common_write16(struct virtio_pci *p, unsigned off, uint16_t v)
{
	bool has_queue = virtio_queue(p->dev, p->queue_select);

	switch (off) {
	case VIRTIO_PCI_COMMON_MSIX:
		p->config_vector = vp_vector(p, v);
		break;
	case VIRTIO_PCI_COMMON_Q_SELECT:
		p->queue_select = v;
		break;
	case VIRTIO_PCI_COMMON_Q_SIZE:
		(void)virtio_queue_set_size(p->dev, p->queue_select, v);
		break;
	case VIRTIO_PCI_COMMON_Q_MSIX:
		if (has_queue)
			p->queue_vector[p->queue_select] = vp_vector(p, v);
		break;
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		/* §4.1.4.3.2: the driver must not write 0. */
		if (v == 1)
			(void)virtio_queue_enable(p->dev, p->queue_select);
		break;
	default:
		break;
	}
}

/* One half of a queue's three addresses. */
static void common_write_addr(struct virtio_pci *p, unsigned off, uint32_t v)
{
	const struct virtio_queue_regs *q = virtio_queue(p->dev, p->queue_select);
	gpa_t addr[3];
	unsigned i = (off - VIRTIO_PCI_COMMON_Q_DESCLO) / 8;

	if (!q)
		return;
	addr[0] = q->desc;
	addr[1] = q->avail;
	addr[2] = q->used;
	if (off % 8)
		addr[i] = (addr[i] & UINT32_MAX) | (uint64_t)v << 32;
	else
		addr[i] = (addr[i] & ~(uint64_t)UINT32_MAX) | v;
	(void)virtio_queue_set_addr(p->dev, p->queue_select, addr[0], addr[1], addr[2]);
}

static void common_write_features(struct virtio_pci *p, uint32_t v)
{
	unsigned shift = 32 * p->driver_feature_select;
	uint64_t features;

	if (p->driver_feature_select > 1)
		return;
	features = virtio_driver_features(p->dev) & ~((uint64_t)UINT32_MAX << shift);
	virtio_set_driver_features(p->dev, features | (uint64_t)v << shift);
}

static void common_write32(struct virtio_pci *p, unsigned off, uint32_t v)
{
	switch (off) {
	case VIRTIO_PCI_COMMON_DFSELECT:
		p->device_feature_select = v;
		break;
	case VIRTIO_PCI_COMMON_GFSELECT:
		p->driver_feature_select = v;
		break;
	case VIRTIO_PCI_COMMON_GF:
		common_write_features(p, v);
		break;
	default:
		if (off >= VIRTIO_PCI_COMMON_Q_DESCLO && off <= VIRTIO_PCI_COMMON_Q_USEDHI &&
		    off % 4 == 0)
			common_write_addr(p, off, v);
		break;
	}
}

/*
 * §4.1.3.1: each field by its own width; 64-bit ones by halves or whole. Anything else is no write
 * to a field.
 */
static void common_write(struct virtio_pci *p, unsigned off, const void *data, unsigned len)
{
	switch (len) {
	case 1:
		if (off == VIRTIO_PCI_COMMON_STATUS)
			common_write_status(p, *(const uint8_t *)data);
		break;
	case 2:
		common_write16(p, off, get_le16(data));
		break;
	case 4:
		common_write32(p, off, get_le32(data));
		break;
	case 8:
		if (off >= VIRTIO_PCI_COMMON_Q_DESCLO && off <= VIRTIO_PCI_COMMON_Q_USEDLO &&
		    off % 8 == 0) {
			common_write_addr(p, off, get_le64(data));
			common_write_addr(p, off + 4, get_le64(data) >> 32);
		}
		break;
	default:
		break;
	}
}

/* ---- BAR 0 */

static struct virtio_pci *vp_of(struct bus_range *r)
{
	return container_of(r, struct pci_bar, range)->opaque;
}

static void vp_read(struct bus_range *r, uint64_t off, void *data, unsigned len)
{
	struct virtio_pci *p = vp_of(r);
	uint8_t common[COMMON_LEN];

	memset(data, 0, len);
	if (off + len <= COMMON_OFF + COMMON_LEN) {
		common_image(p, common);
		memcpy(data, common + off, len);
	} else if (off == ISR_OFF) {
		*(uint8_t *)data = p->isr;
		p->isr = 0;
	} else if (off >= DEVICE_OFF && off + len <= DEVICE_OFF + DEVICE_MAX) {
		virtio_config_read(p->dev, off - DEVICE_OFF, data, len);
	}
}

static void vp_write(struct bus_range *r, uint64_t off, const void *data, unsigned len)
{
	struct virtio_pci *p = vp_of(r);
	uint64_t q = (off - NOTIFY_OFF) / NOTIFY_STEP;

	if (off < COMMON_OFF + COMMON_LEN)
		common_write(p, off, data, len);
	else if (off >= DEVICE_OFF && off + len <= DEVICE_OFF + DEVICE_MAX)
		virtio_config_write(p->dev, off - DEVICE_OFF, data, len);
	else if (off >= NOTIFY_OFF && off % NOTIFY_STEP == 0 && q < p->dev->num_vq)
		virtio_kick(p->dev, q);
}

static const struct bus_ops vp_ops = {.read = vp_read, .write = vp_write};

/* Doorbells follow the BAR. */
static void vp_mapped(struct pci_dev *d, unsigned bar, bool on)
{
	struct virtio_pci *p = container_of(d, struct virtio_pci, pci);
	const struct hw_ops *ops = p->hw->ops;
	struct err err;

	for (unsigned q = 0; q < p->dev->num_vq; q++) {
		gpa_t gpa = d->bar[bar].range.base + NOTIFY_OFF + q * NOTIFY_STEP;
		int fd = virtio_kick_fd(p->dev, q);

		if (!on && p->doorbell[q])
			ops->doorbell_remove(p->hw, gpa, fd);
		p->doorbell[q] = on && ops->doorbell_add(p->hw, gpa, fd, &err) == 0;
		if (on && !p->doorbell[q])
			log_guest(&p->limit, "virtio-%s: works slower: %s", d->name, err.text);
	}
}

/* ---- configuration space */

/* §4.1.4.9: the BAR, offset and width that the driver set; false when they name nothing. */
static bool cfg_target(struct virtio_pci *p, struct pci_bar **ret_bar, uint32_t *ret_off,
		       uint32_t *ret_len)
{
	const uint8_t *cap = p->pci.config + p->cfg_cap;
	unsigned bar = cap[VIRTIO_PCI_CAP_BAR];
	uint32_t off = get_le32(cap + VIRTIO_PCI_CAP_OFFSET);
	uint32_t len = get_le32(cap + VIRTIO_PCI_CAP_LENGTH);

	if (bar >= PCI_NUM_BARS || p->pci.bar[bar].len == 0)
		return false;
	if ((len != 1 && len != 2 && len != 4) || off % len ||
	    (uint64_t)off + len > p->pci.bar[bar].len)
		return false;
	*ret_bar = &p->pci.bar[bar];
	*ret_off = off;
	*ret_len = len;
	return true;
}

static bool touches_cfg_data(const struct virtio_pci *p, unsigned off, unsigned len)
{
	unsigned data = p->cfg_cap + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data);

	return off < data + 4 && off + len > data;
}

static uint8_t *cfg_data(struct virtio_pci *p)
{
	return p->pci.config + p->cfg_cap + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data);
}

static void vp_config_read(struct pci_dev *d, unsigned off, unsigned len)
{
	struct virtio_pci *p = container_of(d, struct virtio_pci, pci);
	struct pci_bar *bar;
	uint32_t bar_off, bar_len;

	if (touches_cfg_data(p, off, len) && cfg_target(p, &bar, &bar_off, &bar_len))
		bar->range.ops->read(&bar->range, bar_off, cfg_data(p), bar_len);
}

static void vp_config_written(struct pci_dev *d, unsigned off, unsigned len)
{
	struct virtio_pci *p = container_of(d, struct virtio_pci, pci);
	struct pci_bar *bar;
	uint32_t bar_off, bar_len;

	if (!cfg_target(p, &bar, &bar_off, &bar_len))
		return;
	/* §4.1.4.9.1: a read of the data is an access to the BAR, so we must hear of it. */
	pci_trap_reads(d);
	if (touches_cfg_data(p, off, len))
		bar->range.ops->write(&bar->range, bar_off, cfg_data(p), bar_len);
}

static void vp_add_cap(struct virtio_pci *p, uint8_t type, uint32_t off, uint32_t len)
{
	struct virtio_pci_notify_cap cap = {
		.cap = {.cap_vndr = PCI_CAP_ID_VNDR, .cfg_type = type, .bar = BAR_VIRTIO},
	};
	unsigned cap_len = sizeof(cap.cap);

	put_le32(&cap.cap.offset, off);
	put_le32(&cap.cap.length, len);
	if (type == VIRTIO_PCI_CAP_NOTIFY_CFG) {
		cap_len = sizeof(cap);
		put_le32(&cap.notify_off_multiplier, NOTIFY_STEP);
	}
	cap.cap.cap_len = cap_len;
	(void)pci_add_cap(&p->pci, &cap, cap_len);
}

static void vp_add_cfg_access(struct virtio_pci *p)
{
	struct virtio_pci_cfg_cap cap = {
		.cap = {.cap_vndr = PCI_CAP_ID_VNDR,
			.cap_len = sizeof(cap),
			.cfg_type = VIRTIO_PCI_CAP_PCI_CFG},
	};
	uint8_t *wmask;

	p->cfg_cap = pci_add_cap(&p->pci, &cap, sizeof(cap));
	wmask = p->pci.wmask + p->cfg_cap;
	wmask[VIRTIO_PCI_CAP_BAR] = 0xff;
	memset(wmask + VIRTIO_PCI_CAP_OFFSET, 0xff, 12); /* offset, length, data */
}

static uint32_t vp_class(uint16_t id)
{
	switch (id) {
	case VIRTIO_ID_NET:
		return 0x020000; /* Ethernet */
	case VIRTIO_ID_BLOCK:
	case VIRTIO_ID_FS:
		return 0x018000; /* mass storage, other */
	case VIRTIO_ID_CONSOLE:
	case VIRTIO_ID_VSOCK:
		return 0x078000; /* communication, other */
	default:
		return 0xff0000; /* fits no class */
	}
}

static void vp_describe(struct virtio_pci *p)
{
	struct virtio_dev *d = p->dev;

	p->pci.name = d->ops->name;
	pci_init_header(&p->pci, VENDOR_ID, DEVICE_ID_BASE + d->ops->id, vp_class(d->ops->id),
			VENDOR_ID, DEVICE_ID_BASE + d->ops->id);
	p->pci.bar[BAR_VIRTIO].len = BAR_LEN;
	p->pci.bar[BAR_VIRTIO].range.ops = &vp_ops;
	p->pci.bar[BAR_VIRTIO].opaque = p;
	p->pci.bar[BAR_VIRTIO].mapped = vp_mapped;
	vp_add_cap(p, VIRTIO_PCI_CAP_COMMON_CFG, COMMON_OFF, COMMON_LEN);
	vp_add_cap(p, VIRTIO_PCI_CAP_ISR_CFG, ISR_OFF, 1);
	if (d->config_len)
		vp_add_cap(p, VIRTIO_PCI_CAP_DEVICE_CFG, DEVICE_OFF, d->config_len);
	vp_add_cap(p, VIRTIO_PCI_CAP_NOTIFY_CFG, NOTIFY_OFF, d->num_vq * NOTIFY_STEP);
	vp_add_cfg_access(p);
	p->pci.config_read = vp_config_read;
	p->pci.config_written = vp_config_written;
}

int virtio_pci_new(struct pci_root *root, struct virtio_dev *d, struct virtio_pci **ret_p,
		   struct err *err)
{
	struct virtio_pci *p = xcalloc(1, sizeof(*p));
	int r;

	assert(d->config_len <= DEVICE_MAX);
	p->dev = d;
	p->hw = pci_root_hw(root);
	p->num_vectors = d->num_vq + 1;
	vp_reset_registers(p);
	vp_describe(p);
	r = msix_new(&p->pci, p->hw, BAR_MSIX, p->num_vectors, &p->msix, err);
	if (r == 0)
		r = pci_add(root, &p->pci, err);
	if (r < 0) {
		virtio_pci_free(p);
		return r;
	}
	virtio_attach(d, &vp_transport_ops, p);
	*ret_p = p;
	return 0;
}

void virtio_pci_free(struct virtio_pci *p)
{
	if (!p)
		return;
	pci_remove(&p->pci);
	virtio_free(p->dev);
	msix_free(p->msix);
	free(p);
}
