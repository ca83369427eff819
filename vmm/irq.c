/* SPDX-License-Identifier: Apache-2.0 */
/* Interrupts, doorbells, shadows over KVM: irqfd, ioeventfd, routes (Linux virt/kvm/api.rst). */
/*
 * The routing table is always given to KVM whole: the lines of PIC and I/O APIC as KVM itself sets
 * them up, then one entry for each message interrupt that has a message. Message interrupt n is GSI
 * MSI_GSI_BASE + n.
 *
 * Order matters once: an eventfd that is signalled before its GSI has a route loses the interrupt.
 * So an irqfd is attached only after the first route is in; KVM then looks at the eventfd's count,
 * and what came before is delivered.
 */
#include "vmm/irq.h"

#include <assert.h>
#include <errno.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/list.h"
#include "base/str.h"
#include "vmm/x86/layout.h"

#define IRQ_MAX_MSI     1024
#define IRQ_NUM_FIXED   (2 * LAYOUT_PIC_PINS + LAYOUT_IOAPIC_PINS)
#define MSI_GSI_BASE    LAYOUT_IOAPIC_PINS

#define IRQ_SHADOW_SLOT GUEST_MEM_MAX_REGIONS /* KVM's memory slots below are RAM */
#define IRQ_MAX_SHADOWS 32

struct irq_msi {
	bool used;
	bool routed;   /* has a message */
	bool attached; /* KVM listens to fd */
	int fd;
	uint64_t addr;
	uint32_t data;
};

struct irq {
	struct hw hw;
	const struct kvm *kvm;
	struct irq_stats stats;
	int line_fd[LAYOUT_IOAPIC_PINS]; /* -1: not in use */
	unsigned num_msi;                /* slots ever used: the table is no longer than that */
	struct irq_msi msi[IRQ_MAX_MSI];
	gpa_t shadow[IRQ_MAX_SHADOWS]; /* 0: not in use */
	struct kvm_irq_routing *table;
};

static unsigned fixed_routes(struct kvm_irq_routing_entry *e)
{
	unsigned n = 0;

	for (unsigned pin = 0; pin < 2 * LAYOUT_PIC_PINS; pin++) {
		e[n++] = (struct kvm_irq_routing_entry){
			.gsi = pin,
			.type = KVM_IRQ_ROUTING_IRQCHIP,
			.u.irqchip.irqchip = pin < LAYOUT_PIC_PINS ? KVM_IRQCHIP_PIC_MASTER
								   : KVM_IRQCHIP_PIC_SLAVE,
			.u.irqchip.pin = pin % LAYOUT_PIC_PINS,
		};
	}
	for (unsigned pin = 0; pin < LAYOUT_IOAPIC_PINS; pin++) {
		e[n++] = (struct kvm_irq_routing_entry){
			.gsi = pin,
			.type = KVM_IRQ_ROUTING_IRQCHIP,
			.u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC,
			.u.irqchip.pin = pin,
		};
	}
	return n;
}

static int irq_commit(struct irq *irq)
{
	struct kvm_irq_routing *t = irq->table;

	t->flags = 0;
	t->nr = fixed_routes(t->entries);
	for (unsigned i = 0; i < irq->num_msi; i++) {
		const struct irq_msi *m = &irq->msi[i];

		if (!m->used || !m->routed)
			continue;
		t->entries[t->nr++] = (struct kvm_irq_routing_entry){
			.gsi = MSI_GSI_BASE + i,
			.type = KVM_IRQ_ROUTING_MSI,
			.u.msi.address_lo = (uint32_t)m->addr,
			.u.msi.address_hi = (uint32_t)(m->addr >> 32),
			.u.msi.data = m->data,
		};
	}
	irq->stats.route_commits++;
	return ioctl(irq->kvm->vm_fd, KVM_SET_GSI_ROUTING, t) < 0 ? -errno : 0;
}

static int irqfd(const struct irq *irq, unsigned gsi, int fd, bool attach)
{
	struct kvm_irqfd arg = {
		.fd = (uint32_t)fd,
		.gsi = gsi,
		.flags = attach ? 0 : KVM_IRQFD_FLAG_DEASSIGN,
	};

	return ioctl(irq->kvm->vm_fd, KVM_IRQFD, &arg) < 0 ? -errno : 0;
}

static int doorbell(const struct irq *irq, gpa_t gpa, int fd, bool add)
{
	struct kvm_ioeventfd arg = {
		.addr = gpa,
		.len = 0, /* any width: on Intel, no instruction is decoded */
		.fd = fd,
		.flags = add ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN,
	};

	return ioctl(irq->kvm->vm_fd, KVM_IOEVENTFD, &arg) < 0 ? -errno : 0;
}

static int irq_doorbell_add(struct hw *hw, gpa_t gpa, int fd, struct err *err)
{
	struct irq *irq = container_of(hw, struct irq, hw);
	int r = doorbell(irq, gpa, fd, true);

	if (r < 0)
		return err_set(err, -r, "cannot put a doorbell at 0x%llx", (unsigned long long)gpa);
	irq->stats.doorbells++;
	return 0;
}

static void irq_doorbell_remove(struct hw *hw, gpa_t gpa, int fd)
{
	struct irq *irq = container_of(hw, struct irq, hw);

	if (doorbell(irq, gpa, fd, false) == 0)
		irq->stats.doorbells--;
}

static int irq_msi_new(struct hw *hw, unsigned *ret_id, int *ret_fd, struct err *err)
{
	struct irq *irq = container_of(hw, struct irq, hw);
	unsigned id = 0;
	int fd;

	while (id < irq->num_msi && irq->msi[id].used)
		id++;
	if (id == IRQ_MAX_MSI)
		return err_say(err, ENOSPC, "the machine has no more than %d message interrupts",
			       IRQ_MAX_MSI);
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return err_set(err, errno, "cannot make an interrupt");
	irq->msi[id] = (struct irq_msi){.used = true, .fd = fd};
	if (id == irq->num_msi)
		irq->num_msi++;
	irq->stats.msis++;
	*ret_id = id;
	*ret_fd = fd;
	return 0;
}

static int irq_msi_set(struct hw *hw, unsigned id, uint64_t addr, uint32_t data)
{
	struct irq *irq = container_of(hw, struct irq, hw);
	struct irq_msi *m = &irq->msi[id], before = *m;
	int r;

	assert(id < irq->num_msi && m->used);
	if (m->routed && m->addr == addr && m->data == data)
		return 0;
	m->routed = true;
	m->addr = addr;
	m->data = data;
	r = irq_commit(irq);
	if (r == 0 && !m->attached) {
		r = irqfd(irq, MSI_GSI_BASE + id, m->fd, true);
		m->attached = r == 0;
	}
	/* KVM refused what the guest wrote: the next commit must not fail for it as well. */
	if (r < 0) {
		m->routed = before.routed;
		m->addr = before.addr;
		m->data = before.data;
	}
	return r;
}

static void irq_msi_free(struct hw *hw, unsigned id)
{
	struct irq *irq = container_of(hw, struct irq, hw);
	struct irq_msi *m = &irq->msi[id];

	assert(id < irq->num_msi && m->used);
	/* The stale route goes with the next commit; until then nothing can trigger it. */
	if (m->attached)
		(void)irqfd(irq, MSI_GSI_BASE + id, m->fd, false);
	(void)close(m->fd);
	*m = (struct irq_msi){.fd = -1};
	irq->stats.msis--;
}

static int irq_line_new(struct hw *hw, unsigned gsi, int *ret_fd, struct err *err)
{
	struct irq *irq = container_of(hw, struct irq, hw);
	int fd, r;

	assert(gsi < LAYOUT_IOAPIC_PINS && irq->line_fd[gsi] < 0);
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return err_set(err, errno, "cannot make interrupt line %u", gsi);
	r = irqfd(irq, gsi, fd, true);
	if (r < 0) {
		(void)close(fd);
		return err_set(err, -r, "cannot connect interrupt line %u", gsi);
	}
	irq->line_fd[gsi] = fd;
	*ret_fd = fd;
	return 0;
}

/* ---- registers that the guest reads without an exit: read-only memory slots */

static int shadow_slot(const struct irq *irq, unsigned i, const void *hva, size_t len)
{
	struct kvm_userspace_memory_region slot = {
		.slot = IRQ_SHADOW_SLOT + i,
		.flags = KVM_MEM_READONLY,
		.guest_phys_addr = irq->shadow[i],
		.memory_size = len,
		.userspace_addr = (uintptr_t)hva,
	};

	return ioctl(irq->kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0 ? -errno : 0;
}

static int irq_shadow_add(struct hw *hw, gpa_t gpa, void *hva, size_t len, struct err *err)
{
	struct irq *irq = container_of(hw, struct irq, hw);
	unsigned i = 0;
	int r;

	if (!kvm_cap(irq->kvm, KVM_CAP_READONLY_MEM))
		return err_say(err, EOPNOTSUPP, "this kernel's KVM has no read-only memory");
	while (i < IRQ_MAX_SHADOWS && irq->shadow[i])
		i++;
	if (i == IRQ_MAX_SHADOWS)
		return err_say(err, ENOSPC, "all %u read-only memory slots are in use", i);
	irq->shadow[i] = gpa;
	r = shadow_slot(irq, i, hva, len);
	if (r < 0) {
		irq->shadow[i] = 0;
		return err_set(err, -r, "cannot show the guest memory at 0x%llx",
			       (unsigned long long)gpa);
	}
	return 0;
}

static void irq_shadow_remove(struct hw *hw, gpa_t gpa)
{
	struct irq *irq = container_of(hw, struct irq, hw);

	for (unsigned i = 0; i < IRQ_MAX_SHADOWS; i++) {
		if (irq->shadow[i] != gpa)
			continue;
		(void)shadow_slot(irq, i, NULL, 0);
		irq->shadow[i] = 0;
	}
}

static const struct hw_ops irq_ops = {
	.doorbell_add = irq_doorbell_add,
	.doorbell_remove = irq_doorbell_remove,
	.msi_new = irq_msi_new,
	.msi_set = irq_msi_set,
	.msi_free = irq_msi_free,
	.line_new = irq_line_new,
	.shadow_add = irq_shadow_add,
	.shadow_remove = irq_shadow_remove,
};

static int irq_create_chips(const struct kvm *k, struct err *err)
{
	/* Port 0x61 is answered in the kernel too: guests without kvm-clock time the TSC by it. */
	struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
	uint64_t identity = LAYOUT_IDENTITY;

	/* Pages for real mode on old Intel processors; the order is KVM's, before any vCPU. */
	if (ioctl(k->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0 ||
	    ioctl(k->vm_fd, KVM_SET_TSS_ADDR, (unsigned long)LAYOUT_TSS) < 0)
		return err_set(err, errno, "cannot place KVM's own pages");
	if (ioctl(k->vm_fd, KVM_CREATE_IRQCHIP, 0) < 0)
		return err_set(err, errno, "cannot make the interrupt controllers");
	if (ioctl(k->vm_fd, KVM_CREATE_PIT2, &pit) < 0)
		return err_set(err, errno, "cannot make the timer chip");
	return 0;
}

int irq_new(const struct kvm *k, struct irq **ret_irq, struct err *err)
{
	struct irq *irq;
	int r = irq_create_chips(k, err);

	if (r < 0)
		return r;
	irq = xcalloc(1, sizeof(*irq));
	irq->hw.ops = &irq_ops;
	irq->kvm = k;
	for (unsigned i = 0; i < LAYOUT_IOAPIC_PINS; i++)
		irq->line_fd[i] = -1;
	irq->table = xcalloc(1, sizeof(*irq->table) + (IRQ_NUM_FIXED + IRQ_MAX_MSI) *
							      sizeof(irq->table->entries[0]));
	*ret_irq = irq;
	return 0;
}

void irq_free(struct irq *irq)
{
	if (!irq)
		return;
	for (unsigned i = 0; i < LAYOUT_IOAPIC_PINS; i++) {
		if (irq->line_fd[i] < 0)
			continue;
		(void)irqfd(irq, i, irq->line_fd[i], false);
		(void)close(irq->line_fd[i]);
	}
	for (unsigned i = 0; i < irq->num_msi; i++) {
		if (irq->msi[i].used)
			irq_msi_free(&irq->hw, i);
	}
	free(irq->table);
	free(irq);
}

struct hw *irq_hw(struct irq *irq)
{
	return &irq->hw;
}

void irq_stats(const struct irq *irq, struct irq_stats *ret_st)
{
	*ret_st = irq->stats;
}
