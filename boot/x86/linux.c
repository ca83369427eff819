/* SPDX-License-Identifier: Apache-2.0 */
/* Loads kernel, initrds and parameters (Linux x86/boot.rst, "64-bit Boot Protocol"). */

/*
 * Low memory holds what the kernel copies first (x86/params.h). The kernel goes to the physical
 * address that it was linked for: then neither its own relocation nor the table behind it is
 * needed, and the decompressor never runs. Its virtual and physical base are therefore not
 * randomised, as with "nokaslr". The initrds go as high as the kernel allows below the 32-bit
 * hole.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "boot/boot.h"
#include "boot/decompress.h"
#include "boot/elf.h"
#include "boot/payload_cache.h"
#include "boot/x86/bzimage.h"
#include "boot/x86/paging.h"
#include "boot/x86/params.h"

#define PAGE_SIZE 0x1000u
/* For an ELF kernel, which cannot say: what every 64-bit one says since protocol 2.03. */
#define INITRD_ADDR_MAX 0x7fffffffu

#define INITRD_MAX      (1ull << 32)

#define MIB(n)          ((unsigned long long)((n) + 0xfffff) >> 20)

/* A kernel file that has been looked at. */
struct kernel {
	int fd; /* owned: the ELF file, cached or not */
	struct elf_image img;
	bool is_bzimage;
	struct bzimage bz;
};

static int open_regular(const char *path, int *ret_fd, uint64_t *ret_len, struct err *err)
{
	/* O_NONBLOCK: a FIFO must not stop us. */
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, errno, "open it");
	if (!S_ISREG(st.st_mode))
		return err_say(err, EINVAL,
			       "it is not a regular file; give the path of the file itself");
	*ret_fd = steal_fd(&fd);
	*ret_len = st.st_size;
	return 0;
}

/* A sentence for a file that is neither. */
static int unknown_file(const uint8_t *head, size_t len, struct err *err)
{
	enum compression c = compression_of(head, len);

	if (len == 0)
		return err_say(err, ENOEXEC, "it is empty; get the file again");
	if (len >= 0x3c && memcmp(head + 0x38, "ARM\x64", 4) == 0)
		return err_say(err, ENOEXEC,
			       "it is an arm64 kernel; this machine needs an x86-64 one");
	if (c != COMPRESSION_UNKNOWN && c != COMPRESSION_NONE)
		return err_say(err, ENOEXEC,
			       "it is a file compressed with %s, not a bzImage; decompress it "
			       "or give the vmlinuz",
			       compression_name(c));
	return err_say(err, ENOEXEC,
		       "it is neither a bzImage nor an ELF vmlinux; give a Linux kernel, "
		       "such as /boot/vmlinuz-*");
}

static int kernel_open(const char *path, const char *cache_dir, struct kernel *ret_k,
		       struct err *err)
{
	uint8_t head[BZIMAGE_HEAD_LEN];
	cleanup_close int fd = -1, elf_fd = -1;
	struct kernel k = {.fd = -1};
	uint64_t len;
	ssize_t n;
	int r;

	r = open_regular(path, &fd, &len, err);
	if (r < 0)
		return r;
	n = fd_pread_full(fd, head, sizeof(head), 0);
	if (n < 0)
		return err_set(err, -n, "read it");
	if (bzimage_probe(head, n)) {
		struct payload p = {.fd = fd};

		k.is_bzimage = true;
		r = bzimage_parse(head, n, len, &k.bz, err);
		if (r < 0)
			return r;
		p.off = k.bz.payload_off;
		p.len = k.bz.payload_len;
		r = payload_open(&p, cache_dir, &elf_fd, &len, err);
		if (r < 0)
			return r;
	} else if (compression_of(head, n) == COMPRESSION_NONE) {
		elf_fd = steal_fd(&fd);
	} else {
		return unknown_file(head, n, err);
	}
	r = elf_parse(elf_fd, len, &k.img, err);
	if (r < 0)
		return r;
	k.fd = steal_fd(&elf_fd);
	*ret_k = k;
	return 0;
}

/*
 * The first address that the kernel leaves alone until it knows the memory map. init_size says
 * it, but counts room for the decompressor too: where that does not fit, the end of its
 * segments, bss and brk included, must do.
 */
static gpa_t kernel_end(const struct kernel *k, gpa_t ram_end)
{
	gpa_t end = k->img.end;

	if (k->is_bzimage && k->img.start + k->bz.hdr.init_size > end &&
	    k->img.start + k->bz.hdr.init_size <= ram_end)
		end = k->img.start + k->bz.hdr.init_size;
	return end;
}

/* The end of the RAM that the kernel lies in. */
static gpa_t ram_end_at(const struct guest_mem *mem, gpa_t gpa)
{
	for (unsigned i = 0; i < mem->num; i++)
		if (gpa >= mem->region[i].gpa && gpa - mem->region[i].gpa < mem->region[i].len)
			return mem->region[i].gpa + mem->region[i].len;
	return 0;
}

static int check_reserved(const struct boot_request *req, const struct kernel *k, struct err *err)
{
	for (unsigned i = 0; i < req->num_reserved; i++) {
		const struct boot_reserved *r = &req->reserved[i];

		if (r->gpa < k->img.end && k->img.start < r->gpa + r->len)
			return err_say(
				err, ENOEXEC,
				"it wants the physical addresses 0x%llx to 0x%llx, which "
				"the machine needs itself; use a kernel that is linked lower",
				(unsigned long long)k->img.start, (unsigned long long)k->img.end);
	}
	return 0;
}

/*
 * The highest page-aligned place of len bytes in [low, high) that no reserved range touches; 0:
 * none.
 */
static gpa_t place_below(const struct boot_request *req, gpa_t low, gpa_t high, uint64_t len)
{
	bool moved = true;
	gpa_t gpa = 0;

	while (moved) {
		moved = false;
		if (high < low || high - low < len)
			return 0;
		gpa = (high - len) & ~(gpa_t)(PAGE_SIZE - 1);
		if (gpa < low)
			return 0;
		for (unsigned i = 0; i < req->num_reserved; i++) {
			const struct boot_reserved *r = &req->reserved[i];

			if (r->gpa < gpa + len && gpa < r->gpa + r->len) {
				high = r->gpa;
				moved = true;
			}
		}
	}
	return gpa;
}

static uint64_t align4(uint64_t n)
{
	return (n + 3) & ~(uint64_t)3;
}

static int read_initrd(const char *path, uint8_t *dst, uint64_t room, uint64_t *ret_len,
		       struct err *err)
{
	cleanup_close int fd = -1;
	uint64_t len;
	ssize_t n;
	int r = open_regular(path, &fd, &len, err);

	if (r < 0)
		return err_wrap(err, "cannot load initrd '%s'", path);
	if (!dst) { /* only its length is asked for */
		*ret_len = len;
		return 0;
	}
	if (len > room)
		return err_say(
			err, EIO,
			"cannot load initrd '%s': it grew while it was read; start again when "
			"nothing writes to it",
			path);
	n = fd_pread_full(fd, dst, len, 0);
	if (n < 0)
		return err_set(err, -n, "cannot load initrd '%s': read it", path);
	if ((uint64_t)n != len)
		return err_say(
			err, EIO,
			"cannot load initrd '%s': it became shorter while it was read; start "
			"again when nothing writes to it",
			path);
	*ret_len = len;
	return 0;
}

static int load_initrds(const struct boot_request *req, const struct kernel *k,
			struct params_layout *layout, struct err *err)
{
	gpa_t max = k->is_bzimage && k->bz.hdr.initrd_addr_max ? k->bz.hdr.initrd_addr_max
							       : INITRD_ADDR_MAX;
	gpa_t ram_end = ram_end_at(req->mem, k->img.start), low = kernel_end(k, ram_end);
	uint64_t total = 0, done = 0, len = 0;
	uint8_t *p;
	int r;

	for (unsigned i = 0; i < req->num_initrds; i++) {
		r = read_initrd(req->initrd[i], NULL, 0, &len, err);
		if (r < 0)
			return r;
		/* Sparse files may claim anything; the sum must not wrap. */
		total = len > INITRD_MAX || total > INITRD_MAX ? INITRD_MAX + 1
							       : align4(total) + len;
	}
	if (total == 0)
		return 0;
	if (total <= ram_end)
		layout->initrd =
			place_below(req, low, ram_end < max + 1 ? ram_end : max + 1, total);
	p = layout->initrd ? guest_mem_ptr(req->mem, layout->initrd, total) : NULL;
	if (!p)
		return err_say(
			err, ENOMEM,
			"cannot boot kernel '%s': the initrd of %llu MiB does not fit beside it; the "
			"kernel ends at %llu MiB of the VM's first %llu MiB; give the VM more memory",
			req->kernel, MIB(total), MIB(low), MIB(ram_end));
	for (unsigned i = 0; i < req->num_initrds; i++) {
		uint64_t aligned = align4(done);

		memset(p + done, 0, aligned - done);
		r = read_initrd(req->initrd[i], p + aligned, total - aligned, &len, err);
		if (r < 0)
			return r;
		done = aligned + len;
	}
	layout->initrd_len = done;
	return 0;
}

static int load_kernel(const struct boot_request *req, struct kernel *k, struct err *err)
{
	int r = kernel_open(req->kernel, req->cache_dir, k, err);

	if (r == 0)
		r = check_reserved(req, k, err);
	if (r == 0)
		r = elf_load(&k->img, k->fd, req->mem, err);
	return r < 0 ? err_wrap(err, "cannot boot kernel '%s'", req->kernel) : 0;
}

int boot_linux(const struct boot_request *req, struct boot_entry *ret_entry, struct err *err)
{
	struct params_layout layout = {0};
	struct kernel k = {.fd = -1};
	int r;

	r = load_kernel(req, &k, err);
	if (r == 0)
		r = load_initrds(req, &k, &layout, err);
	if (r == 0) {
		r = params_write(req, k.is_bzimage ? &k.bz.hdr : NULL, &layout, err);
		if (r < 0)
			err_wrap(err, "cannot boot kernel '%s'", req->kernel);
	}
	if (k.fd >= 0)
		close(k.fd);
	if (r < 0)
		return r;
	if (!paging_write(req->mem, LOW_PAGING_GPA) || !paging_write_gdt(req->mem, LOW_GDT_GPA))
		return err_say(err, ENOMEM, "the VM has no memory at address 0; give it more");
	*ret_entry = (struct boot_entry){
		.rip = k.img.entry,
		.rsi = LOW_PARAMS_GPA,
		.rsp = LOW_STACK_TOP,
		.cr3 = LOW_PAGING_GPA,
		.gdt = LOW_GDT_GPA,
		.gdt_len = PAGING_GDT_LEN,
	};
	return 0;
}

int boot_linux_check(const char *path, struct err *err)
{
	struct kernel k = {.fd = -1};
	int r = kernel_open(path, NULL, &k, err);

	if (r < 0)
		return err_wrap(err, "cannot use kernel '%s'", path);
	close(k.fd);
	return 0;
}
