/* SPDX-License-Identifier: Apache-2.0 */
/* The end of the VM as PID 1: processes, file systems, power. */
#ifndef LVM_GUEST_POWER_H
#define LVM_GUEST_POWER_H

#include <stdbool.h>

/*
 * SIGTERM to every process but the caller, which is PID 1, then SIGKILL to those that are left
 * after grace_ms. Returns when none is left (or a second after SIGKILL).
 */
void power_kill_all(int grace_ms);

/* Power off or reboot at once, without any sync. */
void power_off(bool reboot) __attribute__((noreturn));

#endif
