/* SPDX-License-Identifier: Apache-2.0 */
/* Reads passwd(5) and group(5): a static program has no name service of the distro's. */
#ifndef LVM_GUEST_USERS_H
#define LVM_GUEST_USERS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

/* Owned strings; user_done() frees them. */
struct user {
	char *name, *home, *shell;
	uid_t uid;
	gid_t gid;
	gid_t *groups; /* supplementary, without gid; at most USER_MAX_GROUPS */
	size_t num_groups;
};

#define USER_MAX_GROUPS 65536              /* NGROUPS_MAX */
#define USER_MAX_FILE   (32 * 1024 * 1024) /* a larger passwd or group file is refused */

/*
 * The user of that name in the passwd file's bytes or, when there is none, of that decimal uid.
 * Lines that are no passwd lines are passed over, as libc does. Groups are left empty. 0, or
 * -ENOENT.
 */
int users_find(const char *passwd, size_t len, const char *name, struct user *ret);

/* Adds the groups that list u->name as a member. */
void users_add_groups(struct user *u, const char *group, size_t len);

/* The id of a name in either file: both keep it in the third field. 0, or -ENOENT. */
int users_find_id(const char *file, size_t len, const char *name, unsigned *ret_id);

/*
 * The user with groups, from the files passwd and group in directory etc. "root" (or "0") exists
 * even where the files do not. -ENOENT, said in err: no such user.
 */
int users_lookup(const char *etc, const char *name, struct user *ret, struct err *err);

void user_done(struct user *u);

#endif
