/* SPDX-License-Identifier: Apache-2.0 */
/* Guest RAM in a memfd. */
#include "vmm/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/log.h"
#include "vmm/x86/layout.h"

#define HUGE (UINT64_C(2) << 20)

/*
 * Measured: what kernels from 6.1 on have touched when their first process starts. From the bottom:
 * the kernel and its first allocations; the first allocations of the memory above 4 GiB too. At the
 * top, growing with RAM: page descriptors (64 bytes each) and hash tables.
 */
#define PREPARE_BOTTOM     (UINT64_C(52) << 20)
#define PREPARE_ABOVE_4G   (UINT64_C(28) << 20)
#define PREPARE_TOP(bytes) ((bytes) / 64 + (bytes) / 256 + (UINT64_C(4) << 20))

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

static int memory_check(uint64_t bytes, struct err *err)
{
	struct sysinfo si;
	uint64_t total;

	if (sysinfo(&si) < 0)
		return err_set(err, errno, "cannot read the host's memory size");
	total = (uint64_t)si.totalram * si.mem_unit;
	if (bytes > total)
		return err_say(
			err, ENOMEM,
			"the machine is given %llu MiB of memory, but the host has only %llu "
			"MiB; ask for less",
			(unsigned long long)(bytes >> 20), (unsigned long long)(total >> 20));
	return 0;
}

/* Guest and host addresses must be equal modulo 2 MiB, or no huge page can be mapped whole. */
static uint8_t *memory_map(int fd, uint64_t bytes, struct err *err)
{
	uint8_t *raw = mmap(NULL, bytes + HUGE, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint8_t *base;
	size_t before;

	if (raw == MAP_FAILED) {
		(void)err_set(err, errno, "cannot reserve addresses for the machine's memory");
		return NULL;
	}
	base = (uint8_t *)(((uintptr_t)raw + HUGE - 1) & ~(uintptr_t)(HUGE - 1));
	before = (size_t)(base - raw);
	if (before)
		(void)munmap(raw, before);
	(void)munmap(base + bytes, HUGE - before);
	if (mmap(base, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd,
		 0) == MAP_FAILED) {
		(void)err_set(err, errno, "cannot map the machine's memory");
		(void)munmap(base, bytes);
		return NULL;
	}
	return base;
}

int vm_memory_init(struct vm_memory *m, uint64_t bytes, struct err *err)
{
	uint64_t low = bytes < LAYOUT_HOLE ? bytes : LAYOUT_HOLE;
	int r;

	*m = (struct vm_memory){.fd = -1};
	r = memory_check(bytes, err);
	if (r < 0)
		return r;
	m->fd = memfd_create("lvm-guest-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (m->fd < 0)
		return err_set(err, errno, "cannot make the machine's memory");
	/*
	 * Sealed: whoever is handed the descriptor later cannot take pages away under a running
	 * guest.
	 */
	if (ftruncate(m->fd, (off_t)bytes) < 0 ||
	    fcntl(m->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		r = err_set(err, errno, "cannot size the machine's memory to %llu MiB",
			    (unsigned long long)(bytes >> 20));
		goto fail;
	}
	m->base = memory_map(m->fd, bytes, err);
	if (!m->base) {
		r = -ENOMEM;
		goto fail;
	}
	m->bytes = bytes;
	/* Both are advice. A guest's memory has no place in a core dump of the VMM. */
	(void)madvise(m->base, bytes, MADV_DONTDUMP);
	(void)madvise(m->base, bytes, MADV_HUGEPAGE);
	m->mem.region[m->mem.num++] =
		(struct guest_mem_region){.gpa = 0, .len = low, .hva = m->base};
	if (bytes > low)
		m->mem.region[m->mem.num++] = (struct guest_mem_region){
			.gpa = LAYOUT_HOLE_END, .len = bytes - low, .hva = m->base + low};
	return 0;
fail:
	vm_memory_done(m);
	return r;
}

int vm_memory_attach(struct vm_memory *m, const struct kvm *k, struct err *err)
{
	for (unsigned i = 0; i < m->mem.num; i++) {
		const struct guest_mem_region *r = &m->mem.region[i];
		struct kvm_userspace_memory_region slot = {
			.slot = i,
			.guest_phys_addr = r->gpa,
			.memory_size = r->len,
			.userspace_addr = (uintptr_t)r->hva,
		};

		if (ioctl(k->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
			return err_set(err, errno, "cannot give the machine its memory");
	}
	return 0;
}

void vm_memory_done(struct vm_memory *m)
{
	if (m->base)
		(void)munmap(m->base, m->bytes);
	if (m->fd >= 0)
		(void)close(m->fd);
	*m = (struct vm_memory){.fd = -1};
}

gpa_t vm_memory_end(const struct vm_memory *m)
{
	const struct guest_mem_region *last = &m->mem.region[m->mem.num - 1];
	gpa_t end = last->gpa + last->len;

	return end > LAYOUT_HOLE_END ? end : LAYOUT_HOLE_END;
}

/* off and len are multiples of HUGE. */
static void memory_collapse(struct vm_memory *m, uint64_t off, uint64_t len)
{
	/*
	 * A memfd gets huge pages by itself only where the host's shmem_enabled says so, which it
	 * rarely does. MADV_COLLAPSE works whatever it says, once one page of each is there. One
	 * call for all: each waits for every CPU once.
	 */
	for (uint64_t i = off; i < off + len; i += HUGE)
		*(volatile uint8_t *)(m->base + i) = 0;
	if (madvise(m->base + off, len, MADV_COLLAPSE) < 0)
		log_debug("no huge pages for guest memory: %s", strerrordesc_np(errno));
}

void vm_memory_prepare(struct vm_memory *m)
{
	uint64_t bottom = PREPARE_BOTTOM < m->bytes / 2 ? PREPARE_BOTTOM : m->bytes / 2;
	uint64_t low = m->mem.region[0].len, high = m->bytes - low;
	uint64_t top = PREPARE_TOP(m->bytes);

	bottom -= bottom % HUGE;
	top -= top % HUGE;
	if (top > m->bytes - bottom)
		top = m->bytes - bottom;
	memory_collapse(m, 0, bottom);
	if (high > top + PREPARE_ABOVE_4G)
		memory_collapse(m, low, PREPARE_ABOVE_4G);
	memory_collapse(m, m->bytes - top, top);
}
