/* SPDX-License-Identifier: Apache-2.0 */
/* A guest's virtio driver (virtio 1.2 §3.1, §4.1), for tests. */
#include "tests/support/fake_driver.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <string.h>

#include "base/endian.h"
#include "tests/support/check.h"

#define VENDOR_ID      0x1af4
#define DEVICE_ID_BASE 0x1040
#define NEVER          UINT16_MAX

/* ---- finding the device */

static unsigned find_slot(struct fake_machine *m, uint16_t id)
{
	uint32_t want = VENDOR_ID | (uint32_t)(DEVICE_ID_BASE + id) << 16;

	for (unsigned slot = 0; slot < PCI_MAX_DEVS; slot++) {
		if (!(m->claimed >> slot & 1) && fake_pci_read(m, slot, 0, 4) == want)
			return slot;
	}
	check(!"the device is on the bus");
	return 0;
}

/* PCI 3.0 §6.2.5.1: what a BAR's address is, and that sizing works and leaves it alone. */
static gpa_t probe_bar(struct fake_driver *drv, unsigned i)
{
	unsigned reg = PCI_BASE_ADDRESS_0 + 4 * i;
	uint32_t lo = fake_pci_read(drv->m, drv->slot, reg, 4);
	uint32_t hi = fake_pci_read(drv->m, drv->slot, reg + 4, 4);
	uint64_t size;

	if (!lo && !hi)
		return 0;
	check((lo & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64);
	fake_pci_write(drv->m, drv->slot, reg, UINT32_MAX, 4);
	fake_pci_write(drv->m, drv->slot, reg + 4, UINT32_MAX, 4);
	size = fake_pci_read(drv->m, drv->slot, reg, 4) & ~15u;
	size |= (uint64_t)fake_pci_read(drv->m, drv->slot, reg + 4, 4) << 32;
	size = ~size + 1;
	check(size >= 4096 && (size & (size - 1)) == 0);
	fake_pci_write(drv->m, drv->slot, reg, lo, 4);
	fake_pci_write(drv->m, drv->slot, reg + 4, hi, 4);
	return (uint64_t)hi << 32 | (lo & ~15u);
}

static void parse_virtio_cap(struct fake_driver *drv, unsigned cap)
{
	struct fake_machine *m = drv->m;
	unsigned bar = fake_pci_read(m, drv->slot, cap + VIRTIO_PCI_CAP_BAR, 1);
	gpa_t at = drv->bar[bar] + fake_pci_read(m, drv->slot, cap + VIRTIO_PCI_CAP_OFFSET, 4);

	switch (fake_pci_read(m, drv->slot, cap + VIRTIO_PCI_CAP_CFG_TYPE, 1)) {
	case VIRTIO_PCI_CAP_COMMON_CFG:
		drv->common = at;
		break;
	case VIRTIO_PCI_CAP_NOTIFY_CFG:
		drv->notify = at;
		drv->notify_step = fake_pci_read(m, drv->slot, cap + VIRTIO_PCI_NOTIFY_CAP_MULT, 4);
		break;
	case VIRTIO_PCI_CAP_ISR_CFG:
		drv->isr = at;
		break;
	case VIRTIO_PCI_CAP_DEVICE_CFG:
		drv->config = at;
		drv->config_len = fake_pci_read(m, drv->slot, cap + VIRTIO_PCI_CAP_LENGTH, 4);
		break;
	case VIRTIO_PCI_CAP_PCI_CFG:
		drv->cfg_cap = cap;
		break;
	default:
		break;
	}
}

static void parse_msix_cap(struct fake_driver *drv, unsigned cap)
{
	uint32_t table = fake_pci_read(drv->m, drv->slot, cap + PCI_MSIX_TABLE, 4);
	uint32_t pba = fake_pci_read(drv->m, drv->slot, cap + PCI_MSIX_PBA, 4);

	drv->msix_cap = cap;
	drv->num_vectors = 1 + (fake_pci_read(drv->m, drv->slot, cap + PCI_MSIX_FLAGS, 2) &
				PCI_MSIX_FLAGS_QSIZE);
	drv->msix_table = drv->bar[table & PCI_MSIX_TABLE_BIR] + (table & ~7u);
	drv->msix_pba = drv->bar[pba & PCI_MSIX_PBA_BIR] + (pba & ~7u);
}

static void parse_caps(struct fake_driver *drv)
{
	unsigned cap = fake_pci_read(drv->m, drv->slot, PCI_CAPABILITY_LIST, 1);

	check(fake_pci_read(drv->m, drv->slot, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST);
	for (unsigned n = 0; cap; n++) {
		unsigned id = fake_pci_read(drv->m, drv->slot, cap, 1);

		check(n < 48 && cap >= 64 && cap % 4 == 0);
		if (id == PCI_CAP_ID_VNDR)
			parse_virtio_cap(drv, cap);
		else if (id == PCI_CAP_ID_MSIX)
			parse_msix_cap(drv, cap);
		cap = fake_pci_read(drv->m, drv->slot, cap + PCI_CAP_LIST_NEXT, 1);
	}
}

void fake_driver_init(struct fake_driver *drv, struct fake_machine *m, struct virtio_dev *dev)
{
	memset(drv, 0, sizeof(*drv));
	drv->m = m;
	drv->dev = dev;
	check(virtio_pci_new(m->root, dev, &drv->pci, NULL) == 0);
	drv->slot = find_slot(m, dev->ops->id);
	m->claimed |= 1u << drv->slot;
	for (unsigned i = 0; i < PCI_NUM_BARS; i += 2)
		drv->bar[i] = probe_bar(drv, i);
	parse_caps(drv);
	check(drv->common && drv->notify && drv->isr && drv->cfg_cap && drv->msix_cap);
	fake_pci_write(m, drv->slot, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	drv->num_queues = fake_common_read(drv, VIRTIO_PCI_COMMON_NUMQ, 2);
	check(drv->num_queues >= 1 && drv->num_queues <= VIRTIO_MAX_QUEUES);
}

void fake_driver_done(struct fake_driver *drv)
{
	loop_enter(drv->m->loop);
	virtio_pci_free(drv->pci);
	loop_leave(drv->m->loop);
	drv->m->claimed &= ~(1u << drv->slot);
}

/* ---- registers */

uint64_t fake_common_read(struct fake_driver *drv, unsigned off, unsigned len)
{
	return fake_mmio_read(drv->m, drv->common + off, len);
}

void fake_common_write(struct fake_driver *drv, unsigned off, uint64_t v, unsigned len)
{
	fake_mmio_write(drv->m, drv->common + off, v, len);
}

uint64_t fake_config_read(struct fake_driver *drv, unsigned off, unsigned len)
{
	check(drv->config);
	return fake_mmio_read(drv->m, drv->config + off, len);
}

void fake_config_write(struct fake_driver *drv, unsigned off, uint64_t v, unsigned len)
{
	check(drv->config);
	fake_mmio_write(drv->m, drv->config + off, v, len);
}

uint8_t fake_driver_status(struct fake_driver *drv)
{
	return fake_common_read(drv, VIRTIO_PCI_COMMON_STATUS, 1);
}

bool fake_driver_needs_reset(struct fake_driver *drv)
{
	return fake_driver_status(drv) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

static void add_status(struct fake_driver *drv, uint8_t bits)
{
	fake_common_write(drv, VIRTIO_PCI_COMMON_STATUS, fake_driver_status(drv) | bits, 1);
}

/* ---- set-up */

void fake_driver_reset(struct fake_driver *drv)
{
	fake_common_write(drv, VIRTIO_PCI_COMMON_STATUS, 0, 1);
	check(fake_driver_status(drv) == 0);
	add_status(drv, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	add_status(drv, VIRTIO_CONFIG_S_DRIVER);
}

uint64_t fake_driver_offered(struct fake_driver *drv)
{
	uint64_t offered;

	fake_common_write(drv, VIRTIO_PCI_COMMON_DFSELECT, 1, 4);
	offered = fake_common_read(drv, VIRTIO_PCI_COMMON_DF, 4) << 32;
	fake_common_write(drv, VIRTIO_PCI_COMMON_DFSELECT, 0, 4);
	return offered | fake_common_read(drv, VIRTIO_PCI_COMMON_DF, 4);
}

bool fake_driver_negotiate(struct fake_driver *drv, uint64_t features)
{
	for (unsigned i = 0; i < 2; i++) {
		fake_common_write(drv, VIRTIO_PCI_COMMON_GFSELECT, i, 4);
		fake_common_write(drv, VIRTIO_PCI_COMMON_GF, features >> 32 * i & UINT32_MAX, 4);
	}
	add_status(drv, VIRTIO_CONFIG_S_FEATURES_OK);
	drv->acked = features;
	return fake_driver_status(drv) & VIRTIO_CONFIG_S_FEATURES_OK;
}

uint64_t fake_msi_addr(const struct fake_driver *drv, unsigned vector)
{
	return 0xfee00000 | drv->slot << 12;
}

uint32_t fake_msi_data(const struct fake_driver *drv, unsigned vector)
{
	return 0x4000 + vector;
}

void fake_driver_setup_msix(struct fake_driver *drv)
{
	for (unsigned v = 0; v < drv->num_vectors; v++) {
		gpa_t entry = drv->msix_table + v * PCI_MSIX_ENTRY_SIZE;
		uint64_t addr = fake_msi_addr(drv, v);

		fake_mmio_write(drv->m, entry + PCI_MSIX_ENTRY_LOWER_ADDR, addr & UINT32_MAX, 4);
		fake_mmio_write(drv->m, entry + PCI_MSIX_ENTRY_UPPER_ADDR, addr >> 32, 4);
		fake_mmio_write(drv->m, entry + PCI_MSIX_ENTRY_DATA, fake_msi_data(drv, v), 4);
		fake_mmio_write(drv->m, entry + PCI_MSIX_ENTRY_VECTOR_CTRL, 0, 4);
	}
	fake_pci_write(drv->m, drv->slot, drv->msix_cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
	fake_common_write(drv, VIRTIO_PCI_COMMON_MSIX, 0, 2);
	check(fake_common_read(drv, VIRTIO_PCI_COMMON_MSIX, 2) == 0);
}

static void alloc_rings(struct fake_queue *q)
{
	struct fake_machine *m = q->drv->m;
	size_t desc_len = q->size * sizeof(struct vring_desc);
	size_t avail_len = 6 + 2 * q->size, used_len = 6 + 8 * q->size;

	q->desc_gpa = fake_alloc(m, desc_len, 16);
	q->avail_gpa = fake_alloc(m, avail_len, 2);
	q->used_gpa = fake_alloc(m, used_len, 4);
	q->desc = fake_ptr(m, q->desc_gpa, desc_len);
	q->avail = fake_ptr(m, q->avail_gpa, avail_len);
	q->used = fake_ptr(m, q->used_gpa, used_len);
}

void fake_driver_setup_queue(struct fake_driver *drv, unsigned i, uint16_t size)
{
	struct fake_queue *q = &drv->queue[i];

	fake_common_write(drv, VIRTIO_PCI_COMMON_Q_SELECT, i, 2);
	memset(q, 0, sizeof(*q));
	q->drv = drv;
	q->index = i;
	q->size = size ? size : fake_common_read(drv, VIRTIO_PCI_COMMON_Q_SIZE, 2);
	check(q->size >= 1 && q->size <= VQUEUE_MAX_SIZE);
	alloc_rings(q);
	q->doorbell =
		drv->notify + drv->notify_step * fake_common_read(drv, VIRTIO_PCI_COMMON_Q_NOFF, 2);
	fake_common_write(drv, VIRTIO_PCI_COMMON_Q_SIZE, q->size, 2);
	fake_common_write(drv, VIRTIO_PCI_COMMON_Q_DESCLO, q->desc_gpa, 4);
	fake_common_write(drv, VIRTIO_PCI_COMMON_Q_DESCHI, q->desc_gpa >> 32, 4);
	fake_common_write(drv, VIRTIO_PCI_COMMON_Q_AVAILLO, q->avail_gpa, 4);
	fake_common_write(drv, VIRTIO_PCI_COMMON_Q_AVAILHI, q->avail_gpa >> 32, 4);
	fake_common_write(drv, VIRTIO_PCI_COMMON_Q_USEDLO, q->used_gpa, 4);
	fake_common_write(drv, VIRTIO_PCI_COMMON_Q_USEDHI, q->used_gpa >> 32, 4);
	fake_common_write(drv, VIRTIO_PCI_COMMON_Q_MSIX, 1 + i, 2);
	check(fake_common_read(drv, VIRTIO_PCI_COMMON_Q_MSIX, 2) == 1 + i);
	fake_common_write(drv, VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
}

void fake_driver_ok(struct fake_driver *drv)
{
	add_status(drv, VIRTIO_CONFIG_S_DRIVER_OK);
}

void fake_driver_start(struct fake_driver *drv, uint64_t want)
{
	fake_driver_reset(drv);
	want = (want | 1ull << VIRTIO_F_VERSION_1) & fake_driver_offered(drv);
	check(fake_driver_negotiate(drv, want));
	fake_driver_setup_msix(drv);
	for (unsigned i = 0; i < drv->num_queues; i++)
		fake_driver_setup_queue(drv, i, 0);
	fake_driver_ok(drv);
	check(fake_driver_status(drv) & VIRTIO_CONFIG_S_DRIVER_OK);
	check(!fake_driver_needs_reset(drv));
}

unsigned fake_config_interrupts(struct fake_driver *drv)
{
	return fake_hw_interrupts(&drv->m->hw, fake_msi_addr(drv, 0), fake_msi_data(drv, 0));
}

unsigned fake_queue_interrupts(struct fake_queue *q)
{
	return fake_hw_interrupts(&q->drv->m->hw, fake_msi_addr(q->drv, 1 + q->index),
				  fake_msi_data(q->drv, 1 + q->index));
}

/* ---- rings */

static bool event_idx(const struct fake_queue *q)
{
	return q->drv->acked >> VIRTIO_RING_F_EVENT_IDX & 1;
}

uint16_t fake_queue_take_desc(struct fake_queue *q, uint16_t head)
{
	uint16_t i = 0;

	while (i < q->size && q->taken[i])
		i++;
	check(i < q->size);
	q->taken[i] = 1 + (head == NEVER ? i : head);
	return i;
}

void fake_queue_set_desc(struct fake_queue *q, uint16_t i, gpa_t gpa, uint32_t len, uint16_t flags,
			 uint16_t next)
{
	q->desc[i] = (struct vring_desc){
		.addr = htole64(gpa),
		.len = htole32(len),
		.flags = htole16(flags),
		.next = htole16(next),
	};
}

void fake_queue_publish(struct fake_queue *q, uint16_t head)
{
	__atomic_store_n(&q->avail->ring[q->next_avail % q->size], htole16(head), __ATOMIC_RELAXED);
	q->next_avail++;
	__atomic_store_n(&q->avail->idx, htole16(q->next_avail), __ATOMIC_RELEASE);
}

static uint16_t seg_flags(const struct fake_seg *seg, bool more)
{
	return (seg->write ? VRING_DESC_F_WRITE : 0) | (more ? VRING_DESC_F_NEXT : 0);
}

uint16_t fake_queue_add(struct fake_queue *q, const struct fake_seg *seg, unsigned num)
{
	uint16_t head = fake_queue_take_desc(q, NEVER), i = head;

	check(num >= 1);
	for (unsigned n = 0; n < num; n++) {
		bool more = n + 1 < num;
		uint16_t next = more ? fake_queue_take_desc(q, head) : 0;

		fake_queue_set_desc(q, i, seg[n].gpa, seg[n].len, seg_flags(&seg[n], more), next);
		i = next;
	}
	fake_queue_publish(q, head);
	return head;
}

uint16_t fake_queue_add_indirect(struct fake_queue *q, const struct fake_seg *seg, unsigned num)
{
	uint16_t head = fake_queue_take_desc(q, NEVER);
	uint32_t len = num * sizeof(struct vring_desc);
	gpa_t table = fake_alloc(q->drv->m, len, 16);
	struct vring_desc *d = fake_ptr(q->drv->m, table, len);

	for (unsigned n = 0; n < num; n++) {
		d[n].addr = htole64(seg[n].gpa);
		d[n].len = htole32(seg[n].len);
		d[n].flags = htole16(seg_flags(&seg[n], n + 1 < num));
		d[n].next = htole16(n + 1 < num ? n + 1 : 0);
	}
	fake_queue_set_desc(q, head, table, len, VRING_DESC_F_INDIRECT, 0);
	fake_queue_publish(q, head);
	return head;
}

bool fake_queue_kick(struct fake_queue *q)
{
	uint16_t old = q->last_kick, *event;
	bool wanted;

	q->last_kick = q->next_avail;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (event_idx(q)) {
		event = (uint16_t *)&q->used->ring[q->size];
		wanted = vring_need_event(le16toh(__atomic_load_n(event, __ATOMIC_RELAXED)),
					  q->next_avail, old);
	} else {
		wanted = !(le16toh(__atomic_load_n(&q->used->flags, __ATOMIC_RELAXED)) &
			   VRING_USED_F_NO_NOTIFY);
	}
	if (wanted)
		fake_queue_ring(q);
	return wanted;
}

void fake_queue_ring(struct fake_queue *q)
{
	fake_mmio_write(q->drv->m, q->doorbell, q->index, 2);
}

static bool used_waits(const struct fake_queue *q)
{
	return le16toh(__atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE)) != q->last_used;
}

bool fake_queue_take_used(struct fake_queue *q, uint32_t *ret_id, uint32_t *ret_len)
{
	const struct vring_used_elem *e = &q->used->ring[q->last_used % q->size];

	if (!used_waits(q))
		return false;
	if (ret_id)
		*ret_id = le32toh(e->id);
	if (ret_len)
		*ret_len = le32toh(e->len);
	for (unsigned i = 0; i < q->size; i++) {
		if (q->taken[i] == 1 + le32toh(e->id))
			q->taken[i] = 0;
	}
	q->last_used++;
	if (event_idx(q))
		__atomic_store_n(&q->avail->ring[q->size], htole16(q->last_used), __ATOMIC_SEQ_CST);
	return true;
}

static bool wait_over(void *arg)
{
	struct fake_queue *q = arg;

	return used_waits(q) || fake_driver_needs_reset(q->drv);
}

bool fake_queue_wait(struct fake_queue *q, int ms)
{
	return fake_run_until(q->drv->m, wait_over, q, ms) && used_waits(q);
}

int fake_driver_request(struct fake_driver *drv, unsigned qi, const void *rd, uint32_t rd_len,
			void *wr, uint32_t wr_len, uint32_t *ret_written)
{
	struct fake_machine *m = drv->m;
	struct fake_queue *q = &drv->queue[qi];
	gpa_t mark = m->next;
	gpa_t rd_gpa = fake_alloc(m, rd_len, 16), wr_gpa = fake_alloc(m, wr_len, 16);
	struct fake_seg seg[2];
	unsigned num = 0;
	uint32_t id, len;
	uint16_t head;

	if (rd_len) {
		memcpy(fake_ptr(m, rd_gpa, rd_len), rd, rd_len);
		seg[num++] = (struct fake_seg){rd_gpa, rd_len, false};
	}
	if (wr_len)
		seg[num++] = (struct fake_seg){wr_gpa, wr_len, true};
	head = fake_queue_add(q, seg, num);
	(void)fake_queue_kick(q);
	if (!fake_queue_wait(q, 2000))
		return fake_driver_needs_reset(drv) ? -EIO : -ETIMEDOUT;
	check(fake_queue_take_used(q, &id, &len));
	check(id == head && len <= wr_len);
	if (wr_len)
		memcpy(wr, fake_ptr(m, wr_gpa, wr_len), wr_len);
	if (ret_written)
		*ret_written = len;
	m->next = mark;
	return 0;
}
