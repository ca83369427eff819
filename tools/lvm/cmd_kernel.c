/* SPDX-License-Identifier: Apache-2.0 */
/* lvm kernel: the kernels that distros can be started with. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "boot/boot.h"
#include "tools/lvm/cli.h"
#include "tools/lvm/initrd.h"
#include "tools/lvm/settings.h"

struct kernel_source {
	const char *path, *modules;
	char *name; /* owned */
};

static int copy_file(const char *from, const char *to, struct err *err)
{
	cleanup_close int in = open(from, O_RDONLY | O_CLOEXEC);
	cleanup_close int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int r;

	if (in < 0)
		return err_set(err, errno, "cannot open '%s'", from);
	if (out < 0)
		return err_set(err, errno, "cannot make '%s'", to);
	r = fd_copy(in, out);
	if (r == 0 && fsync(out) < 0)
		r = -errno;
	return r < 0 ? err_set(err, -r, "cannot copy '%s' to '%s'", from, to) : 0;
}

static int fill(const struct kernel_source *k, const char *dir, struct err *err)
{
	cleanup_free char *kernel = str_fmt("%s/kernel", dir);
	cleanup_free char *modules = str_fmt("%s/modules.cpio", dir);
	cleanup_free char *info_path = str_fmt("%s/origin", dir);
	cleanup_free char *origin = realpath(k->path, NULL);
	cleanup_free char *info = str_fmt("%s\n", origin ?: k->path);
	unsigned num = 0;
	int r = copy_file(k->path, kernel, err);

	if (r == 0)
		r = file_replace(info_path, info, strlen(info), 0600, err);
	if (r == 0 && k->modules)
		r = initrd_modules(k->modules, modules, &num, err);
	/* Everything built in: nothing to carry. */
	if (r == 0 && k->modules && !num)
		(void)unlink(modules);
	return r;
}

static int add_checked(const struct store *s, const struct kernel_source *k, struct err *err)
{
	cleanup_free char *hidden = str_fmt(".%s", k->name);
	cleanup_free char *tmp = store_kernel_path(s, hidden, NULL);
	cleanup_free char *final = store_kernel_path(s, k->name, NULL);
	cleanup_close int lock = -1;
	int r = store_lock(s, STORE_LOCK_KERNEL, k->name, true, &lock, err);

	if (r < 0)
		return r;
	if (store_has_kernel(s, k->name))
		return err_say(
			err, EEXIST,
			"there is a kernel '%s' already: give this one another name with --name, or remove "
			"that one with 'lvm kernel remove %s'",
			k->name, k->name);
	(void)store_remove_tree(tmp, NULL);
	if (mkdir(tmp, 0700) < 0)
		return err_set(err, errno, "cannot make directory '%s'", tmp);
	r = fill(k, tmp, err);
	if (r == 0 && rename(tmp, final) < 0)
		r = err_set(err, errno, "cannot put the kernel at '%s'", final);
	if (r < 0)
		(void)store_remove_tree(tmp, NULL);
	return r;
}

/* "vmlinuz-6.1.0-40-amd64" is "6.1.0-40-amd64"; a file whose name says nothing keeps it all the same. */
static char *name_from(const char *path)
{
	const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;

	return str_dup(str_starts(base, "vmlinuz-") ? base + strlen("vmlinuz-") : base);
}

static int add(const struct store *s, int argc, char **argv, struct err *err)
{
	static const struct option longs[] = {
		{"modules", required_argument, NULL, 'm'},
		{"name", required_argument, NULL, 'n'},
		{NULL, 0, NULL, 0},
	};
	struct kernel_source k = {0};
	cleanup_free char *name = NULL, *first = store_get_default(s, STORE_DEFAULT_KERNEL);
	const char *given = NULL;
	int opt, r;

	while ((opt = cli_getopt(&verb_kernel, argc, argv, ":", longs, err)) != -1) {
		if (opt == 'm')
			k.modules = optarg;
		else if (opt == 'n')
			given = optarg;
		else
			return -EINVAL;
	}
	if (argc - optind != 1)
		return cli_usage(&verb_kernel, err, "name one kernel file");
	k.path = argv[optind];
	k.name = name = given ? str_dup(given) : name_from(k.path);
	r = store_check_name("kernel", k.name, err);
	if (r == 0)
		r = boot_linux_check(k.path, err);
	if (r == 0)
		r = add_checked(s, &k, err);
	if (r == 0 && !first)
		r = store_set_default(s, STORE_DEFAULT_KERNEL, k.name, err);
	return r;
}

static int list(const struct store *s, int argc, char **argv, struct err *err)
{
	cleanup_free char *def = store_get_default(s, STORE_DEFAULT_KERNEL);
	struct strv names = {0};
	int r;

	if (argc != 1)
		return cli_usage(&verb_kernel, err, "'%s' is too much", argv[1]);
	r = store_list_kernels(s, &names, err);
	for (size_t i = 0; i < names.num; i++) {
		cleanup_free char *path = store_kernel_path(s, names.v[i], "origin");
		cleanup_free char *origin = NULL;

		(void)file_read(path, 4096, &origin, NULL, NULL);
		(void)printf("%c %-28s %s%s", def && !strcmp(def, names.v[i]) ? '*' : ' ',
			     names.v[i], origin ?: "", origin ? "" : "\n");
	}
	strv_done(&names);
	return r;
}

static int require_kernel(const struct store *s, const char *name, struct err *err)
{
	if (store_has_kernel(s, name))
		return 0;
	return err_say(err, ENOENT, "there is no kernel '%s': see 'lvm kernel list'", name);
}

static int set_default(const struct store *s, int argc, char **argv, struct err *err)
{
	int r;

	if (argc != 2)
		return cli_usage(&verb_kernel, err, "name one kernel");
	r = require_kernel(s, argv[1], err);
	return r < 0 ? r : store_set_default(s, STORE_DEFAULT_KERNEL, argv[1], err);
}

/* A distro that names the kernel would not start any more. */
static int check_unused(const struct store *s, const char *kernel, struct err *err)
{
	struct strv names = {0};
	int r = store_list_distros(s, &names, err);

	for (size_t i = 0; r == 0 && i < names.num; i++) {
		cleanup_free char *path = store_distro_path(s, names.v[i], "settings");
		struct settings set;

		if (settings_load(&set, path, NULL) < 0)
			continue;
		if (set.kernel && !strcmp(set.kernel, kernel))
			r = err_say(
				err, EBUSY,
				"distro '%s' uses the kernel '%s': 'lvm config %s kernel=OTHER' first",
				names.v[i], kernel, names.v[i]);
		settings_done(&set);
	}
	strv_done(&names);
	return r;
}

static int remove_kernel(const struct store *s, int argc, char **argv, struct err *err)
{
	cleanup_free char *path = NULL, *going = NULL, *hidden = NULL;
	cleanup_close int lock = -1;
	int r;

	if (argc != 2)
		return cli_usage(&verb_kernel, err, "name one kernel");
	r = require_kernel(s, argv[1], err);
	if (r == 0)
		r = store_lock(s, STORE_LOCK_KERNEL, argv[1], true, &lock, err);
	if (r == 0)
		r = check_unused(s, argv[1], err);
	if (r < 0)
		return r;
	hidden = str_fmt(".%s", argv[1]);
	path = store_kernel_path(s, argv[1], NULL);
	going = store_kernel_path(s, hidden, NULL);
	if (rename(path, going) < 0)
		return err_set(err, errno, "cannot remove '%s'", path);
	return store_remove_tree(going, err);
}

static int kernel(const struct store *s, int argc, char **argv, struct err *err)
{
	static const struct {
		const char *name;
		int (*run)(const struct store *s, int argc, char **argv, struct err *err);
	} actions[] = {
		{"add", add},
		{"list", list},
		{"default", set_default},
		{"remove", remove_kernel},
	};

	if (argc < 2)
		return list(s, 1, argv, err);
	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
		if (!strcmp(actions[i].name, argv[1]))
			return actions[i].run(s, argc - 1, argv + 1, err);
	}
	return cli_usage(&verb_kernel, err, "there is no '%s'", argv[1]);
}

const struct verb verb_kernel = {
	.name = "kernel",
	.usage = "kernel add PATH [--modules DIR] [--name N] | list | default N | remove N",
	.summary = "Keep the kernels that distros are started with.",
	.help = "  add PATH       an unmodified bzImage or vmlinux, such as /boot/vmlinuz-…; the first one becomes the default\n"
		"    --modules DIR  its lib/modules/VERSION, for a kernel that has virtio as modules\n"
		"    --name N       what to call it; default: from the file's name\n"
		"  list           all of them, the default with a star\n"
		"  default N      the one for distros that name none\n"
		"  remove N       forget it\n",
	.run = kernel,
};
