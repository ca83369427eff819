/* SPDX-License-Identifier: Apache-2.0 */
/* What one lvm-vmm process is told: its command line as a structure, both ways. */
#ifndef LVM_VMM_CONFIG_H
#define LVM_VMM_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

#define VMM_MAX_DISKS   16
#define VMM_MAX_INITRDS 8
#define VMM_MAX_VCPUS   32

struct vmm_disk_config {
	char *path;
	char *serial; /* may be NULL */
	bool read_only;
};

/* Strings are owned. Zero-initialised plus vmm_config_defaults() is a machine without a kernel. */
struct vmm_config {
	char *name;                    /* for messages */
	unsigned num_vcpus;            /* 1..VMM_MAX_VCPUS */
	uint64_t memory_bytes;         /* multiple of 2 MiB, at least 32 MiB */
	char *kernel;                  /* bzImage or ELF vmlinux */
	char *initrd[VMM_MAX_INITRDS]; /* cpio archives, laid one after the other in guest memory */
	unsigned num_initrds;
	char *cmdline;                              /* after what the machine itself adds */
	struct vmm_disk_config disk[VMM_MAX_DISKS]; /* /dev/vda, vdb, … in this order */
	unsigned num_disks;
	char *vsock;       /* unix socket to make; NULL: no vsock */
	uint32_t cid;      /* default 3 */
	char *control;     /* unix socket to make; NULL: none */
	char *console_log; /* file for the guest's console, truncated; NULL: stderr */
	char *cache_dir;   /* decompressed kernels; NULL: none kept */
	/* -1, or: "ready\n" is written when the guest says READY, "error <sentence>\n" else. */
	int ready_fd;
	/* -1, or a descriptor that is only kept open: a lock held for the VM's life. */
	int lock_fd;
	bool sandbox; /* default on */
	/* 8250 output from the first instruction; default on (it costs exits only when used). */
	bool early_console;
	bool debug;
};

void vmm_config_defaults(struct vmm_config *c);
void vmm_config_done(struct vmm_config *c);
/*
 * lvm-vmm's command line: --name N --cpus N --memory SIZE --kernel P --initrd P… --cmdline S --disk
 * path=P[,ro][,serial=S]… --vsock P --cid N --control P --console-log P --cache-dir P --ready-fd N
 * --lock-fd N --no-sandbox --no-early-console --debug. A comma in a disk's path is doubled.
 */
int vmm_config_parse(struct vmm_config *c, int argc, char **argv, struct err *err);
/* The inverse: appends the options to *argv. */
void vmm_config_to_argv(const struct vmm_config *c, struct strv *argv);

/* How lvm-vmm ends: its exit status. */
enum vmm_exit {
	VMM_EXIT_POWEROFF = 0, /* the guest powered off, or we were asked to stop and it did */
	VMM_EXIT_REBOOT = 10,  /* the guest asked for a reset: start again */
	VMM_EXIT_CRASH = 11,   /* triple fault, panic, KVM internal error: stderr says why */
	VMM_EXIT_KILLED = 12,  /* stopped by the control socket without the guest's doing */
	VMM_EXIT_FAILED = 125, /* could not start */
};

#endif
