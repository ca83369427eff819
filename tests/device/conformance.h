/* SPDX-License-Identifier: Apache-2.0 */
/* The conformance matrix: one device behind its transport, and the cases that torment it. */
#ifndef LVM_TESTS_DEVICE_CONFORMANCE_H
#define LVM_TESTS_DEVICE_CONFORMANCE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/device/makers.h"

#define BIT(n)    (1ull << (n))
#define VERSION_1 BIT(VIRTIO_F_VERSION_1)
#define EVENT_IDX BIT(VIRTIO_RING_F_EVENT_IDX)
#define INDIRECT  BIT(VIRTIO_RING_F_INDIRECT_DESC)

/* A case's state: a fresh machine with one device in it, reset. */
struct rig {
	const struct maker *maker;
	struct fake_machine m;
	struct fake_driver drv;
	struct fake_queue *q; /* the one that takes requests */
	gpa_t mark;
};

struct conformance_case {
	const char *name;
	void (*fn)(void **state);
};

extern const struct conformance_case ring_cases[], register_cases[];
extern const unsigned num_ring_cases, num_register_cases;

/* Resets, and starts the device with what it offers of `want`; RAM is all free again. */
void rig_start(struct rig *rig, uint64_t want);
/* A good request is answered, now, by a device that may have been tormented. */
void assert_works(struct rig *rig);
/* And so it is after a reset, with all features. */
void assert_recovers(struct rig *rig);
/* Makes s available, cut into pieces of at most `piece` bytes; or each side in one when it is 0. */
void offer_sample(struct rig *rig, const struct sample *s, uint32_t piece, bool indirect);

#endif
