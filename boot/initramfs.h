/* SPDX-License-Identifier: Apache-2.0 */
/* Packs initramfs archives on the host: newc cpio (Linux early-userspace/buffer-format.rst). */
#ifndef LVM_BOOT_INITRAMFS_H
#define LVM_BOOT_INITRAMFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct cpio;

/*
 * An archive being written to fd (borrowed). Entries get owner 0:0 and time 0: equal input,
 * equal bytes. One thread. A path has no leading slash and no empty, "." or ".." component
 * (-EINVAL), and is added once (-EEXIST), except that adding a directory again changes nothing.
 * After a failure to read or write, cpio_finish() fails too.
 */
int cpio_new(int fd, struct cpio **ret_c, struct err *err);
/* Parents are added as 0755 directories when they have not been. */
int cpio_add_dir(struct cpio *c, const char *path, mode_t mode, struct err *err);
int cpio_add_bytes(struct cpio *c, const char *path, mode_t mode, const void *buf, size_t len,
		   struct err *err);
int cpio_add_file(struct cpio *c, const char *path, mode_t mode, const char *host_path,
		  struct err *err);
int cpio_add_symlink(struct cpio *c, const char *path, const char *target, struct err *err);
int cpio_add_node(struct cpio *c, const char *path, mode_t mode, unsigned major, unsigned minor,
		  struct err *err);
bool cpio_has(const struct cpio *c, const char *path);
/* Trailer and padding. Frees c, also on failure. NULL: nothing. */
int cpio_finish(struct cpio *c, struct err *err);
void cpio_abandon(struct cpio *c);

/*
 * Adds the named modules and all they depend on, from a lib/modules/<release> directory
 * (modules.dep; .ko, .ko.gz, .ko.xz, .ko.zst: stored uncompressed), as lib/modules/NAME.ko, and
 * a text file lib/modules/order with one NAME a line in load order. names ends with NULL. '-'
 * and '_' are the same in names. Soft dependencies count (modules.softdep): of several drivers
 * for one thing all are added, and those that find no hardware fail to load, so a loader goes on
 * after a failure. A name that modules.builtin lists, or that is not there at all, is passed
 * over; *ret_num counts those added. Once per archive.
 */
int initramfs_add_modules(struct cpio *c, const char *modules_dir, const char *const *names,
			  unsigned *ret_num, struct err *err);

/*
 * Adds a host program at path, and the shared libraries it needs (by DT_NEEDED, recursively, and
 * its interpreter) at the paths they have on the host. Libraries that are in the archive already
 * are shared.
 */
int initramfs_add_program(struct cpio *c, const char *host_path, const char *path, struct err *err);

#endif
