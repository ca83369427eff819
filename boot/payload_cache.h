/* SPDX-License-Identifier: Apache-2.0 */
/* Decompressed kernel payloads, kept in a directory by the hash of what they were made from. */
#ifndef LVM_BOOT_PAYLOAD_CACHE_H
#define LVM_BOOT_PAYLOAD_CACHE_H

#include <stdint.h>

#include "base/err.h"

/*
 * A part of an open file that holds a compressed ELF kernel, the length of the result in its last
 * four bytes.
 */
struct payload {
	int fd; /* borrowed */
	uint64_t off, len;
};

/*
 * Returns a descriptor (owned by the caller) of a file that begins with the *ret_len bytes of
 * the decompressed payload. It is the cached file when cache_dir has a good one; else the
 * payload is decompressed into anonymous memory, and also put into cache_dir (NULL: not), which
 * is made if it is missing. A cache that cannot be written costs only time: that is logged, not
 * an error. Any number of processes may use one cache_dir at once.
 */
int payload_open(const struct payload *p, const char *cache_dir, int *ret_fd, uint64_t *ret_len,
		 struct err *err);

#endif
