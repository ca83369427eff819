/* SPDX-License-Identifier: Apache-2.0 */
/* Puts kernel modules and what they depend on into an initramfs (depmod(8), modules.dep(5)). */

/*
 * modules.dep has a line "PATH: PATH…" for each module. The hard dependencies named there are
 * needed to load it; the soft ones, in modules.softdep, are asked for by name or alias when it
 * already runs ("crc32c", by ext4's checksums), and would be found by modprobe, which an
 * initramfs of ours does not have. Both are loaded before.
 */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "boot/decompress.h"
#include "boot/initramfs.h"

#define INDEX_MAX  (64u << 20)
#define MODULE_MAX (128u << 20)

struct module {
	const char *path; /* as modules.dep has it: below modules_dir, or absolute */
	char *name;       /* owned; '_' for '-' */
	char *deps;       /* the rest of the line */
	bool seen;
};

/* All text that the modules and rules point into, split into lines. */
struct index {
	const char *dir;
	char *dep_text, *softdep_text, *alias_text; /* the last two may be NULL */
	struct module *mod;
	size_t num;
	struct module **order; /* those to add */
	size_t num_order;
};

static void underscores(char *s)
{
	for (; *s; s++)
		if (*s == '-')
			*s = '_';
}

/* "kernel/fs/ext4/ext4.ko.xz" is the module ext4. */
static char *module_name(const char *path)
{
	const char *base = strrchr(path, '/');
	char *name = str_dup(base ? base + 1 : path), *dot = strchr(name, '.');

	if (dot)
		*dot = 0;
	underscores(name);
	return name;
}

static int read_text(const char *dir, const char *file, bool must, char **ret_text, struct err *err)
{
	cleanup_free char *path = str_fmt("%s/%s", dir, file);
	size_t len;
	int r;

	if (!must && access(path, F_OK) < 0)
		return 0;
	r = file_read(path, INDEX_MAX, ret_text, &len, err);
	if (r < 0 && must)
		err_wrap(err, "'%s' is no directory of kernel modules (run depmod?)", dir);
	return r;
}

static void parse_dep(struct index *ix)
{
	char *save, *line;

	for (line = strtok_r(ix->dep_text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *colon = strchr(line, ':');

		if (!colon)
			continue;
		*colon = 0;
		/* At 0, 1, 3, 7…: the room is always a power of two. */
		if ((ix->num & (ix->num + 1)) == 0)
			ix->mod = xrealloc(ix->mod, 2 * (ix->num + 1), sizeof(*ix->mod));
		ix->mod[ix->num++] =
			(struct module){.path = line, .name = module_name(line), .deps = colon + 1};
	}
}

static struct module *by_path(struct index *ix, const char *path)
{
	for (size_t i = 0; i < ix->num; i++)
		if (strcmp(ix->mod[i].path, path) == 0)
			return &ix->mod[i];
	return NULL;
}

static struct module *by_name(struct index *ix, const char *name)
{
	for (size_t i = 0; i < ix->num; i++)
		if (strcmp(ix->mod[i].name, name) == 0)
			return &ix->mod[i];
	return NULL;
}

static void visit(struct index *ix, struct module *m);

/* A line "alias PATTERN MODULE": does it apply to name? */
static struct module *alias_target(struct index *ix, const char *line, size_t len, const char *name)
{
	char copy[320], *save, *word;
	struct module *m = NULL;

	if (len >= sizeof(copy))
		return NULL;
	memcpy(copy, line, len);
	copy[len] = 0;
	underscores(copy);
	word = strtok_r(copy, " ", &save);
	if (!word || strcmp(word, "alias") != 0)
		return NULL;
	word = strtok_r(NULL, " ", &save);
	if (!word || fnmatch(word, name, 0) != 0)
		return NULL;
	word = strtok_r(NULL, " ", &save);
	if (word)
		m = by_name(ix, word);
	return m;
}

/* Everything that a name may mean: the module, or those with an alias that matches. */
static void visit_name(struct index *ix, const char *any_name)
{
	cleanup_free char *name = str_dup(any_name);
	struct module *m;

	underscores(name);
	m = by_name(ix, name);
	if (m) {
		visit(ix, m);
		return;
	}
	for (const char *line = ix->alias_text; line && *line;) {
		size_t len = strcspn(line, "\n");

		m = alias_target(ix, line, len, name);
		if (m)
			visit(ix, m);
		line += len + (line[len] == '\n');
	}
}

/* A line "softdep NAME pre: A B post: C" for m. Before or after makes no difference to us. */
static void visit_softdeps(struct index *ix, const struct module *m)
{
	for (const char *line = ix->softdep_text; line && *line;) {
		const char *end = strchrnul(line, '\n');
		cleanup_free char *copy = strndup(line, end - line);
		char *save, *word = copy ? strtok_r(copy, " \t", &save) : NULL;

		line = *end ? end + 1 : end;
		if (!word || strcmp(word, "softdep") != 0)
			continue;
		word = strtok_r(NULL, " \t", &save);
		if (!word)
			continue;
		underscores(word);
		if (strcmp(word, m->name) != 0)
			continue;
		while ((word = strtok_r(NULL, " \t", &save)))
			if (!str_ends(word, ":"))
				visit_name(ix, word);
	}
}

/* What it needs, then itself; `seen` also ends circles. */
static void visit(struct index *ix, struct module *m)
{
	cleanup_free char *deps = NULL;
	char *save, *word;

	if (m->seen)
		return;
	m->seen = true;
	visit_softdeps(ix, m);
	deps = str_dup(m->deps);
	for (word = strtok_r(deps, " \t", &save); word; word = strtok_r(NULL, " \t", &save)) {
		struct module *dep = by_path(ix, word);

		if (dep)
			visit(ix, dep);
	}
	ix->order[ix->num_order++] = m;
}

/* The module's file, decompressed into a mapping of which only the used pages exist. */
static int add_compressed(struct cpio *c, const char *path, const void *buf, size_t len,
			  struct err *err)
{
	void *out = mmap(NULL, MODULE_MAX, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t out_len;
	int r;

	if (out == MAP_FAILED)
		return err_set(err, errno, "make room for a module");
	r = decompress(compression_of(buf, len), buf, len, out, MODULE_MAX, &out_len, err);
	if (r == 0 && compression_of(out, out_len) != COMPRESSION_NONE)
		r = err_say(err, ENOEXEC,
			    "it is no kernel module; install the kernel's modules again");
	if (r == 0)
		r = cpio_add_bytes(c, path, 0644, out, out_len, err);
	munmap(out, MODULE_MAX);
	return r;
}

static int add_module(struct index *ix, struct cpio *c, const struct module *m, struct err *err)
{
	cleanup_free char *host =
		m->path[0] == '/' ? str_dup(m->path) : str_fmt("%s/%s", ix->dir, m->path);
	cleanup_free char *path = str_fmt("lib/modules/%s.ko", m->name);
	cleanup_free char *buf = NULL;
	size_t len;
	int r = file_read(host, MODULE_MAX, &buf, &len, err);

	if (r < 0)
		return err_wrap(err, "cannot put module '%s' into the initramfs", m->name);
	r = add_compressed(c, path, buf, len, err);
	return r < 0 ? err_wrap(err, "cannot put module '%s' into the initramfs", host) : 0;
}

static void index_done(struct index *ix)
{
	for (size_t i = 0; i < ix->num; i++)
		free(ix->mod[i].name);
	free(ix->mod);
	free(ix->order);
	free(ix->dep_text);
	free(ix->softdep_text);
	free(ix->alias_text);
}

static int add_all(struct index *ix, struct cpio *c, struct err *err)
{
	cleanup_free char *order = xcalloc(1, 1);
	size_t len = 0;

	for (size_t i = 0; i < ix->num_order; i++) {
		const char *name = ix->order[i]->name;
		int r = add_module(ix, c, ix->order[i], err);

		if (r < 0)
			return r;
		order = xrealloc(order, len + strlen(name) + 2, 1);
		len += sprintf(order + len, "%s\n", name);
	}
	return cpio_add_bytes(c, "lib/modules/order", 0644, order, len, err);
}

int initramfs_add_modules(struct cpio *c, const char *modules_dir, const char *const *names,
			  unsigned *ret_num, struct err *err)
{
	struct index ix = {.dir = modules_dir};
	int r;

	r = read_text(modules_dir, "modules.dep", true, &ix.dep_text, err);
	if (r == 0)
		r = read_text(modules_dir, "modules.softdep", false, &ix.softdep_text, err);
	if (r == 0)
		r = read_text(modules_dir, "modules.alias", false, &ix.alias_text, err);
	if (r == 0) {
		parse_dep(&ix);
		ix.order = xcalloc(ix.num + 1, sizeof(*ix.order));
		for (; *names; names++)
			visit_name(&ix, *names);
		r = add_all(&ix, c, err);
	}
	if (r == 0)
		*ret_num = ix.num_order;
	index_done(&ix);
	return r;
}
