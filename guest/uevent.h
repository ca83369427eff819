/* SPDX-License-Identifier: Apache-2.0 */
/* Waits for devices by the kernel's uevents (Linux netlink family KOBJECT_UEVENT). */
#ifndef LVM_GUEST_UEVENT_H
#define LVM_GUEST_UEVENT_H

/*
 * A socket that gets every uevent from now on, or -errno. Open it before looking whether the device
 * is there.
 */
int uevent_open(void);

/*
 * Waits for any uevent, at most timeout_ms, and drops all that are queued. 1: look again; 0: time
 * is over.
 */
int uevent_wait(int fd, int timeout_ms);

#endif
