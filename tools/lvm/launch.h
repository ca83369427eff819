/* SPDX-License-Identifier: Apache-2.0 */
/* Starting a VM: what it is made of, its process, and waiting until it answers. */
#ifndef LVM_TOOLS_LVM_LAUNCH_H
#define LVM_TOOLS_LVM_LAUNCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "tools/lvm/settings.h"
#include "tools/lvm/store.h"
#include "vmm/config.h"

/* When each step of a start was done, in ms from its beginning. */
struct launch_timings {
	int64_t lock_ms, prepare_ms, spawn_ms, ready_ms;
};

/* A program of ours that is not on PATH ("lvm-vmm", "lvm-guest"); malloc'ed path. */
int launch_find_program(const char *name, char **ret_path, struct err *err);

/*
 * Makes sure that the distro's VM runs and answers: finds it, waits for another's start, or starts it. ret_timings
 * may be NULL. *ret_started says whether this call did it (may be NULL).
 */
int launch_distro(const struct store *s, const char *name, struct launch_timings *ret_timings,
		  bool *ret_started, struct err *err);

/* Fills kernel and initrds from the store. kernel NULL: the default one. installer: with the programs of install. */
int launch_kernel_config(const struct store *s, const char *kernel, bool installer,
			 struct vmm_config *c, struct err *err);

/* Removes the sockets of a VM that is gone. The caller holds the name's OPERATION lock. */
void launch_forget(const struct store *s, const char *name);

struct launch_vm {
	const char *name;
	const char *log_dir; /* console.log and vmm.log go here */
	unsigned timeout_s;  /* until the guest must answer */
	bool die_with_us;    /* the VM ends when this process does */
};

/*
 * Runs lvm-vmm with *c (whose sockets, logs and descriptors are filled in here) and waits until the guest
 * is ready. On failure the VM is gone and the end of its console has been shown. *ret_pid is our child.
 */
int launch_vm(const struct store *s, const struct launch_vm *how, struct vmm_config *c,
	      pid_t *ret_pid, struct launch_timings *ret_timings, struct err *err);

#endif
