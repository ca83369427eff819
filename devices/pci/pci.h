/* SPDX-License-Identifier: Apache-2.0 */
/* One PCI root bus: configuration space by ECAM, memory BARs, MSI-X (PCI 3.0). */
#ifndef LVM_DEVICES_PCI_PCI_H
#define LVM_DEVICES_PCI_PCI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "devices/bus.h"
#include "devices/hw.h"

#define PCI_CONFIG_LEN 4096 /* per function, of which the first 256 bytes are used */
#define PCI_MAX_DEVS   32
#define PCI_NUM_BARS   6

struct pci_root;
struct pci_dev;
struct msix;

/*
 * A 64-bit memory BAR; the owner fills len (a power of two >= 4096; 0: absent), flags and
 * range.ops.
 */
struct pci_bar {
	uint64_t len;
	bool prefetchable;
	void *opaque; /* the owner's, for range.ops */
	/* Base and len are the PCI layer's; on the bus while memory decoding is on. */
	struct bus_range range;
	/*
	 * Optional; on the loop, after the range came onto the bus (on) or before it leaves (off).
	 */
	void (*mapped)(struct pci_dev *d, unsigned bar, bool on);
};

/*
 * What the guest may see and change. Zero-initialise, fill config, wmask and bars, then pci_add().
 */
struct pci_dev {
	const char *name;                 /* borrowed; log prefix */
	uint8_t config[256];              /* little-endian, as read */
	uint8_t wmask[256];               /* bits the guest can write; 0 elsewhere */
	struct pci_bar bar[PCI_NUM_BARS]; /* even indices only: each takes two registers */
	/*
	 * Optional, on the loop: a guest access to [off, off + len) of config that pci.c does not
	 * own. May update config before a read, of which it hears after pci_trap_reads(); sees
	 * config already changed after a write.
	 */
	void (*config_read)(struct pci_dev *d, unsigned off, unsigned len);
	void (*config_written)(struct pci_dev *d, unsigned off, unsigned len);

	struct msix *msix;     /* set by msix_new(): pci.c tells it of writes to its capability */
	struct pci_root *root; /* set by pci_add() */
	uint8_t slot;          /* device number on bus 0 */
	uint8_t cap_end;       /* where pci_add_cap() continues */
	uint8_t *shadow;       /* what the guest reads of config without our help; NULL: nothing */
};

struct pci_windows {
	uint64_t ecam_base;               /* 1 MiB: bus 0 */
	uint64_t mmio32_base, mmio32_len; /* for BARs below 4 GiB */
	uint64_t mmio64_base, mmio64_len; /* for BARs above RAM */
};

/*
 * The root registers its ECAM range on mmio, and adds a host bridge as 00:00.0. hw and mmio are
 * borrowed.
 */
int pci_root_new(struct hw *hw, struct bus *mmio, const struct pci_windows *win,
		 struct pci_root **ret_root, struct err *err);
void pci_root_free(struct pci_root *root);
struct hw *pci_root_hw(struct pci_root *root);

/*
 * Gives the device the next free slot and addresses for its BARs. It must stay until pci_remove().
 */
int pci_add(struct pci_root *root, struct pci_dev *d, struct err *err);
void pci_remove(struct pci_dev *d);

/*
 * From now on every read of d's configuration space reaches config_read. Before, the machine may
 * answer reads with what config last was. On the loop.
 */
void pci_trap_reads(struct pci_dev *d);

/* Standard header: IDs, class, revision 1; call before pci_add_cap(). */
void pci_init_header(struct pci_dev *d, uint16_t vendor, uint16_t device, uint32_t class_code,
		     uint16_t subsystem_vendor, uint16_t subsystem);
/*
 * Appends a capability of len bytes (its first byte is the ID, the second is filled in) and returns
 * its offset.
 */
unsigned pci_add_cap(struct pci_dev *d, const void *cap, unsigned len);

#endif
