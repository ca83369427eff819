/* SPDX-License-Identifier: Apache-2.0 */
/* lvm stop: an orderly end, or with --force a sudden one. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "tools/lvm/cli.h"
#include "tools/lvm/progress.h"
#include "tools/lvm/vm.h"

#define STOP_MS  120000
#define FORCE_MS 15000

static int stop_one(const struct store *s, const char *name, bool force, struct err *err)
{
	int r = store_require_distro(s, name, err);

	if (r < 0)
		return r;
	progress_show("stopping %s …", name);
	r = vm_stop(s, name, force, force ? FORCE_MS : STOP_MS, err);
	progress_clear();
	return r;
}

/* Every one is tried; the last failure is the one told, the others are printed on the way. */
static int stop_all(const struct store *s, bool force, struct err *err)
{
	struct strv names = {0};
	int r = store_list_distros(s, &names, err);

	for (size_t i = 0; i < names.num; i++) {
		if (!store_is_running(s, names.v[i]))
			continue;
		if (r < 0)
			(void)fprintf(stderr, "lvm: %s\n", err->text);
		if (stop_one(s, names.v[i], force, err) < 0)
			r = -err->code;
	}
	strv_done(&names);
	return r;
}

static int stop(const struct store *s, int argc, char **argv, struct err *err)
{
	static const struct option longs[] = {
		{"all", no_argument, NULL, 'a'},
		{"force", no_argument, NULL, 'f'},
		{NULL, 0, NULL, 0},
	};
	bool all = false, force = false;
	int opt;

	while ((opt = cli_getopt(&verb_stop, argc, argv, ":", longs, err)) != -1) {
		if (opt == 'a')
			all = true;
		else if (opt == 'f')
			force = true;
		else
			return -EINVAL;
	}
	if (argc - optind != !all)
		return cli_usage(&verb_stop, err,
				 all ? "--all takes no name" : "name one distro, or say --all");
	return all ? stop_all(s, force, err) : stop_one(s, argv[optind], force, err);
}

const struct verb verb_stop = {
	.name = "stop",
	.usage = "stop NAME|--all [--force]",
	.summary = "Shut a distro down, or all of them.",
	.help = "  --all    every running distro\n"
		"  --force  end it at once, as pulling the plug would: what was not synced may be lost\n",
	.run = stop,
};
