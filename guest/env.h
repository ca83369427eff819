/* SPDX-License-Identifier: Apache-2.0 */
/* The environment of a session: what login(1) and pam_env would have made of the distro's files. */
#ifndef LVM_GUEST_ENV_H
#define LVM_GUEST_ENV_H

#include <stddef.h>

#include "guest/users.h"

/* "NAME=value" strings, owned, NULL-terminated in v. Zero-initialised is empty. */
struct env {
	char **v;
	size_t num, cap;
};

#define ENV_MAX 8192 /* variables; more are refused by env_put() */

/*
 * Sets, replacing a variable of that name. 0; -EINVAL: no name or no '='; -E2BIG: too many. Bytes
 * [0, len).
 */
int env_put(struct env *e, const char *assignment, size_t len);
/* The value, or NULL. */
const char *env_get(const struct env *e, const char *name);
void env_done(struct env *e);

/*
 * Lines NAME=value of /etc/environment or /etc/default/locale (pam_env(8)): "export " is allowed
 * before them, one pair of quotes around the value, comments after '#'. What is no assignment is
 * passed over.
 */
void env_add_file(struct env *e, const char *buf, size_t len);

/* The value of a key in login.defs(5), malloc'ed, or NULL. */
char *login_defs_get(const char *buf, size_t len, const char *key);

/* HOME, USER, LOGNAME, SHELL, PATH, then the distro's files in directory etc. */
void env_login(struct env *e, const char *etc, const struct user *u);

#endif
