/* SPDX-License-Identifier: Apache-2.0 */
/* The environment of a session, from login.defs(5), /etc/environment and the locale files. */
#include "guest/env.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "guest/etc.h"

#define MAX_ENV_FILE (256 * 1024)

/*
 * Where distributions put programs, for those without login.defs; administration last, for users.
 */
#define ROOT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define USER_PATH "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"

static size_t env_find(const struct env *e, const char *name, size_t name_len)
{
	size_t i;

	for (i = 0; i < e->num; i++)
		if (strncmp(e->v[i], name, name_len) == 0 && e->v[i][name_len] == '=')
			break;
	return i;
}

int env_put(struct env *e, const char *assignment, size_t len)
{
	const char *eq = memchr(assignment, '=', len);
	size_t i;
	char *copy;

	if (!eq || eq == assignment || memchr(assignment, 0, len))
		return -EINVAL;
	i = env_find(e, assignment, (size_t)(eq - assignment));
	if (i == ENV_MAX)
		return -E2BIG;
	copy = xcalloc(1, len + 1);
	memcpy(copy, assignment, len);
	if (i < e->num) {
		free(e->v[i]);
		e->v[i] = copy;
		return 0;
	}
	if (e->num + 2 > e->cap) {
		e->cap = e->cap ? e->cap * 2 : 32;
		e->v = xrealloc(e->v, e->cap, sizeof(*e->v));
	}
	e->v[e->num++] = copy;
	e->v[e->num] = NULL;
	return 0;
}

static void env_set(struct env *e, const char *name, const char *value)
{
	cleanup_free char *s = str_fmt("%s=%s", name, value);

	(void)env_put(e, s, strlen(s));
}

const char *env_get(const struct env *e, const char *name)
{
	size_t len = strlen(name), i = env_find(e, name, len);

	return i < e->num ? e->v[i] + len + 1 : NULL;
}

void env_done(struct env *e)
{
	for (size_t i = 0; i < e->num; i++)
		free(e->v[i]);
	free(e->v);
	*e = (struct env){0};
}

static const char *skip_space(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	return p;
}

static bool name_char(char c)
{
	return c == '_' || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
	       (c >= 'a' && c <= 'z');
}

static void env_add_line(struct env *e, const char *p, const char *end)
{
	static const char word[] = "export ";
	const char *eq, *value;
	cleanup_free char *s = NULL;

	p = skip_space(p, end);
	if ((size_t)(end - p) > sizeof(word) - 1 && memcmp(p, word, sizeof(word) - 1) == 0)
		p = skip_space(p + sizeof(word) - 1, end);
	for (eq = p; eq < end && name_char(*eq); eq++)
		;
	if (eq == p || eq == end || *eq != '=')
		return;
	value = eq + 1;
	if (value < end && (*value == '"' || *value == '\'')) {
		const char *close = memchr(value + 1, *value, (size_t)(end - value - 1));

		value++;
		end = close ? close : end;
	} else {
		const char *hash = memchr(value, '#', (size_t)(end - value));

		end = hash ? hash : end;
		while (end > value && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r'))
			end--;
	}
	s = str_fmt("%.*s=%.*s", (int)(eq - p), p, (int)(end - value), value);
	(void)env_put(e, s, strlen(s));
}

void env_add_file(struct env *e, const char *buf, size_t len)
{
	const char *p = buf, *end = buf + len;

	while (p < end) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));

		env_add_line(e, p, nl ? nl : end);
		p = nl ? nl + 1 : end;
	}
}

char *login_defs_get(const char *buf, size_t len, const char *key)
{
	const char *p = buf, *end = buf + len;
	size_t key_len = strlen(key);

	while (p < end) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		const char *line_end = nl ? nl : end, *value;

		p = skip_space(p, line_end);
		if ((size_t)(line_end - p) > key_len && memcmp(p, key, key_len) == 0 &&
		    (p[key_len] == ' ' || p[key_len] == '\t')) {
			value = skip_space(p + key_len, line_end);
			while (line_end > value && strchr(" \t\r\"", line_end[-1]))
				line_end--;
			return str_fmt("%.*s", (int)(line_end - value), value);
		}
		p = nl ? nl + 1 : end;
	}
	return NULL;
}

static void add_etc_file(struct env *e, const char *etc, const char *name)
{
	cleanup_free char *buf = NULL;
	size_t len;

	if (etc_read(etc, name, MAX_ENV_FILE, &buf, &len) == 0)
		env_add_file(e, buf, len);
}

static char *login_path(const char *etc, const struct user *u)
{
	cleanup_free char *buf = NULL;
	cleanup_free char *value = NULL;
	size_t len;

	if (etc_read(etc, "login.defs", MAX_ENV_FILE, &buf, &len) == 0)
		value = login_defs_get(buf, len, u->uid == 0 ? "ENV_SUPATH" : "ENV_PATH");
	if (value)
		return str_dup(str_starts(value, "PATH=") ? value + 5 : value);
	return str_dup(u->uid == 0 ? ROOT_PATH : USER_PATH);
}

void env_login(struct env *e, const char *etc, const struct user *u)
{
	cleanup_free char *path = login_path(etc, u);

	env_set(e, "HOME", u->home);
	env_set(e, "USER", u->name);
	env_set(e, "LOGNAME", u->name);
	env_set(e, "SHELL", u->shell);
	env_set(e, "PATH", path);
	add_etc_file(e, etc, "environment");
	add_etc_file(e, etc, "locale.conf");
	add_etc_file(e, etc, "default/locale");
}
