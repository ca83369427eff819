/* SPDX-License-Identifier: Apache-2.0 */
/* What is put into guest memory before the first instruction (Linux x86/boot.rst). */
#ifndef LVM_BOOT_BOOT_H
#define LVM_BOOT_BOOT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "devices/guest_mem.h"

/* Everything borrowed for the call. */
struct boot_request {
	const struct guest_mem *mem; /* zero, but for what the caller has put at BOOT_ACPI_GPA */
	const char *kernel;          /* path */
	const char *const *initrd; /* paths of cpio archives, concatenated with 4-byte alignment */
	unsigned num_initrds;
	const char *cmdline;
	const char *cache_dir; /* decompressed payloads by content hash; NULL: none */
	gpa_t rsdp;            /* ACPI root pointer, 0: none */
	const struct boot_reserved *reserved; /* for e820 */
	unsigned num_reserved;
};

/* A range of the address space that is neither RAM nor free: ECAM, ACPI tables. */
struct boot_reserved {
	gpa_t gpa;
	uint64_t len;
	bool acpi; /* ACPI data, else plain reserved */
};

/*
 * How the boot CPU starts: 64-bit mode, paging on, per Linux x86/boot.rst "64-bit Boot Protocol".
 */
struct boot_entry {
	gpa_t rip;
	gpa_t rsi; /* boot_params */
	gpa_t rsp;
	gpa_t cr3;        /* identity map of at least the first 4 GiB */
	gpa_t gdt;        /* table with __BOOT_CS 0x10 and __BOOT_DS 0x18 */
	uint16_t gdt_len; /* bytes: the limit is one less */
};

/*
 * Loads a bzImage or an ELF vmlinux, whichever the file is. The sentence in err says what about the
 * file is wrong.
 */
int boot_linux(const struct boot_request *req, struct boot_entry *ret_entry, struct err *err);

/*
 * Would boot_linux() accept this kernel, given memory enough? Reads and decompresses the whole
 * file, for the time when a kernel is added and not started.
 */
int boot_linux_check(const char *path, struct err *err);

/*
 * Room the loader uses below 1 MiB: callers put ACPI tables at BOOT_ACPI_GPA, at most
 * BOOT_ACPI_LEN.
 */
#define BOOT_ACPI_GPA 0xe0000u
#define BOOT_ACPI_LEN 0x20000u

#endif
