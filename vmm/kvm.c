/* SPDX-License-Identifier: Apache-2.0 */
/* Opening /dev/kvm and making a VM. */
#include "vmm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define KVM_DEVICE "/dev/kvm"

/* What lvm-vmm uses without an alternative. All are older than Linux 4.5. */
static const struct {
	int cap;
	const char *name;
} needed[] = {
	{KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"},
	{KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
	{KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"},
	{KVM_CAP_IRQFD, "KVM_CAP_IRQFD"},
	{KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING"},
	{KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD"},
	{KVM_CAP_IOEVENTFD_ANY_LENGTH, "KVM_CAP_IOEVENTFD_ANY_LENGTH"},
	{KVM_CAP_PIT2, "KVM_CAP_PIT2"},
	{KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI"},
	{KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
};

int kvm_cap(const struct kvm *k, int cap)
{
	int r = ioctl(k->sys_fd, KVM_CHECK_EXTENSION, cap);

	return r < 0 ? 0 : r;
}

/* Whose help one needs to be let in: the device's group when that is a real one. */
static int kvm_denied(struct err *err)
{
	struct group *g = NULL;
	struct stat st;

	if (stat(KVM_DEVICE, &st) == 0 && st.st_gid != 0 && st.st_mode & S_IWGRP)
		g = getgrgid(st.st_gid);
	if (g)
		return err_say(err, EACCES,
			       "you may not use " KVM_DEVICE ": it belongs to group '%s'; have an "
			       "administrator run 'usermod -aG %s $USER' for you, and log in again",
			       g->gr_name, g->gr_name);
	return err_say(err, EACCES,
		       "you may not use " KVM_DEVICE ": only root can; have an administrator give "
		       "it to a group that you are in");
}

static int kvm_open_device(struct err *err)
{
	int fd = open(KVM_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	switch (errno) {
	case ENOENT:
	case ENXIO:
	case ENODEV:
		return err_say(
			err, ENOENT,
			"there is no working " KVM_DEVICE ": load the kernel module kvm_intel or "
			"kvm_amd, and see that virtualisation is on in the firmware settings");
	case EACCES:
	case EPERM:
		return kvm_denied(err);
	case EBUSY:
		return err_say(err, EBUSY,
			       KVM_DEVICE " is busy: another hypervisor uses the processor's "
					  "virtualisation; stop it first");
	default:
		return err_set(err, errno, "cannot open " KVM_DEVICE);
	}
}

static int kvm_check(struct kvm *k, struct err *err)
{
	int version = ioctl(k->sys_fd, KVM_GET_API_VERSION, 0);
	int run_len;

	if (version != KVM_API_VERSION)
		return err_say(err, ENOTSUP,
			       KVM_DEVICE " speaks version %d of its interface, lvm "
					  "needs %d",
			       version, KVM_API_VERSION);
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		if (!kvm_cap(k, needed[i].cap))
			return err_say(
				err, ENOTSUP,
				"this kernel's KVM lacks %s, which lvm needs; use a newer kernel",
				needed[i].name);
	}
	run_len = ioctl(k->sys_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (run_len < (int)sizeof(struct kvm_run))
		return err_say(err, EPROTO, KVM_DEVICE " gives a vCPU page of %d bytes", run_len);
	k->run_len = (size_t)run_len;
	return 0;
}

int kvm_open(struct kvm *k, struct err *err)
{
	int r;

	*k = (struct kvm){.sys_fd = -1, .vm_fd = -1};
	r = kvm_open_device(err);
	if (r < 0)
		return r;
	k->sys_fd = r;
	r = kvm_check(k, err);
	if (r < 0)
		kvm_done(k);
	return r;
}

int kvm_create_vm(struct kvm *k, struct err *err)
{
	int fd;

	/* EINTR: a signal met the kernel's wait for its own helper thread. */
	do {
		fd = ioctl(k->sys_fd, KVM_CREATE_VM, 0);
	} while (fd < 0 && errno == EINTR);
	if (fd < 0 && (errno == EBUSY || errno == ENOTSUP || errno == EOPNOTSUPP))
		return err_say(err, errno,
			       KVM_DEVICE
			       " cannot make a virtual machine (%s): another hypervisor "
			       "uses the processor's virtualisation, or it is off in the firmware",
			       strerrordesc_np(errno));
	if (fd < 0)
		return err_set(err, errno, "cannot make a virtual machine with " KVM_DEVICE);
	k->vm_fd = fd;
	return 0;
}

void kvm_done(struct kvm *k)
{
	if (k->vm_fd >= 0)
		(void)close(k->vm_fd);
	if (k->sys_fd >= 0)
		(void)close(k->sys_fd);
	k->vm_fd = k->sys_fd = -1;
}
