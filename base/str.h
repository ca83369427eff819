/* SPDX-License-Identifier: Apache-2.0 */
/* Strings: building, and numbers that must be numbers. */
#ifndef LVM_BASE_STR_H
#define LVM_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* malloc'ed result of a printf; aborts when memory is exhausted (host memory for a string is our bug). */
char *str_fmt(const char *fmt, ...) __attribute__((format(printf, 1, 2), malloc));
char *str_dup(const char *s) __attribute__((malloc));

bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);

/* Whole string is one decimal number in [min, max]. 0 or -EINVAL / -ERANGE. */
int str_to_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret_v);
/* A size in bytes: digits, then nothing, or K, M, G, T with optional "B"/"iB" (powers of 1024). 0, -EINVAL, -ERANGE. */
int str_to_size(const char *s, uint64_t *ret_bytes);
/* yes/true/on/1, no/false/off/0. */
int str_to_bool(const char *s, bool *ret_v);

/*
 * For text that a guest or an archive had a hand in, before it goes to a terminal: what is neither
 * a printable character in UTF-8 nor among the control characters in keep becomes '?'. In place,
 * the length stays.
 */
void str_harmless(char *s, size_t len, const char *keep);

/* calloc/realloc that abort when memory is exhausted. For sizes the host chose, never a guest. */
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t n, size_t size);

/* A NULL-terminated, owned array of owned strings: an argv in the making. Zero-initialised is empty. */
struct strv {
	char **v;
	size_t num;
};
void strv_add(struct strv *sv, const char *s);
void strv_addf(struct strv *sv, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void strv_done(struct strv *sv);

#endif
