/* SPDX-License-Identifier: Apache-2.0 */
/* The virtual CPU's thread (Linux virt/kvm/api.rst §5, struct kvm_run). */
/*
 * The thread never touches a device by itself: it enters the loop, gives the access to a bus, and
 * leaves. Stopping: whoever wants it sets `stop` and the shared page's immediate_exit, then sends
 * VCPU_KICK. If the signal comes while the guest runs, KVM_RUN returns EINTR; if it comes just
 * before KVM_RUN, immediate_exit makes that return at once. No moment is left in which it would be
 * missed.
 */
#include "vmm/vcpu.h"

#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/str.h"
#include "vmm/x86/regs.h"

#define VCPU_KICK  SIGRTMIN
#define VCPU_STACK (128 * 1024)

struct vcpu {
	const struct vcpu_env *env;
	unsigned index;
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	bool started;
	atomic_bool stop;
	/* Written by its own thread alone: no read-modify-write needed. */
	_Atomic uint64_t exits[VCPU_NUM_EXITS];
};

const char *const vcpu_exit_names[VCPU_NUM_EXITS] = {
	[VCPU_EXIT_PIO] = "pio",
	[VCPU_EXIT_MMIO] = "mmio",
	[VCPU_EXIT_INTERRUPTED] = "interrupted",
	[VCPU_EXIT_SHUTDOWN] = "shutdown",
	[VCPU_EXIT_OTHER] = "other",
};

static void vcpu_count(struct vcpu *v, enum vcpu_exit e)
{
	uint64_t n = atomic_load_explicit(&v->exits[e], memory_order_relaxed);

	atomic_store_explicit(&v->exits[e], n + 1, memory_order_relaxed);
}

void vcpu_exits(const struct vcpu *v, uint64_t ret_count[VCPU_NUM_EXITS])
{
	for (unsigned i = 0; i < VCPU_NUM_EXITS; i++)
		ret_count[i] = atomic_load_explicit(&v->exits[i], memory_order_relaxed);
}

static int vcpu_set_mp_state(const struct vcpu *v, struct err *err)
{
	struct kvm_mp_state mp = {
		.mp_state = v->index == 0 ? KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_UNINITIALIZED,
	};

	if (ioctl(v->fd, KVM_SET_MP_STATE, &mp) < 0)
		return err_set(err, errno, "cannot set the state of virtual CPU %u", v->index);
	return 0;
}

int vcpu_new(const struct vcpu_env *env, unsigned index, const struct kvm_cpuid2 *cpuid,
	     struct vcpu **ret_v, struct err *err)
{
	struct vcpu *v = xcalloc(1, sizeof(*v));
	void *page;
	int r;

	v->env = env;
	v->index = index;
	v->fd = ioctl(env->kvm->vm_fd, KVM_CREATE_VCPU, (unsigned long)index);
	if (v->fd < 0) {
		r = err_set(err, errno, "cannot make virtual CPU %u", index);
		goto fail;
	}
	page = mmap(NULL, env->kvm->run_len, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (page == MAP_FAILED) {
		r = err_set(err, errno, "cannot map the page of virtual CPU %u", index);
		goto fail;
	}
	v->run = page;
	if (ioctl(v->fd, KVM_SET_CPUID2, cpuid) < 0) {
		r = err_set(err, errno, "cannot set the features of virtual CPU %u", index);
		goto fail;
	}
	r = regs_set_common(v->fd, err);
	if (r == 0)
		r = vcpu_set_mp_state(v, err);
	if (r < 0)
		goto fail;
	*ret_v = v;
	return 0;
fail:
	vcpu_free(v);
	return r;
}

int vcpu_set_entry(struct vcpu *v, const struct boot_entry *entry, struct err *err)
{
	return regs_set_entry(v->fd, entry, err);
}

static void vcpu_end(struct vcpu *v, enum vcpu_end how, const char *text)
{
	atomic_store(&v->stop, true);
	loop_enter(v->env->loop);
	v->env->ended(v->env->opaque, how, text);
	loop_leave(v->env->loop);
}

/* A string instruction comes as many accesses to one port. */
static void vcpu_pio(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	loop_enter(v->env->loop);
	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		if (run->io.direction == KVM_EXIT_IO_IN)
			(void)bus_read(v->env->pio, run->io.port, data, run->io.size);
		else
			(void)bus_write(v->env->pio, run->io.port, data, run->io.size);
	}
	loop_leave(v->env->loop);
}

static void vcpu_mmio(struct vcpu *v)
{
	struct kvm_run *run = v->run;

	loop_enter(v->env->loop);
	if (run->mmio.is_write)
		(void)bus_write(v->env->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
	else
		(void)bus_read(v->env->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
	loop_leave(v->env->loop);
}

static void vcpu_internal_error(struct vcpu *v)
{
	static const char *const names[] = {
		[0] = "an error",
		[KVM_INTERNAL_ERROR_EMULATION] = "an instruction it cannot emulate",
		[KVM_INTERNAL_ERROR_SIMUL_EX] = "simultaneous exceptions",
		[KVM_INTERNAL_ERROR_DELIVERY_EV] = "an event it cannot deliver",
		[KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON] = "an unexpected exit",
	};
	uint32_t sub = v->run->internal.suberror;
	struct kvm_regs regs = {0};
	char text[200];

	if (sub >= sizeof(names) / sizeof(names[0]))
		sub = 0;
	(void)ioctl(v->fd, KVM_GET_REGS, &regs);
	(void)snprintf(text, sizeof(text),
		       "KVM met %s in virtual CPU %u at address 0x%llx (KVM_EXIT_INTERNAL_ERROR, "
		       "suberror %u)",
		       names[sub], v->index, regs.rip, v->run->internal.suberror);
	vcpu_end(v, VCPU_END_FAILED, text);
}

static void vcpu_system_event(struct vcpu *v)
{
	switch (v->run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		vcpu_end(v, VCPU_END_POWER_OFF, NULL);
		break;
	case KVM_SYSTEM_EVENT_RESET:
		vcpu_end(v, VCPU_END_RESET, NULL);
		break;
	default:
		vcpu_end(v, VCPU_END_FAILED, "the guest reported a crash to KVM");
		break;
	}
}

static void vcpu_other(struct vcpu *v)
{
	char text[160];

	vcpu_count(v, VCPU_EXIT_OTHER);
	switch (v->run->exit_reason) {
	case KVM_EXIT_SYSTEM_EVENT:
		vcpu_system_event(v);
		return;
	case KVM_EXIT_INTERNAL_ERROR:
		vcpu_internal_error(v);
		return;
	case KVM_EXIT_FAIL_ENTRY:
		(void)snprintf(
			text, sizeof(text),
			"the processor refused to enter virtual CPU %u (hardware reason 0x%llx)",
			v->index, v->run->fail_entry.hardware_entry_failure_reason);
		break;
	default:
		(void)snprintf(text, sizeof(text),
			       "KVM left virtual CPU %u for reason %u, which lvm-vmm does not know",
			       v->index, v->run->exit_reason);
		break;
	}
	vcpu_end(v, VCPU_END_FAILED, text);
}

static void vcpu_handle(struct vcpu *v)
{
	switch (v->run->exit_reason) {
	case KVM_EXIT_IO:
		vcpu_count(v, VCPU_EXIT_PIO);
		vcpu_pio(v);
		break;
	case KVM_EXIT_MMIO:
		vcpu_count(v, VCPU_EXIT_MMIO);
		vcpu_mmio(v);
		break;
	case KVM_EXIT_INTR:
		vcpu_count(v, VCPU_EXIT_INTERRUPTED);
		break;
	case KVM_EXIT_SHUTDOWN:
		vcpu_count(v, VCPU_EXIT_SHUTDOWN);
		vcpu_end(v, VCPU_END_TRIPLE_FAULT, NULL);
		break;
	default:
		vcpu_other(v);
		break;
	}
}

static void *vcpu_main(void *arg)
{
	struct vcpu *v = arg;
	char name[16];
	sigset_t set;

	(void)snprintf(name, sizeof(name), "vcpu%u", v->index);
	(void)pthread_setname_np(pthread_self(), name);
	sigemptyset(&set);
	sigaddset(&set, VCPU_KICK);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	while (!atomic_load(&v->stop)) {
		if (ioctl(v->fd, KVM_RUN, 0) == 0) {
			vcpu_handle(v);
		} else if (errno == EINTR || errno == EAGAIN) {
			vcpu_count(v, VCPU_EXIT_INTERRUPTED);
		} else {
			char text[120];

			/*
			 * EFAULT is also what the kernel says when it found no memory for a guest
			 * page.
			 */
			(void)snprintf(text, sizeof(text), "KVM cannot run virtual CPU %u: %s",
				       v->index, strerrordesc_np(errno) ?: "unknown error");
			vcpu_end(v, VCPU_END_FAILED, text);
		}
	}
	return NULL;
}

static void vcpu_kicked(int sig)
{
	/* Its arrival is all that counts. */
}

int vcpu_start(struct vcpu *v, struct err *err)
{
	struct sigaction sa = {.sa_handler = vcpu_kicked};
	pthread_attr_t attr;
	int r;

	if (sigaction(VCPU_KICK, &sa, NULL) < 0)
		return err_set(err, errno, "cannot catch signal %d", VCPU_KICK);
	pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, VCPU_STACK);
	r = pthread_create(&v->thread, &attr, vcpu_main, v);
	pthread_attr_destroy(&attr);
	if (r)
		return err_set(err, r, "cannot start the thread of virtual CPU %u", v->index);
	v->started = true;
	return 0;
}

void vcpu_stop(struct vcpu *v)
{
	atomic_store(&v->stop, true);
	if (!v->started)
		return;
	*(volatile __u8 *)&v->run->immediate_exit = 1;
	(void)pthread_kill(v->thread, VCPU_KICK);
}

void vcpu_free(struct vcpu *v)
{
	if (!v)
		return;
	vcpu_stop(v);
	if (v->started)
		(void)pthread_join(v->thread, NULL);
	if (v->run)
		(void)munmap(v->run, v->env->kvm->run_len);
	if (v->fd >= 0)
		(void)close(v->fd);
	free(v);
}
