/* SPDX-License-Identifier: Apache-2.0 */
/* ACPI machine language (ACPI 6.5 §20.2) and resource descriptors (§6.4). */
#include "boot/aml.h"

#include <assert.h>
#include <string.h>

#include "base/endian.h"

/* Opcodes, §20.3. */
enum {
	OP_ZERO = 0x00,
	OP_ONE = 0x01,
	OP_NAME = 0x08,
	OP_BYTE = 0x0a,
	OP_WORD = 0x0b,
	OP_DWORD = 0x0c,
	OP_STRING = 0x0d,
	OP_QWORD = 0x0e,
	OP_SCOPE = 0x10,
	OP_BUFFER = 0x11,
	OP_PACKAGE = 0x12,
	OP_METHOD = 0x14,
	OP_DUAL_NAME = 0x2e,
	OP_EXT = 0x5b,
	OP_ROOT = 0x5c,
	OP_LOCAL0 = 0x60,
	OP_STORE = 0x70,
	OP_AND = 0x7b,
	OP_NOTIFY = 0x86,
	OP_IF = 0xa0,
	EXT_REGION = 0x80,
	EXT_FIELD = 0x81,
	EXT_DEVICE = 0x82,
};

/*
 * Every length is written in three bytes, so it can be patched in place (§20.2.4 allows any of the
 * forms).
 */
#define PKG_LEN_BYTES 3
#define PKG_LEN_MAX   0xfffffu

void aml_bytes(struct aml *a, const void *p, size_t n)
{
	if (a->full || n > a->cap - a->len) {
		a->full = true;
		return;
	}
	memcpy(a->buf + a->len, p, n);
	a->len += n;
}

void aml_u8(struct aml *a, uint8_t v)
{
	aml_bytes(a, &v, 1);
}

static void put_name(struct aml *a, const char *name)
{
	assert(strlen(name) == 4);
	aml_bytes(a, name, 4);
}

static size_t begin(struct aml *a)
{
	size_t at = a->len;

	aml_bytes(a, "\0\0\0", PKG_LEN_BYTES);
	return at;
}

void aml_end(struct aml *a, size_t at)
{
	size_t len = a->len - at;

	if (a->full)
		return;
	assert(len >= PKG_LEN_BYTES && len <= PKG_LEN_MAX);
	a->buf[at] = 2 << 6 | (len & 0xf);
	a->buf[at + 1] = len >> 4;
	a->buf[at + 2] = len >> 12;
}

size_t aml_scope_begin(struct aml *a, const char *name)
{
	size_t at;

	aml_u8(a, OP_SCOPE);
	at = begin(a);
	aml_u8(a, OP_ROOT);
	put_name(a, name);
	return at;
}

size_t aml_device_begin(struct aml *a, const char *name)
{
	size_t at;

	aml_u8(a, OP_EXT);
	aml_u8(a, EXT_DEVICE);
	at = begin(a);
	put_name(a, name);
	return at;
}

size_t aml_method_begin(struct aml *a, const char *name, unsigned num_args, bool serialized)
{
	size_t at;

	aml_u8(a, OP_METHOD);
	at = begin(a);
	put_name(a, name);
	aml_u8(a, num_args | (serialized ? 8 : 0));
	return at;
}

size_t aml_package_begin(struct aml *a, uint8_t num)
{
	size_t at;

	aml_u8(a, OP_PACKAGE);
	at = begin(a);
	aml_u8(a, num);
	return at;
}

size_t aml_if_begin(struct aml *a)
{
	aml_u8(a, OP_IF);
	return begin(a);
}

void aml_int(struct aml *a, uint64_t v)
{
	uint8_t b[8];

	put_le64(b, v);
	if (v <= 1) {
		aml_u8(a, v ? OP_ONE : OP_ZERO);
	} else if (v <= UINT8_MAX) {
		aml_u8(a, OP_BYTE);
		aml_bytes(a, b, 1);
	} else if (v <= UINT16_MAX) {
		aml_u8(a, OP_WORD);
		aml_bytes(a, b, 2);
	} else if (v <= UINT32_MAX) {
		aml_u8(a, OP_DWORD);
		aml_bytes(a, b, 4);
	} else {
		aml_u8(a, OP_QWORD);
		aml_bytes(a, b, 8);
	}
}

void aml_name(struct aml *a, const char *name)
{
	aml_u8(a, OP_NAME);
	put_name(a, name);
}

void aml_name_int(struct aml *a, const char *name, uint64_t v)
{
	aml_name(a, name);
	aml_int(a, v);
}

static unsigned hex_digit(char c)
{
	return c <= '9' ? c - '0' : c - 'A' + 10;
}

/* Three letters of five bits and four hex digits, stored big-endian (ACPI 6.5 §19.3.4). */
void aml_name_eisaid(struct aml *a, const char *name, const char *id)
{
	uint32_t v = 0;

	assert(strlen(id) == 7);
	for (int i = 0; i < 3; i++)
		v = v << 5 | (id[i] - 0x40);
	for (int i = 3; i < 7; i++)
		v = v << 4 | hex_digit(id[i]);
	aml_name(a, name);
	v = htobe32(v);
	aml_u8(a, OP_DWORD);
	aml_bytes(a, &v, 4);
}

void aml_name_str(struct aml *a, const char *name, const char *s)
{
	aml_name(a, name);
	aml_u8(a, OP_STRING);
	aml_bytes(a, s, strlen(s) + 1);
}

void aml_io_byte(struct aml *a, const char *region, const char *field, uint16_t port)
{
	size_t at;

	aml_u8(a, OP_EXT);
	aml_u8(a, EXT_REGION);
	put_name(a, region);
	aml_u8(a, 1); /* SystemIO */
	aml_int(a, port);
	aml_int(a, 1);

	aml_u8(a, OP_EXT);
	aml_u8(a, EXT_FIELD);
	at = begin(a);
	put_name(a, region);
	aml_u8(a, 1); /* ByteAcc, NoLock, Preserve */
	put_name(a, field);
	aml_u8(a, 8); /* bits, as a one-byte PkgLength */
	aml_end(a, at);
}

void aml_store_name_local(struct aml *a, const char *name, unsigned local)
{
	aml_u8(a, OP_STORE);
	put_name(a, name);
	aml_u8(a, OP_LOCAL0 + local);
}

void aml_and_local(struct aml *a, unsigned local, uint8_t mask)
{
	aml_u8(a, OP_AND);
	aml_u8(a, OP_LOCAL0 + local);
	aml_int(a, mask);
	aml_u8(a, OP_ZERO); /* no target */
}

void aml_notify(struct aml *a, const char *scope, const char *name, uint8_t value)
{
	aml_u8(a, OP_NOTIFY);
	aml_u8(a, OP_ROOT);
	aml_u8(a, OP_DUAL_NAME);
	put_name(a, scope);
	put_name(a, name);
	aml_int(a, value);
}

static uint8_t *crs_add(struct aml_crs *c, size_t n)
{
	uint8_t *p = c->buf + c->len;

	assert(n <= sizeof(c->buf) - c->len);
	memset(p, 0, n);
	c->len += n;
	return p;
}

/* Word, DWord and QWord address space descriptors, §6.4.3.5: the same fields at three widths. */
static void crs_space(struct aml_crs *c, uint8_t tag, uint8_t type, uint64_t base, uint64_t len)
{
	unsigned w = tag == 0x88 ? 2 : tag == 0x87 ? 4 : 8;
	uint64_t field[5] = {0, base, base + len - 1, 0, len};
	uint8_t *p = crs_add(c, 6 + 5 * w);

	p[0] = tag;
	put_le16(p + 1, 3 + 5 * w);
	p[3] = type;              /* 0 memory, 2 bus numbers */
	p[4] = 1 << 3 | 1 << 2;   /* both ends fixed, positive decode, producer */
	p[5] = type == 0 ? 1 : 0; /* memory: read-write, not cacheable */
	for (unsigned i = 0; i < 5; i++) {
		uint8_t le[8];

		put_le64(le, field[i]);
		memcpy(p + 6 + i * w, le, w);
	}
}

void aml_crs_bus(struct aml_crs *c, uint16_t first, uint16_t last)
{
	crs_space(c, 0x88, 2, first, last - first + 1);
}

void aml_crs_window32(struct aml_crs *c, uint32_t base, uint32_t len)
{
	crs_space(c, 0x87, 0, base, len);
}

void aml_crs_window64(struct aml_crs *c, uint64_t base, uint64_t len)
{
	crs_space(c, 0x8a, 0, base, len);
}

void aml_crs_mem64(struct aml_crs *c, uint64_t base, uint64_t len)
{
	uint8_t *p = c->buf + c->len;

	crs_space(c, 0x8a, 0, base, len);
	p[4] |= 1; /* consumer */
}

/* I/O port descriptor, §6.4.2.5. */
void aml_crs_io(struct aml_crs *c, uint16_t port, uint8_t len)
{
	uint8_t *p = crs_add(c, 8);

	p[0] = 0x47;
	p[1] = 1; /* decodes 16 bits */
	put_le16(p + 2, port);
	put_le16(p + 4, port);
	p[6] = 1;
	p[7] = len;
}

/* Extended interrupt descriptor, §6.4.3.6. */
void aml_crs_edge_irq(struct aml_crs *c, uint32_t gsi)
{
	uint8_t *p = crs_add(c, 9);

	p[0] = 0x89;
	put_le16(p + 1, 6);
	p[3] = 1 << 1 | 1; /* edge, consumer */
	p[4] = 1;
	put_le32(p + 5, gsi);
}

/* A buffer that ends with the end tag, §6.4.2.9; checksum 0 means "not used". */
void aml_name_crs(struct aml *a, const struct aml_crs *c)
{
	size_t at;

	aml_name(a, "_CRS");
	aml_u8(a, OP_BUFFER);
	at = begin(a);
	aml_int(a, c->len + 2);
	aml_bytes(a, c->buf, c->len);
	aml_bytes(a, "\x79\0", 2);
	aml_end(a, at);
}
