/* SPDX-License-Identifier: Apache-2.0 */
/* boot/acpi.c: tables' checksums and fields, iasl's reading of the DSDT (ACPI 6.5 §5.2). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/endian.h"
#include "base/fd.h"
#include "base/str.h"
#include "boot/acpi.h"
#include "boot/boot.h"
#include "tests/support/scratch.h"

#define RAM_LEN  0x100000u
#define NUM_CPUS 32

static uint8_t ram[RAM_LEN];
static const struct guest_mem mem = {.region = {{.gpa = 0, .len = RAM_LEN, .hva = ram}}, .num = 1};
static uint8_t apic_id[NUM_CPUS];

static const struct acpi_machine machine = {
	.num_vcpus = 4,
	.apic_id = apic_id,
	.lapic_base = 0xfee00000,
	.ioapic_base = 0xfec00000,
	.ioapic_id = 9,
	.ecam_base = 0xe0000000,
	.mmio32_base = 0xc0000000,
	.mmio32_len = 0x20000000,
	.mmio64_base = 0x4000000000,
	.mmio64_len = 0x800000000,
	.sleep_port = 0x600,
	.reset_port = 0x604,
	.event_port = 0x608,
	.event_gsi = 5,
	.serial_port = 0x3f8,
	.serial_gsi = 4,
};

static int setup(void **state)
{
	for (unsigned i = 0; i < NUM_CPUS; i++)
		apic_id[i] = 2 * i + 1;
	memset(ram, 0, sizeof(ram));
	return 0;
}

static uint8_t sum(const uint8_t *p, size_t n)
{
	uint8_t s = 0;

	while (n--)
		s += *p++;
	return s;
}

/* Builds, checks the root and the sum of every table, and returns the one with this signature. */
static const uint8_t *build(const struct acpi_machine *m, const char *signature)
{
	const uint8_t *rsdp, *xsdt, *found = NULL;
	struct err err;
	gpa_t gpa;

	assert_int_equal(acpi_build(m, &mem, BOOT_ACPI_GPA, BOOT_ACPI_LEN, &gpa, &err), 0);
	assert_int_equal(gpa % 16, 0); /* where the kernel's scan looks */
	rsdp = ram + gpa;
	assert_memory_equal(rsdp, "RSD PTR ", 8);
	assert_int_equal(sum(rsdp, 20), 0);
	assert_int_equal(sum(rsdp, 36), 0);
	assert_int_equal(rsdp[15], 2);
	xsdt = ram + get_le64(rsdp + 24);
	assert_memory_equal(xsdt, "XSDT", 4);
	assert_int_equal(sum(xsdt, get_le32(xsdt + 4)), 0);
	assert_int_equal(get_le32(xsdt + 4), 36 + 3 * 8);
	for (unsigned i = 0; i < 3; i++) {
		const uint8_t *t = ram + get_le64(xsdt + 36 + 8 * i);

		assert_true(t >= rsdp && t + get_le32(t + 4) <= ram + RAM_LEN);
		assert_int_equal(sum(t, get_le32(t + 4)), 0);
		if (memcmp(t, signature, 4) == 0)
			found = t;
		if (memcmp(t, "FACP", 4) == 0) {
			const uint8_t *dsdt = ram + get_le64(t + 140);

			assert_int_equal(get_le32(t + 40), dsdt - ram);
			assert_memory_equal(dsdt, "DSDT", 4);
			assert_int_equal(sum(dsdt, get_le32(dsdt + 4)), 0);
			if (memcmp(signature, "DSDT", 4) == 0)
				found = dsdt;
		}
	}
	assert_non_null(found);
	return found;
}

static void assert_io_gas(const uint8_t *p, uint16_t port)
{
	assert_int_equal(p[0], 1); /* system I/O */
	assert_int_equal(p[1], 8);
	assert_int_equal(p[2], 0);
	assert_int_equal(p[3], 1);
	assert_int_equal(get_le64(p + 4), port);
}

static void fadt_is_hardware_reduced(void **state)
{
	const uint8_t *f = build(&machine, "FACP");
	uint32_t flags = get_le32(f + 112);

	assert_int_equal(get_le32(f + 4), 276);
	assert_int_equal(f[8], 6);
	assert_true(flags & 1u << 20);              /* HW_REDUCED_ACPI */
	assert_true(flags & 1u << 10);              /* RESET_REG_SUP */
	assert_true(flags & 1u << 4);               /* the power button is no fixed feature */
	assert_int_equal(get_le16(f + 109) & 3, 0); /* no legacy devices, no 8042 */
	assert_true(get_le16(f + 109) & 1 << 2);    /* no VGA */
	assert_true(get_le16(f + 109) & 1 << 5);    /* no CMOS clock */
	assert_io_gas(f + 116, 0x604);
	assert_int_equal(f[128], 1);
	assert_io_gas(f + 244, 0x600);
	assert_io_gas(f + 256, 0x601);
	for (int i = 148; i < 244; i++) /* none of the fixed hardware */
		assert_int_equal(f[i], 0);
}

static void madt_lists_every_cpu(void **state)
{
	struct acpi_machine m = machine;

	for (m.num_vcpus = 1; m.num_vcpus <= NUM_CPUS; m.num_vcpus += 31) {
		const uint8_t *t = build(&m, "APIC"), *p = t + 44;
		unsigned cpus = 0, ioapics = 0;

		assert_int_equal(get_le32(t + 36), 0xfee00000);
		assert_int_equal(get_le32(t + 40), 0);
		for (; p < t + get_le32(t + 4); p += p[1]) {
			assert_true(p[1] >= 2);
			if (p[0] == 0) {
				assert_int_equal(p[2], cpus);
				assert_int_equal(p[3], 2 * cpus + 1);
				assert_int_equal(get_le32(p + 4), 1);
				cpus++;
			} else if (p[0] == 1) {
				assert_int_equal(p[2], 9);
				assert_int_equal(get_le32(p + 4), 0xfec00000);
				assert_int_equal(get_le32(p + 8), 0);
				ioapics++;
			}
		}
		assert_ptr_equal(p, t + get_le32(t + 4));
		assert_int_equal(cpus, m.num_vcpus);
		assert_int_equal(ioapics, 1);
	}
}

static void mcfg_is_one_bus(void **state)
{
	const uint8_t *t = build(&machine, "MCFG");

	assert_int_equal(get_le32(t + 4), 60);
	assert_int_equal(get_le64(t + 44), 0xe0000000);
	assert_int_equal(get_le16(t + 52), 0);
	assert_int_equal(t[54], 0);
	assert_int_equal(t[55], 0);
}

static void too_little_room_is_refused(void **state)
{
	gpa_t gpa = 77;
	struct err err;

	for (uint64_t len = 0; len < 512; len++)
		assert_int_equal(acpi_build(&machine, &mem, BOOT_ACPI_GPA, len, &gpa, &err),
				 -ENOSPC);
	assert_int_equal(acpi_build(&machine, &mem, RAM_LEN - 16, BOOT_ACPI_LEN, &gpa, &err),
			 -ENOSPC);
	assert_int_equal(gpa, 77);
	for (size_t i = 0; i < RAM_LEN; i++) /* and nothing was written */
		assert_int_equal(ram[i], 0);
}

/* Takes comments and white space out. */
static void squeeze(char *text)
{
	char *out = text;

	for (char *in = text; *in; in++) {
		if (strncmp(in, "//", 2) == 0)
			in += strcspn(in, "\n") - 1;
		else if (strncmp(in, "/*", 2) == 0 && strstr(in, "*/"))
			in = strstr(in, "*/") + 1;
		else if (!strchr(" \t\n", *in))
			*out++ = *in;
	}
	*out = 0;
}

/* iasl's reading of the DSDT, squeezed; the caller frees. */
static char *disassemble(const struct acpi_machine *m)
{
	const uint8_t *dsdt = build(m, "DSDT");
	char *dir = scratch_new(), *aml = scratch_write(dir, "dsdt.aml", dsdt, get_le32(dsdt + 4));
	char *again =
		str_fmt("cd %s && iasl -d dsdt.aml >log 2>&1 && iasl -we dsdt.dsl >log2 2>&1", dir);
	char *dsl = str_fmt("%s/dsdt.dsl", dir), *text = NULL;
	int r = system(again);
	struct err err;
	size_t len;

	if (r != 0)
		fail_msg("iasl does not take its own reading of the DSDT: %d", r);
	assert_int_equal(file_read(dsl, 1 << 20, &text, &len, &err), 0);
	squeeze(text);
	free(aml);
	free(dsl);
	free(again);
	scratch_remove(dir);
	return text;
}

/* The words must come one after the other. */
static void assert_words(const char *text, const char *const *words)
{
	const char *at = text;

	for (; *words; words++) {
		at = strstr(at, *words);
		if (!at)
			fail_msg("'%s' is not at its place in: %s", *words, text);
	}
}

static void dsdt_says_what_the_machine_has(void **state)
{
	static const char *const words[] = {
		"Name(_S5,Package(0x04){0x05,",
		"Scope(\\_SB){",
		"Device(C000)",
		"\"ACPI0007\"",
		"Device(C003)",
		"Name(_UID,0x03)",
		"Device(PCI0){Name(_HID,EisaId(\"PNP0A08\")",
		"Name(_CID,EisaId(\"PNP0A03\")",
		"Name(_SEG,",
		"WordBusNumber(ResourceProducer,MinFixed,MaxFixed,PosDecode,0x0000,",
		"DWordMemory(ResourceProducer,PosDecode,MinFixed,MaxFixed,NonCacheable,ReadWrite,",
		"0xC0000000,",
		"0xDFFFFFFF,",
		"0x20000000,",
		"QWordMemory(ResourceProducer,PosDecode,MinFixed,MaxFixed,NonCacheable,ReadWrite,",
		"0x0000004000000000,",
		"0x00000047FFFFFFFF,",
		"0x0000000800000000,",
		"EisaId(\"PNP0C02\")",
		"QWordMemory(ResourceConsumer,",
		"0x00000000E0000000,",
		"0x00000000E00FFFFF,",
		"Device(PWRB){Name(_HID,EisaId(\"PNP0C0C\")",
		"\"ACPI0013\"",
		"Interrupt(ResourceConsumer,Edge,ActiveHigh,Exclusive,,,){0x00000005,}",
		"OperationRegion(EVTR,SystemIO,0x0608,One)",
		"Field(EVTR,ByteAcc,NoLock,Preserve){EVTS,8}",
		"Method(_EVT,1,Serialized)",
		"Local0=EVTS",
		"If((Local0&One)){Notify(\\_SB.PWRB,0x80)",
		"EisaId(\"PNP0501\")",
		"IO(Decode16,0x03F8,0x03F8,0x01,0x08,)",
		"{0x00000004,}",
		NULL};
	char *text;

	if (system("iasl -v >/dev/null 2>&1") != 0) {
		print_message("skipped: iasl is not installed (Debian package acpica-tools)\n");
		skip();
	}
	text = disassemble(&machine);
	assert_words(text, words);
	free(text);
}

static void dsdt_leaves_out_what_is_not_there(void **state)
{
	struct acpi_machine m = machine;
	char *text;

	if (system("iasl -v >/dev/null 2>&1") != 0) {
		print_message("skipped: iasl is not installed (Debian package acpica-tools)\n");
		skip();
	}
	m.serial_port = 0;
	m.mmio64_len = 0;
	m.num_vcpus = 1;
	text = disassemble(&m);
	assert_null(strstr(text, "PNP0501"));
	assert_null(strstr(text, "0x0000004000000000"));
	assert_null(strstr(text, "C001"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(fadt_is_hardware_reduced, setup),
		cmocka_unit_test_setup(madt_lists_every_cpu, setup),
		cmocka_unit_test_setup(mcfg_is_one_bus, setup),
		cmocka_unit_test_setup(too_little_room_is_refused, setup),
		cmocka_unit_test_setup(dsdt_says_what_the_machine_has, setup),
		cmocka_unit_test_setup(dsdt_leaves_out_what_is_not_there, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
