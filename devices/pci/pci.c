/* SPDX-License-Identifier: Apache-2.0 */
/* One PCI root bus: configuration space by ECAM and memory BARs (PCI 3.0 §6, PCI Express 4.0 §7.2.2). */
/*
 * Configuration space is bytes and a mask of what the guest may change. Nothing else is stored
 * twice: where a BAR is, and whether it answers, is worked out anew from those bytes after every
 * write that may matter, and the bus is brought in line with it. A BAR answers while memory
 * decoding is on and it lies wholly in one of the windows that the guest was told of, and on
 * nothing else; one that loses against another comes back when the other goes away. The all-ones
 * pattern of BAR sizing is such an address outside of the windows.
 *
 * A kernel reads configuration space some hundred times for each device, walking the list of
 * capabilities again for each kind it looks for. Where the machine can, it shows the guest a copy,
 * the shadow, which is brought in line after every write; reads then cost nothing.
 */
#include "devices/pci/pci.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/list.h"
#include "base/log.h"
#include "base/str.h"
#include "devices/pci/msix.h"

#define ECAM_BUS_LEN    (1u << 20)
#define ECAM_SLOT_SHIFT 15
#define ECAM_FUNC_SHIFT 12
#define BAR_ALIGN       4096
/* Up to here a BAR goes below 4 GiB, where any kernel reaches it. */
#define BAR_SMALL         (1u << 20)
#define BRIDGE_VENDOR     0x1b36
#define BRIDGE_DEVICE     0x0008 /* a plain PCI Express host bridge that no driver wants */
#define CLASS_HOST_BRIDGE 0x060000

struct pci_root {
	struct hw *hw;
	struct bus *mmio;
	struct pci_windows win;
	uint64_t next32, next64; /* where the next BAR may go */
	struct bus_range ecam;
	uint8_t *shadow; /* a page for each slot */
	struct pci_dev *dev[PCI_MAX_DEVS];
	struct pci_dev bridge;
	struct log_limit limit;
};

static bool range_in(uint64_t addr, uint64_t len, uint64_t base, uint64_t win_len)
{
	return addr >= base && addr - base < win_len && len <= win_len - (addr - base);
}

/* The address in BAR i's registers if it should answer there now, else 0. */
static uint64_t bar_wanted(const struct pci_root *root, const struct pci_dev *d, unsigned i)
{
	const struct pci_windows *w = &root->win;
	uint64_t len = d->bar[i].len, addr;

	if (len == 0 || !(get_le16(d->config + PCI_COMMAND) & PCI_COMMAND_MEMORY))
		return 0;
	addr = get_le64(d->config + PCI_BASE_ADDRESS_0 + 4 * i) &
	       (uint64_t)PCI_BASE_ADDRESS_MEM_MASK;
	if (!range_in(addr, len, w->mmio32_base, w->mmio32_len) &&
	    !range_in(addr, len, w->mmio64_base, w->mmio64_len))
		return 0;
	return addr;
}

static void bar_unmap(struct pci_dev *d, unsigned i)
{
	struct pci_bar *bar = &d->bar[i];

	if (!bar->range.bus)
		return;
	if (bar->mapped)
		bar->mapped(d, i, false);
	bus_remove(&bar->range);
}

static void bar_map(struct pci_root *root, struct pci_dev *d, unsigned i, uint64_t addr)
{
	struct pci_bar *bar = &d->bar[i];
	int r;

	bar->range.base = addr;
	bar->range.len = bar->len;
	r = bus_add(root->mmio, &bar->range);
	if (r < 0) {
		log_guest(&root->limit,
			  "%s: the guest put BAR %u at 0x%" PRIx64 ", where it cannot be: %s",
			  d->name, i, addr, strerror(-r));
		return;
	}
	if (bar->mapped)
		bar->mapped(d, i, true);
}

/*
 * Brings the bus in line with configuration space. First all leave, then all come: two BARs may
 * swap places.
 */
static void root_update_bars(struct pci_root *root)
{
	for (unsigned s = 0; s < PCI_MAX_DEVS; s++) {
		struct pci_dev *d = root->dev[s];

		for (unsigned i = 0; d && i < PCI_NUM_BARS; i += 2) {
			if (d->bar[i].range.bus && d->bar[i].range.base != bar_wanted(root, d, i))
				bar_unmap(d, i);
		}
	}
	for (unsigned s = 0; s < PCI_MAX_DEVS; s++) {
		struct pci_dev *d = root->dev[s];

		for (unsigned i = 0; d && i < PCI_NUM_BARS; i += 2) {
			uint64_t addr = bar_wanted(root, d, i);

			if (addr && !d->bar[i].range.bus)
				bar_map(root, d, i, addr);
		}
	}
}

static bool overlaps(unsigned off, unsigned len, unsigned first, unsigned end)
{
	return off < end && off + len > first;
}

/* Byte by byte, as another processor may be reading: what does not change stays as it is. */
static void shadow_update(struct pci_dev *d)
{
	for (unsigned i = 0; d->shadow && i < sizeof(d->config); i++) {
		if (d->shadow[i] != d->config[i])
			*(volatile uint8_t *)&d->shadow[i] = d->config[i];
	}
}

static uint64_t shadow_gpa(const struct pci_dev *d)
{
	return d->root->win.ecam_base + ((uint64_t)d->slot << ECAM_SLOT_SHIFT);
}

/* Without it all works, slower. */
static void shadow_start(struct pci_dev *d)
{
	struct pci_root *root = d->root;
	const struct hw_ops *ops = root->hw->ops;
	uint8_t *page = root->shadow + (size_t)d->slot * PCI_CONFIG_LEN;
	struct err err;

	if (!ops->shadow_add)
		return;
	memset(page, 0, PCI_CONFIG_LEN);
	memcpy(page, d->config, sizeof(d->config));
	if (ops->shadow_add(root->hw, shadow_gpa(d), page, PCI_CONFIG_LEN, &err) == 0)
		d->shadow = page;
	else
		log_debug("%s: configuration space is slow: %s", d->name, err.text);
}

void pci_trap_reads(struct pci_dev *d)
{
	if (!d->shadow)
		return;
	d->root->hw->ops->shadow_remove(d->root->hw, shadow_gpa(d));
	d->shadow = NULL;
}

static void config_changed(struct pci_dev *d, unsigned off, unsigned len)
{
	if (overlaps(off, len, PCI_COMMAND, PCI_COMMAND + 2) ||
	    overlaps(off, len, PCI_BASE_ADDRESS_0, PCI_BASE_ADDRESS_5 + 4))
		root_update_bars(d->root);
	if (off < PCI_STD_HEADER_SIZEOF)
		return;
	if (d->msix)
		msix_config_written(d->msix, off, len);
	if (d->config_written)
		d->config_written(d, off, len);
}

static void config_write(struct pci_dev *d, unsigned off, const uint8_t *data, unsigned len)
{
	for (unsigned i = 0; i < len; i++) {
		uint8_t mask = d->wmask[off + i];

		d->config[off + i] = (d->config[off + i] & ~mask) | (data[i] & mask);
	}
	config_changed(d, off, len);
	shadow_update(d);
}

/*
 * Whose configuration space off of the ECAM range is in; there is only bus 0, and only functions 0.
 */
static struct pci_dev *ecam_dev(struct pci_root *root, uint64_t off)
{
	if ((off >> ECAM_FUNC_SHIFT & 7) != 0)
		return NULL;
	return root->dev[off >> ECAM_SLOT_SHIFT];
}

/* PCI Express 4.0 §7.2.2: accesses do not cross a double word; 8 bytes are taken as two of them. */
static bool ecam_aligned(uint64_t off, unsigned len)
{
	return off % (len > 4 ? 4 : len) == 0;
}

static void ecam_read(struct bus_range *r, uint64_t off, void *data, unsigned len)
{
	struct pci_root *root = container_of(r, struct pci_root, ecam);
	struct pci_dev *d = ecam_dev(root, off);
	unsigned reg = off % PCI_CONFIG_LEN;

	memset(data, 0xff, len);
	if (!d || !ecam_aligned(off, len) || reg + len > PCI_CONFIG_LEN)
		return;
	if (reg + len > sizeof(d->config)) {
		/*
		 * Extended configuration space is there and empty: a zero header ends its list
		 * (§7.6.3).
		 */
		memset(data, 0, len);
		return;
	}
	if (d->config_read && reg >= PCI_STD_HEADER_SIZEOF)
		d->config_read(d, reg, len);
	memcpy(data, d->config + reg, len);
}

static void ecam_write(struct bus_range *r, uint64_t off, const void *data, unsigned len)
{
	struct pci_root *root = container_of(r, struct pci_root, ecam);
	struct pci_dev *d = ecam_dev(root, off);
	unsigned reg = off % PCI_CONFIG_LEN;

	if (!d || !ecam_aligned(off, len) || reg + len > sizeof(d->config))
		return;
	config_write(d, reg, data, len);
}

static const struct bus_ops ecam_ops = {.read = ecam_read, .write = ecam_write};

void pci_init_header(struct pci_dev *d, uint16_t vendor, uint16_t device, uint32_t class_code,
		     uint16_t subsystem_vendor, uint16_t subsystem)
{
	uint8_t *c = d->config;

	put_le16(c + PCI_VENDOR_ID, vendor);
	put_le16(c + PCI_DEVICE_ID, device);
	c[PCI_REVISION_ID] = 1;
	c[PCI_CLASS_PROG] = class_code & 0xff;
	put_le16(c + PCI_CLASS_DEVICE, class_code >> 8);
	put_le16(c + PCI_SUBSYSTEM_VENDOR_ID, subsystem_vendor);
	put_le16(c + PCI_SUBSYSTEM_ID, subsystem);
	put_le16(d->wmask + PCI_COMMAND,
		 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
	d->wmask[PCI_CACHE_LINE_SIZE] = 0xff;
	d->wmask[PCI_INTERRUPT_LINE] = 0xff;
	d->cap_end = PCI_STD_HEADER_SIZEOF;
}

unsigned pci_add_cap(struct pci_dev *d, const void *cap, unsigned len)
{
	unsigned off = d->cap_end, at = PCI_CAPABILITY_LIST;

	assert(off >= PCI_STD_HEADER_SIZEOF && off + len < sizeof(d->config));
	while (d->config[at])
		at = d->config[at] + PCI_CAP_LIST_NEXT;
	d->config[at] = off;
	memcpy(d->config + off, cap, len);
	d->config[off + PCI_CAP_LIST_NEXT] = 0;
	d->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
	d->cap_end = (off + len + 3) & ~3u;
	return off;
}

static int window_alloc(uint64_t *next, uint64_t base, uint64_t win_len, uint64_t len,
			uint64_t *ret)
{
	uint64_t addr = (*next + len - 1) & ~(len - 1);

	if (addr < *next || !range_in(addr, len, base, win_len))
		return -ENOSPC;
	*next = addr + len;
	*ret = addr;
	return 0;
}

/* Gives BAR i an address and the register bits that make it sizable (PCI 3.0 §6.2.5.1). */
static int bar_setup(struct pci_root *root, struct pci_dev *d, unsigned i, struct err *err)
{
	struct pci_windows *w = &root->win;
	struct pci_bar *bar = &d->bar[i];
	unsigned reg = PCI_BASE_ADDRESS_0 + 4 * i;
	uint64_t addr = 0, flags = PCI_BASE_ADDRESS_MEM_TYPE_64;
	int r = -ENOSPC;

	assert(bar->len >= BAR_ALIGN && (bar->len & (bar->len - 1)) == 0);
	if (bar->len <= BAR_SMALL)
		r = window_alloc(&root->next32, w->mmio32_base, w->mmio32_len, bar->len, &addr);
	if (r < 0)
		r = window_alloc(&root->next64, w->mmio64_base, w->mmio64_len, bar->len, &addr);
	if (r < 0)
		return err_say(err, ENOSPC, "no room for the registers of %s: too many devices",
			       d->name);
	if (bar->prefetchable)
		flags |= PCI_BASE_ADDRESS_MEM_PREFETCH;
	put_le64(d->config + reg, addr | flags);
	put_le64(d->wmask + reg, ~(bar->len - 1));
	return 0;
}

int pci_add(struct pci_root *root, struct pci_dev *d, struct err *err)
{
	unsigned slot = 0;
	int r;

	assert(!d->root && d->cap_end);
	while (slot < PCI_MAX_DEVS && root->dev[slot])
		slot++;
	if (slot == PCI_MAX_DEVS)
		return err_say(err, ENOSPC,
			       "no room for %s: the bus has %u devices, and no more fit", d->name,
			       PCI_MAX_DEVS);
	for (unsigned i = 0; i < PCI_NUM_BARS; i += 2) {
		r = d->bar[i].len ? bar_setup(root, d, i, err) : 0;
		if (r < 0)
			return r;
	}
	d->root = root;
	d->slot = slot;
	root->dev[slot] = d;
	shadow_start(d);
	return 0;
}

void pci_remove(struct pci_dev *d)
{
	if (!d->root)
		return;
	pci_trap_reads(d);
	for (unsigned i = 0; i < PCI_NUM_BARS; i += 2)
		bar_unmap(d, i);
	d->root->dev[d->slot] = NULL;
	d->root = NULL;
}

int pci_root_new(struct hw *hw, struct bus *mmio, const struct pci_windows *win,
		 struct pci_root **ret_root, struct err *err)
{
	struct pci_root *root = xcalloc(1, sizeof(*root));
	int r;

	root->hw = hw;
	root->mmio = mmio;
	root->win = *win;
	root->next32 = win->mmio32_base;
	root->next64 = win->mmio64_base;
	root->ecam.base = win->ecam_base;
	root->ecam.len = ECAM_BUS_LEN;
	root->ecam.ops = &ecam_ops;
	/* Not touched where there is no device, so not there. */
	root->shadow = aligned_alloc(PCI_CONFIG_LEN, (size_t)PCI_MAX_DEVS * PCI_CONFIG_LEN);
	if (!root->shadow)
		abort();
	r = bus_add(mmio, &root->ecam);
	if (r < 0) {
		r = err_set(err, -r, "cannot place PCI configuration space at 0x%" PRIx64,
			    win->ecam_base);
		free(root->shadow);
		free(root);
		return r;
	}
	root->bridge.name = "pci";
	pci_init_header(&root->bridge, BRIDGE_VENDOR, BRIDGE_DEVICE, CLASS_HOST_BRIDGE, 0, 0);
	r = pci_add(root, &root->bridge, err);
	assert(r == 0);
	*ret_root = root;
	return 0;
}

void pci_root_free(struct pci_root *root)
{
	if (!root)
		return;
	pci_remove(&root->bridge);
	for (unsigned s = 0; s < PCI_MAX_DEVS; s++)
		assert(!root->dev[s]);
	bus_remove(&root->ecam);
	free(root->shadow);
	free(root);
}

struct hw *pci_root_hw(struct pci_root *root)
{
	return root->hw;
}
