/* SPDX-License-Identifier: Apache-2.0 */
/* Encodes and decodes the frames and request fields of docs/agent-protocol.md. */
#include "guest/proto.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/str.h"

struct frame_rule {
	uint32_t min, max; /* payload length */
	bool stream;       /* .stream counts */
};

static const struct frame_rule rules[] = {
	[PROTO_HELLO] = {8, 8},
	[PROTO_EXEC] = {0, PROTO_MAX_REQUEST},
	[PROTO_STARTED] = {4, 4},
	[PROTO_DATA] = {1, PROTO_MAX_PAYLOAD, true},
	[PROTO_END] = {0, 0, true},
	[PROTO_CREDIT] = {4, 4, true},
	[PROTO_WINSIZE] = {8, 8},
	[PROTO_SIGNAL] = {4, 4},
	[PROTO_STOPPED] = {4, 4},
	[PROTO_EXIT] = {8, 8},
	[PROTO_ERROR] = {8, PROTO_MAX_PAYLOAD},
	[PROTO_SHUTDOWN] = {4, 4},
	[PROTO_PING] = {0, 64},
	[PROTO_PONG] = {0, 64},
	[PROTO_INSTALL] = {0, PROTO_MAX_REQUEST},
	[PROTO_PROGRESS] = {16, 16},
};

#define NUM_RULES (sizeof(rules) / sizeof(rules[0]))

int proto_parse(const void *buf, size_t len, struct proto_frame *ret, size_t *ret_size)
{
	const uint8_t *p = buf;
	const struct frame_rule *rule;
	uint32_t payload;

	if (len < PROTO_HEADER_LEN) {
		*ret_size = PROTO_HEADER_LEN;
		return 0;
	}
	payload = get_le32(p);
	if (p[4] == 0 || p[4] >= NUM_RULES || get_le16(p + 6) != 0)
		return -EPROTO;
	rule = &rules[p[4]];
	if (payload < rule->min || payload > rule->max)
		return -EPROTO;
	if (rule->stream ? p[5] > PROTO_TTY : p[5] != 0)
		return -EPROTO;
	*ret_size = PROTO_HEADER_LEN + (size_t)payload;
	if (len < *ret_size)
		return 0;
	*ret = (struct proto_frame){
		.type = p[4],
		.stream = p[5],
		.payload = p + PROTO_HEADER_LEN,
		.len = payload,
	};
	return 1;
}

void proto_put_header(uint8_t out[PROTO_HEADER_LEN], enum proto_type type, enum proto_stream stream,
		      size_t len)
{
	assert(type < NUM_RULES && len >= rules[type].min && len <= rules[type].max);
	put_le32(out, (uint32_t)len);
	out[4] = (uint8_t)type;
	out[5] = (uint8_t)stream;
	put_le16(out + 6, 0);
}

size_t proto_put_hello(uint8_t *out)
{
	proto_put_header(out, PROTO_HELLO, 0, 8);
	put_le32(out + 8, PROTO_MAGIC);
	put_le16(out + 12, PROTO_VERSION);
	put_le16(out + 14, 0);
	return PROTO_HEADER_LEN + 8;
}

size_t proto_put_empty(uint8_t *out, enum proto_type type, enum proto_stream stream)
{
	proto_put_header(out, type, stream, 0);
	return PROTO_HEADER_LEN;
}

size_t proto_put_u32(uint8_t *out, enum proto_type type, enum proto_stream stream, uint32_t v)
{
	proto_put_header(out, type, stream, 4);
	put_le32(out + 8, v);
	return PROTO_HEADER_LEN + 4;
}

size_t proto_put_u32x2(uint8_t *out, enum proto_type type, uint32_t a, uint32_t b)
{
	proto_put_header(out, type, 0, 8);
	put_le32(out + 8, a);
	put_le32(out + 12, b);
	return PROTO_HEADER_LEN + 8;
}

size_t proto_put_u64x2(uint8_t *out, enum proto_type type, uint64_t a, uint64_t b)
{
	proto_put_header(out, type, 0, 16);
	put_le64(out + 8, a);
	put_le64(out + 16, b);
	return PROTO_HEADER_LEN + 16;
}

static void winsize_bytes(uint8_t out[8], const struct proto_winsize *ws)
{
	put_le16(out, ws->rows);
	put_le16(out + 2, ws->cols);
	put_le16(out + 4, ws->xpixel);
	put_le16(out + 6, ws->ypixel);
}

size_t proto_put_winsize(uint8_t *out, const struct proto_winsize *ws)
{
	proto_put_header(out, PROTO_WINSIZE, 0, 8);
	winsize_bytes(out + PROTO_HEADER_LEN, ws);
	return PROTO_HEADER_LEN + 8;
}

void proto_get_winsize(const uint8_t payload[8], struct proto_winsize *ret)
{
	ret->rows = get_le16(payload);
	ret->cols = get_le16(payload + 2);
	ret->xpixel = get_le16(payload + 4);
	ret->ypixel = get_le16(payload + 6);
}

int proto_get_hello(const struct proto_frame *f)
{
	uint16_t version;

	if (f->type != PROTO_HELLO || get_le32(f->payload) != PROTO_MAGIC)
		return -EPROTO;
	version = get_le16(f->payload + 4);
	if (version == 0)
		return -EPROTONOSUPPORT;
	return version < PROTO_VERSION ? version : PROTO_VERSION;
}

/* The exact length that a field must have, 0 for strings, -1 for tags that do not exist. */
static int field_len(uint16_t tag)
{
	switch (tag) {
	case PROTO_F_USER:
	case PROTO_F_CWD:
	case PROTO_F_ARG:
	case PROTO_F_ENV:
	case PROTO_F_LABEL:
		return 0;
	case PROTO_F_FLAGS:
		return 4;
	case PROTO_F_WINSIZE:
	case PROTO_F_SIZE:
		return 8;
	default:
		return -1;
	}
}

#define FIELD_HEADER 8

int proto_field_next(const uint8_t **pos, size_t *left, struct proto_field_view *ret)
{
	const uint8_t *p = *pos;
	uint32_t len;
	int want;

	if (*left == 0)
		return 0;
	if (*left < FIELD_HEADER)
		return -EPROTO;
	len = get_le32(p + 4);
	want = field_len(get_le16(p));
	if (want < 0 || get_le16(p + 2) != 0 || len > *left - FIELD_HEADER)
		return -EPROTO;
	if (want ? len != (uint32_t)want : len && memchr(p + FIELD_HEADER, 0, len))
		return -EPROTO;
	*ret = (struct proto_field_view){.tag = get_le16(p), .len = len, .val = p + FIELD_HEADER};
	*pos += FIELD_HEADER + len;
	*left -= FIELD_HEADER + len;
	return 1;
}

void proto_request_begin(struct proto_request *r)
{
	*r = (struct proto_request){.cap = 4096, .len = PROTO_HEADER_LEN};
	r->buf = xcalloc(1, r->cap);
}

void proto_request_add(struct proto_request *r, enum proto_field tag, const void *val, size_t len)
{
	size_t need;

	if (len > PROTO_MAX_REQUEST ||
	    r->len + FIELD_HEADER + len > PROTO_HEADER_LEN + PROTO_MAX_REQUEST) {
		r->too_big = true;
		return;
	}
	need = r->len + FIELD_HEADER + len;
	if (need > r->cap) {
		r->cap = need * 2;
		r->buf = xrealloc(r->buf, r->cap, 1);
	}
	put_le16(r->buf + r->len, (uint16_t)tag);
	put_le16(r->buf + r->len + 2, 0);
	put_le32(r->buf + r->len + 4, (uint32_t)len);
	if (len)
		memcpy(r->buf + r->len + FIELD_HEADER, val, len);
	r->len = need;
}

void proto_request_add_str(struct proto_request *r, enum proto_field tag, const char *s)
{
	proto_request_add(r, tag, s, strlen(s));
}

void proto_request_add_u32(struct proto_request *r, enum proto_field tag, uint32_t v)
{
	uint8_t b[4];

	put_le32(b, v);
	proto_request_add(r, tag, b, sizeof(b));
}

void proto_request_add_u64(struct proto_request *r, enum proto_field tag, uint64_t v)
{
	uint8_t b[8];

	put_le64(b, v);
	proto_request_add(r, tag, b, sizeof(b));
}

void proto_request_add_winsize(struct proto_request *r, const struct proto_winsize *ws)
{
	uint8_t b[8];

	winsize_bytes(b, ws);
	proto_request_add(r, PROTO_F_WINSIZE, b, sizeof(b));
}

int proto_request_finish(struct proto_request *r, enum proto_type type)
{
	if (r->too_big)
		return -E2BIG;
	proto_put_header(r->buf, type, 0, r->len - PROTO_HEADER_LEN);
	return 0;
}

void proto_request_done(struct proto_request *r)
{
	free(r->buf);
	*r = (struct proto_request){0};
}
