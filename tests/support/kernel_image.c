/* SPDX-License-Identifier: Apache-2.0 */
/* Makes small ELF kernels and bzImages (Linux x86/boot.rst, arch/x86/boot/compressed). */
#include "tests/support/kernel_image.h"

#include <asm/bootparam.h>
#include <elf.h>
#include <lz4.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/endian.h"
#include "base/str.h"
#include "tests/support/check.h"

uint8_t image_byte(size_t i)
{
	return (i >> 8) * 37 + i * 11 + 5;
}

static void put_phdr(struct image *im, unsigned n, Elf64_Phdr ph)
{
	memcpy(im->p + sizeof(Elf64_Ehdr) + n * sizeof(ph), &ph, sizeof(ph));
}

void *image_phdr(struct image *elf, unsigned n)
{
	return elf->p + sizeof(Elf64_Ehdr) + n * sizeof(Elf64_Phdr);
}

struct image image_elf(void)
{
	struct image im = {.len = IMAGE_DATA_OFF + IMAGE_DATA_LEN};
	Elf64_Ehdr eh = {
		.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			    EV_CURRENT},
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_entry = IMAGE_ENTRY,
		.e_phoff = sizeof(eh),
		.e_ehsize = sizeof(eh),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 3,
	};

	im.p = xcalloc(1, im.len);
	memcpy(im.p, &eh, sizeof(eh));
	put_phdr(&im, 0,
		 (Elf64_Phdr){.p_type = PT_LOAD,
			      .p_flags = PF_R | PF_X,
			      .p_offset = IMAGE_TEXT_OFF,
			      .p_vaddr = 0xffffffff81000000ull,
			      .p_paddr = IMAGE_TEXT_GPA,
			      .p_filesz = IMAGE_TEXT_LEN,
			      .p_memsz = IMAGE_TEXT_LEN});
	put_phdr(&im, 1,
		 (Elf64_Phdr){.p_type = PT_LOAD,
			      .p_flags = PF_R | PF_W,
			      .p_offset = IMAGE_DATA_OFF,
			      .p_vaddr = 0xffffffff81200000ull,
			      .p_paddr = IMAGE_DATA_GPA,
			      .p_filesz = IMAGE_DATA_LEN,
			      .p_memsz = IMAGE_BSS_LEN});
	/* Not to be loaded: its address would be refused. */
	put_phdr(&im, 2,
		 (Elf64_Phdr){.p_type = PT_NOTE, .p_offset = 0, .p_filesz = 16, .p_memsz = 16});
	for (size_t i = 0; i < IMAGE_TEXT_LEN; i++)
		im.p[IMAGE_TEXT_OFF + i] = image_byte(i);
	memset(im.p + IMAGE_DATA_OFF, 0xda, IMAGE_DATA_LEN);
	return im;
}

static size_t compress_gzip(const struct image *in, uint8_t *out, size_t cap)
{
	z_stream z = {.next_in = in->p, .avail_in = in->len, .next_out = out, .avail_out = cap};

	check(deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK);
	check(deflate(&z, Z_FINISH) == Z_STREAM_END);
	deflateEnd(&z);
	return cap - z.avail_out;
}

static size_t compress_xz(const struct image *in, uint8_t *out, size_t cap)
{
	lzma_options_lzma opt;
	lzma_filter filters[] = {
		{LZMA_FILTER_X86, NULL}, {LZMA_FILTER_LZMA2, &opt}, {LZMA_VLI_UNKNOWN, NULL}};
	size_t pos = 0;

	check(!lzma_lzma_preset(&opt, 0));
	check(lzma_stream_buffer_encode(filters, LZMA_CHECK_CRC32, NULL, in->p, in->len, out, &pos,
					cap) == LZMA_OK);
	return pos;
}

/* In blocks of 8 MiB, each behind its length. */
static size_t compress_lz4(const struct image *in, uint8_t *out, size_t cap)
{
	size_t pos = 4;

	put_le32(out, 0x184c2102);
	for (size_t off = 0; off < in->len;) {
		size_t n = in->len - off < 8u << 20 ? in->len - off : 8u << 20;
		int got = LZ4_compress_default((char *)in->p + off, (char *)out + pos + 4, n,
					       cap - pos - 4);

		check(got > 0);
		put_le32(out + pos, got);
		pos += 4 + got;
		off += n;
	}
	return pos;
}

struct image image_compress(const struct image *content, enum compression c)
{
	static const char *const magic[] = {
		[COMPRESSION_UNKNOWN] = "what?",
		[COMPRESSION_BZIP2] = "BZh9",
		[COMPRESSION_LZMA] = "\x5d\0\0\0",
		[COMPRESSION_LZO] = "\x89LZO",
	};
	size_t cap = content->len + content->len / 8 + 65536;
	struct image out = {.p = xcalloc(1, cap)};

	switch (c) {
	case COMPRESSION_NONE:
		memcpy(out.p, content->p, content->len);
		out.len = content->len;
		return out;
	case COMPRESSION_GZIP:
		out.len = compress_gzip(content, out.p, cap);
		return out;
	case COMPRESSION_XZ:
		out.len = compress_xz(content, out.p, cap);
		break;
	case COMPRESSION_LZ4:
		out.len = compress_lz4(content, out.p, cap);
		break;
	case COMPRESSION_ZSTD:
		out.len = ZSTD_compress(out.p, cap, content->p, content->len, 3);
		check(!ZSTD_isError(out.len));
		break;
	default:
		memcpy(out.p, magic[c], 4);
		out.len = 64;
	}
	put_le32(out.p + out.len, content->len);
	out.len += 4;
	return out;
}

struct image image_bzimage(const struct image *content, enum compression c)
{
	struct image payload = image_compress(content, c), out;
	struct setup_header h = {
		.setup_sects = 1,
		.boot_flag = 0xaa55,
		.jump = 0x6aeb, /* the header ends at 0x202 + 0x6a */
		.header = 0x53726448,
		.version = 0x020f,
		.loadflags = LOADED_HIGH | KASLR_FLAG | CAN_USE_HEAP,
		.initrd_addr_max = 0x7fffffff,
		.kernel_alignment = 0x200000,
		.relocatable_kernel = 1,
		.min_alignment = 21,
		.xloadflags = XLF_KERNEL_64 | XLF_CAN_BE_LOADED_ABOVE_4G,
		.cmdline_size = 2047,
		.payload_offset = 0, /* right behind the two setup sectors */
		.payload_length = payload.len,
		.pref_address = IMAGE_TEXT_GPA,
		.init_size = IMAGE_INIT_SIZE,
	};

	out.len = IMAGE_PAYLOAD_OFF + payload.len + 64;
	out.p = xcalloc(1, out.len);
	memcpy(out.p + 0x1f1, &h, sizeof(h));
	memcpy(out.p + IMAGE_PAYLOAD_OFF, payload.p, payload.len);
	free(payload.p);
	return out;
}

void image_done(struct image *im)
{
	free(im->p);
	*im = (struct image){0};
}
