/* SPDX-License-Identifier: Apache-2.0 */
/* What the host says on the kernel's command line: lvm.KEY=value. */
#ifndef LVM_GUEST_OPTIONS_H
#define LVM_GUEST_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/*
 * Strings are "" when not given; defaults: root /dev/vda, rootfstype ext4, user root, hostname
 * empty.
 */
struct guest_options {
	char root[64];
	char rootfstype[32];
	char rootflags[256];
	char hostname[65];
	char user[257];
	bool systemd;
	bool installer;
	bool debug; /* lvm.debug=1: milestones on the console */
};

/*
 * The line as /proc/cmdline has it; words in double quotes keep their spaces. Words that do not
 * begin with "lvm." are the kernel's or the distro's. -EINVAL: an unknown lvm.KEY, a value too long
 * or not of its kind; said in err.
 */
int guest_options_parse(const char *line, struct guest_options *ret, struct err *err);

#endif
