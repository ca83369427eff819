/* SPDX-License-Identifier: Apache-2.0 */
/* lvm logs: what the guest's kernel and init said since the last start. */
#include <errno.h>
#include <getopt.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tools/lvm/cli.h"
#include "tools/lvm/logtail.h"

static int logs(const struct store *s, int argc, char **argv, struct err *err)
{
	static const struct option longs[] = {
		{"follow", no_argument, NULL, 'f'},
		{NULL, 0, NULL, 0},
	};
	cleanup_free char *path = NULL;
	int opt, r, follow = 0;

	while ((opt = cli_getopt(&verb_logs, argc, argv, ":f", longs, err)) != -1) {
		if (opt != 'f')
			return -EINVAL;
		follow = 1;
	}
	if (argc - optind != 1)
		return cli_usage(&verb_logs, err, "name one distro");
	r = store_require_distro(s, argv[optind], err);
	if (r < 0)
		return r;
	path = store_distro_path(s, argv[optind], "console.log");
	if (access(path, F_OK) < 0)
		return err_say(err, ENOENT, "'%s' has not been started yet, so there is no log",
			       argv[optind]);
	return logtail_copy(path, STDOUT_FILENO, follow, err);
}

const struct verb verb_logs = {
	.name = "logs",
	.usage = "logs NAME [-f]",
	.summary = "Print the boot and console log of a distro's last start.",
	.help = "  -f, --follow  go on with what is added\n",
	.run = logs,
};
