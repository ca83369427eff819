/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a log, and what is added to it. */
#ifndef LVM_TOOLS_LVM_LOGTAIL_H
#define LVM_TOOLS_LVM_LOGTAIL_H

#include <stdio.h>

#include "base/err.h"

/* Copies the last lines of the file to out, control characters made harmless. A missing file is an empty one. */
void logtail_show(const char *path, unsigned lines, FILE *out);

/*
 * Copies the whole file to descriptor out_fd, then with follow what is added, until a signal ends
 * the process. Byte by byte as it is; to a terminal, made harmless.
 */
int logtail_copy(const char *path, int out_fd, int follow, struct err *err);

#endif
