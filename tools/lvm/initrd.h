/* SPDX-License-Identifier: Apache-2.0 */
/* The initramfs archives that we bring: the agent's, the installer's, and a kernel's modules. */
#ifndef LVM_TOOLS_LVM_INITRD_H
#define LVM_TOOLS_LVM_INITRD_H

#include <stdbool.h>

#include "base/err.h"
#include "tools/lvm/store.h"

/* The archive with lvm-guest as /init, from the cache or made now; malloc'ed path. */
int initrd_agent(const struct store *s, bool installer, char **ret_path, struct err *err);

/* Packs the modules that a guest needs to reach its root and its host, from lib/modules/<release>, to path. */
int initrd_modules(const char *modules_dir, const char *path, unsigned *ret_num, struct err *err);

#endif
