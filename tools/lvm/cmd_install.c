/* SPDX-License-Identifier: Apache-2.0 */
/* lvm install: a distro from a root file system archive. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "tools/lvm/cli.h"
#include "tools/lvm/install.h"

/* Sparse: it costs what is in it. Large enough that nobody meets the limit by surprise. */
#define DEFAULT_DISK (256ull << 30)
#define MIN_DISK     (32ull << 20)
#define MAX_DISK     (16ull << 40)
#define DISK_STEP    (1ull << 20)

/* "x/debian-12.tar.zst" is "debian-12". */
static char *name_from(const char *source)
{
	static const char *const suffixes[] = {".tar",     ".tar.gz",  ".tgz",  ".tar.xz", ".txz",
					       ".tar.zst", ".tar.bz2", ".tbz2", ".wsl"};
	const char *slash = strrchr(source, '/'), *base = slash ? slash + 1 : source;

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		if (str_ends(base, suffixes[i]))
			return str_fmt("%.*s", (int)(strlen(base) - strlen(suffixes[i])), base);
	}
	return str_dup(base);
}

static int open_source(struct install *in, struct err *err)
{
	struct stat st;

	in->source_fd = strcmp(in->source, "-") ? open(in->source, O_RDONLY | O_CLOEXEC)
						: fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	if (in->source_fd < 0 || fstat(in->source_fd, &st) < 0)
		return err_set(err, errno, "cannot open the archive '%s'", in->source);
	if (S_ISDIR(st.st_mode))
		return err_say(
			err, EISDIR,
			"'%s' is a directory: make an archive of it (tar -C DIR -c . | lvm install - "
			"--name NAME)",
			in->source);
	if (S_ISREG(st.st_mode) && st.st_size == 0)
		return err_say(err, EINVAL, "the archive '%s' is empty", in->source);
	if (isatty(in->source_fd))
		return err_say(err, EINVAL,
			       "the archive is to come from standard input, which is a terminal");
	in->source_len = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
	return 0;
}

static int parse(int argc, char **argv, struct install *in, const char **ret_name, struct err *err)
{
	static const struct option longs[] = {
		{"name", required_argument, NULL, 'n'},
		{"size", required_argument, NULL, 's'},
		{NULL, 0, NULL, 0},
	};
	int opt;

	in->disk_len = DEFAULT_DISK;
	while ((opt = cli_getopt(&verb_install, argc, argv, ":", longs, err)) != -1) {
		switch (opt) {
		case 'n':
			*ret_name = optarg;
			break;
		case 's':
			if (str_to_size(optarg, &in->disk_len) < 0 || in->disk_len < MIN_DISK ||
			    in->disk_len > MAX_DISK)
				return cli_usage(&verb_install, err,
						 "--size takes 32M to 16T, such as 64G, not '%s'",
						 optarg);
			in->disk_len &= ~(DISK_STEP - 1);
			break;
		default:
			return -EINVAL;
		}
	}
	if (argc - optind != 1)
		return cli_usage(&verb_install, err, "name one archive, or - for standard input");
	in->source = argv[optind];
	if (!*ret_name && !strcmp(in->source, "-"))
		return cli_usage(&verb_install, err, "an archive from standard input needs --name");
	return 0;
}

static int install(const struct store *s, int argc, char **argv, struct err *err)
{
	struct install in = {.source_fd = -1};
	cleanup_free char *name = NULL;
	cleanup_close int lock = -1, source = -1;
	const char *given = NULL;
	int r = parse(argc, argv, &in, &given, err);

	if (r < 0)
		return r;
	name = given ? str_dup(given) : name_from(in.source);
	in.name = name;
	r = store_check_name("distro", name, err);
	if (r == 0)
		r = open_source(&in, err);
	source = in.source_fd;
	if (r == 0)
		r = store_lock(s, STORE_LOCK_OPERATION, name, true, &lock, err);
	if (r < 0)
		return r;
	if (store_has_distro(s, name))
		return err_say(
			err, EEXIST,
			"there is a distro '%s' already: give this one another name with --name, or "
			"remove that one with 'lvm unregister %s'",
			name, name);
	r = install_distro(s, &in, err);
	if (r < 0)
		return err_wrap(err, "cannot install '%s' from '%s'", name, in.source);
	if (isatty(STDERR_FILENO))
		(void)fprintf(stderr, "Installed %s; 'lvm run -d %s' gives a shell in it.\n", name,
			      name);
	return 0;
}

const struct verb verb_install = {
	.name = "install",
	.usage = "install SOURCE [--name NAME] [--size SIZE]",
	.summary =
		"Make a distro from a root file system: .tar, .tar.gz, .tar.xz, .tar.zst, .tar.bz2, .wsl, or - for stdin.",
	.help = "  --name NAME  what to call it; default: the archive's name without its ending\n"
		"  --size SIZE  how large its disk may grow; default: 256G, of which only what is used is taken\n"
		"\n"
		"The archive is unpacked inside a VM: it cannot touch the host. Owners, modes, times, hard\n"
		"links, extended attributes, ACLs, capabilities and holes are kept. A failed or interrupted install leaves nothing.\n",
	.run = install,
};
