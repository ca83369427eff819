/* SPDX-License-Identifier: Apache-2.0 */
/* The transport and the device core with a device that only counts (virtio 1.2 §2, §4.1). */
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/list.h"
#include "tests/support/fake_driver.h"

#define NUM_QUEUES  3
#define TOY_ID      0x3a
#define TOY_FEATURE (1ull << 5 | 1ull << 35)

struct toy {
	struct virtio_dev dev;
	uint8_t config[5];
	unsigned kicks[NUM_QUEUES], starts, stops, config_writes;
	size_t config_off, config_len;
	int start_result;
	bool refill;   /* add a buffer from inside every kick, as a fast driver would */
	bool take_all; /* pop and push everything */
};

static struct toy toy;
static struct fake_machine m;
static struct fake_driver drv;

static int toy_start(struct virtio_dev *d)
{
	toy.starts++;
	return toy.start_result;
}

static void toy_stop(struct virtio_dev *d)
{
	toy.stops++;
}

static void offer(unsigned q)
{
	static const struct fake_seg seg = {4096, 16, true};

	(void)fake_queue_add(&drv.queue[q], &seg, 1);
}

static void toy_kick(struct virtio_dev *d, unsigned q)
{
	struct vchain *c;

	toy.kicks[q]++;
	if (!toy.take_all)
		return;
	while ((c = vqueue_pop(d->vq[q])))
		vqueue_push(c, 0);
	if (toy.refill && toy.kicks[q] < 20) {
		(void)fake_queue_take_used(&drv.queue[q], NULL, NULL);
		offer(q);
	}
}

static void toy_config_written(struct virtio_dev *d, size_t off, size_t len)
{
	toy.config_writes++;
	toy.config_off = off;
	toy.config_len = len;
}

static void toy_free(struct virtio_dev *d)
{
}

static const struct virtio_ops toy_ops = {
	.name = "toy",
	.id = TOY_ID,
	.start = toy_start,
	.stop = toy_stop,
	.kick = toy_kick,
	.config_written = toy_config_written,
	.free = toy_free,
};

static int setup(void **state)
{
	memset(&toy, 0, sizeof(toy));
	fake_machine_init(&m);
	m.hw.offer_shadow = true;
	toy.dev.ops = &toy_ops;
	toy.dev.loop = m.loop;
	toy.dev.mem = &m.mem;
	toy.dev.features = TOY_FEATURE;
	toy.dev.config = toy.config;
	toy.dev.config_len = sizeof(toy.config);
	toy.dev.num_vq = NUM_QUEUES;
	toy.dev.vq_max_size[1] = 64;
	memcpy(toy.config, "\x11\x22\x33\x44\x55", 5);
	assert_int_equal(virtio_init(&toy.dev, NULL), 0);
	fake_driver_init(&drv, &m, &toy.dev);
	return 0;
}

static int teardown(void **state)
{
	fake_driver_done(&drv);
	assert_int_equal(toy.starts, toy.stops);
	fake_machine_done(&m);
	return 0;
}

static void run(void)
{
	fake_run_idle(&m);
}

static uint64_t common(unsigned off, unsigned len)
{
	return fake_common_read(&drv, off, len);
}

static void set_common(unsigned off, uint64_t v, unsigned len)
{
	fake_common_write(&drv, off, v, len);
}

static void test_identity(void **state)
{
	assert_int_equal(fake_pci_read(&m, drv.slot, PCI_VENDOR_ID, 2), 0x1af4);
	assert_int_equal(fake_pci_read(&m, drv.slot, PCI_DEVICE_ID, 2), 0x1040 + TOY_ID);
	assert_true(fake_pci_read(&m, drv.slot, PCI_REVISION_ID, 1) >= 1);
	assert_true(fake_pci_read(&m, drv.slot, PCI_SUBSYSTEM_ID, 2) >= 0x40);
	assert_int_equal(drv.config_len, 5);
	assert_int_equal(drv.num_queues, NUM_QUEUES);
	assert_int_equal(drv.num_vectors, NUM_QUEUES + 1);
	assert_int_equal(fake_driver_offered(&drv) & TOY_FEATURE, TOY_FEATURE);
	/* Sizes: the default, and the device's own. */
	assert_int_equal(common(VIRTIO_PCI_COMMON_Q_SIZE, 2), 256);
	set_common(VIRTIO_PCI_COMMON_Q_SELECT, 1, 2);
	assert_int_equal(common(VIRTIO_PCI_COMMON_Q_SIZE, 2), 64);
	assert_int_equal(common(VIRTIO_PCI_COMMON_Q_RESET, 2), 0);
}

static void test_life(void **state)
{
	fake_driver_start(&drv, UINT64_MAX);
	assert_int_equal(toy.starts, 1);
	assert_true(toy.dev.running);
	assert_int_equal(toy.dev.acked, fake_driver_offered(&drv));
	for (unsigned i = 0; i < NUM_QUEUES; i++)
		assert_non_null(toy.dev.vq[i]);
	fake_driver_start(&drv, 0);
	assert_int_equal(toy.stops, 1);
	assert_int_equal(toy.starts, 2);
	assert_int_equal(toy.dev.acked, 1ull << VIRTIO_F_VERSION_1);
	set_common(VIRTIO_PCI_COMMON_STATUS, 0, 1);
	assert_int_equal(toy.stops, 2);
	assert_false(toy.dev.running);
	assert_null(toy.dev.vq[0]);
	assert_int_equal(toy.dev.acked, 0);
	set_common(VIRTIO_PCI_COMMON_STATUS, 0, 1);
	assert_int_equal(toy.stops, 2);
}

static void test_start_fails(void **state)
{
	toy.start_result = -5;
	fake_driver_reset(&drv);
	assert_true(fake_driver_negotiate(&drv, fake_driver_offered(&drv)));
	fake_driver_setup_msix(&drv);
	fake_driver_setup_queue(&drv, 0, 0);
	fake_driver_ok(&drv);
	assert_true(fake_driver_needs_reset(&drv));
	assert_int_equal(fake_config_interrupts(&drv), 1);
	assert_false(toy.dev.running);
	assert_null(toy.dev.vq[0]);
	toy.starts = 0;
	toy.start_result = 0;
	fake_driver_start(&drv, UINT64_MAX);
}

static void test_doorbells(void **state)
{
	fake_driver_start(&drv, UINT64_MAX);
	run();
	memset(toy.kicks, 0, sizeof(toy.kicks));
	for (unsigned i = 0; i < NUM_QUEUES; i++) {
		assert_int_equal(drv.queue[i].doorbell - drv.notify, i * drv.notify_step);
		assert_true(fake_hw_ring(&m.hw, drv.queue[i].doorbell));
		run();
		for (unsigned j = 0; j < NUM_QUEUES; j++)
			assert_int_equal(toy.kicks[j], j <= i);
	}
	assert_int_equal(m.hw.num_doorbells, NUM_QUEUES);
	/* They follow the BAR, and go with memory decoding. */
	fake_pci_write(&m, drv.slot, PCI_COMMAND, 0, 2);
	assert_int_equal(m.hw.num_doorbells, 0);
	fake_pci_write(&m, drv.slot, PCI_BASE_ADDRESS_0, FAKE_MMIO32 + 0x800000, 4);
	fake_pci_write(&m, drv.slot, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	assert_int_equal(m.hw.num_doorbells, NUM_QUEUES);
	assert_true(fake_hw_ring(&m.hw, FAKE_MMIO32 + 0x800000 + (drv.notify - drv.bar[0])));
}

/* A machine that has no doorbells left: the write itself does. */
static void test_no_doorbells(void **state)
{
	fake_driver_start(&drv, UINT64_MAX);
	run();
	m.hw.refuse = true;
	fake_pci_write(&m, drv.slot, PCI_COMMAND, 0, 2);
	fake_pci_write(&m, drv.slot, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	assert_int_equal(m.hw.num_doorbells, 0);
	memset(toy.kicks, 0, sizeof(toy.kicks));
	fake_queue_ring(&drv.queue[2]);
	fake_mmio_write(&m, drv.notify + 1, 0, 2); /* no queue's address */
	fake_mmio_write(&m, drv.notify + drv.notify_step * NUM_QUEUES, 0, 2);
	run();
	assert_int_equal(toy.kicks[0], 0);
	assert_int_equal(toy.kicks[1], 0);
	assert_int_equal(toy.kicks[2], 1);
	m.hw.refuse = false;
}

/* A driver that refills during each kick is served to the end, but not all in one go. */
static void test_refill(void **state)
{
	fake_driver_start(&drv, UINT64_MAX);
	run();
	memset(toy.kicks, 0, sizeof(toy.kicks));
	toy.take_all = toy.refill = true;
	offer(1);
	assert_true(fake_queue_kick(&drv.queue[1]));
	assert_int_equal(loop_run_once(m.loop, 0), 0);
	assert_in_range(toy.kicks[1], 2, 10);
	run();
	assert_int_equal(toy.kicks[1], 20);
	assert_int_equal(drv.queue[1].used->idx, 20);
}

static void test_rekick(void **state)
{
	fake_driver_start(&drv, UINT64_MAX);
	run();
	memset(toy.kicks, 0, sizeof(toy.kicks));
	virtio_rekick(&toy.dev, 2);
	virtio_rekick(&toy.dev, 2);
	run();
	assert_int_equal(toy.kicks[2], 1);
	set_common(VIRTIO_PCI_COMMON_STATUS, 0, 1);
	virtio_rekick(&toy.dev, 2);
	run();
	assert_int_equal(toy.kicks[2], 1);
}

/* Nothing of a device that waits for its reset is called, not even for its good queues. */
static void test_needs_reset(void **state)
{
	fake_driver_start(&drv, UINT64_MAX);
	run();
	toy.take_all = true;
	(void)fake_config_interrupts(&drv);
	fake_queue_publish(&drv.queue[0], UINT16_MAX);
	fake_queue_ring(&drv.queue[0]);
	run();
	assert_true(fake_driver_needs_reset(&drv));
	assert_int_equal(fake_config_interrupts(&drv), 1);
	memset(toy.kicks, 0, sizeof(toy.kicks));
	offer(1);
	fake_queue_ring(&drv.queue[1]);
	run();
	assert_int_equal(toy.kicks[1], 0);
	virtio_needs_reset(&toy.dev, "once is enough");
	assert_int_equal(fake_config_interrupts(&drv), 0);
	/* A driver cannot talk itself out of it. */
	set_common(VIRTIO_PCI_COMMON_STATUS, 0x0f, 1);
	assert_true(fake_driver_needs_reset(&drv));
	fake_driver_start(&drv, UINT64_MAX);
}

static void test_isr(void **state)
{
	fake_driver_start(&drv, UINT64_MAX);
	toy.take_all = true;
	assert_int_equal(fake_mmio_read(&m, drv.isr, 1), 0);
	offer(1);
	fake_queue_ring(&drv.queue[1]);
	run();
	assert_int_equal(fake_queue_interrupts(&drv.queue[1]), 1);
	assert_int_equal(fake_queue_interrupts(&drv.queue[0]), 0);
	assert_int_equal(fake_mmio_read(&m, drv.isr, 1), 1);
	assert_int_equal(fake_mmio_read(&m, drv.isr, 1), 0); /* §4.1.4.5.1: reading clears */
	virtio_config_changed(&toy.dev);
	assert_int_equal(fake_mmio_read(&m, drv.isr, 1), 2);
	assert_int_equal(fake_mmio_read(&m, drv.isr, 1), 0);
}

static void test_config(void **state)
{
	uint8_t generation;

	virtio_config_changed(&toy.dev); /* nobody there to be told */
	fake_driver_start(&drv, UINT64_MAX);
	assert_int_equal(fake_config_interrupts(&drv), 0);
	assert_int_equal(fake_config_read(&drv, 0, 4), 0x44332211);
	assert_int_equal(fake_config_read(&drv, 3, 4), 0x5544);
	assert_int_equal(fake_config_read(&drv, 0, 8), 0x5544332211);
	assert_int_equal(fake_config_read(&drv, 5, 1), 0);
	fake_config_write(&drv, 1, 0xaabb, 2);
	assert_int_equal(toy.config_writes, 1);
	assert_int_equal(toy.config_off, 1);
	assert_int_equal(toy.config_len, 2);
	assert_int_equal(fake_config_read(&drv, 0, 4), 0x44aabb11);
	fake_config_write(&drv, 4, 0x01020304, 4); /* cut at the end */
	assert_int_equal(toy.config_len, 1);
	assert_int_equal(toy.config[4], 4);
	fake_config_write(&drv, 5, 1, 1);
	assert_int_equal(toy.config_writes, 2);
	generation = common(VIRTIO_PCI_COMMON_CFGGENERATION, 1);
	virtio_config_changed(&toy.dev);
	assert_int_not_equal(common(VIRTIO_PCI_COMMON_CFGGENERATION, 1), generation);
	assert_int_equal(fake_config_interrupts(&drv), 1);
}

/* §4.1.4.3.2: what an enabled queue is stays; what is not enabled by DRIVER_OK never is. */
static void test_queue_registers(void **state)
{
	fake_driver_reset(&drv);
	assert_true(fake_driver_negotiate(&drv, fake_driver_offered(&drv)));
	fake_driver_setup_queue(&drv, 0, 16);
	set_common(VIRTIO_PCI_COMMON_Q_SIZE, 8, 2);
	set_common(VIRTIO_PCI_COMMON_Q_DESCLO, 0x8000, 4);
	assert_int_equal(common(VIRTIO_PCI_COMMON_Q_SIZE, 2), 16);
	assert_int_equal(common(VIRTIO_PCI_COMMON_Q_DESCLO, 8), drv.queue[0].desc_gpa);
	set_common(VIRTIO_PCI_COMMON_Q_SELECT, 2, 2);
	set_common(VIRTIO_PCI_COMMON_Q_AVAILLO, 0x1122334455667788, 8);
	assert_int_equal(common(VIRTIO_PCI_COMMON_Q_AVAILHI, 4), 0x11223344);
	set_common(VIRTIO_PCI_COMMON_Q_ENABLE, 2, 2);
	assert_int_equal(common(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	fake_driver_ok(&drv);
	set_common(VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
	assert_int_equal(common(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	assert_non_null(toy.dev.vq[0]);
	assert_null(toy.dev.vq[2]);
	set_common(VIRTIO_PCI_COMMON_STATUS, 0, 1);
	set_common(VIRTIO_PCI_COMMON_Q_SELECT, 0, 2);
	assert_int_equal(common(VIRTIO_PCI_COMMON_Q_SIZE, 2), 256);
	assert_int_equal(common(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
}

/* Aim the configuration access capability at something that is not there: nothing happens. */
static void test_cfg_access_bounds(void **state)
{
	static const struct {
		uint32_t bar, off, len;
	} bad[] = {{0, 0x4000, 4}, {0, 0x3ffe, 4}, {0, 0xfffffffc, 4}, {0, 2, 4},
		   {0, 0, 3},      {0, 0, 8},      {0, 0, 0},          {1, 0, 4},
		   {4, 0, 4},      {6, 0, 4},      {255, 0, 4}};
	unsigned cap = drv.cfg_cap, data = cap + 16;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		fake_pci_write(&m, drv.slot, cap + VIRTIO_PCI_CAP_BAR, bad[i].bar, 1);
		fake_pci_write(&m, drv.slot, cap + VIRTIO_PCI_CAP_OFFSET, bad[i].off, 4);
		fake_pci_write(&m, drv.slot, cap + VIRTIO_PCI_CAP_LENGTH, bad[i].len, 4);
		fake_pci_write(&m, drv.slot, data, 0x5a5a5a5a, 4);
		assert_int_equal(fake_pci_read(&m, drv.slot, data, 4), 0x5a5a5a5a);
	}
	/* The last place there is; and the other BAR. */
	fake_pci_write(&m, drv.slot, cap + VIRTIO_PCI_CAP_BAR, 0, 1);
	fake_pci_write(&m, drv.slot, cap + VIRTIO_PCI_CAP_OFFSET, 0x3ffc, 4);
	fake_pci_write(&m, drv.slot, cap + VIRTIO_PCI_CAP_LENGTH, 4, 4);
	assert_int_equal(fake_pci_read(&m, drv.slot, data, 4), 0);
	fake_pci_write(&m, drv.slot, cap + VIRTIO_PCI_CAP_BAR, 2, 1);
	fake_pci_write(&m, drv.slot, cap + VIRTIO_PCI_CAP_OFFSET, 12, 4);
	assert_int_equal(fake_pci_read(&m, drv.slot, data, 4), 1); /* vector 0 is masked */
}

/*
 * A driver that aims the capability gets its reads of the data answered by the device, also where
 * the machine had answered reads of configuration space by itself until then.
 */
static void test_cfg_access_shadow(void **state)
{
	unsigned cap = drv.cfg_cap;

	assert_true(m.hw.shadow.gpa != 0);
	fake_pci_write(&m, drv.slot, PCI_CACHE_LINE_SIZE, 1, 1);
	fake_pci_write(&m, drv.slot, cap + VIRTIO_PCI_CAP_BAR, 0, 1);
	assert_true(m.hw.shadow.gpa != 0);
	fake_pci_write(&m, drv.slot, cap + VIRTIO_PCI_CAP_LENGTH, 4, 4);
	assert_int_equal(m.hw.shadow.gpa, 0);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_identity),
		T(test_life),
		T(test_start_fails),
		T(test_doorbells),
		T(test_no_doorbells),
		T(test_refill),
		T(test_rekick),
		T(test_needs_reset),
		T(test_isr),
		T(test_config),
		T(test_queue_registers),
		T(test_cfg_access_bounds),
		T(test_cfg_access_shadow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
