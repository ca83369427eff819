/* SPDX-License-Identifier: Apache-2.0 */
/* A guest of 100 000 instructions that tells a processor's virtualisation from an interpreter. */
/*
 * Some hosts have a /dev/kvm that answers every question right and yet interprets guests one
 * instruction at a time (kvm-pvm with a guest that does not know it): hundreds of times too slow,
 * and without the instructions a real kernel needs. No capability tells. So: time a loop, then
 * execute what such interpreters lack (SSE moves, cmpxchg16b). The time is the thread's processor
 * time, which a busy host does not stretch, and the best of a few tries.
 */
#include "vmm/probe.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/endian.h"
#include "base/str.h"
#include "vmm/kvm.h"
#include "vmm/x86/cpuid.h"
#include "vmm/x86/regs.h"

#define PROBE_MEM   (64 * 1024)
#define PROBE_PML4  0x1000
#define PROBE_PDPT  0x2000
#define PROBE_PD    0x3000
#define PROBE_GDT   0x4000
#define PROBE_STACK 0x8000
#define PROBE_CODE  0x9000
#define PROBE_PORT  0x80
#define PROBE_TRIES 3
/* Hardware takes under 100, emulated SVM about 1 000, an interpreter 60 000. */
#define PROBE_SLOW_US 20000

/*
 * 50 000 times two instructions, "out" to say so, then the instructions that must work, and "out"
 * again.
 */
extern const uint8_t probe_code[], probe_code_end[];
__asm__(".pushsection .rodata\n"
	"probe_code:\n"
	"	mov $50000, %ecx\n"
	"1:	dec %ecx\n"
	"	jnz 1b\n"
	"	out %al, $0x80\n"
	"	mov %cr4, %rax\n"
	"	or $0x600, %eax\n" /* OSFXSR, OSXMMEXCPT */
	"	mov %rax, %cr4\n"
	"	fninit\n"
	"	movups -64(%rsp), %xmm0\n"
	"	movups %xmm0, -48(%rsp)\n"
	"	fxsave -1024(%rsp)\n"
	"	lock cmpxchg16b -64(%rsp)\n"
	"	out %al, $0x80\n"
	"probe_code_end:\n"
	".popsection\n");

struct probe_vm {
	struct kvm kvm;
	uint8_t *mem;
	int vcpu_fd;
	struct kvm_run *run;
};

static uint64_t thread_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* The first 2 MiB mapped onto themselves, a flat GDT, the code. */
static void probe_fill(uint8_t *mem)
{
	put_le64(mem + PROBE_PML4, PROBE_PDPT | 3);
	put_le64(mem + PROBE_PDPT, PROBE_PD | 3);
	put_le64(mem + PROBE_PD, 0x83);
	put_le64(mem + PROBE_GDT + 0x10, UINT64_C(0x00af9b000000ffff));
	put_le64(mem + PROBE_GDT + 0x18, UINT64_C(0x00cf93000000ffff));
	memcpy(mem + PROBE_CODE, probe_code, (size_t)(probe_code_end - probe_code));
}

static int probe_vcpu(struct probe_vm *p, struct err *err)
{
	struct kvm_cpuid2 *cpuid;
	void *page;
	int r;

	p->vcpu_fd = ioctl(p->kvm.vm_fd, KVM_CREATE_VCPU, 0);
	if (p->vcpu_fd < 0)
		return err_set(err, errno, "cannot make a virtual CPU");
	page = mmap(NULL, p->kvm.run_len, PROT_READ | PROT_WRITE, MAP_SHARED, p->vcpu_fd, 0);
	if (page == MAP_FAILED)
		return err_set(err, errno, "cannot map a virtual CPU's page");
	p->run = page;
	r = cpuid_supported(&p->kvm, &cpuid, err);
	if (r < 0)
		return r;
	if (ioctl(p->vcpu_fd, KVM_SET_CPUID2, cpuid) < 0)
		r = err_set(err, errno, "cannot set a virtual CPU's features");
	free(cpuid);
	return r;
}

static int probe_setup(struct probe_vm *p, struct err *err)
{
	struct kvm_userspace_memory_region slot = {.memory_size = PROBE_MEM};
	void *mem;
	int r = kvm_create_vm(&p->kvm, err);

	if (r < 0)
		return r;
	mem = mmap(NULL, PROBE_MEM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		return err_set(err, errno, "cannot map memory");
	p->mem = mem;
	probe_fill(p->mem);
	slot.userspace_addr = (uintptr_t)p->mem;
	if (ioctl(p->kvm.vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
		return err_set(err, errno, "cannot give the test guest memory");
	return probe_vcpu(p, err);
}

static void probe_done(struct probe_vm *p)
{
	if (p->run)
		(void)munmap(p->run, p->kvm.run_len);
	if (p->vcpu_fd >= 0)
		(void)close(p->vcpu_fd);
	if (p->mem)
		(void)munmap(p->mem, PROBE_MEM);
	kvm_done(&p->kvm);
}

/* Runs up to the next "out" to PROBE_PORT. */
static int probe_step(struct probe_vm *p, struct err *err)
{
	int r;

	do {
		r = ioctl(p->vcpu_fd, KVM_RUN, 0);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return err_set(err, errno, "this machine's /dev/kvm cannot run a guest");
	if (p->run->exit_reason == KVM_EXIT_IO && p->run->io.port == PROBE_PORT)
		return 0;
	return err_say(
		err, ENOTSUP,
		"this machine's /dev/kvm cannot run an unmodified guest: it fails on ordinary "
		"instructions (KVM exit %u); lvm needs a processor with VT-x or AMD-V, or "
		"nested virtualisation switched on in the machine that this one runs in",
		p->run->exit_reason);
}

static int probe_try(struct probe_vm *p, uint64_t *ret_us, struct err *err)
{
	const struct boot_entry entry = {
		.rip = PROBE_CODE,
		.rsp = PROBE_STACK,
		.cr3 = PROBE_PML4,
		.gdt = PROBE_GDT,
		.gdt_len = 0x20,
	};
	uint64_t start;
	int r = regs_set_entry(p->vcpu_fd, &entry, err);

	if (r < 0)
		return r;
	start = thread_us();
	r = probe_step(p, err);
	if (r == 0)
		*ret_us = thread_us() - start;
	return r;
}

static int probe_measure(struct probe_vm *p, struct probe_result *res, struct err *err)
{
	uint64_t best = UINT64_MAX;

	for (unsigned i = 0; i < PROBE_TRIES && best > PROBE_SLOW_US; i++) {
		uint64_t us = UINT64_MAX;
		int r = probe_try(p, &us, err);

		if (r < 0)
			return r;
		if (us < best)
			best = us;
	}
	res->loop_us = best;
	if (best > PROBE_SLOW_US)
		return err_say(
			err, ENOTSUP,
			"this machine's /dev/kvm cannot run an unmodified guest: it interprets "
			"instructions in software (100 000 took %llu us); lvm needs a processor "
			"with VT-x or AMD-V, or nested virtualisation switched on in the machine "
			"that this one runs in",
			(unsigned long long)best);
	return probe_step(p, err);
}

int probe_kvm(struct probe_result *ret_p, struct err *err)
{
	struct probe_vm p = {.vcpu_fd = -1};
	int r;

	*ret_p = (struct probe_result){0};
	r = kvm_open(&p.kvm, err);
	if (r < 0)
		return r;
	ret_p->opened = true;
	r = probe_setup(&p, err);
	if (r == 0)
		r = probe_measure(&p, ret_p, err);
	ret_p->ran = r == 0;
	probe_done(&p);
	return r;
}

int probe_main(bool json)
{
	struct probe_result p;
	struct err err;
	int r = probe_kvm(&p, &err);
	cJSON *out;
	char *text;

	if (!json) {
		if (r == 0)
			(void)printf(
				"KVM can run guests here (100 000 instructions took %llu us).\n",
				(unsigned long long)p.loop_us);
		else
			(void)printf("%s\n", err.text);
		return r == 0 ? 0 : 125;
	}
	out = cJSON_CreateObject();
	cJSON_AddBoolToObject(out, "ok", r == 0);
	cJSON_AddBoolToObject(out, "opened", p.opened);
	cJSON_AddNumberToObject(out, "loop_us", (double)p.loop_us);
	if (r < 0)
		cJSON_AddStringToObject(out, "error", err.text);
	text = cJSON_PrintUnformatted(out);
	(void)printf("%s\n", text ? text : "");
	cJSON_free(text);
	cJSON_Delete(out);
	return r == 0 ? 0 : 125;
}
