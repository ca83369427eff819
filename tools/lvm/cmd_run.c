/* SPDX-License-Identifier: Apache-2.0 */
/* lvm run: a command, or a shell, in a distro that is started if it does not run. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "tools/lvm/agent.h"
#include "tools/lvm/cli.h"
#include "tools/lvm/launch.h"
#include "tools/lvm/session.h"

/* A guest under heavy load may take long to start one more session; one that is dead is noticed otherwise. */
#define ANSWER_MS 120000

struct run_options {
	const char *distro, *user, *cwd;
	bool exec;
};

static int parse(int argc, char **argv, struct run_options *o, struct err *err)
{
	static const struct option longs[] = {
		{"distribution", required_argument, NULL, 'd'},
		{"user", required_argument, NULL, 'u'},
		{"cd", required_argument, NULL, 'c'},
		{"exec", no_argument, NULL, 'e'},
		{NULL, 0, NULL, 0},
	};
	int opt;

	while ((opt = cli_getopt(&verb_run, argc, argv, "+:d:u:e", longs, err)) != -1) {
		switch (opt) {
		case 'd':
			o->distro = optarg;
			break;
		case 'u':
			o->user = optarg;
			break;
		case 'c':
			o->cwd = optarg;
			break;
		case 'e':
			o->exec = true;
			break;
		default:
			return -EINVAL;
		}
	}
	if (o->exec && optind == argc)
		return cli_usage(&verb_run, err, "-e needs a command");
	if (o->cwd && o->cwd[0] != '/' && strcmp(o->cwd, "~") != 0 && strncmp(o->cwd, "~/", 2) != 0)
		return cli_usage(&verb_run, err,
				 "--cd takes a path in the distro, from / or ~, not '%s'", o->cwd);
	return 0;
}

/* The agent of a running VM at once; else the VM is started, and then it must answer. */
static int reach_agent(const struct store *s, const char *name, struct agent **ret_a,
		       struct err *err)
{
	int r;

	if (store_is_running(s, name) && agent_open(s, name, ANSWER_MS, ret_a, NULL) == 0)
		return 0;
	r = launch_distro(s, name, NULL, NULL, err);
	return r < 0 ? r : agent_open(s, name, ANSWER_MS, ret_a, err);
}

static int run(const struct store *s, int argc, char **argv, struct err *err)
{
	struct run_options o = {0};
	cleanup_free char *name = NULL;
	struct agent *agent;
	int r = parse(argc, argv, &o, err);

	if (r == 0)
		r = cli_pick_distro(s, o.distro, &name, err);
	if (r == 0)
		r = reach_agent(s, name, &agent, err);
	if (r < 0)
		return r;
	argc -= optind;
	r = session_run(agent,
			&(struct session_command){
				.user = o.user,
				.cwd = o.cwd,
				.argv = (const char *const *)argv + optind,
				.argc = argc,
				.shell = argc == 1 && !o.exec,
			},
			err);
	agent_close(agent);
	return r;
}

const struct verb verb_run = {
	.name = "run",
	.usage = "[run] [-d NAME] [-u USER] [--cd DIR] [-e] [--] [CMD [ARG...]]",
	.summary = "Run a command, or a login shell, in a distro; starts it if needed.",
	.help = "  -d, --distribution NAME  the distro; default: the one of 'lvm set-default'\n"
		"  -u, --user USER          a user of the distro; default: the setting 'user', else root\n"
		"      --cd DIR             where to run it: a path in the distro, from / or ~; default: home\n"
		"  -e, --exec               run CMD itself, also when it stands alone\n"
		"\n"
		"CMD alone is a line for the user's shell: lvm run 'ls | wc -l'. With arguments it is run as it\n"
		"is, each argument unchanged. The status is the command's; 128+N when signal N ended it, 126 and 127\n"
		"when it could not be run or found, 125 when lvm itself failed. Variables named in LVM_PASS_ENV\n"
		"(separated by colons) are passed on.\n",
	.run = run,
};
