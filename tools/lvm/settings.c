/* SPDX-License-Identifier: Apache-2.0 */
/* Settings: the keys as one table, from which parsing, printing and help follow. */
#include "tools/lvm/settings.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"

#define SETTINGS_MAX_BYTES    (64 * 1024)
#define SETTINGS_MAX_CPUS     32
#define SETTINGS_MIN_MEMORY   (64ull << 20)
#define SETTINGS_MEMORY_STEP  (2ull << 20)
#define SETTINGS_BOOT_TIMEOUT 60

enum setting_type {
	SETTING_NUMBER,
	SETTING_SIZE,
	SETTING_TEXT,
	SETTING_WORD, /* text without blanks: it becomes one word of the kernel command line, or a name */
	SETTING_BOOL,
};

static const struct setting {
	const char *key;
	enum setting_type type;
	size_t offset;     /* in struct settings */
	uint64_t min, max; /* NUMBER and SIZE; 0 is always "unset" */
	uint64_t unset;    /* NUMBER: what an empty value means */
	const char *help;
} settings_table[] = {
	{"cpus", SETTING_NUMBER, offsetof(struct settings, cpus), 1, SETTINGS_MAX_CPUS, 0,
	 "virtual CPUs, 1 to 32; default: as many as the host has"},
	{"memory", SETTING_SIZE, offsetof(struct settings, memory), SETTINGS_MIN_MEMORY, 1ull << 46,
	 0, "RAM, such as 4G or 512M; default: half of the host's, taken only as it is used"},
	{"kernel", SETTING_WORD, offsetof(struct settings, kernel), 0, 0, 0,
	 "a kernel's name in 'lvm kernel list'; default: the default kernel"},
	{"cmdline", SETTING_TEXT, offsetof(struct settings, cmdline), 0, 0, 0,
	 "words added to the kernel command line"},
	{"systemd", SETTING_BOOL, offsetof(struct settings, systemd), 0, 0, 0,
	 "true: the distro's own init runs as PID 1; default: false"},
	{"user", SETTING_WORD, offsetof(struct settings, user), 0, 0, 0,
	 "who 'lvm run' is without -u; default: root"},
	{"boot_timeout", SETTING_NUMBER, offsetof(struct settings, boot_timeout), 1, 86400,
	 SETTINGS_BOOT_TIMEOUT,
	 "seconds until a guest that does not answer is given up; default: 60"},
};

#define NUM_SETTINGS (sizeof(settings_table) / sizeof(settings_table[0]))

static void *setting_at(const struct settings *s, const struct setting *k)
{
	return (char *)s + k->offset;
}

void settings_init(struct settings *s)
{
	*s = (struct settings){.boot_timeout = SETTINGS_BOOT_TIMEOUT};
}

void settings_done(struct settings *s)
{
	free(s->kernel);
	free(s->cmdline);
	free(s->user);
	*s = (struct settings){0};
}

static const struct setting *find_setting(const char *key, struct err *err)
{
	char known[256] = "";

	for (size_t i = 0; i < NUM_SETTINGS; i++) {
		if (!strcmp(settings_table[i].key, key))
			return &settings_table[i];
		(void)snprintf(known + strlen(known), sizeof(known) - strlen(known), "%s%s",
			       i ? ", " : "", settings_table[i].key);
	}
	(void)err_say(err, ENOENT, "there is no setting '%s'; there are: %s", key, known);
	return NULL;
}

static int set_number(const struct setting *k, uint64_t *field, const char *value, struct err *err)
{
	uint64_t v = k->unset;
	int r = 0;

	if (*value)
		r = k->type == SETTING_SIZE ? str_to_size(value, &v)
					    : str_to_u64(value, 0, UINT64_MAX, &v);
	if (r == 0 && *value && (v < k->min || v > k->max))
		r = -ERANGE;
	if (r < 0)
		return err_say(err, -r, "'%s' is no value for %s: %s", value, k->key, k->help);
	/* Guest memory comes in 2 MiB pages. */
	*field = k->type == SETTING_SIZE ? v & ~(SETTINGS_MEMORY_STEP - 1) : v;
	return 0;
}

static int set_text(const struct setting *k, char **field, const char *value, struct err *err)
{
	for (const char *p = value; *p; p++) {
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			return err_say(err, EINVAL,
				       "the value for %s has a control character in it", k->key);
		if (k->type == SETTING_WORD && *p == ' ')
			return err_say(err, EINVAL, "the value for %s is to be one word, not '%s'",
				       k->key, value);
	}
	free(*field);
	*field = *value ? str_dup(value) : NULL;
	return 0;
}

int settings_set(struct settings *s, const char *key, const char *value, struct err *err)
{
	const struct setting *k = find_setting(key, err);

	if (!k)
		return -ENOENT;
	switch (k->type) {
	case SETTING_NUMBER:
	case SETTING_SIZE:
		return set_number(k, setting_at(s, k), value, err);
	case SETTING_TEXT:
	case SETTING_WORD:
		return set_text(k, setting_at(s, k), value, err);
	case SETTING_BOOL:
		if (*value && str_to_bool(value, setting_at(s, k)) < 0)
			return err_say(err, EINVAL, "'%s' is no value for %s: say true or false",
				       value, k->key);
		if (!*value)
			*(bool *)setting_at(s, k) = false;
		return 0;
	}
	return -EINVAL;
}

static char *size_text(uint64_t bytes)
{
	if (bytes % (1ull << 30) == 0)
		return str_fmt("%" PRIu64 "G", bytes >> 30);
	return str_fmt("%" PRIu64 "M", bytes >> 20);
}

static char *setting_text(const struct settings *s, const struct setting *k)
{
	const void *field = setting_at(s, k);

	switch (k->type) {
	case SETTING_NUMBER:
		return str_fmt("%" PRIu64, *(const uint64_t *)field);
	case SETTING_SIZE:
		return size_text(*(const uint64_t *)field);
	case SETTING_TEXT:
	case SETTING_WORD:
		return str_dup(*(char *const *)field ?: "");
	case SETTING_BOOL:
		return str_dup(*(const bool *)field ? "true" : "false");
	}
	return str_dup("");
}

int settings_get(const struct settings *s, const char *key, char **ret_value, struct err *err)
{
	const struct setting *k = find_setting(key, err);
	struct settings effective = *s;

	if (!k)
		return -ENOENT;
	effective.cpus = settings_effective_cpus(s);
	effective.memory = settings_effective_memory(s);
	*ret_value = setting_text(&effective, k);
	return 0;
}

bool settings_key(unsigned i, const char **ret_key, const char **ret_help)
{
	if (i >= NUM_SETTINGS)
		return false;
	*ret_key = settings_table[i].key;
	*ret_help = settings_table[i].help;
	return true;
}

static char *trim(char *s)
{
	char *end = s + strlen(s);

	while (end > s && isspace((unsigned char)end[-1]))
		*--end = '\0';
	while (isspace((unsigned char)*s))
		s++;
	return s;
}

static int parse_line(struct settings *s, char *line, struct err *err)
{
	char *key = trim(line), *eq;

	if (!*key || *key == '#')
		return 0;
	eq = strchr(key, '=');
	if (!eq)
		return err_say(err, EINVAL, "'%s' is not KEY = VALUE", key);
	*eq = '\0';
	return settings_set(s, trim(key), trim(eq + 1), err);
}

int settings_parse(struct settings *s, const char *text, size_t len, struct err *err)
{
	struct settings fresh;
	const char *end = text + len;
	unsigned number = 1;

	settings_init(&fresh);
	for (const char *p = text; p < end; number++) {
		const char *nl = memchr(p, '\n', (size_t)(end - p)) ?: end;
		cleanup_free char *line = strndup(p, (size_t)(nl - p));
		int r = line ? parse_line(&fresh, line, err)
			     : err_set(err, ENOMEM, "cannot read settings");

		if (r < 0) {
			settings_done(&fresh);
			return err_wrap(err, "line %u", number);
		}
		p = nl + 1;
	}
	settings_done(s);
	*s = fresh;
	return 0;
}

char *settings_format(const struct settings *s)
{
	char *all = str_dup(
		"# Settings of one distro; 'lvm config' changes them, 'lvm help config' explains.\n");

	for (size_t i = 0; i < NUM_SETTINGS; i++) {
		const struct setting *k = &settings_table[i];
		cleanup_free char *value = setting_text(s, k);
		bool number = k->type == SETTING_NUMBER || k->type == SETTING_SIZE;
		char *longer;

		if (!*value || (number && *(uint64_t *)setting_at(s, k) == k->unset))
			continue;
		longer = str_fmt("%s%s = %s\n", all, k->key, value);
		free(all);
		all = longer;
	}
	return all;
}

int settings_load(struct settings *s, const char *path, struct err *err)
{
	cleanup_free char *text = NULL;
	size_t len;
	int r;

	settings_init(s);
	r = file_read(path, SETTINGS_MAX_BYTES, &text, &len, err);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	r = settings_parse(s, text, len, err);
	return r < 0 ? err_wrap(err, "settings in '%s'", path) : 0;
}

int settings_save(const struct settings *s, const char *path, struct err *err)
{
	cleanup_free char *text = settings_format(s);

	return file_replace(path, text, strlen(text), 0600, err);
}

unsigned settings_effective_cpus(const struct settings *s)
{
	cpu_set_t set;
	int n = 1;

	if (s->cpus)
		return (unsigned)s->cpus;
	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		n = CPU_COUNT(&set);
	return n > SETTINGS_MAX_CPUS ? SETTINGS_MAX_CPUS : n < 1 ? 1 : (unsigned)n;
}

uint64_t settings_effective_memory(const struct settings *s)
{
	long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
	uint64_t half;

	if (s->memory)
		return s->memory;
	half = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page / 2 : 1ull << 30;
	half &= ~(SETTINGS_MEMORY_STEP - 1);
	return half < SETTINGS_MIN_MEMORY ? SETTINGS_MIN_MEMORY : half;
}
