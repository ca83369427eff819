/* SPDX-License-Identifier: Apache-2.0 */
/* A disk in memory that notes what is asked of it, and answers when and how the test wants. */
#ifndef LVM_TESTS_SUPPORT_FAKE_DISK_H
#define LVM_TESTS_SUPPORT_FAKE_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "devices/backend/disk.h"

#define FAKE_DISK_NUM_OPS   (DISK_WRITE_ZEROES_UNMAP + 1)
#define FAKE_DISK_TRACE_LEN 64

struct fake_disk {
	struct disk disk;
	struct loop *loop;
	uint8_t *mem;      /* capacity bytes */
	struct list asked; /* submitted, not completed; the oldest first */
	unsigned num_asked;
	struct loop_work answer;
	bool hold;                     /* requests stay asked until fake_disk_complete() or drain */
	bool newest_first;             /* answers in the wrong order */
	int result[FAKE_DISK_NUM_OPS]; /* what requests of each kind end with */
	uint64_t next_capacity;        /* what refresh() finds; at most what it was made with */
	unsigned num[FAKE_DISK_NUM_OPS]; /* requests submitted, of each kind */
	struct {
		enum disk_op op;
		uint64_t offset, len;
	} trace[FAKE_DISK_TRACE_LEN]; /* the first of them */
	unsigned num_traced;
};

/* On the heap: its front frees it, by disk->ops->free(). */
struct fake_disk *fake_disk_new(struct loop *loop, uint64_t capacity, bool read_only);
/* Completes the oldest request asked; aborts when there is none. */
void fake_disk_complete(struct fake_disk *f);

#endif
