/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels made of thin air, for tests of the loaders (Linux x86/boot.rst). */
#ifndef LVM_TESTS_SUPPORT_KERNEL_IMAGE_H
#define LVM_TESTS_SUPPORT_KERNEL_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "boot/decompress.h"

/* Bytes to be changed at will and freed with image_done(). */
struct image {
	uint8_t *p;
	size_t len;
};

#define IMAGE_TEXT_GPA    0x1000000u /* where every real kernel is linked */
#define IMAGE_TEXT_LEN    0x3000u
#define IMAGE_TEXT_OFF    0x1000u
#define IMAGE_DATA_GPA    0x1200000u
#define IMAGE_DATA_LEN    0x800u
#define IMAGE_DATA_OFF    0x4000u
#define IMAGE_BSS_LEN     0x100000u
#define IMAGE_END         (IMAGE_DATA_GPA + IMAGE_BSS_LEN) /* of memory, bss included */
#define IMAGE_ENTRY       (IMAGE_TEXT_GPA + 0x40u)
#define IMAGE_INIT_SIZE   0x600000u
#define IMAGE_PAYLOAD_OFF 0x400u /* of a bzImage's payload in its file */

/*
 * An ELF kernel of two PT_LOADs (text; data with bss) and a PT_NOTE; byte i of the text is
 * image_byte(i).
 */
struct image image_elf(void);
uint8_t image_byte(size_t i);
/* ELF program header number n, to be spoilt. */
void *image_phdr(struct image *elf, unsigned n);

/*
 * A bzImage around any content. A compression that has no decompressor gets only its magic number.
 */
struct image image_bzimage(const struct image *content, enum compression c);
/* As the kernel's build compresses: with the length behind it, xz with the x86 filter. */
struct image image_compress(const struct image *content, enum compression c);

void image_done(struct image *im);

#endif
