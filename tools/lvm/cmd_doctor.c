/* SPDX-License-Identifier: Apache-2.0 */
/* lvm doctor: can this machine run distros, and if not, what to do about it. */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "tools/lvm/cli.h"
#include "tools/lvm/initrd.h"
#include "tools/lvm/launch.h"

#define MAX_TEXT  1100
#define LOW_SPACE (1ull << 30)

struct finding {
	bool ok;
	char text[MAX_TEXT]; /* a sentence, good or bad */
};

static void say(struct finding *f, bool ok, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void say(struct finding *f, bool ok, const char *fmt, ...)
{
	va_list ap;

	f->ok = ok;
	va_start(ap, fmt);
	(void)vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
}

/* The VMM knows KVM; its own probe's sentence is the finding. */
static void check_kvm(const struct store *s, struct finding *f)
{
	cleanup_free char *vmm = NULL;
	struct err err = {0};
	int fds[2], status;
	ssize_t n;
	pid_t pid;

	if (launch_find_program("lvm-vmm", &vmm, &err) < 0) {
		say(f, false, "%s", err.text);
		return;
	}
	if (pipe(fds) < 0 || (pid = fork()) < 0) {
		say(f, false, "cannot start lvm-vmm: %s", strerror(errno));
		return;
	}
	if (pid == 0) {
		(void)dup2(fds[1], STDOUT_FILENO);
		(void)dup2(fds[1], STDERR_FILENO);
		(void)close(fds[0]);
		(void)close(fds[1]);
		execl(vmm, "lvm-vmm", "--probe", (char *)NULL);
		_exit(CLI_EXIT_FAILED);
	}
	(void)close(fds[1]);
	n = fd_read_full(fds[0], f->text, sizeof(f->text) - 1);
	(void)close(fds[0]);
	f->text[n > 0 ? n : 0] = '\0';
	f->text[strcspn(f->text, "\n")] = '\0';
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	f->ok = WIFEXITED(status) && WEXITSTATUS(status) == 0;
	if (str_starts(f->text, "lvm-vmm: "))
		memmove(f->text, f->text + 9, strlen(f->text + 9) + 1);
}

static void check_guest(const struct store *s, struct finding *f)
{
	cleanup_free char *path = NULL;
	struct err err = {0};

	if (initrd_agent(s, false, &path, &err) < 0)
		say(f, false, "%s", err.text);
	else
		say(f, true, "the guest's agent is packed");
}

static void check_installer(const struct store *s, struct finding *f)
{
	cleanup_free char *path = NULL;
	struct err err = {0};

	if (initrd_agent(s, true, &path, &err) < 0)
		say(f, false, "%s", err.text);
	else
		say(f, true, "the installer is packed");
}

static void check_kernel(const struct store *s, struct finding *f)
{
	cleanup_free char *name = store_get_default(s, STORE_DEFAULT_KERNEL);

	if (name)
		say(f, true, "the default kernel is '%s'", name);
	else
		say(f, false,
		    "there is no default kernel: 'lvm kernel add PATH [--modules DIR]' adds one, 'lvm kernel "
		    "default NAME' chooses among several");
}

static void check_space(const struct store *s, struct finding *f)
{
	struct statvfs v;
	uint64_t left;

	if (statvfs(s->home, &v) < 0) {
		say(f, false, "cannot look at '%s': %s", s->home, strerror(errno));
		return;
	}
	left = (uint64_t)v.f_bavail * v.f_frsize;
	say(f, left >= LOW_SPACE, "'%s' has %llu MiB left%s", s->home,
	    (unsigned long long)left >> 20,
	    left >= LOW_SPACE ? ""
			      : ": free space there, or set LVM_HOME to a directory elsewhere");
}

static const struct {
	const char *name;
	void (*check)(const struct store *s, struct finding *f);
} checks[] = {
	{"kvm", check_kvm},       {"guest", check_guest}, {"installer", check_installer},
	{"kernel", check_kernel}, {"space", check_space},
};

static int doctor(const struct store *s, int argc, char **argv, struct err *err)
{
	static const struct option longs[] = {
		{"json", no_argument, NULL, 'j'},
		{NULL, 0, NULL, 0},
	};
	cJSON *all = cJSON_CreateObject(), *array = cJSON_AddArrayToObject(all, "checks");
	bool json = false, ok = true;
	int opt;

	while ((opt = cli_getopt(&verb_doctor, argc, argv, ":", longs, err)) != -1) {
		if (opt != 'j')
			return -EINVAL;
		json = true;
	}
	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
		struct finding f = {0};
		cJSON *o = cJSON_CreateObject();

		checks[i].check(s, &f);
		ok &= f.ok;
		if (!json)
			(void)printf("%-4s %-10s %s\n", f.ok ? "ok" : "BAD", checks[i].name,
				     f.text);
		(void)cJSON_AddStringToObject(o, "name", checks[i].name);
		(void)cJSON_AddBoolToObject(o, "ok", f.ok);
		(void)cJSON_AddStringToObject(o, "text", f.text);
		(void)cJSON_AddItemToArray(array, o);
	}
	(void)cJSON_AddBoolToObject(all, "ok", ok);
	if (json) {
		cleanup_free char *text = cJSON_Print(all);

		(void)printf("%s\n", text);
	}
	cJSON_Delete(all);
	return ok ? 0 : 1;
}

const struct verb verb_doctor = {
	.name = "doctor",
	.usage = "doctor [--json]",
	.summary = "Say whether this machine can run distros, and what to do if not.",
	.help = "Status 0 when all is well, 1 when something is not.\n",
	.run = doctor,
};
