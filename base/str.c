/* SPDX-License-Identifier: Apache-2.0 */
/* Strings and numbers. */
#include "base/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static void out_of_memory(void)
{
	static const char text[] = "out of memory\n";

	(void)!fwrite(text, 1, sizeof(text) - 1, stderr);
	abort();
}

static char *str_vfmt(const char *fmt, va_list ap)
{
	char *s;

	if (vasprintf(&s, fmt, ap) < 0)
		out_of_memory();
	return s;
}

char *str_fmt(const char *fmt, ...)
{
	va_list ap;
	char *s;

	va_start(ap, fmt);
	s = str_vfmt(fmt, ap);
	va_end(ap);
	return s;
}

char *str_dup(const char *s)
{
	char *copy = strdup(s);

	if (!copy)
		out_of_memory();
	return copy;
}

bool str_starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *s, const char *suffix)
{
	size_t n = strlen(s), m = strlen(suffix);

	return n >= m && strcmp(s + n - m, suffix) == 0;
}

/* Digits from *s on; moves *s past them. */
static int str_digits(const char **s, uint64_t *ret_v)
{
	uint64_t v = 0;
	const char *p = *s;

	if (*p < '0' || *p > '9')
		return -EINVAL;
	for (; *p >= '0' && *p <= '9'; p++) {
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
			return -ERANGE;
	}
	*s = p;
	*ret_v = v;
	return 0;
}

int str_to_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret_v)
{
	uint64_t v;
	int r = str_digits(&s, &v);

	if (r < 0)
		return r;
	if (*s)
		return -EINVAL;
	if (v < min || v > max)
		return -ERANGE;
	*ret_v = v;
	return 0;
}

int str_to_size(const char *s, uint64_t *ret_bytes)
{
	static const char units[] = "kmgt";
	const char *unit;
	unsigned shift = 0;
	uint64_t v;
	int r = str_digits(&s, &v);

	if (r < 0)
		return r;
	if (*s) {
		unit = strchr(units, *s | 0x20);
		if (!unit)
			return -EINVAL;
		shift = 10 * (unsigned)(unit - units + 1);
		s++;
		if (*s && strcasecmp(s, "b") != 0 && strcasecmp(s, "ib") != 0)
			return -EINVAL;
	}
	if (v > UINT64_MAX >> shift)
		return -ERANGE;
	*ret_bytes = v << shift;
	return 0;
}

int str_to_bool(const char *s, bool *ret_v)
{
	static const char *const yes[] = {"yes", "true", "on", "1"};
	static const char *const no[] = {"no", "false", "off", "0"};

	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
		if (strcasecmp(s, yes[i]) == 0) {
			*ret_v = true;
			return 0;
		}
		if (strcasecmp(s, no[i]) == 0) {
			*ret_v = false;
			return 0;
		}
	}
	return -EINVAL;
}

/*
 * The bytes of the character at p, of which n are there; 0 when it is none (RFC 3629), or one that
 * controls. U+0080 to U+009F do: U+009B means to a terminal what ESC [ does.
 */
static size_t printable_len(const uint8_t *p, size_t n)
{
	static const uint32_t first[] = {0, 0, 0xa0, 0x800, 0x10000};
	size_t len = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
	uint32_t c = p[0] & (0x7fu >> len);

	if (p[0] < 0x80)
		return p[0] >= ' ' && p[0] != 0x7f;
	if (p[0] < 0xc0 || p[0] >= 0xf8 || len > n)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	return c < first[len] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) ? 0 : len;
}

void str_harmless(char *s, size_t len, const char *keep)
{
	for (size_t i = 0; i < len;) {
		size_t n = printable_len((const uint8_t *)s + i, len - i);

		if (n == 0 && !(s[i] && strchr(keep, s[i])))
			s[i] = '?';
		i += n ? n : 1;
	}
}

void *xcalloc(size_t n, size_t size)
{
	void *p = calloc(n, size);

	if (!p && n && size)
		out_of_memory();
	return p;
}

void *xrealloc(void *p, size_t n, size_t size)
{
	void *q = reallocarray(p, n, size);

	if (!q && n && size)
		out_of_memory();
	return q;
}

static void strv_append(struct strv *sv, char *owned)
{
	sv->v = xrealloc(sv->v, sv->num + 2, sizeof(*sv->v));
	sv->v[sv->num++] = owned;
	sv->v[sv->num] = NULL;
}

void strv_add(struct strv *sv, const char *s)
{
	strv_append(sv, str_dup(s));
}

void strv_addf(struct strv *sv, const char *fmt, ...)
{
	va_list ap;
	char *s;

	va_start(ap, fmt);
	s = str_vfmt(fmt, ap);
	va_end(ap);
	strv_append(sv, s);
}

void strv_done(struct strv *sv)
{
	for (size_t i = 0; i < sv->num; i++)
		free(sv->v[i]);
	free(sv->v);
	*sv = (struct strv){0};
}
