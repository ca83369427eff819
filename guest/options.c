/* SPDX-License-Identifier: Apache-2.0 */
/* Parses the lvm.KEY=value words of the kernel's command line (Linux lib/cmdline.c). */
#include "guest/options.h"

#include <errno.h>
#include <string.h>

#include "base/str.h"

#define MAX_WORD 1024

struct key {
	const char *name;
	size_t offset;
	size_t size; /* of the string; 0: a boolean */
};

#define STRING(field)                                              \
	{                                                          \
#field, offsetof(struct guest_options, field),     \
			sizeof(((struct guest_options *)0)->field) \
	}
#define BOOLEAN(field)                                           \
	{                                                        \
#field, offsetof(struct guest_options, field), 0 \
	}

static const struct key keys[] = {
	STRING(root), STRING(rootfstype), STRING(rootflags),  STRING(hostname),
	STRING(user), BOOLEAN(systemd),   BOOLEAN(installer), BOOLEAN(debug),
};

/*
 * Copies the next word without its quotes. Returns its length, 0 at the end, -1 when longer than
 * MAX_WORD.
 */
static int next_word(const char **line, char *word)
{
	const char *p = *line;
	bool quoted = false;
	int n = 0;

	while (*p == ' ' || *p == '\t' || *p == '\n')
		p++;
	for (; *p && (quoted || !strchr(" \t\n", *p)); p++) {
		if (*p == '"') {
			quoted = !quoted;
			continue;
		}
		if (n >= 0)
			word[n++] = *p;
		if (n == MAX_WORD)
			n = -1;
	}
	*line = p;
	if (n >= 0)
		word[n] = 0;
	return n;
}

static int set_option(struct guest_options *o, const char *name, const char *value, struct err *err)
{
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		char *field = (char *)o + keys[i].offset;

		if (strcmp(keys[i].name, name) != 0)
			continue;
		if (keys[i].size == 0) {
			if (str_to_bool(value, (bool *)field) < 0)
				return err_say(err, EINVAL,
					       "kernel parameter lvm.%s=%s: use 0 or 1", name,
					       value);
			return 0;
		}
		if (strlen(value) >= keys[i].size)
			return err_say(err, EINVAL,
				       "kernel parameter lvm.%s is longer than %zu bytes", name,
				       keys[i].size - 1);
		strcpy(field, value);
		return 0;
	}
	return err_say(err, EINVAL, "kernel parameter lvm.%s is unknown to this lvm-guest", name);
}

int guest_options_parse(const char *line, struct guest_options *ret, struct err *err)
{
	struct guest_options o = {.root = "/dev/vda", .rootfstype = "ext4", .user = "root"};
	char word[MAX_WORD + 1], *eq;
	int n, r;

	for (;;) {
		const char *start = line;

		n = next_word(&line, word);
		if (n == 0 && line == start + strspn(start, " \t\n"))
			break;
		if (n <= 0 || !str_starts(word, "lvm."))
			continue;
		eq = strchr(word, '=');
		if (eq)
			*eq = 0;
		r = set_option(&o, word + 4, eq ? eq + 1 : "1", err);
		if (r < 0)
			return r;
	}
	*ret = o;
	return 0;
}
