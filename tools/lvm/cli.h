/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs of the lvm command: one table, one file a verb. */
#ifndef LVM_TOOLS_LVM_CLI_H
#define LVM_TOOLS_LVM_CLI_H

#include "base/err.h"
#include "tools/lvm/store.h"

/* lvm's own failures, so that scripts can tell them from the command's. */
#define CLI_EXIT_FAILED 125

struct verb {
	const char *name;
	const char *usage;   /* what follows "lvm " */
	const char *summary; /* one line */
	const char *help;    /* the rest of `lvm help NAME`; lines end in newlines */
	/*
	 * argv[0] is the verb. The store is open, but for verbs with no_store (s is NULL). Returns the exit status, or
	 * -errno with a sentence for status 125.
	 */
	int (*run)(const struct store *s, int argc, char **argv, struct err *err);
	bool no_store;
};

extern const struct verb verb_run, verb_start, verb_stop, verb_list, verb_install, verb_unregister,
	verb_set_default, verb_logs, verb_kernel, verb_config, verb_doctor;

/* -EINVAL with "…; usage: lvm <usage>". */
int cli_usage(const struct verb *v, struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * getopt_long without its own messages: the option's value, -1 at the end, or '?' with a sentence in *err. Options
 * end at the first operand when the short options begin with '+'.
 */
struct option;
int cli_getopt(const struct verb *v, int argc, char **argv, const char *shorts,
	       const struct option *longs, struct err *err);

/* The distro that -d or the default names; malloc'ed. */
int cli_pick_distro(const struct store *s, const char *given, char **ret_name, struct err *err);

#endif
