/* SPDX-License-Identifier: Apache-2.0 */
/* Makes a distro's disk. This build of lvm-guest cannot: it says so. */
#include "guest/install.h"

#include <errno.h>

int install_run(struct conn *c, const char *disk, const struct request *req, struct err *err)
{
	(void)c;
	(void)req;
	return err_say(err, EOPNOTSUPP, "this lvm-guest cannot install to %s", disk);
}
