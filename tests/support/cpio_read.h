/* SPDX-License-Identifier: Apache-2.0 */
/* Takes a newc archive apart, and aborts at anything that the kernel's unpacker would not take. */
#ifndef LVM_TESTS_SUPPORT_CPIO_READ_H
#define LVM_TESTS_SUPPORT_CPIO_READ_H

#include <stddef.h>
#include <stdint.h>

struct cpio_entry {
	const char *path;
	uint32_t mode, rmajor, rminor;
	const uint8_t *data;
	size_t len;
};

struct cpio_image {
	uint8_t *buf;
	struct cpio_entry *entry; /* without the trailer */
	unsigned num;
};

struct cpio_image cpio_image_read(int fd);
/* Aborts when it is not there. */
const struct cpio_entry *cpio_image_find(const struct cpio_image *im, const char *path);
void cpio_image_done(struct cpio_image *im);

#endif
