/* SPDX-License-Identifier: Apache-2.0 */
/* lvm: the command. Finds the verb, prints its failure, keeps its exit status. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "tools/lvm/cli.h"
#include "tools/lvm/progress.h"

static const struct verb *const verbs[] = {
	&verb_run,         &verb_start, &verb_stop,   &verb_list,   &verb_install, &verb_unregister,
	&verb_set_default, &verb_logs,  &verb_kernel, &verb_config, &verb_doctor,
};

#define NUM_VERBS (sizeof(verbs) / sizeof(verbs[0]))

int cli_usage(const struct verb *v, struct err *err, const char *fmt, ...)
{
	char what[512];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return err_say(err, EINVAL, "%s; usage: lvm %s", what, v->usage);
}

int cli_getopt(const struct verb *v, int argc, char **argv, const char *shorts,
	       const struct option *longs, struct err *err)
{
	int opt;

	opterr = 0;
	opt = getopt_long(argc, argv, shorts, longs, NULL);
	/* The shorts begin with "+:" or ":", so a missing value is told apart. */
	if (opt == ':') {
		(void)cli_usage(v, err, "'%s' needs a value", argv[optind - 1]);
		return '?';
	}
	if (opt == '?') {
		if (optopt && optopt < 128 && !str_starts(argv[optind - 1], "--"))
			(void)cli_usage(v, err, "there is no option '-%c'", optopt);
		else
			(void)cli_usage(v, err, "there is no option '%s'", argv[optind - 1]);
	}
	return opt;
}

int cli_pick_distro(const struct store *s, const char *given, char **ret_name, struct err *err)
{
	struct strv names = {0};
	int r;

	if (given) {
		r = store_require_distro(s, given, err);
		if (r == 0)
			*ret_name = str_dup(given);
		return r;
	}
	*ret_name = store_get_default(s, STORE_DEFAULT_DISTRO);
	if (*ret_name)
		return 0;
	r = store_list_distros(s, &names, err);
	if (r == 0)
		r = err_say(
			err, ENOENT, "%s",
			names.num
				? "there is no default distro: choose one with 'lvm set-default NAME', or "
				  "name one with -d"
				: "there is no distro yet: install one with 'lvm install SOURCE'");
	strv_done(&names);
	return r;
}

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < NUM_VERBS; i++) {
		if (!strcmp(verbs[i]->name, name))
			return verbs[i];
	}
	return NULL;
}

static int help_all(FILE *out)
{
	(void)fputs("lvm runs Linux distros in small virtual machines of their own.\n\n", out);
	for (size_t i = 0; i < NUM_VERBS; i++)
		(void)fprintf(out, "  lvm %s\n      %s\n", verbs[i]->usage, verbs[i]->summary);
	(void)fputs(
		"\n'lvm help VERB' says more. Status 125 is lvm's own failure; any other is the command's.\n",
		out);
	return 0;
}

static int help_verb(const char *name, struct err *err)
{
	const struct verb *v = find_verb(name);

	if (!v)
		return err_say(err, EINVAL, "there is no verb '%s': 'lvm --help' lists them", name);
	(void)printf("lvm %s\n\n%s\n%s%s", v->usage, v->summary, v->help ? "\n" : "",
		     v->help ?: "");
	return 0;
}

static int run_verb(const struct verb *v, int argc, char **argv, struct err *err)
{
	struct store s = {0};
	int r = v->no_store ? 0 : store_open(&s, err);

	if (r == 0)
		r = v->run(v->no_store ? NULL : &s, argc, argv, err);
	store_done(&s);
	return r;
}

static int dispatch(int argc, char **argv, struct err *err)
{
	const struct verb *v;

	if (argc < 2)
		return run_verb(&verb_run, argc, argv, err);
	if (!strcmp(argv[1], "--version")) {
		(void)printf("lvm %s\n", LVM_VERSION);
		return 0;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return help_all(stdout);
	if (!strcmp(argv[1], "help"))
		return argc > 2 ? help_verb(argv[2], err) : help_all(stdout);
	v = find_verb(argv[1]);
	if (v && argc > 2 && !strcmp(argv[2], "--help"))
		return help_verb(v->name, err);
	if (v)
		return run_verb(v, argc - 1, argv + 1, err);
	/* `lvm -d debian make`: the verb is left out, options of run come first. */
	if (argv[1][0] == '-')
		return run_verb(&verb_run, argc, argv, err);
	return err_say(
		err, EINVAL,
		"there is no verb '%s': 'lvm --help' lists them; to run it as a command in the distro: lvm run %s",
		argv[1], argv[1]);
}

/* A descriptor 0, 1 or 2 that nobody gave us must not become a socket of ours: /dev/null takes the place. */
static void hold_standard_fds(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	} while (fd >= 0 && fd <= STDERR_FILENO && fcntl(fd, F_SETFD, 0) == 0);
	if (fd > STDERR_FILENO)
		(void)close(fd);
}

int main(int argc, char **argv)
{
	struct err err = {0};
	int r;

	hold_standard_fds();
	/* Where it is ignored, which programs inherit, nobody's end could be waited for. */
	(void)signal(SIGCHLD, SIG_DFL);
	r = dispatch(argc, argv, &err);
	progress_clear();
	if (r >= 0 && fflush(stdout) == 0 && !ferror(stdout))
		return r;
	if (r >= 0)
		(void)err_set(&err, errno ?: EIO, "cannot write to standard output");
	/* Among the words may be a guest's, or names out of an archive. */
	str_harmless(err.text, strlen(err.text), "");
	(void)fprintf(stderr, "lvm: %s\n", err.text);
	return CLI_EXIT_FAILED;
}
