/* SPDX-License-Identifier: Apache-2.0 */
/* Decompression by each format's library (RFC 1952, xz 1.1, lz4 legacy frame, RFC 8878). */
#include "boot/decompress.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include "base/endian.h"

#define XZ_MEM_LIMIT (256ull << 20)

/*
 * lz4 legacy frame: this magic, then blocks of (compressed length, data), each up to 8 MiB of
 * output.
 */
#define LZ4_LEGACY_MAGIC 0x184c2102u
#define LZ4_LEGACY_BLOCK (8u << 20)

static const struct format {
	enum compression c;
	const char *name;
	size_t len;
	uint8_t magic[6];
} formats[] = {
	{COMPRESSION_NONE, "none", 4, {0x7f, 'E', 'L', 'F'}},
	{COMPRESSION_GZIP, "gzip", 2, {0x1f, 0x8b}},
	{COMPRESSION_XZ, "xz", 6, {0xfd, '7', 'z', 'X', 'Z', 0}},
	{COMPRESSION_LZ4, "lz4", 4, {0x02, 0x21, 0x4c, 0x18}},
	{COMPRESSION_ZSTD, "zstd", 4, {0x28, 0xb5, 0x2f, 0xfd}},
	{COMPRESSION_BZIP2, "bzip2", 3, {'B', 'Z', 'h'}},
	{COMPRESSION_LZMA, "lzma", 3, {0x5d, 0, 0}},
	{COMPRESSION_LZO, "lzo", 4, {0x89, 'L', 'Z', 'O'}},
};

#define NUM_FORMATS (sizeof(formats) / sizeof(formats[0]))

enum compression compression_of(const void *buf, size_t len)
{
	for (size_t i = 0; i < NUM_FORMATS; i++)
		if (len >= formats[i].len && memcmp(buf, formats[i].magic, formats[i].len) == 0)
			return formats[i].c;
	return COMPRESSION_UNKNOWN;
}

const char *compression_name(enum compression c)
{
	for (size_t i = 0; i < NUM_FORMATS; i++)
		if (formats[i].c == c)
			return formats[i].name;
	return "unknown";
}

static int damaged(struct err *err, const char *what, const char *why)
{
	return err_say(err, ENOEXEC, "the %s data is damaged (%s); get the file again", what, why);
}

static int gunzip(const void *in, size_t in_len, void *out, size_t cap, size_t *ret_len,
		  struct err *err)
{
	z_stream z = {.next_in = (Bytef *)in, .next_out = out};
	size_t in_left = in_len, out_left = cap;
	int r;

	if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK)
		return err_set(err, ENOMEM, "prepare gzip decompression");
	do {
		unsigned in_now = in_left > INT_MAX ? INT_MAX : in_left;
		unsigned out_now = out_left > INT_MAX ? INT_MAX : out_left;

		z.avail_in = in_now;
		z.avail_out = out_now;
		r = inflate(&z, Z_NO_FLUSH);
		in_left -= in_now - z.avail_in;
		out_left -= out_now - z.avail_out;
	} while (r == Z_OK && in_left > 0 && out_left > 0);
	/* The last output may fill the buffer exactly before the trailer has been checked. */
	if (r == Z_OK && out_left == 0) {
		z.avail_in = in_left > INT_MAX ? INT_MAX : in_left;
		z.avail_out = 0;
		r = inflate(&z, Z_FINISH);
	}
	inflateEnd(&z);
	if (r == Z_MEM_ERROR)
		return err_set(err, ENOMEM, "decompress gzip");
	if (r != Z_STREAM_END)
		return damaged(err, "gzip",
			       r == Z_OK || r == Z_BUF_ERROR ? "it ends too early or "
							       "is longer than it says"
							     : "bad content");
	*ret_len = cap - out_left;
	return 0;
}

static int unxz(const void *in, size_t in_len, void *out, size_t cap, size_t *ret_len,
		struct err *err)
{
	uint64_t memlimit = XZ_MEM_LIMIT;
	size_t in_pos = 0, out_pos = 0;
	lzma_ret r = lzma_stream_buffer_decode(&memlimit, 0, NULL, in, &in_pos, in_len, out,
					       &out_pos, cap);

	switch (r) {
	case LZMA_OK:
		*ret_len = out_pos;
		return 0;
	case LZMA_MEM_ERROR:
		return err_set(err, ENOMEM, "decompress xz");
	case LZMA_MEMLIMIT_ERROR:
		return err_say(err, ENOEXEC,
			       "the xz data needs %llu MiB to decompress, more than "
			       "any kernel does; get the file again",
			       (unsigned long long)memlimit >> 20);
	case LZMA_OPTIONS_ERROR:
		return damaged(err, "xz", "it uses options that this liblzma does not know");
	case LZMA_BUF_ERROR:
		return damaged(err, "xz", "it ends too early or is longer than it says");
	default:
		return damaged(err, "xz", "bad content");
	}
}

static int unlz4(const uint8_t *in, size_t in_len, uint8_t *out, size_t cap, size_t *ret_len,
		 struct err *err)
{
	size_t pos = 0, done = 0;

	while (in_len - pos >= 4) {
		uint32_t n = get_le32(in + pos);
		size_t room = cap - done;
		int got;

		pos += 4;
		if (n == LZ4_LEGACY_MAGIC) /* also between concatenated frames */
			continue;
		if (n == 0 || n > in_len - pos || n > (uint32_t)LZ4_compressBound(LZ4_LEGACY_BLOCK))
			return damaged(err, "lz4", "a block lies outside of it");
		got = LZ4_decompress_safe((const char *)in + pos, (char *)out + done, n,
					  room < LZ4_LEGACY_BLOCK ? room : LZ4_LEGACY_BLOCK);
		if (got < 0)
			return damaged(err, "lz4", "bad content");
		pos += n;
		done += got;
	}
	if (pos != in_len)
		return damaged(err, "lz4", "it ends in the middle of a block");
	*ret_len = done;
	return 0;
}

static int unzstd(const void *in, size_t in_len, void *out, size_t cap, size_t *ret_len,
		  struct err *err)
{
	size_t n = ZSTD_decompress(out, cap, in, in_len);

	if (ZSTD_isError(n))
		return damaged(err, "zstd", ZSTD_getErrorName(n));
	*ret_len = n;
	return 0;
}

int decompress(enum compression c, const void *in, size_t in_len, void *out, size_t cap,
	       size_t *ret_len, struct err *err)
{
	switch (c) {
	case COMPRESSION_NONE:
		if (in_len > cap)
			return damaged(err, "uncompressed", "it is longer than it says");
		memcpy(out, in, in_len);
		*ret_len = in_len;
		return 0;
	case COMPRESSION_GZIP:
		return gunzip(in, in_len, out, cap, ret_len, err);
	case COMPRESSION_XZ:
		return unxz(in, in_len, out, cap, ret_len, err);
	case COMPRESSION_LZ4:
		return unlz4(in, in_len, out, cap, ret_len, err);
	case COMPRESSION_ZSTD:
		return unzstd(in, in_len, out, cap, ret_len, err);
	default:
		return err_say(err, EOPNOTSUPP,
			       "the compression is %s, which lvm cannot read; use a "
			       "file compressed with gzip, xz, lz4 or zstd",
			       compression_name(c));
	}
}
