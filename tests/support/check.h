/* SPDX-License-Identifier: Apache-2.0 */
/* A condition that test support relies on, whatever the build type, with or without cmocka. */
#ifndef LVM_TESTS_SUPPORT_CHECK_H
#define LVM_TESTS_SUPPORT_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define check(cond)                                                                        \
	do {                                                                               \
		if (!(cond)) {                                                             \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #cond); \
			abort();                                                           \
		}                                                                          \
	} while (0)

#endif
