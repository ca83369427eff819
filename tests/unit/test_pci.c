/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration space, BARs that the guest sizes and moves, capabilities (PCI 3.0 §6). */
#include <errno.h>
#include <linux/pci_regs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/endian.h"
#include "base/list.h"
#include "devices/pci/pci.h"
#include "tests/support/fake_hw.h"

#define ECAM 0xe0000000ull
#define LOW  0xd0000000ull
#define HIGH 0x100000000000ull
#define BAR0 PCI_BASE_ADDRESS_0
#define BAR2 PCI_BASE_ADDRESS_2
#define ON   PCI_COMMAND_MEMORY
#define ONES 0xffffffffu

struct thing {
	struct pci_dev pci;
	unsigned maps, unmaps, reads, writes;
	unsigned hook_reads, hook_writes, hook_off, hook_len;
};

static struct fake_hw hw;
static struct bus mmio;
static struct pci_root *root;

static struct thing *thing_of(struct bus_range *r)
{
	return container_of(r, struct pci_bar, range)->opaque;
}

static void thing_read(struct bus_range *r, uint64_t off, void *data, unsigned len)
{
	memset(data, 0x11, len);
	thing_of(r)->reads++;
}

static void thing_write(struct bus_range *r, uint64_t off, const void *data, unsigned len)
{
	thing_of(r)->writes++;
}

static const struct bus_ops thing_ops = {.read = thing_read, .write = thing_write};

static void thing_mapped(struct pci_dev *d, unsigned bar, bool on)
{
	struct thing *t = container_of(d, struct thing, pci);

	/* The address is right and the range is on the bus, both times. */
	assert_non_null(d->bar[bar].range.bus);
	if (on)
		t->maps++;
	else
		t->unmaps++;
}

static void thing_config_read(struct pci_dev *d, unsigned off, unsigned len)
{
	struct thing *t = container_of(d, struct thing, pci);

	t->hook_reads++;
	t->hook_off = off;
	t->hook_len = len;
	d->config[0x80] = 0x77;
}

static void thing_config_written(struct pci_dev *d, unsigned off, unsigned len)
{
	container_of(d, struct thing, pci)->hook_writes++;
}

static void thing_init(struct thing *t, uint64_t len0, uint64_t len2)
{
	memset(t, 0, sizeof(*t));
	t->pci.name = "thing";
	pci_init_header(&t->pci, 0x1234, 0x5678, 0x010203, 0x9abc, 0xdef0);
	t->pci.bar[0] = (struct pci_bar){.len = len0, .opaque = t, .mapped = thing_mapped};
	t->pci.bar[2] = (struct pci_bar){
		.len = len2, .opaque = t, .mapped = thing_mapped, .prefetchable = true};
	t->pci.bar[0].range.ops = t->pci.bar[2].range.ops = &thing_ops;
	t->pci.config_read = thing_config_read;
	t->pci.config_written = thing_config_written;
}

static int setup(void **state)
{
	static const struct pci_windows win = {ECAM, LOW, 1 << 20, HIGH, 1ull << 32};

	memset(&mmio, 0, sizeof(mmio));
	fake_hw_init(&hw);
	assert_int_equal(pci_root_new(&hw.hw, &mmio, &win, &root, NULL), 0);
	return 0;
}

static int teardown(void **state)
{
	pci_root_free(root);
	assert_int_equal(mmio.num, 0);
	fake_hw_done(&hw);
	return 0;
}

static uint64_t cfg_read(unsigned slot, unsigned off, unsigned len)
{
	uint8_t v[8] = {0};

	assert_true(bus_read(&mmio, ECAM + (slot << 15) + off, v, len));
	return get_le64(v);
}

static void cfg_write(unsigned slot, unsigned off, uint64_t value, unsigned len)
{
	uint8_t v[8];

	put_le64(v, value);
	assert_true(bus_write(&mmio, ECAM + (slot << 15) + off, v, len));
}

static bool answers(uint64_t addr)
{
	uint8_t v;

	return bus_read(&mmio, addr, &v, 1) && v == 0x11;
}

static void set_bar(unsigned slot, unsigned reg, uint64_t addr)
{
	cfg_write(slot, reg, addr, 4);
	cfg_write(slot, reg + 4, addr >> 32, 4);
}

static uint64_t bar_addr(unsigned slot, unsigned reg)
{
	return (cfg_read(slot, reg, 4) & ~15ull) | cfg_read(slot, reg + 4, 4) << 32;
}

static void test_host_bridge(void **state)
{
	assert_int_equal(cfg_read(0, PCI_CLASS_DEVICE, 2), 0x0600);
	assert_int_not_equal(cfg_read(0, 0, 4), ONES);
	assert_int_equal(cfg_read(0, PCI_HEADER_TYPE, 1), 0);
	assert_int_equal(cfg_read(1, 0, 4), ONES);
	assert_int_equal(cfg_read(31, 0, 4), ONES);
	cfg_write(31, 0, 0, 4);
	/* The other functions of slot 0 are not there. */
	assert_int_equal(cfg_read(0, 1 << 12, 4), ONES);
	cfg_write(0, 1 << 12, 0, 4);
}

static void test_header(void **state)
{
	struct thing t;

	thing_init(&t, 4096, 0);
	assert_int_equal(pci_add(root, &t.pci, NULL), 0);
	assert_int_equal(t.pci.slot, 1);
	assert_int_equal(cfg_read(1, 0, 4), 0x56781234);
	assert_int_equal(cfg_read(1, PCI_REVISION_ID, 4), 0x01020301);
	assert_int_equal(cfg_read(1, PCI_SUBSYSTEM_VENDOR_ID, 4), 0xdef09abc);
	assert_int_equal(cfg_read(1, PCI_CAPABILITY_LIST, 1), 0);
	assert_int_equal(cfg_read(1, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST, 0);
	/* Eight bytes at once, odd places, the extended part. */
	assert_int_equal(cfg_read(1, 8, 8) & ONES, 0x01020301);
	assert_int_equal(cfg_read(1, 1, 2), 0xffff);
	assert_int_equal(cfg_read(1, 2, 2), 0x5678);
	assert_int_equal(cfg_read(1, 2, 4), ONES);
	assert_int_equal(cfg_read(1, 0x100, 4), 0);
	assert_int_equal(cfg_read(1, 0xffc, 4), 0);
	cfg_write(1, 0x100, ONES, 4);
	/* Read-only stays, scratch can be written. */
	cfg_write(1, 0, 0, 4);
	cfg_write(1, 8, 0, 4);
	assert_int_equal(cfg_read(1, 0, 4), 0x56781234);
	cfg_write(1, PCI_INTERRUPT_LINE, 0x2b, 1);
	assert_int_equal(cfg_read(1, PCI_INTERRUPT_LINE, 1), 0x2b);
	cfg_write(1, PCI_COMMAND, 0xffff, 2);
	assert_int_equal(cfg_read(1, PCI_COMMAND, 2),
			 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
	pci_remove(&t.pci);
	assert_int_equal(cfg_read(1, 0, 4), ONES);
}

static void test_sizing(void **state)
{
	struct thing t;
	uint64_t addr0, addr2;

	thing_init(&t, 16384, 1ull << 31);
	assert_int_equal(pci_add(root, &t.pci, NULL), 0);
	addr0 = bar_addr(1, BAR0);
	addr2 = bar_addr(1, BAR2);
	/* Small ones below 4 GiB, large ones above RAM. */
	assert_true(addr0 >= LOW && addr0 < LOW + (1 << 20));
	assert_true(addr2 >= HIGH && addr2 % (1ull << 31) == 0);
	assert_int_equal(cfg_read(1, BAR0, 4) & 15, PCI_BASE_ADDRESS_MEM_TYPE_64);
	assert_int_equal(cfg_read(1, BAR2, 4) & 15,
			 PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH);
	set_bar(1, BAR0, UINT64_MAX);
	assert_int_equal(cfg_read(1, BAR0, 4), 0xffffc004);
	assert_int_equal(cfg_read(1, BAR0 + 4, 4), ONES);
	set_bar(1, BAR2, UINT64_MAX);
	assert_int_equal(cfg_read(1, BAR2, 4), 0x8000000c);
	assert_int_equal(cfg_read(1, BAR2 + 4, 4), ONES);
	set_bar(1, BAR0 + 16, UINT64_MAX); /* absent */
	assert_int_equal(cfg_read(1, BAR0 + 16, 8), 0);
	assert_int_equal(t.maps, 0);
	pci_remove(&t.pci);
}

static void test_decode_and_move(void **state)
{
	struct thing t;
	uint64_t a;

	thing_init(&t, 4096, 0);
	assert_int_equal(pci_add(root, &t.pci, NULL), 0);
	a = bar_addr(1, BAR0);
	assert_false(answers(a));
	cfg_write(1, PCI_COMMAND, ON, 2);
	assert_true(answers(a));
	assert_true(answers(a + 4095));
	assert_false(answers(a + 4096));
	assert_int_equal(t.maps, 1);
	/* Sizing with decoding on takes it off the bus and puts it back. */
	set_bar(1, BAR0, UINT64_MAX);
	assert_false(answers(a));
	assert_int_equal(t.unmaps, 1);
	set_bar(1, BAR0, HIGH + 0x5000);
	assert_true(answers(HIGH + 0x5000));
	assert_false(answers(a));
	assert_int_equal(t.maps - t.unmaps, 1);
	/* Outside of the windows, over their end, and at their very end. */
	set_bar(1, BAR0, 0x1000);
	assert_false(answers(0x1000));
	set_bar(1, BAR0, LOW + (1 << 20));
	assert_false(answers(LOW + (1 << 20)));
	set_bar(1, BAR0, LOW + (1 << 20) - 4096);
	assert_true(answers(LOW + (1 << 20) - 1));
	cfg_write(1, PCI_COMMAND, 0, 2);
	assert_false(answers(LOW + (1 << 20) - 1));
	assert_int_equal(t.maps, t.unmaps);
	cfg_write(1, PCI_COMMAND, ON, 2);
	pci_remove(&t.pci);
	assert_int_equal(t.maps, t.unmaps);
}

static void test_overlap(void **state)
{
	struct thing a, b;
	uint64_t at, bt;

	thing_init(&a, 4096, 0);
	thing_init(&b, 8192, 0);
	assert_int_equal(pci_add(root, &a.pci, NULL), 0);
	assert_int_equal(pci_add(root, &b.pci, NULL), 0);
	at = bar_addr(1, BAR0);
	bt = bar_addr(2, BAR0);
	assert_true(bt >= at + 4096 || at >= bt + 8192);
	assert_int_equal(bt % 8192, 0);
	cfg_write(1, PCI_COMMAND, ON, 2);
	cfg_write(2, PCI_COMMAND, ON, 2);
	set_bar(1, BAR0, bt + 4096);
	assert_false(answers(at));
	assert_true(answers(bt + 4096));
	assert_int_equal(a.reads, 0); /* the one who was there first stays */
	set_bar(2, BAR0, HIGH);
	assert_true(answers(bt + 4096)); /* and the other comes when it goes */
	assert_int_equal(a.reads, 1);
	assert_false(answers(bt));
	pci_remove(&a.pci);
	pci_remove(&b.pci);
}

static void test_hooks(void **state)
{
	static const uint8_t cap1[6] = {PCI_CAP_ID_VNDR, 0xee, 6, 1, 2, 3},
			     cap2[4] = {PCI_CAP_ID_PM};
	struct thing t;
	unsigned off1, off2;

	thing_init(&t, 4096, 0);
	off1 = pci_add_cap(&t.pci, cap1, sizeof(cap1));
	off2 = pci_add_cap(&t.pci, cap2, sizeof(cap2));
	assert_int_equal(pci_add(root, &t.pci, NULL), 0);
	assert_int_equal(cfg_read(1, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST, PCI_STATUS_CAP_LIST);
	assert_int_equal(cfg_read(1, PCI_CAPABILITY_LIST, 1), off1);
	assert_int_equal(cfg_read(1, off1, 2), PCI_CAP_ID_VNDR | off2 << 8);
	assert_int_equal(cfg_read(1, off2, 2), PCI_CAP_ID_PM);
	assert_true(off1 >= 64 && off1 % 4 == 0 && off2 % 4 == 0 && off2 >= off1 + 6);
	assert_int_equal(t.hook_reads, 2);
	assert_int_equal(t.hook_off, off2);
	assert_int_equal(t.hook_len, 2);
	assert_int_equal(cfg_read(1, 0x80, 1), 0x77); /* set by the hook, before the read */
	(void)cfg_read(1, 0x3c, 4);
	assert_int_equal(t.hook_reads, 3);
	cfg_write(1, 0x3c, 0, 4);
	assert_int_equal(t.hook_writes, 0);
	cfg_write(1, 0x80, 0, 4);
	assert_int_equal(t.hook_writes, 1);
	pci_remove(&t.pci);
}

/* The copy that the guest reads by itself: what a read through us would give, after every write. */
static void test_shadow(void **state)
{
	struct thing t;

	hw.offer_shadow = true;
	thing_init(&t, 4096, 0);
	assert_int_equal(pci_add(root, &t.pci, NULL), 0);
	assert_int_equal(hw.shadow.gpa, ECAM + 0x8000);
	assert_memory_equal(hw.shadow.hva, t.pci.config, sizeof(t.pci.config));
	cfg_write(1, BAR0, ONES, 4);
	assert_int_equal(get_le32(hw.shadow.hva + BAR0), cfg_read(1, BAR0, 4));
	assert_int_equal(get_le32(hw.shadow.hva + BAR0) & 0xfff0, 0xf000);
	cfg_write(1, PCI_COMMAND, ON, 2);
	assert_int_equal(get_le16(hw.shadow.hva + PCI_COMMAND), ON);
	for (unsigned i = sizeof(t.pci.config); i < PCI_CONFIG_LEN; i++)
		assert_int_equal(hw.shadow.hva[i], 0);
	pci_trap_reads(&t.pci);
	assert_int_equal(hw.shadow.gpa, 0);
	cfg_write(1, PCI_COMMAND, 0, 2);
	assert_int_equal(cfg_read(1, PCI_COMMAND, 2), 0);
	pci_remove(&t.pci);
	assert_int_equal(pci_add(root, &t.pci, NULL), 0);
	assert_int_equal(hw.shadow.gpa, ECAM + 0x8000);
	pci_remove(&t.pci);
	assert_int_equal(hw.shadow.gpa, 0);
}

static void test_full(void **state)
{
	static struct thing t[PCI_MAX_DEVS];
	struct err err;

	for (unsigned i = 0; i < PCI_MAX_DEVS - 1; i++) {
		thing_init(&t[i], 4096, 0);
		assert_int_equal(pci_add(root, &t[i].pci, &err), 0);
	}
	thing_init(&t[31], 4096, 0);
	assert_int_equal(pci_add(root, &t[31].pci, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "thing"));
	for (unsigned i = 0; i < PCI_MAX_DEVS - 1; i++)
		pci_remove(&t[i].pci);
	thing_init(&t[0], 1ull << 40, 0);
	assert_int_equal(pci_add(root, &t[0].pci, &err), -ENOSPC);
	pci_remove(&t[0].pci);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_host_bridge), T(test_header), T(test_sizing), T(test_decode_and_move),
		T(test_overlap),     T(test_hooks),  T(test_shadow), T(test_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
