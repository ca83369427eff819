/* SPDX-License-Identifier: Apache-2.0 */
/* Whether this machine's KVM can run a guest: found out by running one. */
#ifndef LVM_VMM_PROBE_H
#define LVM_VMM_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct probe_result {
	bool opened;      /* /dev/kvm is there, permitted, and has what lvm needs */
	bool ran;         /* the test guest ran to its end */
	uint64_t loop_us; /* processor time of its 100 000 instructions, when it ran */
};

/*
 * Runs a few instructions of 64-bit code in a throw-away VM. 0: KVM can run a guest; else -errno
 * and the verdict in one sentence. *ret_p is filled in either case. Takes a millisecond where it
 * works and less than half a second where not.
 */
int probe_kvm(struct probe_result *ret_p, struct err *err);

/*
 * `lvm-vmm --probe`: prints the verdict (as JSON if asked) and returns the exit status: 0 or 125.
 */
int probe_main(bool json);

#endif
