/* SPDX-License-Identifier: Apache-2.0 */
/* guest/proto.c: what is encoded decodes, and every bound of docs/agent-protocol.md holds. */
#include "guest/proto.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/endian.h"

struct rule {
	enum proto_type type;
	uint32_t min, max;
	bool stream;
};

static const struct rule rules[] = {
	{PROTO_HELLO, 8, 8, false},
	{PROTO_EXEC, 0, PROTO_MAX_REQUEST, false},
	{PROTO_STARTED, 4, 4, false},
	{PROTO_DATA, 1, PROTO_MAX_PAYLOAD, true},
	{PROTO_END, 0, 0, true},
	{PROTO_CREDIT, 4, 4, true},
	{PROTO_WINSIZE, 8, 8, false},
	{PROTO_SIGNAL, 4, 4, false},
	{PROTO_STOPPED, 4, 4, false},
	{PROTO_EXIT, 8, 8, false},
	{PROTO_ERROR, 8, PROTO_MAX_PAYLOAD, false},
	{PROTO_SHUTDOWN, 4, 4, false},
	{PROTO_PING, 0, 64, false},
	{PROTO_PONG, 0, 64, false},
	{PROTO_INSTALL, 0, PROTO_MAX_REQUEST, false},
	{PROTO_PROGRESS, 16, 16, false},
};

static int parse_header(uint32_t len, uint8_t type, uint8_t stream, uint16_t zero)
{
	uint8_t h[PROTO_HEADER_LEN];
	struct proto_frame f;
	size_t size;
	int r;

	put_le32(h, len);
	h[4] = type;
	h[5] = stream;
	put_le16(h + 6, zero);
	r = proto_parse(h, sizeof(h), &f, &size);
	if (r >= 0)
		assert_int_equal(size, PROTO_HEADER_LEN + (size_t)len);
	return r < 0 ? r : 0;
}

static void every_type_has_its_bounds(void **state)
{
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		const struct rule *r = &rules[i];

		assert_int_equal(parse_header(r->min, r->type, 0, 0), 0);
		assert_int_equal(parse_header(r->max, r->type, 0, 0), 0);
		assert_int_equal(parse_header(r->max + 1, r->type, 0, 0), -EPROTO);
		assert_int_equal(parse_header(UINT32_MAX, r->type, 0, 0), -EPROTO);
		if (r->min)
			assert_int_equal(parse_header(r->min - 1, r->type, 0, 0), -EPROTO);
		assert_int_equal(parse_header(r->min, r->type, 0, 1), -EPROTO);
		assert_int_equal(parse_header(r->min, r->type, 3, 0), r->stream ? 0 : -EPROTO);
		assert_int_equal(parse_header(r->min, r->type, 4, 0), -EPROTO);
	}
	assert_int_equal(parse_header(0, 0, 0, 0), -EPROTO);
	assert_int_equal(parse_header(0, 17, 0, 0), -EPROTO);
	assert_int_equal(parse_header(0, 255, 0, 0), -EPROTO);
}

static void a_frame_may_come_in_bytes(void **state)
{
	uint8_t frame[PROTO_SMALL_FRAME];
	size_t len = proto_put_u32(frame, PROTO_CREDIT, PROTO_TTY, 0x01020304), size = 0;
	struct proto_frame f;

	for (size_t n = 0; n < len; n++) {
		assert_int_equal(proto_parse(frame, n, &f, &size), 0);
		assert_int_equal(size, n < PROTO_HEADER_LEN ? PROTO_HEADER_LEN : len);
	}
	assert_int_equal(proto_parse(frame, sizeof(frame), &f, &size), 1);
	assert_int_equal(size, len);
	assert_int_equal(f.type, PROTO_CREDIT);
	assert_int_equal(f.stream, PROTO_TTY);
	assert_int_equal(f.len, 4);
	assert_int_equal(get_le32(f.payload), 0x01020304);
}

static void hello_settles_the_version(void **state)
{
	static const struct {
		uint16_t version;
		int spoken;
	} cases[] = {
		{0, -EPROTONOSUPPORT}, {1, 1}, {2, PROTO_VERSION}, {UINT16_MAX, PROTO_VERSION}};
	uint8_t frame[PROTO_SMALL_FRAME];
	struct proto_frame f;
	size_t size, len = proto_put_hello(frame);

	assert_int_equal(proto_parse(frame, len, &f, &size), 1);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		put_le16(frame + 12, cases[i].version);
		assert_int_equal(proto_get_hello(&f), cases[i].spoken);
	}
	frame[8] ^= 1;
	assert_int_equal(proto_get_hello(&f), -EPROTO);
}

static void a_request_round_trips(void **state)
{
	struct proto_winsize ws = {.rows = 1, .cols = 2, .xpixel = 3, .ypixel = 4}, again;
	struct proto_field_view v;
	struct proto_request r;
	struct proto_frame f;
	const uint8_t *pos;
	size_t size, left;

	proto_request_begin(&r);
	proto_request_add_str(&r, PROTO_F_ARG, "");
	proto_request_add_str(&r, PROTO_F_ENV, "A=b");
	proto_request_add_u32(&r, PROTO_F_FLAGS, 7);
	proto_request_add_u64(&r, PROTO_F_SIZE, 1ull << 40);
	proto_request_add_winsize(&r, &ws);
	assert_int_equal(proto_request_finish(&r, PROTO_EXEC), 0);
	assert_int_equal(proto_parse(r.buf, r.len, &f, &size), 1);
	assert_int_equal(size, r.len);
	pos = f.payload;
	left = f.len;
	assert_int_equal(proto_field_next(&pos, &left, &v), 1);
	assert_true(v.tag == PROTO_F_ARG && v.len == 0);
	assert_int_equal(proto_field_next(&pos, &left, &v), 1);
	assert_true(v.tag == PROTO_F_ENV && v.len == 3 && memcmp(v.val, "A=b", 3) == 0);
	assert_int_equal(proto_field_next(&pos, &left, &v), 1);
	assert_int_equal(get_le32(v.val), 7);
	assert_int_equal(proto_field_next(&pos, &left, &v), 1);
	assert_int_equal(get_le64(v.val), 1ull << 40);
	assert_int_equal(proto_field_next(&pos, &left, &v), 1);
	proto_get_winsize(v.val, &again);
	assert_memory_equal(&again, &ws, sizeof(ws));
	assert_int_equal(proto_field_next(&pos, &left, &v), 0);
	proto_request_done(&r);
}

static void a_request_has_a_largest_size(void **state)
{
	static char big[PROTO_MAX_REQUEST - 8];
	struct proto_request r;

	memset(big, 'x', sizeof(big));
	proto_request_begin(&r);
	proto_request_add(&r, PROTO_F_ARG, big, sizeof(big));
	assert_int_equal(proto_request_finish(&r, PROTO_EXEC), 0);
	assert_int_equal(r.len, PROTO_HEADER_LEN + PROTO_MAX_REQUEST);
	proto_request_add_str(&r, PROTO_F_ARG, "");
	assert_int_equal(proto_request_finish(&r, PROTO_EXEC), -E2BIG);
	proto_request_done(&r);
}

/* tag, zero, len, then what is there */
static int next_of(uint16_t tag, uint16_t zero, uint32_t len, const char *bytes, size_t num)
{
	uint8_t buf[64];
	const uint8_t *pos = buf;
	size_t left = 8 + num;
	struct proto_field_view v;

	put_le16(buf, tag);
	put_le16(buf + 2, zero);
	put_le32(buf + 4, len);
	memcpy(buf + 8, bytes, num);
	return proto_field_next(&pos, &left, &v);
}

static void bad_fields_are_refused(void **state)
{
	const uint8_t cut[7] = {1};
	const uint8_t *pos = cut;
	size_t left = sizeof(cut);
	struct proto_field_view v;

	assert_int_equal(next_of(PROTO_F_ARG, 0, 3, "abc", 3), 1);
	assert_int_equal(next_of(PROTO_F_ARG, 0, 4, "abc", 3), -EPROTO);
	assert_int_equal(next_of(PROTO_F_ARG, 0, UINT32_MAX, "abc", 3), -EPROTO);
	assert_int_equal(next_of(PROTO_F_ARG, 1, 3, "abc", 3), -EPROTO);
	assert_int_equal(next_of(PROTO_F_ARG, 0, 3, "a\0c", 3), -EPROTO);
	assert_int_equal(next_of(0, 0, 3, "abc", 3), -EPROTO);
	assert_int_equal(next_of(9, 0, 3, "abc", 3), -EPROTO);
	assert_int_equal(next_of(PROTO_F_FLAGS, 0, 3, "abc", 3), -EPROTO);
	assert_int_equal(next_of(PROTO_F_FLAGS, 0, 4, "a\0\0\0", 4), 1);
	assert_int_equal(next_of(PROTO_F_SIZE, 0, 4, "a\0\0\0", 4), -EPROTO);
	assert_int_equal(proto_field_next(&pos, &left, &v), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type_has_its_bounds),
		cmocka_unit_test(a_frame_may_come_in_bytes),
		cmocka_unit_test(hello_settles_the_version),
		cmocka_unit_test(a_request_round_trips),
		cmocka_unit_test(a_request_has_a_largest_size),
		cmocka_unit_test(bad_fields_are_refused),
	};

	return cmocka_run_group_tests_name("proto", tests, NULL, NULL);
}
