/* SPDX-License-Identifier: Apache-2.0 */
/* ACPI tables of a hardware-reduced machine (ACPI 6.5 §5.2; PCI Firmware 3.3 §4.1.2 for MCFG). */

/*
 * Stock kernels learn from these where the CPUs, the I/O APIC and the PCI bus are, how to power
 * off and reset, and that a PC's old hardware is missing. The tables follow each other in one
 * blob that starts with the RSDP, so a kernel that is told no address finds it too: by its scan
 * of the last 128 KiB below 1 MiB.
 */
#include "boot/acpi.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/endian.h"
#include "base/str.h"
#include "boot/aml.h"

#define TABLES_MAX 0x10000u
#define HEADER_LEN 36
#define RSDP_LEN   36
#define FADT_LEN   276
#define NUM_XSDT   3 /* FADT, MADT, MCFG */

/* FADT flags, §5.2.9 table 5.10. */
#define FADT_WBINVD          (1u << 0)
#define FADT_PROC_C1         (1u << 2)
#define FADT_PWR_BUTTON      (1u << 4) /* no fixed-hardware power button: ours is a device */
#define FADT_SLP_BUTTON      (1u << 5)
#define FADT_RESET_REG_SUP   (1u << 10)
#define FADT_HW_REDUCED_ACPI (1u << 20)
/* IAPC_BOOT_ARCH, table 5.11. */
#define BOOT_ARCH_NO_VGA      (1u << 2)
#define BOOT_ARCH_NO_CMOS_RTC (1u << 5)

/* The tables under construction: offsets are from gpa. */
struct builder {
	struct aml out;
	gpa_t gpa;
};

static uint8_t checksum(const uint8_t *p, size_t n)
{
	uint8_t sum = 0;

	while (n--)
		sum += *p++;
	return -sum;
}

/* Aligns to 16 bytes, writes a table header (§5.2.6) and returns the table's offset. */
static size_t table_begin(struct builder *b, const char *signature, uint8_t revision)
{
	uint8_t h[HEADER_LEN] = {0};
	size_t at;

	while (b->out.len % 16 && !b->out.full)
		aml_u8(&b->out, 0);
	at = b->out.len;
	memcpy(h, signature, 4);
	h[8] = revision;
	memcpy(h + 10, "LVM   ", 6);
	memcpy(h + 16, "LVMVIRT ", 8);
	put_le32(h + 24, 1);
	memcpy(h + 28, "LVM ", 4);
	put_le32(h + 32, 1);
	aml_bytes(&b->out, h, sizeof(h));
	return at;
}

static void table_end(struct builder *b, size_t at)
{
	uint8_t *t = b->out.buf + at;
	size_t len = b->out.len - at;

	if (b->out.full)
		return;
	put_le32(t + 4, len);
	t[9] = 0;
	t[9] = checksum(t, len);
}

/* Generic address structure, §5.2.3.2: one byte of system I/O. */
static void put_io_gas(uint8_t *p, uint16_t port)
{
	p[0] = 1;
	p[1] = 8;
	p[2] = 0;
	p[3] = 1;
	put_le64(p + 4, port);
}

static size_t build_fadt(struct builder *b, const struct acpi_machine *m, gpa_t dsdt)
{
	size_t at = table_begin(b, "FACP", 6);
	uint8_t f[FADT_LEN] = {0};

	put_le32(f + 40, dsdt);
	put_le16(f + 109, BOOT_ARCH_NO_VGA | BOOT_ARCH_NO_CMOS_RTC);
	put_le32(f + 112, FADT_WBINVD | FADT_PROC_C1 | FADT_PWR_BUTTON | FADT_SLP_BUTTON |
				  FADT_RESET_REG_SUP | FADT_HW_REDUCED_ACPI);
	put_io_gas(f + 116, m->reset_port);
	f[128] = 1; /* RESET_VALUE */
	f[131] = 5; /* minor version */
	put_le64(f + 140, dsdt);
	put_io_gas(f + 244, m->sleep_port);
	put_io_gas(f + 256, m->sleep_port + 1);
	memcpy(f + 268, "LVM\0\0\0\0", 8);
	aml_bytes(&b->out, f + HEADER_LEN, FADT_LEN - HEADER_LEN);
	table_end(b, at);
	return at;
}

/* Multiple APIC description, §5.2.12. */
static size_t build_madt(struct builder *b, const struct acpi_machine *m)
{
	size_t at = table_begin(b, "APIC", 5);
	uint8_t head[8] = {0}; /* flags 0: no 8259 */
	uint8_t ioapic[12] = {1, 12, m->ioapic_id};
	uint8_t nmi[6] = {4, 6, 0xff, 0, 0, 1}; /* LINT1 of every CPU */

	put_le32(head, m->lapic_base);
	aml_bytes(&b->out, head, sizeof(head));
	for (unsigned i = 0; i < m->num_vcpus; i++) {
		uint8_t cpu[8] = {0, 8, i, m->apic_id[i], 1};

		aml_bytes(&b->out, cpu, sizeof(cpu));
	}
	put_le32(ioapic + 4, m->ioapic_base);
	aml_bytes(&b->out, ioapic, sizeof(ioapic));
	aml_bytes(&b->out, nmi, sizeof(nmi));
	table_end(b, at);
	return at;
}

/* PCI Firmware 3.3 §4.1.2: segment 0, bus 0. */
static size_t build_mcfg(struct builder *b, const struct acpi_machine *m)
{
	size_t at = table_begin(b, "MCFG", 1);
	uint8_t body[24] = {0};

	put_le64(body + 8, m->ecam_base);
	aml_bytes(&b->out, body, sizeof(body));
	table_end(b, at);
	return at;
}

static void dsdt_cpus(struct aml *a, const struct acpi_machine *m)
{
	for (unsigned i = 0; i < m->num_vcpus; i++) {
		char name[5] = {'C', "0123456789ABCDEF"[i >> 8 & 15],
				"0123456789ABCDEF"[i >> 4 & 15], "0123456789ABCDEF"[i & 15], 0};
		size_t dev = aml_device_begin(a, name);

		aml_name_str(a, "_HID", "ACPI0007");
		aml_name_int(a, "_UID", i);
		aml_end(a, dev);
	}
}

/* The host bridge. There is no _PRT: every function has MSI-X and no interrupt pin. */
static void dsdt_pci(struct aml *a, const struct acpi_machine *m)
{
	struct aml_crs crs = {.len = 0}, ecam = {.len = 0};
	size_t dev = aml_device_begin(a, "PCI0");

	aml_name_eisaid(a, "_HID", "PNP0A08");
	aml_name_eisaid(a, "_CID", "PNP0A03");
	aml_name_int(a, "_SEG", 0);
	aml_name_int(a, "_BBN", 0);
	aml_name_int(a, "_UID", 0);
	aml_crs_bus(&crs, 0, 0);
	if (m->mmio32_len)
		aml_crs_window32(&crs, m->mmio32_base, m->mmio32_len);
	if (m->mmio64_len)
		aml_crs_window64(&crs, m->mmio64_base, m->mmio64_len);
	aml_name_crs(a, &crs);
	aml_end(a, dev);

	/* Motherboard resources: Linux uses an ECAM only if something reserves it. */
	dev = aml_device_begin(a, "ECAM");
	aml_name_eisaid(a, "_HID", "PNP0C02");
	aml_name_int(a, "_UID", 0);
	aml_crs_mem64(&ecam, m->ecam_base, 1u << 20);
	aml_name_crs(a, &ecam);
	aml_end(a, dev);
}

/* Power button (§4.8.2.2.1.2) and the generic event device that tells of it (§5.6.9). */
static void dsdt_events(struct aml *a, const struct acpi_machine *m)
{
	struct aml_crs crs = {.len = 0};
	size_t dev = aml_device_begin(a, "PWRB"), method, cond;

	aml_name_eisaid(a, "_HID", "PNP0C0C");
	aml_name_int(a, "_UID", 0);
	aml_end(a, dev);

	dev = aml_device_begin(a, "GED_");
	aml_name_str(a, "_HID", "ACPI0013");
	aml_name_int(a, "_UID", 0);
	aml_crs_edge_irq(&crs, m->event_gsi);
	aml_name_crs(a, &crs);
	aml_io_byte(a, "EVTR", "EVTS", m->event_port);
	method = aml_method_begin(a, "_EVT", 1, true);
	/* One read: it clears. */
	aml_store_name_local(a, "EVTS", 0);
	cond = aml_if_begin(a);
	aml_and_local(a, 0, 1);
	aml_notify(a, "_SB_", "PWRB", 0x80);
	aml_end(a, cond);
	aml_end(a, method);
	aml_end(a, dev);
}

static void dsdt_serial(struct aml *a, const struct acpi_machine *m)
{
	struct aml_crs crs = {.len = 0};
	size_t dev;

	if (!m->serial_port)
		return;
	dev = aml_device_begin(a, "COM1");
	aml_name_eisaid(a, "_HID", "PNP0501");
	aml_name_int(a, "_UID", 0);
	aml_crs_io(&crs, m->serial_port, 8);
	aml_crs_edge_irq(&crs, m->serial_gsi);
	aml_name_crs(a, &crs);
	aml_end(a, dev);
}

static size_t build_dsdt(struct builder *b, const struct acpi_machine *m)
{
	size_t at = table_begin(b, "DSDT", 2); /* 2: integers have 64 bits */
	struct aml *a = &b->out;
	size_t scope, pkg;

	aml_name(a, "_S5_");
	pkg = aml_package_begin(a, 4);
	aml_int(a, ACPI_SLP_TYP_S5);
	for (int i = 0; i < 3; i++)
		aml_int(a, 0);
	aml_end(a, pkg);

	scope = aml_scope_begin(a, "_SB_");
	dsdt_cpus(a, m);
	dsdt_pci(a, m);
	dsdt_events(a, m);
	dsdt_serial(a, m);
	aml_end(a, scope);
	table_end(b, at);
	return at;
}

static size_t build_xsdt(struct builder *b, const size_t *table)
{
	size_t at = table_begin(b, "XSDT", 1);

	for (unsigned i = 0; i < NUM_XSDT; i++) {
		uint8_t p[8];

		put_le64(p, b->gpa + table[i]);
		aml_bytes(&b->out, p, sizeof(p));
	}
	table_end(b, at);
	return at;
}

/* §5.2.5.3, revision 2. */
static void build_rsdp(struct builder *b, size_t xsdt)
{
	uint8_t *p = b->out.buf;

	if (b->out.full)
		return;
	memcpy(p, "RSD PTR ", 8);
	memcpy(p + 9, "LVM   ", 6);
	p[15] = 2;
	put_le32(p + 20, RSDP_LEN);
	put_le64(p + 24, b->gpa + xsdt);
	p[8] = checksum(p, 20);
	p[32] = checksum(p, RSDP_LEN);
}

int acpi_build(const struct acpi_machine *m, const struct guest_mem *mem, gpa_t gpa, uint64_t len,
	       gpa_t *ret_rsdp, struct err *err)
{
	cleanup_free uint8_t *buf = xcalloc(1, TABLES_MAX);
	struct builder b = {.out = {.buf = buf, .cap = TABLES_MAX}, .gpa = gpa};
	uint8_t no_rsdp[RSDP_LEN] = {0};
	size_t table[NUM_XSDT], dsdt;

	if (len < b.out.cap)
		b.out.cap = len;
	aml_bytes(&b.out, no_rsdp, sizeof(no_rsdp));
	dsdt = build_dsdt(&b, m);
	table[0] = build_fadt(&b, m, gpa + dsdt);
	table[1] = build_madt(&b, m);
	table[2] = build_mcfg(&b, m);
	build_rsdp(&b, build_xsdt(&b, table));
	if (b.out.full)
		return err_say(err, ENOSPC,
			       "the ACPI tables of %u CPUs do not fit in %llu bytes; "
			       "give the VM fewer CPUs",
			       m->num_vcpus, (unsigned long long)len);
	if (!guest_mem_write(mem, gpa, b.out.buf, b.out.len))
		return err_say(err, ENOSPC,
			       "there is no memory for the ACPI tables at 0x%llx; give the VM "
			       "more memory",
			       (unsigned long long)gpa);
	*ret_rsdp = gpa;
	return 0;
}
