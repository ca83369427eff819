/* SPDX-License-Identifier: Apache-2.0 */
/* A distro's settings: a table of keys, and the text file they are kept in. */
#ifndef LVM_TOOLS_LVM_SETTINGS_H
#define LVM_TOOLS_LVM_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Strings owned; NULL where unset. */
struct settings {
	uint64_t cpus;         /* 0: as many as the host has, at most 32 */
	uint64_t memory;       /* bytes; 0: half of the host's */
	char *kernel;          /* name in the store; NULL: the default kernel */
	char *cmdline;         /* appended to the kernel command line */
	char *user;            /* who `lvm run` is without -u; NULL: root */
	uint64_t boot_timeout; /* seconds until a guest that does not answer is given up */
	bool systemd;          /* the distro's init is PID 1 */
};

void settings_init(struct settings *s);
void settings_done(struct settings *s);

/* Lines "key = value", '#' comments, blank lines. Errors name the line; *s is untouched then. */
int settings_parse(struct settings *s, const char *text, size_t len, struct err *err);
/* The text of all keys that are set, in the table's order; malloc'ed. */
char *settings_format(const struct settings *s);

/* One key by its name. An empty value goes back to the default. -ENOENT: no such key, and the sentence lists them. */
int settings_set(struct settings *s, const char *key, const char *value, struct err *err);
/* malloc'ed text of the effective value, as settings_set would take it; "" when unset and nothing stands in. */
int settings_get(const struct settings *s, const char *key, char **ret_value, struct err *err);
/* Key number i and a line on what it means; false past the last. */
bool settings_key(unsigned i, const char **ret_key, const char **ret_help);

/* The file of a distro; missing file: defaults. */
int settings_load(struct settings *s, const char *path, struct err *err);
int settings_save(const struct settings *s, const char *path, struct err *err);

/* What 0 stands for on this host. */
unsigned settings_effective_cpus(const struct settings *s);
uint64_t settings_effective_memory(const struct settings *s);

#endif
