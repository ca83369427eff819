/* SPDX-License-Identifier: Apache-2.0 */
/* lvm set-default: which distro `lvm run` means. */
#include "tools/lvm/cli.h"

static int set_default(const struct store *s, int argc, char **argv, struct err *err)
{
	int r;

	if (argc != 2)
		return cli_usage(&verb_set_default, err, "name one distro");
	r = store_require_distro(s, argv[1], err);
	return r < 0 ? r : store_set_default(s, STORE_DEFAULT_DISTRO, argv[1], err);
}

const struct verb verb_set_default = {
	.name = "set-default",
	.usage = "set-default NAME",
	.summary = "Choose the distro that is meant when none is named.",
	.run = set_default,
};
