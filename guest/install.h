/* SPDX-License-Identifier: Apache-2.0 */
/* Makes a distro's disk from an archive (docs/agent-protocol.md, "Installing"). */
#ifndef LVM_GUEST_INSTALL_H
#define LVM_GUEST_INSTALL_H

#include "base/err.h"
#include "guest/conn.h"
#include "guest/request.h"

/*
 * Formats the block device disk and extracts the archive that arrives as DATA on STDIN, sending
 * PROGRESS. Runs in the installer's VM in a process of its own, whose root directory it changes for
 * good. 0: everything is on the disk. -errno: said in err, for the user.
 */
int install_run(struct conn *c, const char *disk, const struct request *req, struct err *err);

#endif
