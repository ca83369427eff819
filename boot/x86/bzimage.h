/* SPDX-License-Identifier: Apache-2.0 */
/* The headers of a bzImage (Linux x86/boot.rst, "The Real-Mode Kernel Header"). */
#ifndef LVM_BOOT_X86_BZIMAGE_H
#define LVM_BOOT_X86_BZIMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <asm/bootparam.h>

#include "base/err.h"

/* Checked against the file's length. */
struct bzimage {
	struct setup_header hdr; /* fields that the kernel's protocol version lacks are 0 */
	uint64_t payload_off, payload_len; /* in the file */
};

/* Enough of a file's start for bzimage_parse. */
#define BZIMAGE_HEAD_LEN 0x290u

/* Is it one at all? head: the first head_len bytes of the file. */
bool bzimage_probe(const uint8_t *head, size_t head_len);
/* -ENOEXEC: damaged or truncated; -EOPNOTSUPP: one that we cannot boot. */
int bzimage_parse(const uint8_t *head, size_t head_len, uint64_t file_len, struct bzimage *ret_bz,
		  struct err *err);

#endif
