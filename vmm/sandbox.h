/* SPDX-License-Identifier: Apache-2.0 */
/* What the process may still do once the guest runs. */
#ifndef LVM_VMM_SANDBOX_H
#define LVM_VMM_SANDBOX_H

#include <stdbool.h>

#include "base/err.h"

/*
 * Gives up everything a running machine does not need, for all threads there are and will be. Call
 * it when everything is opened. unlink_dirs: up to num directories' paths in which sockets will be
 * removed at the end. log_only (for debugging): system calls not foreseen are logged by the kernel
 * and done. Works without privileges.
 */
int sandbox_enter(const char *const *unlink_dirs, unsigned num, bool log_only, struct err *err);

#endif
