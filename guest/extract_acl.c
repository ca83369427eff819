/* SPDX-License-Identifier: Apache-2.0 */
/* POSIX.1e lists as Linux keeps them: the extended attribute of <linux/posix_acl_xattr.h>. */
#include "guest/extract_acl.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>

#include "base/endian.h"
#include "base/str.h"
#include "guest/etc.h"
#include "guest/users.h"

#define POSIX1E (ARCHIVE_ENTRY_ACL_TYPE_ACCESS | ARCHIVE_ENTRY_ACL_TYPE_DEFAULT)

/* The kernel's own limit for an attribute is 64 KiB. */
#define MAX_ACL_ENTRIES 1024

struct ids {
	char *passwd, *group;
	size_t passwd_len, group_len;
};

static bool has_unresolved(struct archive_entry *e)
{
	int type, perms, tag, id;
	const char *name;

	if (archive_entry_acl_reset(e, POSIX1E) == 0)
		return false;
	while (archive_entry_acl_next(e, POSIX1E, &type, &perms, &tag, &id, &name) == ARCHIVE_OK)
		if ((tag == ARCHIVE_ENTRY_ACL_USER || tag == ARCHIVE_ENTRY_ACL_GROUP) && id < 0)
			return true;
	return false;
}

void acl_list_take(struct acl_list *l, struct archive_entry *e)
{
	if (!has_unresolved(e))
		return;
	if ((l->num & (l->num + 1)) == 0) /* 0, 1, 3, 7, …: room for twice as many */
		l->v = xrealloc(l->v, l->num * 2 + 1, sizeof(*l->v));
	l->v[l->num++] = archive_entry_clone(e);
	archive_entry_acl_clear(e);
}

static int acl_tag(int tag)
{
	switch (tag) {
	case ARCHIVE_ENTRY_ACL_USER_OBJ:
		return ACL_USER_OBJ;
	case ARCHIVE_ENTRY_ACL_USER:
		return ACL_USER;
	case ARCHIVE_ENTRY_ACL_GROUP_OBJ:
		return ACL_GROUP_OBJ;
	case ARCHIVE_ENTRY_ACL_GROUP:
		return ACL_GROUP;
	case ARCHIVE_ENTRY_ACL_MASK:
		return ACL_MASK;
	case ARCHIVE_ENTRY_ACL_OTHER:
		return ACL_OTHER;
	default:
		return -1;
	}
}

static int resolve(const struct ids *ids, int tag, const char *name, unsigned *ret_id)
{
	const char *file = tag == ACL_USER ? ids->passwd : ids->group;
	uint64_t id;

	if (!name)
		return -ENOENT;
	if (file && users_find_id(file, tag == ACL_USER ? ids->passwd_len : ids->group_len, name,
				  ret_id) == 0)
		return 0;
	/* tar --numeric-owner, or an id that had no name there. */
	if (str_to_u64(name, 0, UINT32_MAX - 1, &id) < 0)
		return -ENOENT;
	*ret_id = (unsigned)id;
	return 0;
}

static int compare(const void *a, const void *b)
{
	const struct posix_acl_xattr_entry *x = a, *y = b;
	uint16_t xt = get_le16(&x->e_tag), yt = get_le16(&y->e_tag);
	uint32_t xi = get_le32(&x->e_id), yi = get_le32(&y->e_id);

	if (xt != yt)
		return xt < yt ? -1 : 1;
	return xi < yi ? -1 : xi > yi;
}

/* Fills in the list of one type. Returns the number of entries, 0 without any, or -errno. */
static int build(struct archive_entry *e, int want, const struct ids *ids,
		 struct posix_acl_xattr_entry *v)
{
	int type, perms, tag, id, num = 0;
	const char *name;

	if (archive_entry_acl_reset(e, want) == 0)
		return 0;
	while (archive_entry_acl_next(e, want, &type, &perms, &tag, &id, &name) == ARCHIVE_OK) {
		int kind = acl_tag(tag);
		unsigned who = kind == ACL_USER || kind == ACL_GROUP ? (unsigned)id
								     : (unsigned)ACL_UNDEFINED_ID;

		if (kind < 0 || num == MAX_ACL_ENTRIES)
			return -EINVAL;
		if ((kind == ACL_USER || kind == ACL_GROUP) && id < 0 &&
		    resolve(ids, kind, name, &who) < 0)
			return -ENOENT;
		put_le16(&v[num].e_tag, (uint16_t)kind);
		put_le16(&v[num].e_perm, (uint16_t)(perms & 7));
		put_le32(&v[num++].e_id, who);
	}
	/* The kernel wants them in the order of their tags, and of the ids in each. */
	qsort(v, (size_t)num, sizeof(*v), compare);
	return num;
}

static void apply(struct archive_entry *e, int type, const char *attribute, const struct ids *ids,
		  const struct extract_ops *ops, void *arg)
{
	static struct {
		struct posix_acl_xattr_header header;
		struct posix_acl_xattr_entry v[MAX_ACL_ENTRIES];
	} acl;
	const char *path = archive_entry_pathname(e);
	int num = build(e, type, ids, acl.v);
	struct err err;

	if (num == 0)
		return;
	put_le32(&acl.header.a_version, POSIX_ACL_XATTR_VERSION);
	if (num > 0 && setxattr(path, attribute, &acl,
				sizeof(acl.header) + (size_t)num * sizeof(acl.v[0]), 0) == 0)
		return;
	if (num == -ENOENT)
		err_say(&err, ENOENT,
			"%.512s: its access control list names a user or group that the "
			"archive's /etc/passwd "
			"or /etc/group does not have",
			path);
	else
		err_set(&err, num < 0 ? -num : errno,
			"%.512s: its access control list was not kept", path);
	ops->warn(arg, err.text);
}

void acl_list_apply(struct acl_list *l, const struct extract_ops *ops, void *arg)
{
	struct ids ids = {0};

	if (l->num == 0)
		return;
	(void)etc_read("/etc", "passwd", USER_MAX_FILE, &ids.passwd, &ids.passwd_len);
	(void)etc_read("/etc", "group", USER_MAX_FILE, &ids.group, &ids.group_len);
	for (size_t i = 0; i < l->num; i++) {
		apply(l->v[i], ARCHIVE_ENTRY_ACL_TYPE_ACCESS, "system.posix_acl_access", &ids, ops,
		      arg);
		apply(l->v[i], ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, "system.posix_acl_default", &ids,
		      ops, arg);
	}
	free(ids.passwd);
	free(ids.group);
}

void acl_list_done(struct acl_list *l)
{
	for (size_t i = 0; i < l->num; i++)
		archive_entry_free(l->v[i]);
	free(l->v);
	*l = (struct acl_list){0};
}
