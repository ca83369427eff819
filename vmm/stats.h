/* SPDX-License-Identifier: Apache-2.0 */
/* Figures about a running machine, for the control socket's `statistics`. */
#ifndef LVM_VMM_STATS_H
#define LVM_VMM_STATS_H

#include <stdint.h>

#include "base/err.h"

struct stats {
	int smaps_fd; /* /proc/self/smaps_rollup: opened early, the sandbox opens nothing */
};

int stats_init(struct stats *st, struct err *err);
void stats_done(struct stats *st);

/*
 * The process's private resident memory in bytes: what exists because of the VMM. The guest's
 * memory is a shared mapping and not in it. 0 when the kernel does not say.
 */
uint64_t stats_private_bytes(const struct stats *st);

/* The Anonymous figure of a smaps_rollup text, in bytes; 0 when it has none. Pure. */
uint64_t stats_parse_private(const char *text);

#endif
