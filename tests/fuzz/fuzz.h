/* SPDX-License-Identifier: Apache-2.0 */
/* What every fuzz target shares: its entry, and a reader that turns bytes into choices. */
#ifndef LVM_TESTS_FUZZ_FUZZ_H
#define LVM_TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Called by libFuzzer, or by replay.c with each file of the corpus. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input that is left. Reading past its end gives zeroes. */
struct fuzz {
	const uint8_t *p;
	size_t left;
};

/* The next n <= 8 bytes as a little-endian number. */
static inline uint64_t fuzz_bits(struct fuzz *f, unsigned n)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < n && f->left; i++, f->left--)
		v |= (uint64_t)*f->p++ << 8 * i;
	return v;
}

/* One of 0 .. n - 1, n <= 65536. */
static inline unsigned fuzz_pick(struct fuzz *f, unsigned n)
{
	return (unsigned)(fuzz_bits(f, n > 256 ? 2 : 1) % n);
}

/* True for one byte value in `rarely`: most of an input is to be valid, or nothing is reached. */
static inline bool fuzz_flaw(struct fuzz *f, unsigned rarely)
{
	return fuzz_pick(f, rarely) == rarely - 1;
}

#endif
