/* SPDX-License-Identifier: Apache-2.0 */
/* What a device sits in, without a VM. */
#include "tests/support/fake_machine.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/endian.h"
#include "tests/support/check.h"

#define RAM_LEN (FAKE_RAM_LOW_LEN + FAKE_RAM_HIGH_LEN)

static const struct pci_windows windows = {
	.ecam_base = FAKE_ECAM,
	.mmio32_base = FAKE_MMIO32,
	.mmio32_len = FAKE_MMIO32_LEN,
	.mmio64_base = FAKE_MMIO64,
	.mmio64_len = FAKE_MMIO64_LEN,
};

void fake_machine_init(struct fake_machine *m)
{
	int fd = memfd_create("fake guest", MFD_CLOEXEC);

	memset(m, 0, sizeof(*m));
	check(fd >= 0 && ftruncate(fd, RAM_LEN) == 0);
	m->ram = mmap(NULL, RAM_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	check(m->ram != MAP_FAILED);
	(void)close(fd);
	m->mem.region[0] = (struct guest_mem_region){0, FAKE_RAM_LOW_LEN, m->ram};
	m->mem.region[1] = (struct guest_mem_region){FAKE_RAM_HIGH, FAKE_RAM_HIGH_LEN,
						     m->ram + FAKE_RAM_LOW_LEN};
	m->mem.num = 2;
	m->next = 4096;
	check(loop_new(&m->loop, NULL) == 0);
	fake_hw_init(&m->hw);
	check(pci_root_new(&m->hw.hw, &m->mmio, &windows, &m->root, NULL) == 0);
	m->env = (struct virtio_env){.loop = m->loop, .mem = &m->mem};
}

void fake_machine_done(struct fake_machine *m)
{
	pci_root_free(m->root);
	check(m->mmio.num == 0);
	fake_hw_done(&m->hw);
	loop_free(m->loop);
	(void)munmap(m->ram, RAM_LEN);
}

gpa_t fake_alloc(struct fake_machine *m, size_t len, size_t align)
{
	gpa_t gpa = (m->next + align - 1) & ~(gpa_t)(align - 1);

	check(gpa + len <= FAKE_RAM_LOW_LEN);
	m->next = gpa + len;
	if (len)
		memset(fake_ptr(m, gpa, len), 0, len);
	return gpa;
}

void *fake_ptr(struct fake_machine *m, gpa_t gpa, size_t len)
{
	void *p = guest_mem_ptr(&m->mem, gpa, len);

	check(p);
	return p;
}

uint64_t fake_mmio_read(struct fake_machine *m, gpa_t gpa, unsigned len)
{
	uint8_t data[8] = {0};

	loop_enter(m->loop);
	(void)bus_read(&m->mmio, gpa, data, len);
	loop_leave(m->loop);
	return get_le64(data);
}

void fake_mmio_write(struct fake_machine *m, gpa_t gpa, uint64_t v, unsigned len)
{
	uint8_t data[8];

	if (fake_hw_ring(&m->hw, gpa))
		return;
	put_le64(data, v);
	loop_enter(m->loop);
	(void)bus_write(&m->mmio, gpa, data, len);
	loop_leave(m->loop);
}

uint32_t fake_pci_read(struct fake_machine *m, unsigned slot, unsigned off, unsigned len)
{
	return fake_mmio_read(m, FAKE_ECAM + (slot << 15) + off, len);
}

void fake_pci_write(struct fake_machine *m, unsigned slot, unsigned off, uint32_t v, unsigned len)
{
	fake_mmio_write(m, FAKE_ECAM + (slot << 15) + off, v, len);
}

bool fake_run_until(struct fake_machine *m, bool (*done)(void *arg), void *arg, int ms)
{
	int64_t deadline = loop_now_ms() + ms;

	while (!done(arg)) {
		int64_t left = deadline - loop_now_ms();

		if (left <= 0)
			return false;
		check(loop_run_once(m->loop, left) == 0);
	}
	/*
	 * What the last callback deferred, such as interrupts, has run by now: loop_run_once() ends
	 * with it.
	 */
	return true;
}

void fake_run_idle(struct fake_machine *m)
{
	/*
	 * No call tells "nothing was ready"; a device's chain of events is far shorter than this.
	 */
	for (int i = 0; i < 64; i++)
		check(loop_run_once(m->loop, 0) == 0);
}
