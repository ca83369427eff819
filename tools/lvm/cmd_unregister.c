/* SPDX-License-Identifier: Apache-2.0 */
/* lvm unregister: a distro and its disk, gone for good. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tools/lvm/cli.h"

static int unregister(const struct store *s, int argc, char **argv, struct err *err)
{
	cleanup_free char *path = NULL, *going = NULL, *hidden = NULL, *def = NULL;
	cleanup_close int lock = -1;
	int r;

	if (argc != 2)
		return cli_usage(&verb_unregister, err, "name one distro");
	r = store_require_distro(s, argv[1], err);
	if (r == 0)
		r = store_lock(s, STORE_LOCK_OPERATION, argv[1], true, &lock, err);
	if (r == 0)
		r = store_require_distro(s, argv[1], err);
	if (r < 0)
		return r;
	if (store_is_running(s, argv[1]))
		return err_say(err, EBUSY, "'%s' is running: 'lvm stop %s' first", argv[1],
			       argv[1]);
	/* Under its hidden name it is no distro any more, and what an interruption leaves is swept. */
	hidden = str_fmt(".%s", argv[1]);
	path = store_distro_path(s, argv[1], NULL);
	going = store_distro_path(s, hidden, NULL);
	def = store_get_default(s, STORE_DEFAULT_DISTRO);
	if (rename(path, going) < 0)
		return err_set(err, errno, "cannot remove '%s'", path);
	if (def && !strcmp(def, argv[1]))
		(void)store_set_default(s, STORE_DEFAULT_DISTRO, NULL, NULL);
	return store_remove_tree(going, err);
}

const struct verb verb_unregister = {
	.name = "unregister",
	.usage = "unregister NAME",
	.summary = "Remove a distro with its disk and everything on it.",
	.run = unregister,
};
