/* SPDX-License-Identifier: Apache-2.0 */
/* Access control lists with names, whose ids only the archive's own passwd knows. */
#ifndef LVM_GUEST_EXTRACT_ACL_H
#define LVM_GUEST_EXTRACT_ACL_H

#include <stddef.h>

#include <archive.h>
#include <archive_entry.h>

#include "guest/extract.h"

/* Owned copies of entries. Zero-initialised is empty. */
struct acl_list {
	struct archive_entry **v;
	size_t num;
};

/*
 * Takes the lists off an entry that has one with a name without an id, to be applied once the tree
 * is complete.
 */
void acl_list_take(struct acl_list *l, struct archive_entry *e);
/*
 * Resolves the names by /etc/passwd and /etc/group and sets the lists. What cannot be is warned of.
 */
void acl_list_apply(struct acl_list *l, const struct extract_ops *ops, void *arg);
void acl_list_done(struct acl_list *l);

#endif
