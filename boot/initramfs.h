/* SPDX-License-Identifier: Apache-2.0 */
/* Packs initramfs archives on the host: newc cpio (Linux early-userspace/buffer-format.rst). */
#ifndef LVM_BOOT_INITRAMFS_H
#define LVM_BOOT_INITRAMFS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct cpio;

/*
 * An archive being written to fd (borrowed). Entries get owner 0:0 and time 0: equal input, equal
 * bytes.
 */
int cpio_new(int fd, struct cpio **ret_c, struct err *err);
/* Parents are added as 0755 directories when they have not been. path: no leading slash. */
int cpio_add_dir(struct cpio *c, const char *path, mode_t mode, struct err *err);
int cpio_add_bytes(struct cpio *c, const char *path, mode_t mode, const void *buf, size_t len,
		   struct err *err);
int cpio_add_file(struct cpio *c, const char *path, mode_t mode, const char *host_path,
		  struct err *err);
int cpio_add_symlink(struct cpio *c, const char *path, const char *target, struct err *err);
int cpio_add_node(struct cpio *c, const char *path, mode_t mode, unsigned major, unsigned minor,
		  struct err *err);
/* Trailer and padding. Frees c, also on failure. NULL: nothing. */
int cpio_finish(struct cpio *c, struct err *err);
void cpio_abandon(struct cpio *c);

/*
 * Adds the named modules and all they depend on, from a lib/modules/<release> directory
 * (modules.dep; .ko, .ko.gz, .ko.xz, .ko.zst: stored uncompressed), as lib/modules/NAME.ko, and
 * a text file lib/modules/order naming them one a line in load order. A name that
 * modules.builtin lists, or that is not there at all, is passed over; *ret_num counts those
 * added.
 */
int initramfs_add_modules(struct cpio *c, const char *modules_dir, const char *const *names,
			  unsigned *ret_num, struct err *err);

/*
 * Adds a host program and the shared libraries it needs (by DT_NEEDED, recursively, and its
 * interpreter) at the paths they have on the host.
 */
int initramfs_add_program(struct cpio *c, const char *host_path, const char *path, struct err *err);

#endif
