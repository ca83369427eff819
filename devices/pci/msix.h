/* SPDX-License-Identifier: Apache-2.0 */
/* MSI-X: a table of messages in a BAR, a pending-bit array, a mask per vector (PCI 3.0 §6.8.2). */
#ifndef LVM_DEVICES_PCI_MSIX_H
#define LVM_DEVICES_PCI_MSIX_H

#include <stdbool.h>

#include "devices/pci/pci.h"

#define MSIX_MAX_VECTORS 65

/*
 * Adds the capability and takes over BAR bar of d, which must be absent yet. Before pci_add().
 * num_vectors is at most MSIX_MAX_VECTORS. A machine interrupt is taken only for vectors the guest
 * uses.
 */
int msix_new(struct pci_dev *d, struct hw *hw, unsigned bar, unsigned num_vectors,
	     struct msix **ret_m, struct err *err);
void msix_free(struct msix *m);

/*
 * On the loop. Raises the vector: delivered, or pending while masked; nothing when MSI-X is off or
 * v out of range.
 */
void msix_raise(struct msix *m, unsigned v);

/*
 * For backends that raise by themselves (vhost): the vector's eventfd, or -1 when it is not usable
 * now.
 */
int msix_fd(struct msix *m, unsigned v);

/*
 * For pci.c, on the loop: the guest wrote [off, off + len) of configuration space, already stored.
 */
void msix_config_written(struct msix *m, unsigned off, unsigned len);

/* Vectors off, masked and forgotten: the state after reset. */
void msix_reset(struct msix *m);

#endif
