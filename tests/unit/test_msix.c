/* SPDX-License-Identifier: Apache-2.0 */
/* MSI-X: table, pending bits, masks (PCI 3.0 §6.8.2). */
#include <linux/pci_regs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/endian.h"
#include "devices/pci/msix.h"
#include "tests/support/fake_hw.h"

#define ECAM    0xe0000000ull
#define NUM     5
#define ADDR(v) (0xfee00000ull + 0x1000 * (v))
#define DATA(v) (0x40 + (v))
#define ENABLE  PCI_MSIX_FLAGS_ENABLE
#define MASKALL PCI_MSIX_FLAGS_MASKALL

static struct fake_hw hw;
static struct bus mmio;
static struct pci_root *root;
static struct pci_dev dev;
static struct msix *msix;
static unsigned cap;
static uint64_t table, pba;

static uint64_t rd(uint64_t addr, unsigned len)
{
	uint8_t v[8] = {0};

	assert_true(bus_read(&mmio, addr, v, len));
	return get_le64(v);
}

static void wr(uint64_t addr, uint64_t value, unsigned len)
{
	uint8_t v[8];

	put_le64(v, value);
	assert_true(bus_write(&mmio, addr, v, len));
}

static void control(uint16_t flags)
{
	wr(ECAM + (1 << 15) + cap + PCI_MSIX_FLAGS, flags, 2);
}

static void mask(unsigned v, bool on)
{
	wr(table + 16 * v + 12, on, 4);
}

static void program(unsigned v)
{
	wr(table + 16 * v, ADDR(v), 8);
	wr(table + 16 * v + 8, DATA(v), 4);
}

static unsigned got(unsigned v)
{
	return fake_hw_interrupts(&hw, ADDR(v), DATA(v));
}

static int setup(void **state)
{
	static const struct pci_windows win = {ECAM, 0xd0000000, 1 << 20, 1ull << 40, 1 << 20};
	uint32_t v;

	memset(&mmio, 0, sizeof(mmio));
	memset(&dev, 0, sizeof(dev));
	fake_hw_init(&hw);
	assert_int_equal(pci_root_new(&hw.hw, &mmio, &win, &root, NULL), 0);
	dev.name = "thing";
	pci_init_header(&dev, 1, 2, 3, 4, 5);
	assert_int_equal(msix_new(&dev, &hw.hw, 4, NUM, &msix, NULL), 0);
	assert_int_equal(pci_add(root, &dev, NULL), 0);
	wr(ECAM + (1 << 15) + PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	cap = rd(ECAM + (1 << 15) + PCI_CAPABILITY_LIST, 1);
	assert_int_equal(rd(ECAM + (1 << 15) + cap, 1), PCI_CAP_ID_MSIX);
	v = rd(ECAM + (1 << 15) + cap + PCI_MSIX_TABLE, 4);
	assert_int_equal(v & 7, 4);
	table = dev.bar[4].range.base + (v & ~7u);
	v = rd(ECAM + (1 << 15) + cap + PCI_MSIX_PBA, 4);
	assert_int_equal(v & 7, 4);
	pba = dev.bar[4].range.base + (v & ~7u);
	return 0;
}

static int teardown(void **state)
{
	pci_remove(&dev);
	msix_free(msix);
	pci_root_free(root);
	fake_hw_done(&hw);
	return 0;
}

static void test_capability(void **state)
{
	uint16_t flags = rd(ECAM + (1 << 15) + cap + PCI_MSIX_FLAGS, 2);

	assert_int_equal(flags & PCI_MSIX_FLAGS_QSIZE, NUM - 1);
	assert_int_equal(flags & (ENABLE | MASKALL), 0);
	control(0xffff);
	flags = rd(ECAM + (1 << 15) + cap + PCI_MSIX_FLAGS, 2);
	assert_int_equal(flags, (NUM - 1) | ENABLE | MASKALL);
}

static void test_table(void **state)
{
	for (unsigned v = 0; v < NUM; v++) {
		assert_int_equal(rd(table + 16 * v, 8), 0);
		assert_int_equal(rd(table + 16 * v + 12, 4), 1); /* masked after reset */
	}
	wr(table + 16, 0x1122334455667788, 8);
	assert_int_equal(rd(table + 16, 4), 0x55667788);
	assert_int_equal(rd(table + 20, 4), 0x11223344);
	assert_int_equal(rd(table + 22, 1), 0x22);
	wr(table + 24, 0xffffffff00000099, 8);
	assert_int_equal(rd(table + 24, 8), 0x0000000100000099); /* only the mask bit is there */
	wr(table + 17, 0, 1); /* no write of that width, nor at that place */
	wr(table + 18, 0, 4);
	wr(table + 16, 0, 2);
	assert_int_equal(rd(table + 16, 4), 0x55667788);
	/* Behind the last vector, and the pending bits are not the guest's. */
	wr(table + 16 * NUM, 1, 4);
	assert_int_equal(rd(table + 16 * NUM, 4), 0);
	wr(pba, 0xff, 8);
	assert_int_equal(rd(pba, 8), 0);
	assert_int_equal(rd(dev.bar[4].range.base + 4088, 8), 0);
}

static void test_delivery(void **state)
{
	program(2);
	mask(2, false);
	msix_raise(msix, 2);
	assert_int_equal(fake_hw_num_msis(&hw), 0);
	control(ENABLE);
	assert_int_equal(fake_hw_num_msis(&hw), 1); /* only for the vector in use */
	assert_int_equal(got(2), 0);                /* off is off: nothing was kept */
	msix_raise(msix, 2);
	msix_raise(msix, 2);
	assert_int_equal(got(2), 2);
	msix_raise(msix, NUM);
	msix_raise(msix, 0xffff);
	control(0);
	assert_int_equal(fake_hw_num_msis(&hw), 0);
	msix_raise(msix, 2);
	assert_int_equal(rd(pba, 8), 0);
}

static void test_vector_mask(void **state)
{
	program(1);
	program(3);
	control(ENABLE);
	mask(1, false);
	msix_raise(msix, 3);
	assert_int_equal(rd(pba, 8), 1 << 3);
	assert_int_equal(rd(pba, 1), 1 << 3);
	mask(1, true);
	msix_raise(msix, 1);
	msix_raise(msix, 1);
	assert_int_equal(got(1), 0);
	assert_int_equal(rd(pba, 4), 1 << 3 | 1 << 1);
	mask(1, false);
	assert_int_equal(got(1), 1); /* once, however often it was raised */
	assert_int_equal(rd(pba, 4), 1 << 3);
	mask(3, false);
	assert_int_equal(got(3), 1);
	assert_int_equal(rd(pba, 4), 0);
}

static void test_function_mask(void **state)
{
	program(0);
	mask(0, false);
	control(ENABLE | MASKALL);
	assert_int_equal(fake_hw_num_msis(&hw), 0);
	msix_raise(msix, 0);
	assert_int_equal(rd(pba, 4), 1);
	control(ENABLE);
	assert_int_equal(got(0), 1);
	assert_int_equal(rd(pba, 4), 0);
}

/* The machine is told of a message when it changes, not whenever the guest masks and unmasks. */
static void test_routes_are_few(void **state)
{
	program(0);
	control(ENABLE);
	mask(0, false);
	assert_int_equal(hw.msi[0].num_sets, 1);
	for (unsigned i = 0; i < 10; i++) {
		mask(0, true);
		mask(0, false);
	}
	assert_int_equal(hw.msi[0].num_sets, 1);
	mask(0, true);
	wr(table + 8, 0x99, 4);
	assert_int_equal(hw.msi[0].num_sets, 1);
	mask(0, false);
	assert_int_equal(hw.msi[0].num_sets, 2);
	msix_raise(msix, 0);
	assert_int_equal(fake_hw_interrupts(&hw, ADDR(0), 0x99), 1);
}

static void test_fd(void **state)
{
	uint64_t one = 1;

	assert_int_equal(msix_fd(msix, 0), -1);
	program(0);
	control(ENABLE);
	assert_int_equal(msix_fd(msix, 0), -1);
	mask(0, false);
	assert_int_equal(write(msix_fd(msix, 0), &one, 8), 8);
	assert_int_equal(got(0), 1);
	mask(0, true);
	assert_int_equal(msix_fd(msix, 0), -1);
	assert_int_equal(msix_fd(msix, NUM), -1);
}

/*
 * A machine without a free interrupt: that vector is silent, and comes to life when there is one.
 */
static void test_machine_full(void **state)
{
	program(0);
	hw.refuse = true;
	control(ENABLE);
	mask(0, false);
	msix_raise(msix, 0);
	assert_int_equal(msix_fd(msix, 0), -1);
	hw.refuse = false;
	mask(0, true);
	mask(0, false);
	msix_raise(msix, 0);
	assert_true(got(0) >= 1);
}

static void test_reset(void **state)
{
	program(0);
	control(ENABLE);
	mask(0, false);
	mask(1, true);
	msix_raise(msix, 1);
	msix_reset(msix);
	assert_int_equal(fake_hw_num_msis(&hw), 0);
	assert_int_equal(rd(table, 8), 0);
	assert_int_equal(rd(table + 12, 4), 1);
	assert_int_equal(rd(pba, 4), 0);
	assert_int_equal(rd(ECAM + (1 << 15) + cap + PCI_MSIX_FLAGS, 2), NUM - 1);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_capability),  T(test_table),         T(test_delivery),
		T(test_vector_mask), T(test_function_mask), T(test_routes_are_few),
		T(test_fd),          T(test_machine_full),  T(test_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
