/* SPDX-License-Identifier: Apache-2.0 */
/* The PCI transport: registers of virtio 1.2 §4.1 in front of any virtio_dev. */
#ifndef LVM_DEVICES_VIRTIO_PCI_H
#define LVM_DEVICES_VIRTIO_PCI_H

#include "devices/pci/pci.h"
#include "devices/virtio/device.h"

struct virtio_pci;

/*
 * Puts the device on the bus with MSI-X and one doorbell a queue. Takes ownership of d, also on
 * failure.
 */
int virtio_pci_new(struct pci_root *root, struct virtio_dev *d, struct virtio_pci **ret_p,
		   struct err *err);
/* Stops and frees the device too. NULL is fine. */
void virtio_pci_free(struct virtio_pci *p);

#endif
