/* SPDX-License-Identifier: Apache-2.0 */
/* Writes ACPI machine language: as much of it as one small DSDT needs (ACPI 6.5 §20.2). */
#ifndef LVM_BOOT_AML_H
#define LVM_BOOT_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Appends to a buffer of the caller's. Once something does not fit, `full` is set and nothing
 * more is written; ask at the end. Names are four characters, padded with '_' by the caller
 * ("_S5_").
 */
struct aml {
	uint8_t *buf;
	size_t cap, len;
	bool full;
};

void aml_bytes(struct aml *a, const void *p, size_t n);
void aml_u8(struct aml *a, uint8_t v);

/*
 * A term with a length in front (Scope, Device, Method, Package, Field): the end patches what begin
 * returned.
 */
size_t aml_scope_begin(struct aml *a, const char *name);
size_t aml_device_begin(struct aml *a, const char *name);
size_t aml_method_begin(struct aml *a, const char *name, unsigned num_args, bool serialized);
size_t aml_package_begin(struct aml *a, uint8_t num);
size_t aml_if_begin(struct aml *a);
void aml_end(struct aml *a, size_t begin);

void aml_int(struct aml *a, uint64_t v);
/* Name (NAME, …): the object follows. */
void aml_name(struct aml *a, const char *name);
void aml_name_int(struct aml *a, const char *name, uint64_t v);
/* Name (NAME, EisaId ("PNP0A08")) */
void aml_name_eisaid(struct aml *a, const char *name, const char *id);
void aml_name_str(struct aml *a, const char *name, const char *s);

/* OperationRegion (region, SystemIO, port, 1) and one byte-wide Field in it. */
void aml_io_byte(struct aml *a, const char *region, const char *field, uint16_t port);
/* Store (name, LocalN) */
void aml_store_name_local(struct aml *a, const char *name, unsigned local);
/* And (LocalN, mask) as an expression, for aml_if_begin(). */
void aml_and_local(struct aml *a, unsigned local, uint8_t mask);
/* Notify (\SCOPE.NAME, value) */
void aml_notify(struct aml *a, const char *scope, const char *name, uint8_t value);

/*
 * Name (_CRS, ResourceTemplate () { … }): collect descriptors of ACPI 6.5 §6.4, then
 * aml_name_crs().
 */
struct aml_crs {
	uint8_t buf[256];
	size_t len;
};
void aml_crs_bus(struct aml_crs *c, uint16_t first, uint16_t last);
void aml_crs_io(struct aml_crs *c, uint16_t port, uint8_t len);
/* Memory that a bridge decodes for what is behind it (producer), by 32- or 64-bit descriptors. */
void aml_crs_window32(struct aml_crs *c, uint32_t base, uint32_t len);
void aml_crs_window64(struct aml_crs *c, uint64_t base, uint64_t len);
/* Memory that the device itself uses. */
void aml_crs_mem64(struct aml_crs *c, uint64_t base, uint64_t len);
/* Edge-triggered, active high, exclusive. */
void aml_crs_edge_irq(struct aml_crs *c, uint32_t gsi);
void aml_name_crs(struct aml *a, const struct aml_crs *c);

#endif
