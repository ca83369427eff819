/* SPDX-License-Identifier: Apache-2.0 */
/* Every virtio device there is, and what a well-meant and an odd request to it look like. */
#ifndef LVM_TESTS_DEVICE_MAKERS_H
#define LVM_TESTS_DEVICE_MAKERS_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/support/fake_driver.h"

#define SAMPLE_MAX 256

/* A request: rd_len bytes for the device, then room for wr_len. */
struct sample {
	uint8_t rd[SAMPLE_MAX];
	uint32_t rd_len, wr_len;
	uint32_t written; /* what used.len must be */
};

/* One row of the conformance matrix. */
struct maker {
	const char *name;
	unsigned queue; /* the one that takes requests as soon as it is kicked */
	struct virtio_dev *(*make)(const struct virtio_env *env);
	void (*good)(struct sample *s);
	void (*busy)(struct sample *s); /* one that takes the device as long as possible */
	/* Of a type that does not exist; only has to come back. */
	void (*unknown)(struct sample *s);
};

extern const struct maker makers[];
extern const unsigned num_makers;

/* Scratch files of the devices; makes and removes a directory around all tests. */
int makers_setup(void **state);
int makers_teardown(void **state);

#endif
