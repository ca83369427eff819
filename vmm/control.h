/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket: one JSON object a line, both ways; a unix stream socket of mode 0600. */
#ifndef LVM_VMM_CONTROL_H
#define LVM_VMM_CONTROL_H

/*
 * Request: {"command": NAME}. Reply: {"ok": true, …} or {"ok": false, "error": SENTENCE}. A line is
 * at most CONTROL_MAX_LINE bytes. Requests on one connection are answered in order.
 *
 *   status        {"state": "booting"|"running"|"stopping", "pid", "name", "vcpus",
 *                  "memory" (bytes), "uptime_ms", "boot_ms" (start to READY, or null),
 *                  "guest_status": last STATUS= text}
 *   shutdown      asks the guest to power off: by its agent when connected, else by the power
 *                 button; replies at once
 *   powerbutton   presses the ACPI power button
 *   stop          ends the machine now; the reply is sent first
 *   statistics    {"exits": {REASON: count…}, "vcpus": […], "rss_private" (bytes), "devices": {…}}
 *   resize-disk   {"disk": index}: the file behind it has grown; tells the guest
 *   wait          replies when the machine ends, with {"exit": enum vmm_exit as a number}
 */
#define CONTROL_MAX_LINE 4096

#endif
