/* SPDX-License-Identifier: Apache-2.0 */
/* Reads one of the distro's configuration files, whatever a user has put in its place. */
#ifndef LVM_GUEST_ETC_H
#define LVM_GUEST_ETC_H

#include <stddef.h>

/*
 * The file name in directory etc, at most max bytes, into *ret_buf (malloc'ed, a NUL after the last
 * byte). Only regular files are opened. 0 or -errno: -ENOENT where there is none, -EFBIG when
 * larger.
 */
int etc_read(const char *etc, const char *name, size_t max, char **ret_buf, size_t *ret_len);

#endif
