/* SPDX-License-Identifier: Apache-2.0 */
/* Loads the kernel modules that the host packed into the initramfs. */
#ifndef LVM_GUEST_MODULES_H
#define LVM_GUEST_MODULES_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Takes the next name off the text of lib/modules/order: one a line, "#" comments and empty lines
 * passed over. A name is letters, digits, '_', '-' and '.'; lines with anything else are passed
 * over too. Copies at most max - 1 bytes. False at the end.
 */
bool modules_next(const char **pos, char *name, size_t max);

/*
 * Loads directory/NAME.ko for each name in directory/order. What fails is logged: its lack shows
 * later, by name.
 */
void modules_load(const char *directory);

#endif
