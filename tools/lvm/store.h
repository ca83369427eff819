/* SPDX-License-Identifier: Apache-2.0 */
/* What lvm keeps on the host: distros, kernels, and who may touch them when (docs/store.md). */
#ifndef LVM_TOOLS_LVM_STORE_H
#define LVM_TOOLS_LVM_STORE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/str.h"

/* One user's state; strings owned. */
struct store {
	char *home;    /* $LVM_HOME, else $XDG_DATA_HOME/lvm, else ~/.local/share/lvm */
	char *runtime; /* $LVM_RUNTIME_DIR, else $XDG_RUNTIME_DIR/lvm, else /tmp/lvm-UID */
};

#define STORE_NAME_MAX 64

/* Makes the directories (0700) if need be and removes what interrupted installs left. */
int store_open(struct store *s, struct err *err);
void store_done(struct store *s);

/* Letters, digits, '.', '_', '-', at most STORE_NAME_MAX of them, the first a letter or digit. */
int store_check_name(const char *what, const char *name, struct err *err);

/* A path in the store or the runtime directory; malloc'ed. name and file may be NULL. */
char *store_distro_path(const struct store *s, const char *name, const char *file);
char *store_kernel_path(const struct store *s, const char *name, const char *file);
char *store_cache_path(const struct store *s, const char *file);
char *store_socket_path(const struct store *s, const char *name, const char *file);

bool store_has_distro(const struct store *s, const char *name);
bool store_has_kernel(const struct store *s, const char *name);
/* -ENOENT and a sentence that names the distros there are. */
int store_require_distro(const struct store *s, const char *name, struct err *err);

/* Names, sorted; appended to *ret_names. */
int store_list_distros(const struct store *s, struct strv *ret_names, struct err *err);
int store_list_kernels(const struct store *s, struct strv *ret_names, struct err *err);

enum store_default {
	STORE_DEFAULT_DISTRO,
	STORE_DEFAULT_KERNEL,
};

/* malloc'ed; NULL when none is set or the one set is gone. With exactly one there, that one. */
char *store_get_default(const struct store *s, enum store_default which);
/* name NULL: none. */
int store_set_default(const struct store *s, enum store_default which, const char *name,
		      struct err *err);

/*
 * Locks: one file, $LVM_HOME/lock, two ranges a name, so that nothing has to be made or removed for a lock and
 * each ends with the last descriptor of its holder. OPERATION is held while a distro is installed, started,
 * configured or removed; VM by a running lvm-vmm for its life. The kernels' names have a space of their own.
 */
enum store_lock {
	STORE_LOCK_OPERATION,
	STORE_LOCK_VM,
	STORE_LOCK_KERNEL,
};

/* *ret_fd holds the lock until closed, also across fork and exec. wait false: -EAGAIN at once when it is taken. */
int store_lock(const struct store *s, enum store_lock kind, const char *name, bool wait,
	       int *ret_fd, struct err *err);
/* A VM of that name is running, starting or stopping. */
bool store_is_running(const struct store *s, const char *name);

/* Removes a directory tree in the store. 0 or -errno. */
int store_remove_tree(const char *path, struct err *err);

#endif
