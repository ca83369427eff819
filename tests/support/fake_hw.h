/* SPDX-License-Identifier: Apache-2.0 */
/* A machine without KVM: a test rings its doorbells and counts its interrupts. */
#ifndef LVM_TESTS_SUPPORT_FAKE_HW_H
#define LVM_TESTS_SUPPORT_FAKE_HW_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/hw.h"

#define FAKE_HW_MAX_DOORBELLS 512
#define FAKE_HW_MAX_MSIS      256
#define FAKE_HW_MAX_LINES     64

struct fake_msi {
	bool used;
	int fd;
	uint64_t addr;
	uint32_t data;
	unsigned num_sets; /* calls of msi_set */
};

struct fake_hw {
	struct hw hw;
	struct {
		gpa_t gpa;
		int fd;
	} doorbell[FAKE_HW_MAX_DOORBELLS];
	unsigned num_doorbells;
	struct fake_msi msi[FAKE_HW_MAX_MSIS];
	int line[FAKE_HW_MAX_LINES]; /* by GSI; -1: none */
	bool offer_shadow;
	struct {
		gpa_t gpa;
		const uint8_t *hva;
	} shadow;    /* the last one offered; gpa 0: given back */
	bool refuse; /* every request fails with -ENOSPC: a machine that is full */
};

void fake_hw_init(struct fake_hw *f);
/* Aborts when a doorbell or a message was not given back. */
void fake_hw_done(struct fake_hw *f);

/* What KVM does with a guest's write: true when a doorbell took it. */
bool fake_hw_ring(struct fake_hw *f, gpa_t gpa);
/* Interrupts delivered with this message since the last call. */
unsigned fake_hw_interrupts(struct fake_hw *f, uint64_t addr, uint32_t data);
/* Messages in use. */
unsigned fake_hw_num_msis(const struct fake_hw *f);

#endif
