/* SPDX-License-Identifier: Apache-2.0 */
/* The virtual machine: its parts, and its life from power-on to its end. */
#ifndef LVM_VMM_MACHINE_H
#define LVM_VMM_MACHINE_H

#include "base/err.h"
#include "vmm/config.h"

struct machine;

/*
 * Puts the machine together and the kernel into its memory; everything that needs a path is opened
 * here. cfg is borrowed. Signals must be blocked; SIGTERM, SIGINT and SIGHUP are the machine's from
 * now on.
 */
int machine_new(const struct vmm_config *cfg, struct machine **ret_m, struct err *err);

/*
 * Runs it to its end on the calling thread. Returns how it ended; for CRASH, KILLED and FAILED the
 * sentence is in *err. What cfg->ready_fd promises has been said by then.
 */
enum vmm_exit machine_run(struct machine *m, struct err *err);

/* NULL is fine. */
void machine_free(struct machine *m);

/* Writes "error <sentence>" to ready_fd if that is >= 0: for failures before there is a machine. */
void machine_say_error(int ready_fd, const struct err *err);

#endif
