/* SPDX-License-Identifier: Apache-2.0 */
/* lvm start: a distro's VM, up to the point where it answers. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>

#include "tools/lvm/cli.h"
#include "tools/lvm/launch.h"
#include "tools/lvm/vm.h"

static void print_timings(const struct store *s, const char *name, const struct launch_timings *t)
{
	struct vm_status st;

	vm_status(s, name, &st);
	(void)printf("waited for others  %6lld ms\n", (long long)t->lock_ms);
	(void)printf("prepared           %6lld ms\n", (long long)t->prepare_ms);
	(void)printf("process started    %6lld ms\n", (long long)t->spawn_ms);
	(void)printf("guest answered     %6lld ms\n", (long long)t->ready_ms);
	(void)printf("of that, booting   %6llu ms\n", (unsigned long long)st.boot_ms);
}

static int start(const struct store *s, int argc, char **argv, struct err *err)
{
	static const struct option longs[] = {
		{"timings", no_argument, NULL, 't'},
		{NULL, 0, NULL, 0},
	};
	struct launch_timings t;
	bool timings = false, started;
	int opt, r;

	while ((opt = cli_getopt(&verb_start, argc, argv, ":", longs, err)) != -1) {
		if (opt != 't')
			return -EINVAL;
		timings = true;
	}
	if (argc - optind != 1)
		return cli_usage(&verb_start, err, "name one distro");
	r = launch_distro(s, argv[optind], &t, &started, err);
	if (r < 0)
		return r;
	if (timings && started)
		print_timings(s, argv[optind], &t);
	else if (timings)
		(void)printf("%s was running already\n", argv[optind]);
	return 0;
}

const struct verb verb_start = {
	.name = "start",
	.usage = "start NAME [--timings]",
	.summary = "Start a distro and return when it answers.",
	.help = "  --timings  print where the time went\n",
	.run = start,
};
