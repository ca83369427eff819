/* SPDX-License-Identifier: Apache-2.0 */
/* Fills boot_params, memory map, command line (Linux x86/boot.rst, x86/zero-page.rst). */
#include "boot/x86/params.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/random.h>

#include "base/endian.h"

#define E820_RAM         1
#define E820_RESERVED    2
#define E820_ACPI        3

#define LOADER_UNDEFINED 0xff
#define VID_MODE_NORMAL  0xffff
/* COMMAND_LINE_SIZE less the NUL, for an ELF kernel whose header cannot say. */
#define CMDLINE_MAX_DEFAULT 2047

#define SEED_LEN            32

/* The kernel finds these by fixed offsets; a wrong one would be found late and far away. */
_Static_assert(sizeof(struct boot_params) == 4096, "boot_params is one page");
_Static_assert(offsetof(struct boot_params, hdr) == 0x1f1, "setup_header");
_Static_assert(LOW_PARAMS_GPA + sizeof(struct boot_params) <= LOW_PAGING_GPA, "low memory");

/* What one address is, the strongest claim first; 0: nothing. */
static uint32_t type_at(const struct boot_request *req, gpa_t gpa)
{
	uint32_t type = 0;

	for (unsigned i = 0; i < req->num_reserved; i++) {
		const struct boot_reserved *r = &req->reserved[i];

		if (gpa >= r->gpa && gpa - r->gpa < r->len)
			type = r->acpi || type == E820_ACPI ? E820_ACPI : E820_RESERVED;
	}
	if (type)
		return type;
	if (gpa >= LEGACY_HOLE_GPA && gpa < LEGACY_HOLE_END)
		return E820_RESERVED;
	for (unsigned i = 0; i < req->mem->num; i++)
		if (gpa >= req->mem->region[i].gpa &&
		    gpa - req->mem->region[i].gpa < req->mem->region[i].len)
			return E820_RAM;
	return 0;
}

/* The lowest start or end of a range above gpa, or UINT64_MAX. */
static gpa_t next_edge(const struct boot_request *req, gpa_t gpa)
{
	gpa_t next = UINT64_MAX;

#define EDGE(e)                                \
	do {                                   \
		gpa_t edge = (e);              \
		if (edge > gpa && edge < next) \
			next = edge;           \
	} while (0)
	EDGE(LEGACY_HOLE_GPA);
	EDGE(LEGACY_HOLE_END);
	for (unsigned i = 0; i < req->mem->num; i++) {
		EDGE(req->mem->region[i].gpa);
		EDGE(req->mem->region[i].gpa + req->mem->region[i].len);
	}
	for (unsigned i = 0; i < req->num_reserved; i++) {
		EDGE(req->reserved[i].gpa);
		EDGE(req->reserved[i].gpa + req->reserved[i].len);
	}
#undef EDGE
	return next;
}

int params_e820(struct boot_params *bp, const struct boot_request *req, struct err *err)
{
	struct boot_e820_entry *last = NULL;
	gpa_t gpa = 0, end;

	bp->e820_entries = 0;
	for (; gpa != UINT64_MAX; gpa = end) {
		uint32_t type = type_at(req, gpa);

		end = next_edge(req, gpa);
		if (!type)
			continue;
		if (last && last->type == type && last->addr + last->size == gpa) {
			last->size += end - gpa;
			continue;
		}
		if (bp->e820_entries == E820_MAX_ENTRIES_ZEROPAGE)
			return err_say(err, E2BIG,
				       "the memory map has more than %u ranges; "
				       "this is a bug in lvm, report it",
				       E820_MAX_ENTRIES_ZEROPAGE);
		last = &bp->e820_table[bp->e820_entries++];
		last->addr = gpa;
		last->size = end - gpa;
		last->type = type;
	}
	return 0;
}

static int write_cmdline(const struct boot_request *req, struct boot_params *bp, struct err *err)
{
	const char *s = req->cmdline ? req->cmdline : "";
	size_t len = strlen(s), max = bp->hdr.cmdline_size;

	if (max > LOW_CMDLINE_MAX - 1)
		max = LOW_CMDLINE_MAX - 1;
	if (len > max)
		return err_say(err, E2BIG,
			       "the kernel command line has %zu bytes and this kernel takes "
			       "%zu; shorten it",
			       len, max);
	if (!guest_mem_write(req->mem, LOW_CMDLINE_GPA, s, len + 1))
		return err_say(err, ENOMEM,
			       "the VM has no memory for the command line; give it more");
	bp->hdr.cmd_line_ptr = LOW_CMDLINE_GPA;
	bp->ext_cmd_line_ptr = 0;
	return 0;
}

/* Entropy from the host: the guest's getrandom() need not wait. Kernels before 6.0 pass over it. */
static void write_seed(const struct boot_request *req, struct boot_params *bp)
{
	uint8_t node[sizeof(struct setup_data) + SEED_LEN];
	struct setup_data head = {.next = 0, .type = SETUP_RNG_SEED, .len = SEED_LEN};

	memcpy(node, &head, sizeof(head));
	if (getrandom(node + sizeof(head), SEED_LEN, GRND_NONBLOCK) != SEED_LEN)
		return;
	if (guest_mem_write(req->mem, LOW_SETUP_DATA_GPA, node, sizeof(node)))
		bp->hdr.setup_data = LOW_SETUP_DATA_GPA;
}

static void fill_header(struct boot_params *bp, const struct setup_header *hdr,
			const struct params_layout *layout)
{
	if (hdr) {
		bp->hdr = *hdr;
	} else {
		bp->hdr.boot_flag = 0xaa55;
		bp->hdr.header = 0x53726448;
		bp->hdr.version = 0x020f;
		bp->hdr.cmdline_size = CMDLINE_MAX_DEFAULT;
		bp->hdr.loadflags = LOADED_HIGH;
	}
	bp->hdr.type_of_loader = LOADER_UNDEFINED;
	bp->hdr.vid_mode = VID_MODE_NORMAL;
	/* The heap is the real-mode code's; KASLR is the decompressor's to do and we did not. */
	bp->hdr.loadflags &= ~(CAN_USE_HEAP | KASLR_FLAG);
	bp->hdr.setup_data = 0;
	bp->hdr.ramdisk_image = layout->initrd_len ? (uint32_t)layout->initrd : 0;
	bp->ext_ramdisk_image = layout->initrd_len ? layout->initrd >> 32 : 0;
	bp->hdr.ramdisk_size = (uint32_t)layout->initrd_len;
	bp->ext_ramdisk_size = layout->initrd_len >> 32;
}

int params_write(const struct boot_request *req, const struct setup_header *hdr,
		 const struct params_layout *layout, struct err *err)
{
	struct boot_params bp = {0};
	int r;

	fill_header(&bp, hdr, layout);
	bp.acpi_rsdp_addr = req->rsdp;
	r = params_e820(&bp, req, err);
	if (r == 0)
		r = write_cmdline(req, &bp, err);
	if (r < 0)
		return r;
	write_seed(req, &bp);
	if (!guest_mem_write(req->mem, LOW_PARAMS_GPA, &bp, sizeof(bp)))
		return err_say(err, ENOMEM, "the VM has no memory for boot_params; give it more");
	return 0;
}
