/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes boot_linux(): the input is a kernel file. A guest that is made must be sound. */
#include <asm/bootparam.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "boot/boot.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/check.h"

#define RAM_LEN (48u << 20)
#define INITRD  "070701 not really"

static uint8_t *ram;
static char *initrd;

static void setup(void)
{
	int fd = memfd_create("initrd", 0);

	ram = mmap(NULL, RAM_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(ram != MAP_FAILED);
	check(fd >= 0 && fd_write_full(fd, INITRD, strlen(INITRD)) == 0);
	initrd = str_fmt("/proc/self/fd/%d", fd);
}

static void check_guest(const struct boot_entry *e)
{
	struct boot_params bp;
	uint64_t at, len, end = 0;

	check(e->rip >= 0x100000 && e->rip < RAM_LEN);
	memcpy(&bp, ram + e->rsi, sizeof(bp));
	check(memchr(ram + bp.hdr.cmd_line_ptr, 0, 100));
	check(bp.hdr.type_of_loader == 0xff && bp.hdr.header == 0x53726448);
	check(bp.e820_entries >= 3 && bp.e820_entries <= E820_MAX_ENTRIES_ZEROPAGE);
	for (unsigned i = 0; i < bp.e820_entries; i++) {
		check(bp.e820_table[i].addr >= end && bp.e820_table[i].size > 0);
		end = bp.e820_table[i].addr + bp.e820_table[i].size;
	}
	at = (uint64_t)bp.ext_ramdisk_image << 32 | bp.hdr.ramdisk_image;
	len = (uint64_t)bp.ext_ramdisk_size << 32 | bp.hdr.ramdisk_size;
	check(len == strlen(INITRD) && at >= 0x100000 && at <= RAM_LEN - len);
	check(memcmp(ram + at, INITRD, len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct guest_mem mem;
	struct boot_reserved res = {BOOT_ACPI_GPA, BOOT_ACPI_LEN, true};
	struct boot_request req = {.mem = &mem,
				   .cmdline = "quiet",
				   .num_initrds = 1,
				   .reserved = &res,
				   .num_reserved = 1};
	int fd = memfd_create("kernel", MFD_CLOEXEC);
	struct boot_entry entry;
	char path[32];
	struct err err;

	if (!ram)
		setup();
	mem = (struct guest_mem){.region = {{.gpa = 0, .len = RAM_LEN, .hva = ram}}, .num = 1};
	check(fd >= 0 && fd_write_full(fd, data, size) == 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	req.kernel = path;
	req.initrd = (const char *const *)&initrd;
	err.text[0] = 0;
	if (boot_linux(&req, &entry, &err) == 0)
		check_guest(&entry);
	else
		check(strstr(err.text, path) && strlen(err.text) < sizeof(err.text));
	check(madvise(ram, RAM_LEN, MADV_DONTNEED) == 0);
	close(fd);
	return 0;
}
