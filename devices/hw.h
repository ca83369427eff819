/* SPDX-License-Identifier: Apache-2.0 */
/* What a machine offers its devices: doorbells in, message-signalled and line interrupts out. */
#ifndef LVM_DEVICES_HW_H
#define LVM_DEVICES_HW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "devices/guest_mem.h"

/*
 * Implemented by vmm/ over KVM and by tests/support/fake_hw. All calls on the loop (see
 * base/loop.h) or before the guest runs.
 */
struct hw {
	const struct hw_ops *ops;
};

struct hw_ops {
	/*
	 * A write of any width to gpa signals fd (an eventfd, borrowed) instead of reaching the
	 * bus; the vCPU goes on. The same gpa and fd remove it.
	 */
	int (*doorbell_add)(struct hw *hw, gpa_t gpa, int fd, struct err *err);
	void (*doorbell_remove)(struct hw *hw, gpa_t gpa, int fd);

	/*
	 * A message-signalled interrupt: *ret_fd is an eventfd (owned by the machine, valid until
	 * msi_free); writing 1 to it delivers the message last set. *ret_id names it in the calls
	 * below.
	 */
	int (*msi_new)(struct hw *hw, unsigned *ret_id, int *ret_fd, struct err *err);
	int (*msi_set)(struct hw *hw, unsigned id, uint64_t addr, uint32_t data);
	void (*msi_free)(struct hw *hw, unsigned id);

	/* An edge-triggered line (x86: a GSI of the I/O APIC). *ret_fd as above. */
	int (*line_new)(struct hw *hw, unsigned gsi, int *ret_fd, struct err *err);

	/*
	 * Optional, NULL where reads of registers always reach the bus: the guest reads
	 * [gpa, gpa + len) as the memory at hva, and no device hears of it. Its writes reach the
	 * bus as ever. All three are multiples of 4096; hva is the caller's, until the removal.
	 */
	int (*shadow_add)(struct hw *hw, gpa_t gpa, void *hva, size_t len, struct err *err);
	void (*shadow_remove)(struct hw *hw, gpa_t gpa);
};

#endif
