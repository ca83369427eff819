/* SPDX-License-Identifier: Apache-2.0 */
/* The conformance matrix, registers and the life of a device: virtio 1.2 §2.1, §2.2, §4.1. */
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <string.h>

#include "tests/device/conformance.h"
#include "tests/support/check.h"

static uint64_t common(struct rig *rig, unsigned off, unsigned len)
{
	return fake_common_read(&rig->drv, off, len);
}

static void set_common(struct rig *rig, unsigned off, uint64_t v, unsigned len)
{
	fake_common_write(&rig->drv, off, v, len);
}

static void test_registers_are_fixed(void **state)
{
	struct rig *rig = *state;
	struct fake_queue *q = rig->q;

	rig_start(rig, UINT64_MAX);
	set_common(rig, VIRTIO_PCI_COMMON_Q_SELECT, q->index, 2);
	set_common(rig, VIRTIO_PCI_COMMON_Q_SIZE, 1, 2);
	set_common(rig, VIRTIO_PCI_COMMON_Q_DESCLO, FAKE_NOT_RAM, 8);
	set_common(rig, VIRTIO_PCI_COMMON_Q_AVAILLO, FAKE_NOT_RAM, 4);
	set_common(rig, VIRTIO_PCI_COMMON_Q_USEDHI, 77, 4);
	set_common(rig, VIRTIO_PCI_COMMON_Q_ENABLE, 0, 2);
	assert_int_equal(common(rig, VIRTIO_PCI_COMMON_Q_SIZE, 2), q->size);
	assert_int_equal(common(rig, VIRTIO_PCI_COMMON_Q_DESCLO, 8), q->desc_gpa);
	assert_int_equal(common(rig, VIRTIO_PCI_COMMON_Q_AVAILLO, 8), q->avail_gpa);
	assert_int_equal(common(rig, VIRTIO_PCI_COMMON_Q_USEDLO, 8), q->used_gpa);
	assert_int_equal(common(rig, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	set_common(rig, VIRTIO_PCI_COMMON_GFSELECT, 0, 4);
	set_common(rig, VIRTIO_PCI_COMMON_GF, 0, 4); /* after FEATURES_OK */
	assert_int_equal(common(rig, VIRTIO_PCI_COMMON_GF, 4), rig->drv.acked & UINT32_MAX);
	/* Status bits are never taken back, except all at once. */
	set_common(rig, VIRTIO_PCI_COMMON_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE, 1);
	assert_true(common(rig, VIRTIO_PCI_COMMON_STATUS, 1) & VIRTIO_CONFIG_S_DRIVER_OK);
	assert_works(rig);
}

static void test_queue_sizes(void **state)
{
	static const uint16_t bad[] = {0, 3, 6, 100, 2048, 32768, UINT16_MAX};
	struct rig *rig = *state;
	uint16_t max;

	fake_driver_reset(&rig->drv);
	set_common(rig, VIRTIO_PCI_COMMON_Q_SELECT, rig->maker->queue, 2);
	max = common(rig, VIRTIO_PCI_COMMON_Q_SIZE, 2);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		set_common(rig, VIRTIO_PCI_COMMON_Q_SIZE, bad[i], 2);
		assert_int_equal(common(rig, VIRTIO_PCI_COMMON_Q_SIZE, 2), max);
	}
	/* Any power of two below works. */
	for (uint16_t size = 2; size <= max; size *= 2) {
		fake_driver_reset(&rig->drv);
		rig->m.next = rig->mark;
		assert_true(fake_driver_negotiate(&rig->drv, fake_driver_offered(&rig->drv)));
		fake_driver_setup_msix(&rig->drv);
		for (unsigned i = 0; i < rig->drv.num_queues; i++)
			fake_driver_setup_queue(&rig->drv, i, size);
		fake_driver_ok(&rig->drv);
		for (unsigned i = 0; i < 5; i++)
			assert_works(rig);
	}
}

static void test_queue_select_out_of_range(void **state)
{
	struct rig *rig = *state;
	unsigned beyond[] = {rig->drv.num_queues, VIRTIO_MAX_QUEUES, UINT16_MAX};

	for (unsigned i = 0; i < 3; i++) {
		set_common(rig, VIRTIO_PCI_COMMON_Q_SELECT, beyond[i], 2);
		assert_int_equal(common(rig, VIRTIO_PCI_COMMON_Q_SIZE, 2), 0);
		set_common(rig, VIRTIO_PCI_COMMON_Q_SIZE, 8, 2);
		set_common(rig, VIRTIO_PCI_COMMON_Q_DESCLO, 4096, 8);
		set_common(rig, VIRTIO_PCI_COMMON_Q_MSIX, 0, 2);
		set_common(rig, VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
		assert_int_equal(common(rig, VIRTIO_PCI_COMMON_Q_SIZE, 2), 0);
		assert_int_equal(common(rig, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	}
	assert_recovers(rig);
}

/* DRIVER_OK with rings where no rings can be. */
static void misplaced(struct rig *rig, unsigned reg, gpa_t gpa)
{
	rig_start(rig, UINT64_MAX); /* a queue that had good rings before */
	fake_driver_reset(&rig->drv);
	assert_true(fake_driver_negotiate(&rig->drv, fake_driver_offered(&rig->drv)));
	fake_driver_setup_msix(&rig->drv);
	set_common(rig, VIRTIO_PCI_COMMON_Q_SELECT, rig->maker->queue, 2);
	set_common(rig, VIRTIO_PCI_COMMON_Q_DESCLO, 0x10000, 8);
	set_common(rig, VIRTIO_PCI_COMMON_Q_AVAILLO, 0x20000, 8);
	set_common(rig, VIRTIO_PCI_COMMON_Q_USEDLO, 0x30000, 8);
	set_common(rig, reg, gpa, 8);
	set_common(rig, VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
	fake_driver_ok(&rig->drv);
	assert_true(fake_driver_needs_reset(&rig->drv));
	fake_queue_ring(rig->q);
	fake_run_idle(&rig->m);
	assert_recovers(rig);
}

static void test_misplaced_rings(void **state)
{
	static const unsigned regs[] = {VIRTIO_PCI_COMMON_Q_DESCLO, VIRTIO_PCI_COMMON_Q_AVAILLO,
					VIRTIO_PCI_COMMON_Q_USEDLO};
	struct rig *rig = *state;

	for (unsigned i = 0; i < 3; i++) {
		misplaced(rig, regs[i], FAKE_NOT_RAM);
		misplaced(rig, regs[i], FAKE_RAM_LOW_LEN - 16);
		misplaced(rig, regs[i], UINT64_MAX - 15);
		misplaced(rig, regs[i], 0x40001);
	}
}

static void test_features(void **state)
{
	struct rig *rig = *state;
	uint64_t offered = fake_driver_offered(&rig->drv);

	assert_int_equal(offered & (VERSION_1 | EVENT_IDX | INDIRECT),
			 VERSION_1 | EVENT_IDX | INDIRECT);
	for (unsigned bit = 0; bit < 64; bit++) {
		fake_driver_reset(&rig->drv);
		/* Not offered: refused (§2.2.2). Offered: any subset with VERSION_1 will do. */
		assert_int_equal(fake_driver_negotiate(&rig->drv, VERSION_1 | BIT(bit)),
				 (offered & BIT(bit)) != 0);
	}
	fake_driver_reset(&rig->drv);
	assert_false(fake_driver_negotiate(&rig->drv, offered & ~VERSION_1));
	/* Going on regardless gives no device. */
	for (unsigned i = 0; i < rig->drv.num_queues; i++)
		fake_driver_setup_queue(&rig->drv, i, 0);
	fake_driver_ok(&rig->drv);
	assert_false(fake_driver_status(&rig->drv) & VIRTIO_CONFIG_S_DRIVER_OK);
	fake_queue_ring(rig->q);
	fake_run_idle(&rig->m);
	/* Selectors beyond the two words. */
	set_common(rig, VIRTIO_PCI_COMMON_DFSELECT, 2, 4);
	assert_int_equal(common(rig, VIRTIO_PCI_COMMON_DF, 4), 0);
	set_common(rig, VIRTIO_PCI_COMMON_GFSELECT, UINT32_MAX, 4);
	set_common(rig, VIRTIO_PCI_COMMON_GF, UINT32_MAX, 4);
	assert_int_equal(common(rig, VIRTIO_PCI_COMMON_GF, 4), 0);
	assert_recovers(rig);
}

static void test_vectors(void **state)
{
	struct rig *rig = *state;
	unsigned num = rig->drv.num_vectors;

	assert_int_equal(num, rig->drv.num_queues + 1);
	set_common(rig, VIRTIO_PCI_COMMON_MSIX, num, 2);
	assert_int_equal(common(rig, VIRTIO_PCI_COMMON_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
	set_common(rig, VIRTIO_PCI_COMMON_MSIX, num - 1, 2);
	assert_int_equal(common(rig, VIRTIO_PCI_COMMON_MSIX, 2), num - 1);
	set_common(rig, VIRTIO_PCI_COMMON_Q_SELECT, 0, 2);
	set_common(rig, VIRTIO_PCI_COMMON_Q_MSIX, UINT16_MAX - 1, 2);
	assert_int_equal(common(rig, VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
	set_common(rig, VIRTIO_PCI_COMMON_STATUS, 0, 1);
	assert_int_equal(common(rig, VIRTIO_PCI_COMMON_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
	assert_recovers(rig);
}

/*
 * All of BAR 0 by every width: every byte reads the same whatever the width, in device
 * configuration.
 */
static void test_reads_of_every_width(void **state)
{
	struct rig *rig = *state;
	struct fake_driver *drv = &rig->drv;

	rig_start(rig, UINT64_MAX);
	for (gpa_t gpa = drv->bar[0]; gpa < drv->bar[0] + 0x4000; gpa += 1) {
		bool config = drv->config && gpa >= drv->config && gpa < drv->config + 0x800;

		for (unsigned len = 2; len <= 8; len *= 2) {
			uint64_t v = fake_mmio_read(&rig->m, gpa, len);

			for (unsigned i = 0; config && i < len; i++)
				assert_int_equal(v >> 8 * i & 0xff,
						 fake_mmio_read(&rig->m, gpa + i, 1));
		}
	}
	for (unsigned off = 0; drv->config && off < 64; off++)
		assert_int_equal(fake_config_read(drv, drv->config_len + off, 1), 0);
	assert_works(rig);
}

/* All of BAR 0 but the status is written with noise, at every width; then a reset makes it well. */
static void test_writes_of_every_width(void **state)
{
	struct rig *rig = *state;
	uint64_t noise = 88172645463325252ull;

	rig_start(rig, UINT64_MAX);
	for (unsigned round = 0; round < 4; round++) {
		for (gpa_t off = 0; off < 0x3400; off++) {
			noise ^= noise << 13;
			noise ^= noise >> 7;
			noise ^= noise << 17;
			fake_mmio_write(&rig->m, rig->drv.bar[0] + off, noise,
					1u << (noise >> 60 & 3));
		}
		fake_run_idle(&rig->m);
		assert_recovers(rig);
	}
}

static void test_pci_config_noise(void **state)
{
	struct rig *rig = *state;
	struct fake_driver *drv = &rig->drv;
	uint64_t noise = 1234567;
	uint32_t saved[64];

	rig_start(rig, UINT64_MAX);
	for (unsigned i = 0; i < 64; i++)
		saved[i] = fake_pci_read(&rig->m, drv->slot, 4 * i, 4);
	for (unsigned i = 0; i < 4096; i++) {
		noise = noise * 6364136223846793005ull + 1442695040888963407ull;
		fake_pci_write(&rig->m, drv->slot, noise >> 32 & 0xff, noise,
			       1u << (noise >> 60 & 1));
		(void)fake_pci_read(&rig->m, drv->slot, noise >> 40 & 0xff,
				    1u << (noise >> 50 & 3));
	}
	for (unsigned i = 0; i < 64; i++)
		fake_pci_write(&rig->m, drv->slot, 4 * i, saved[i], 4);
	assert_recovers(rig);
}

/* §4.1.4.9: the registers by way of configuration space, for who cannot reach BARs. */
static void test_cfg_access(void **state)
{
	struct rig *rig = *state;
	struct fake_machine *m = &rig->m;
	unsigned slot = rig->drv.slot, cap = rig->drv.cfg_cap,
		 data = cap + sizeof(struct virtio_pci_cap);

	rig_start(rig, UINT64_MAX);
	fake_pci_write(m, slot, cap + VIRTIO_PCI_CAP_BAR, 0, 1);
	fake_pci_write(m, slot, cap + VIRTIO_PCI_CAP_OFFSET,
		       rig->drv.common - rig->drv.bar[0] + VIRTIO_PCI_COMMON_NUMQ, 4);
	fake_pci_write(m, slot, cap + VIRTIO_PCI_CAP_LENGTH, 2, 4);
	assert_int_equal(fake_pci_read(m, slot, data, 2), rig->drv.num_queues);
	fake_pci_write(m, slot, cap + VIRTIO_PCI_CAP_OFFSET,
		       rig->drv.common - rig->drv.bar[0] + VIRTIO_PCI_COMMON_STATUS, 4);
	fake_pci_write(m, slot, cap + VIRTIO_PCI_CAP_LENGTH, 1, 4);
	assert_int_equal(fake_pci_read(m, slot, data, 1), fake_driver_status(&rig->drv));
	fake_pci_write(m, slot, data, 0, 1);
	assert_int_equal(fake_driver_status(&rig->drv), 0);
	assert_recovers(rig);
}

/* ---- life */

#define ALL_RAM (14u << 20) /* all that a case allocates from */

/*
 * However far the device got with a full ring: once the reset is done, nothing touches guest memory
 * any more.
 */
static void test_reset_in_flight(void **state)
{
	struct rig *rig = *state;
	uint8_t *ram = fake_ptr(&rig->m, 0, ALL_RAM);
	struct sample s = {0};

	rig->maker->busy(&s);
	for (unsigned turns = 0; turns < 12; turns++) {
		unsigned chains;

		rig_start(rig, UINT64_MAX);
		chains = rig->q->size / (!!s.rd_len + !!s.wr_len);
		for (unsigned i = 0; i < chains; i++)
			offer_sample(rig, &s, 0, false);
		fake_queue_ring(rig->q);
		for (unsigned i = 0; i < turns; i++)
			check(loop_run_once(rig->m.loop, 0) == 0);
		fake_common_write(&rig->drv, VIRTIO_PCI_COMMON_STATUS, 0, 1);
		memset(ram, 0xa5, ALL_RAM);
		fake_run_idle(&rig->m);
		check(ram[0] == 0xa5 && memcmp(ram, ram + 1, ALL_RAM - 1) == 0);
	}
	assert_recovers(rig);
}

/* All queues full of noise, all doorbells rung: nothing worse than a reset. */
static void test_noise(void **state)
{
	struct rig *rig = *state;
	uint64_t noise = 0x9e3779b97f4a7c15ull;

	for (unsigned round = 0; round < 300; round++) {
		rig_start(rig, round % 2 ? UINT64_MAX : 0);
		for (unsigned i = 0; i < rig->drv.num_queues; i++) {
			struct fake_queue *q = &rig->drv.queue[i];

			for (unsigned j = 0; j < q->size; j++) {
				noise = noise * 6364136223846793005ull + 1442695040888963407ull;
				fake_queue_set_desc(q, j, noise >> 40, noise >> 52, noise >> 29 & 7,
						    noise >> 32 & (q->size - 1));
				q->avail->ring[j] = htole16(noise >> 20 & (q->size - 1));
			}
			q->avail->idx = htole16(noise >> 45 & (q->size - 1));
			fake_queue_ring(q);
		}
		for (unsigned i = 0; i < 8; i++)
			check(loop_run_once(rig->m.loop, 0) == 0);
	}
	assert_recovers(rig);
}

static void test_double_reset(void **state)
{
	struct rig *rig = *state;

	for (unsigned i = 0; i < 3; i++)
		fake_driver_reset(&rig->drv);
	assert_recovers(rig);
	for (unsigned i = 0; i < 3; i++)
		fake_driver_reset(&rig->drv);
	assert_recovers(rig);
}

const struct conformance_case register_cases[] = {
	{"registers are fixed", test_registers_are_fixed},
	{"queue sizes", test_queue_sizes},
	{"queue select out of range", test_queue_select_out_of_range},
	{"misplaced rings", test_misplaced_rings},
	{"features", test_features},
	{"vectors", test_vectors},
	{"reads of every width", test_reads_of_every_width},
	{"writes of every width", test_writes_of_every_width},
	{"PCI configuration noise", test_pci_config_noise},
	{"access by configuration space", test_cfg_access},
	{"reset in flight", test_reset_in_flight},
	{"noise", test_noise},
	{"double reset", test_double_reset},
};
const unsigned num_register_cases = sizeof(register_cases) / sizeof(register_cases[0]);
