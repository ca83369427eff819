/* SPDX-License-Identifier: Apache-2.0 */
/* A running VM from outside: its control socket and its process. */
#ifndef LVM_TOOLS_LVM_VM_H
#define LVM_TOOLS_LVM_VM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "tools/lvm/store.h"

struct cJSON;

/*
 * One request to the VM's control socket (vmm/control.h). *ret_reply is the reply's object, for
 * cJSON_Delete(); NULL when not wanted. -ENOENT or -ECONNREFUSED: no VM listens. timeout_ms -1: none.
 */
int vm_control(const struct store *s, const char *name, const char *command, int timeout_ms,
	       struct cJSON **ret_reply, struct err *err);

struct vm_status {
	bool running;   /* a VM holds the name's lock */
	char state[16]; /* "stopped", "booting", "running", "stopping" */
	int pid;
	uint64_t memory, vcpus, uptime_ms, boot_ms;
	uint64_t private_bytes; /* of the VMM itself, beside the guest's memory */
};
void vm_status(const struct store *s, const char *name, struct vm_status *ret_status);

/*
 * Ends the VM: by the guest's own shutdown within timeout_ms, or at once with force. Returns when its process is gone.
 * -ETIMEDOUT with a sentence when it did not end.
 */
int vm_stop(const struct store *s, const char *name, bool force, int timeout_ms, struct err *err);

#endif
