/* SPDX-License-Identifier: Apache-2.0 */
/* passwd(5) and group(5), from bytes: unknown lines are skipped, every number is checked. */
#include "guest/users.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "guest/etc.h"

struct slice {
	const char *p;
	size_t len;
};

#define MAX_FIELDS 7

static bool slice_is(struct slice s, const char *str)
{
	return strlen(str) == s.len && memcmp(s.p, str, s.len) == 0;
}

/* Cuts the next line off *rest. */
static bool next_line(struct slice *rest, struct slice *ret)
{
	const char *nl;

	if (rest->len == 0)
		return false;
	nl = memchr(rest->p, '\n', rest->len);
	ret->p = rest->p;
	ret->len = nl ? (size_t)(nl - rest->p) : rest->len;
	rest->p += ret->len + (nl ? 1 : 0);
	rest->len -= ret->len + (nl ? 1 : 0);
	return true;
}

/*
 * Splits at colons; the last field keeps what is beyond. Returns how many there are, at most max.
 */
static unsigned split(struct slice line, struct slice *f, unsigned max)
{
	unsigned n = 0;

	for (;;) {
		const char *colon = n + 1 < max ? memchr(line.p, ':', line.len) : NULL;

		f[n].p = line.p;
		f[n].len = colon ? (size_t)(colon - line.p) : line.len;
		n++;
		if (!colon)
			return n;
		line.len -= (size_t)(colon - line.p) + 1;
		line.p = colon + 1;
	}
}

static bool slice_id(struct slice s, unsigned *ret)
{
	uint64_t v = 0;

	if (s.len == 0 || s.len > 10)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		v = v * 10 + (unsigned)(s.p[i] - '0');
	}
	if (v >= UINT32_MAX) /* (uid_t)-1 means "no change" to the kernel */
		return false;
	*ret = (unsigned)v;
	return true;
}

/* A copy; what has a NUL inside ends there, as it would for libc. */
static char *slice_dup(struct slice s)
{
	char *copy = xcalloc(1, s.len + 1);

	memcpy(copy, s.p, s.len);
	return copy;
}

static bool passwd_line(struct slice line, struct slice f[MAX_FIELDS], unsigned *ret_uid,
			unsigned *ret_gid)
{
	if (line.len == 0 || line.p[0] == '#' || split(line, f, MAX_FIELDS) != MAX_FIELDS)
		return false;
	return f[0].len > 0 && slice_id(f[2], ret_uid) && slice_id(f[3], ret_gid);
}

static bool find(struct slice rest, const char *name, const unsigned *uid, struct user *ret)
{
	struct slice line, f[MAX_FIELDS];
	unsigned line_uid, line_gid;

	while (next_line(&rest, &line)) {
		if (!passwd_line(line, f, &line_uid, &line_gid))
			continue;
		if (uid ? line_uid != *uid : !slice_is(f[0], name))
			continue;
		*ret = (struct user){.uid = line_uid, .gid = line_gid};
		ret->name = slice_dup(f[0]);
		ret->home = f[5].len ? slice_dup(f[5]) : str_dup("/");
		ret->shell = f[6].len ? slice_dup(f[6]) : str_dup("/bin/sh");
		return true;
	}
	return false;
}

int users_find(const char *passwd, size_t len, const char *name, struct user *ret)
{
	struct slice file = {passwd, len};
	unsigned uid;

	if (find(file, name, NULL, ret))
		return 0;
	if (slice_id((struct slice){name, strlen(name)}, &uid) && find(file, name, &uid, ret))
		return 0;
	return -ENOENT;
}

static bool lists_member(struct slice members, const char *name)
{
	while (members.len) {
		const char *comma = memchr(members.p, ',', members.len);
		struct slice one = {members.p, comma ? (size_t)(comma - members.p) : members.len};

		if (slice_is(one, name))
			return true;
		if (!comma)
			return false;
		members.len -= one.len + 1;
		members.p += one.len + 1;
	}
	return false;
}

static void add_group(struct user *u, gid_t gid)
{
	if (gid == u->gid || u->num_groups == USER_MAX_GROUPS)
		return;
	for (size_t i = 0; i < u->num_groups; i++)
		if (u->groups[i] == gid)
			return;
	if ((u->num_groups & (u->num_groups + 1)) == 0) /* 0, 1, 3, 7, …: room for twice as many */
		u->groups = xrealloc(u->groups, u->num_groups * 2 + 1, sizeof(gid_t));
	u->groups[u->num_groups++] = gid;
}

void users_add_groups(struct user *u, const char *group, size_t len)
{
	struct slice rest = {group, len}, line, f[4];
	unsigned gid;

	while (next_line(&rest, &line)) {
		if (line.len == 0 || line.p[0] == '#' || split(line, f, 4) != 4 ||
		    !slice_id(f[2], &gid))
			continue;
		if (lists_member(f[3], u->name))
			add_group(u, gid);
	}
}

int users_find_id(const char *file, size_t len, const char *name, unsigned *ret_id)
{
	struct slice rest = {file, len}, line, f[4];

	while (next_line(&rest, &line))
		if (split(line, f, 4) == 4 && slice_is(f[0], name) && slice_id(f[2], ret_id))
			return 0;
	return -ENOENT;
}

/* Leaves *ret_buf NULL when there is no such file. */
static int read_file(const char *etc, const char *name, char **ret_buf, size_t *ret_len,
		     struct err *err)
{
	int r = etc_read(etc, name, USER_MAX_FILE, ret_buf, ret_len);

	if (r == -ENOENT) {
		*ret_buf = NULL;
		*ret_len = 0;
		return 0;
	}
	return r < 0 ? err_set(err, -r, "cannot read the distro's %s/%s", etc, name) : 0;
}

int users_lookup(const char *etc, const char *name, struct user *ret, struct err *err)
{
	cleanup_free char *passwd = NULL;
	cleanup_free char *group = NULL;
	size_t passwd_len, group_len;
	int r = read_file(etc, "passwd", &passwd, &passwd_len, err);

	if (r < 0)
		return r;
	r = users_find(passwd ? passwd : "", passwd_len, name, ret);
	if (r < 0) {
		if (strcmp(name, "root") != 0 && strcmp(name, "0") != 0)
			return err_say(err, ENOENT,
				       "the distro has no user '%.256s' in its /etc/passwd", name);
		*ret = (struct user){.name = str_dup("root"),
				     .home = str_dup("/root"),
				     .shell = str_dup("/bin/sh")};
	}
	r = read_file(etc, "group", &group, &group_len, err);
	if (r < 0) {
		user_done(ret);
		return r;
	}
	if (group)
		users_add_groups(ret, group, group_len);
	return 0;
}

void user_done(struct user *u)
{
	free(u->name);
	free(u->home);
	free(u->shell);
	free(u->groups);
	*u = (struct user){0};
}
