/* SPDX-License-Identifier: Apache-2.0 */
/* Unpacks a tar archive, plain or compressed, with all that a file can have. */
#ifndef LVM_GUEST_EXTRACT_H
#define LVM_GUEST_EXTRACT_H

#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct extract_ops {
	/*
	 * The archive's next bytes, valid until the next call: their number, 0 at the end, or
	 * -errno.
	 */
	ssize_t (*read)(void *arg, const void **ret_buf);
	/* Called after each piece of work, with the entries made so far. */
	void (*progress)(void *arg, uint64_t entries);
	/* Something about a file could not be kept: a sentence for the user. */
	void (*warn)(void *arg, const char *sentence);
};

/*
 * The caller has made the new tree its root (chroot) and working directory: absolute names, ".."
 * and symbolic links in the archive can lead nowhere else. Reads the archive to its very end, so
 * that a truncated one is always noticed. -ENODATA: no archive, empty, or truncated; -ENOSPC: the
 * disk is full; else what went wrong. Said in err.
 */
int extract_tree(const struct extract_ops *ops, void *arg, struct err *err);

#endif
