/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's messages for `lvm logs`, in bulk instead of one interrupt a few bytes. */
#ifndef LVM_GUEST_BOOTLOG_H
#define LVM_GUEST_BOOTLOG_H

#include <stddef.h>

/*
 * Writes what the kernel has logged so far to the console, unless it printed it there itself (without "quiet").
 * Called once, when the boot is over or has failed. Failing is silent: it is a log.
 */
void bootlog_copy(void);

/* Takes the "<6>" before each line of n bytes of syslog(2)'s text away, in place; returns what is left. */
size_t bootlog_strip(char *text, size_t n);

#endif
