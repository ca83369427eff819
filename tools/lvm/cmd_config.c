/* SPDX-License-Identifier: Apache-2.0 */
/* lvm config: a distro's settings, shown and changed. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "tools/lvm/cli.h"
#include "tools/lvm/settings.h"

static int show(const struct settings *set, const char *key, bool named, struct err *err)
{
	cleanup_free char *value = NULL;
	int r = settings_get(set, key, &value, err);

	if (r == 0)
		(void)printf(named ? "%s=%s\n" : "%.0s%s\n", key, value);
	return r;
}

static int show_all(const struct settings *set, struct err *err)
{
	const char *key, *help;
	int r = 0;

	for (unsigned i = 0; r == 0 && settings_key(i, &key, &help); i++)
		r = show(set, key, true, err);
	return r;
}

static int change(const struct store *s, struct settings *set, const char *arg, struct err *err)
{
	const char *value = strchr(arg, '=') + 1;
	cleanup_free char *key = str_fmt("%.*s", (int)(value - arg) - 1, arg);

	if (!strcmp(key, "kernel") && *value && !store_has_kernel(s, value))
		return err_say(err, ENOENT, "there is no kernel '%s': see 'lvm kernel list'",
			       value);
	return settings_set(set, key, value, err);
}

/* All or nothing: one wrong value, and none is kept. */
static int apply(const struct store *s, const char *name, int argc, char **argv, struct err *err)
{
	cleanup_free char *path = store_distro_path(s, name, "settings");
	cleanup_close int lock = -1;
	struct settings set;
	bool changed = false;
	int r = store_lock(s, STORE_LOCK_OPERATION, name, true, &lock, err);

	if (r == 0)
		r = settings_load(&set, path, err);
	if (r < 0)
		return r;
	for (int i = 0; r == 0 && i < argc; i++) {
		bool sets = strchr(argv[i], '=');

		r = sets ? change(s, &set, argv[i], err) : show(&set, argv[i], argc > 1, err);
		changed |= sets;
	}
	if (r == 0 && !argc)
		r = show_all(&set, err);
	if (r == 0 && changed)
		r = settings_save(&set, path, err);
	settings_done(&set);
	if (r == 0 && changed && store_is_running(s, name))
		(void)fprintf(stderr, "'%s' is running: this counts from its next start.\n", name);
	return r;
}

static int config(const struct store *s, int argc, char **argv, struct err *err)
{
	int r;

	if (argc < 2)
		return cli_usage(&verb_config, err, "name a distro");
	r = store_require_distro(s, argv[1], err);
	return r < 0 ? r : apply(s, argv[1], argc - 2, argv + 2, err);
}

const struct verb verb_config = {
	.name = "config",
	.usage = "config NAME [KEY[=VALUE]...]",
	.summary = "Show or change a distro's settings; KEY= goes back to the default.",
	.help = "  cpus          virtual CPUs, 1 to 32; default: as many as the host has\n"
		"  memory        RAM, such as 4G or 512M; default: half of the host's, taken only as it is used\n"
		"  kernel        a kernel's name in 'lvm kernel list'; default: the default kernel\n"
		"  cmdline       words added to the kernel command line\n"
		"  systemd       true: the distro's own init runs as PID 1; default: false\n"
		"  user          who 'lvm run' is without -u; default: root\n"
		"  boot_timeout  seconds until a guest that does not answer is given up; default: 60\n",
	.run = config,
};
