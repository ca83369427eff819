/* SPDX-License-Identifier: Apache-2.0 */
/* MSI-X: the table, the pending bits and the masks (PCI 3.0 §6.8.2). */
/*
 * A vector is live while MSI-X is enabled and neither the function nor the vector is masked. Only a
 * vector that goes live takes a machine interrupt, and the machine is told of a message only if it
 * is another than before: that costs the host a rewrite of its routing table. Turning MSI-X off
 * gives all of them back.
 */
#include "devices/pci/msix.h"

#include <assert.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/endian.h"
#include "base/list.h"
#include "base/log.h"
#include "base/str.h"

#define MSIX_BAR_LEN   4096
#define MSIX_PBA_OFF   2048
#define MSIX_CTRL_MASK PCI_MSIX_ENTRY_CTRL_MASKBIT

struct msix_vector {
	uint8_t entry[PCI_MSIX_ENTRY_SIZE]; /* as the guest sees it */
	bool pending;
	bool has_irq; /* irq and fd are ours */
	bool routed;  /* the machine knows addr and data */
	unsigned irq;
	int fd;
	uint64_t addr;
	uint32_t data;
};

struct msix {
	struct pci_dev *d;
	struct hw *hw;
	unsigned cap, num;
	bool enabled, masked; /* the whole function */
	struct log_limit limit;
	struct msix_vector vec[MSIX_MAX_VECTORS];
};

static bool vector_live(const struct msix *m, const struct msix_vector *v)
{
	return m->enabled && !m->masked &&
	       !(get_le32(v->entry + PCI_MSIX_ENTRY_VECTOR_CTRL) & MSIX_CTRL_MASK);
}

static void vector_release(struct msix *m, struct msix_vector *v)
{
	if (v->has_irq)
		m->hw->ops->msi_free(m->hw, v->irq);
	v->has_irq = v->routed = false;
	v->fd = -1;
}

/*
 * Makes the machine deliver what the table says. False: the machine cannot, and says so in the log.
 */
static bool vector_route(struct msix *m, struct msix_vector *v)
{
	uint64_t addr = get_le64(v->entry + PCI_MSIX_ENTRY_LOWER_ADDR);
	uint32_t data = get_le32(v->entry + PCI_MSIX_ENTRY_DATA);
	struct err err;
	int r;

	if (!v->has_irq) {
		r = m->hw->ops->msi_new(m->hw, &v->irq, &v->fd, &err);
		if (r < 0) {
			v->fd = -1;
			log_guest(&m->limit, "%s: %s", m->d->name, err.text);
			return false;
		}
		v->has_irq = true;
	}
	if (v->routed && v->addr == addr && v->data == data)
		return true;
	r = m->hw->ops->msi_set(m->hw, v->irq, addr, data);
	v->routed = r == 0;
	if (r < 0) {
		log_guest(
			&m->limit,
			"%s: the guest asked for an interrupt message that the machine refuses: %s",
			m->d->name, strerror(-r));
		return false;
	}
	v->addr = addr;
	v->data = data;
	return true;
}

static void vector_fire(struct msix_vector *v)
{
	uint64_t one = 1;

	(void)!write(v->fd, &one, sizeof(one));
}

/* The vector may have gone live, or its message may have changed. */
static void vector_update(struct msix *m, struct msix_vector *v)
{
	if (!vector_live(m, v) || !vector_route(m, v) || !v->pending)
		return;
	v->pending = false;
	vector_fire(v);
}

void msix_raise(struct msix *m, unsigned n)
{
	struct msix_vector *v;

	if (n >= m->num || !m->enabled)
		return;
	v = &m->vec[n];
	if (vector_live(m, v) && v->routed)
		vector_fire(v);
	else
		v->pending = true;
}

int msix_fd(struct msix *m, unsigned n)
{
	const struct msix_vector *v;

	if (n >= m->num)
		return -1;
	v = &m->vec[n];
	return vector_live(m, v) && v->routed ? v->fd : -1;
}

static void msix_off(struct msix *m)
{
	m->enabled = false;
	for (unsigned i = 0; i < m->num; i++) {
		vector_release(m, &m->vec[i]);
		m->vec[i].pending = false;
	}
}

void msix_config_written(struct msix *m, unsigned off, unsigned len)
{
	unsigned reg = m->cap + PCI_MSIX_FLAGS;
	uint16_t flags;

	if (off >= reg + 2 || off + len <= reg)
		return;
	flags = get_le16(m->d->config + reg);
	m->masked = flags & PCI_MSIX_FLAGS_MASKALL;
	if (!(flags & PCI_MSIX_FLAGS_ENABLE)) {
		msix_off(m);
		return;
	}
	m->enabled = true;
	for (unsigned i = 0; i < m->num; i++)
		vector_update(m, &m->vec[i]);
}

static uint32_t msix_pba_word(const struct msix *m, unsigned word)
{
	uint32_t bits = 0;

	for (unsigned i = 0; i < 32 && word * 32 + i < m->num; i++)
		bits |= (uint32_t)m->vec[word * 32 + i].pending << i;
	return bits;
}

/* One double word of the BAR; table and pending bits are zero past the last vector. */
static uint32_t msix_word(const struct msix *m, unsigned off)
{
	if (off / PCI_MSIX_ENTRY_SIZE < m->num)
		return get_le32(m->vec[off / PCI_MSIX_ENTRY_SIZE].entry +
				off % PCI_MSIX_ENTRY_SIZE);
	if (off >= MSIX_PBA_OFF)
		return msix_pba_word(m, (off - MSIX_PBA_OFF) / 4);
	return 0;
}

static struct msix *msix_of(struct bus_range *r)
{
	return container_of(r, struct pci_bar, range)->opaque;
}

static void msix_read(struct bus_range *r, uint64_t off, void *data, unsigned len)
{
	struct msix *m = msix_of(r);

	for (unsigned i = 0; i < len; i++)
		((uint8_t *)data)[i] = msix_word(m, (off + i) & ~3u) >> 8 * ((off + i) & 3);
}

/* §6.8.2: software writes aligned double and quad words only. */
static void msix_write(struct bus_range *r, uint64_t off, const void *data, unsigned len)
{
	struct msix *m = msix_of(r);
	struct msix_vector *v;

	if (len < 4 || off % len != 0 || off / PCI_MSIX_ENTRY_SIZE >= m->num)
		return;
	v = &m->vec[off / PCI_MSIX_ENTRY_SIZE];
	memcpy(v->entry + off % PCI_MSIX_ENTRY_SIZE, data, len);
	/* Of the control word only the mask bit is ours; the rest reads as zero. */
	put_le32(v->entry + PCI_MSIX_ENTRY_VECTOR_CTRL,
		 get_le32(v->entry + PCI_MSIX_ENTRY_VECTOR_CTRL) & MSIX_CTRL_MASK);
	vector_update(m, v);
}

static const struct bus_ops msix_bar_ops = {.read = msix_read, .write = msix_write};

void msix_reset(struct msix *m)
{
	uint8_t *flags = m->d->config + m->cap + PCI_MSIX_FLAGS;

	msix_off(m);
	m->masked = false;
	put_le16(flags, get_le16(flags) & ~(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL));
	for (unsigned i = 0; i < m->num; i++) {
		memset(m->vec[i].entry, 0, sizeof(m->vec[i].entry));
		put_le32(m->vec[i].entry + PCI_MSIX_ENTRY_VECTOR_CTRL, MSIX_CTRL_MASK);
	}
}

int msix_new(struct pci_dev *d, struct hw *hw, unsigned bar, unsigned num_vectors,
	     struct msix **ret_m, struct err *err)
{
	struct msix *m = xcalloc(1, sizeof(*m));
	uint8_t cap[PCI_CAP_MSIX_SIZEOF] = {PCI_CAP_ID_MSIX};

	assert(num_vectors >= 1 && num_vectors <= MSIX_MAX_VECTORS);
	assert(bar % 2 == 0 && bar < PCI_NUM_BARS && d->bar[bar].len == 0 && !d->root);
	m->d = d;
	m->hw = hw;
	m->num = num_vectors;
	for (unsigned i = 0; i < m->num; i++)
		m->vec[i].fd = -1;
	put_le16(cap + PCI_MSIX_FLAGS, num_vectors - 1);
	put_le32(cap + PCI_MSIX_TABLE, bar);
	put_le32(cap + PCI_MSIX_PBA, MSIX_PBA_OFF | bar);
	m->cap = pci_add_cap(d, cap, sizeof(cap));
	put_le16(d->wmask + m->cap + PCI_MSIX_FLAGS,
		 PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	d->bar[bar].len = MSIX_BAR_LEN;
	d->bar[bar].range.ops = &msix_bar_ops;
	d->bar[bar].opaque = m;
	d->msix = m;
	msix_reset(m);
	*ret_m = m;
	return 0;
}

void msix_free(struct msix *m)
{
	if (!m)
		return;
	msix_off(m);
	m->d->msix = NULL;
	free(m);
}
