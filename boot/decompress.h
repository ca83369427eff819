/* SPDX-License-Identifier: Apache-2.0 */
/* One-shot decompression of kernels and modules: gzip, xz, lz4 (legacy frame), zstd. */
#ifndef LVM_BOOT_DECOMPRESS_H
#define LVM_BOOT_DECOMPRESS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum compression {
	COMPRESSION_UNKNOWN,
	COMPRESSION_NONE, /* an ELF file as it is */
	COMPRESSION_GZIP,
	COMPRESSION_XZ,
	COMPRESSION_LZ4,
	COMPRESSION_ZSTD,
	/* Recognised in order to be named; decompress() refuses them. */
	COMPRESSION_BZIP2,
	COMPRESSION_LZMA,
	COMPRESSION_LZO,
};

/* By the magic number at the start. */
enum compression compression_of(const void *buf, size_t len);
const char *compression_name(enum compression c);

/*
 * Fills out (cap bytes) and says how many in *ret_len. Any thread. -ENOEXEC: damaged, or larger
 * than cap; -EOPNOTSUPP: a compression that is not known. Host memory beside out is bounded (xz:
 * 256 MiB).
 */
int decompress(enum compression c, const void *in, size_t in_len, void *out, size_t cap,
	       size_t *ret_len, struct err *err);

#endif
