/* SPDX-License-Identifier: Apache-2.0 */
/* Private memory from /proc/self/smaps_rollup (Linux filesystems/proc.rst). */
/*
 * Guest RAM is a memfd mapped shared by one process, so smaps calls its pages "private" too (mapped
 * once). They are told apart by Anonymous: all that the VMM allocates is anonymous memory, and
 * private file pages it has written to are counted there as well.
 */
#include "vmm/stats.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

int stats_init(struct stats *st, struct err *err)
{
	st->smaps_fd = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
	/* Without /proc the machine runs as well; only the figure is missing. */
	if (st->smaps_fd < 0 && errno != ENOENT && errno != EACCES)
		return err_set(err, errno, "cannot open /proc/self/smaps_rollup");
	return 0;
}

void stats_done(struct stats *st)
{
	if (st->smaps_fd >= 0)
		(void)close(st->smaps_fd);
	st->smaps_fd = -1;
}

uint64_t stats_parse_private(const char *text)
{
	const char *p = strstr(text, "\nAnonymous:");

	if (!p)
		return 0;
	return strtoull(p + strlen("\nAnonymous:"), NULL, 10) * 1024;
}

uint64_t stats_private_bytes(const struct stats *st)
{
	char text[4096];
	ssize_t n;

	if (st->smaps_fd < 0)
		return 0;
	n = fd_pread_full(st->smaps_fd, text, sizeof(text) - 1, 0);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	return stats_parse_private(text);
}
