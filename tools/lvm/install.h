/* SPDX-License-Identifier: Apache-2.0 */
/* From an archive to a distro's disk, by way of the installer VM. */
#ifndef LVM_TOOLS_LVM_INSTALL_H
#define LVM_TOOLS_LVM_INSTALL_H

#include <stdint.h>

#include "base/err.h"
#include "tools/lvm/store.h"

struct install {
	const char *name;    /* checked by store_check_name() */
	const char *source;  /* for messages */
	int source_fd;       /* read to its end; borrowed */
	uint64_t source_len; /* 0: not known */
	uint64_t disk_len;   /* bytes */
};

/*
 * Makes the distro. The caller holds its OPERATION lock and has seen that it does not exist. On failure, and on
 * SIGINT, SIGTERM and SIGHUP, nothing of it is left.
 */
int install_distro(const struct store *s, const struct install *in, struct err *err);

#endif
