/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the headers of a bzImage (Linux x86/boot.rst, "The Real-Mode Kernel Header"). */
#include "boot/x86/bzimage.h"

#include <errno.h>
#include <string.h>

#include "base/endian.h"

#define SECTOR        512
#define HDR_OFF       0x1f1u
#define HDR_MAGIC_OFF 0x202u
#define HDR_MAGIC     0x53726448u /* "HdrS" */
/* xloadflags came with 2.12, and with it the 64-bit entry. */
#define VERSION_MIN 0x020c

bool bzimage_probe(const uint8_t *head, size_t head_len)
{
	return head_len >= HDR_MAGIC_OFF + 4 && get_le16(head + 0x1fe) == 0xaa55 &&
	       get_le32(head + HDR_MAGIC_OFF) == HDR_MAGIC;
}

static int check_protocol(const struct setup_header *h, struct err *err)
{
	if (h->version < VERSION_MIN)
		return err_say(err, EOPNOTSUPP,
			       "it speaks boot protocol %u.%02u and lvm needs 2.12; use "
			       "Linux 3.8 or newer",
			       h->version >> 8, h->version & 0xff);
	if (!(h->loadflags & LOADED_HIGH))
		return err_say(err, EOPNOTSUPP, "it is a zImage for low memory; build a bzImage");
	if (!(h->xloadflags & XLF_KERNEL_64))
		return err_say(err, EOPNOTSUPP,
			       "it has no 64-bit entry (XLF_KERNEL_64 is not set), so it "
			       "is a 32-bit kernel; use an x86-64 one");
	return 0;
}

int bzimage_parse(const uint8_t *head, size_t head_len, uint64_t file_len, struct bzimage *ret_bz,
		  struct err *err)
{
	struct bzimage bz = {0};
	size_t hdr_end, hdr_len;
	uint64_t setup_len;
	int r;

	if (!bzimage_probe(head, head_len))
		return err_say(err, ENOEXEC, "it is not a bzImage; use a bzImage or vmlinux");
	/* The header says where it ends: the jump over it is its third field. */
	hdr_end = HDR_MAGIC_OFF + head[0x201];
	if (hdr_end > BZIMAGE_HEAD_LEN)
		hdr_end = BZIMAGE_HEAD_LEN;
	if (hdr_end > head_len)
		return err_say(err, ENOEXEC,
			       "its header is cut off; the file is truncated, get it again");
	hdr_len = hdr_end - HDR_OFF;
	memcpy(&bz.hdr, head + HDR_OFF, hdr_len < sizeof(bz.hdr) ? hdr_len : sizeof(bz.hdr));
	r = check_protocol(&bz.hdr, err);
	if (r < 0)
		return r;

	setup_len = ((bz.hdr.setup_sects ? bz.hdr.setup_sects : 4) + 1) * SECTOR;
	bz.payload_off = setup_len + bz.hdr.payload_offset;
	bz.payload_len = bz.hdr.payload_length;
	if (bz.payload_len == 0)
		return err_say(err, ENOEXEC,
			       "its header names no payload; the file is damaged, get it again");
	if (bz.payload_off > file_len || bz.payload_len > file_len - bz.payload_off)
		return err_say(err, ENOEXEC,
			       "its payload should end at byte %llu and the file has %llu; it "
			       "is truncated, get it again",
			       (unsigned long long)(bz.payload_off + bz.payload_len),
			       (unsigned long long)file_len);
	*ret_bz = bz;
	return 0;
}
