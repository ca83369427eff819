/* SPDX-License-Identifier: Apache-2.0 */
/* /dev/kvm: opening it, what it can do, and one virtual machine in it (Linux virt/kvm/api.rst). */
#ifndef LVM_VMM_KVM_H
#define LVM_VMM_KVM_H

#include <stddef.h>

#include "base/err.h"

struct kvm {
	int sys_fd;     /* /dev/kvm, -1 when closed */
	int vm_fd;      /* -1 when there is no VM */
	size_t run_len; /* bytes of a vCPU's shared page */
};

/*
 * Opens /dev/kvm and checks the API version and the capabilities lvm-vmm cannot do without. The
 * sentence says what the user can do about it. *k need not be initialised.
 */
int kvm_open(struct kvm *k, struct err *err);
int kvm_create_vm(struct kvm *k, struct err *err);
void kvm_done(struct kvm *k);

/* KVM_CHECK_EXTENSION on /dev/kvm; 0: absent. */
int kvm_cap(const struct kvm *k, int cap);

#endif
