/* SPDX-License-Identifier: Apache-2.0 */
/* File systems: those of the kernel, the root from its disk, the change to it, and their end. */
#ifndef LVM_GUEST_MOUNT_H
#define LVM_GUEST_MOUNT_H

#include <stdbool.h>

#include "base/err.h"

/* /dev, /proc and /sys in the initramfs. */
void mount_early(void);

/*
 * Mounts the block device at target, creating it. The sentence in err tells a disk without an ext4
 * file system, a truncated one, a damaged one and a kernel without ext4 apart.
 */
int mount_root(const char *device, const char *type, const char *flags, const char *target,
	       struct err *err);

/*
 * Makes the file system at target the root, with /dev, /proc and /sys moved along, and frees the
 * initramfs. Called in the initramfs, as PID 1. The caller's working directory is / afterwards.
 */
int mount_switch_root(const char *target, struct err *err);

/*
 * /run, /dev/pts, /dev/shm, cgroup 2; without systemd also /tmp, mqueue, the kernel's debugging
 * ones and binfmt_misc, which it would mount. What the kernel or the distro lacks is passed over.
 */
void mount_late(bool systemd);

/*
 * Swap off, everything unmounted that lets itself be, the root read-only: its journal needs no
 * replay then. False: it is not.
 */
bool mount_end(void);

/*
 * The mount point field of a /proc/self/mountinfo line, unescaped in place (Linux
 * filesystems/proc.rst §3.5), or NULL.
 */
char *mountinfo_point(char *line);

#endif
