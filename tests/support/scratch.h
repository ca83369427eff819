/* SPDX-License-Identifier: Apache-2.0 */
/* A directory for one test's files. */
#ifndef LVM_TESTS_SUPPORT_SCRATCH_H
#define LVM_TESTS_SUPPORT_SCRATCH_H

#include <stddef.h>

/*
 * A new, empty directory; the path is the caller's, until scratch_remove() deletes both with all
 * content.
 */
char *scratch_new(void);
void scratch_remove(char *dir);

/* Writes dir/name (making directories on the way) and returns its path, which the caller frees. */
char *scratch_write(const char *dir, const char *name, const void *buf, size_t len);

#endif
