/* SPDX-License-Identifier: Apache-2.0 */
/* lvm list: the distros, their states, what they take. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cjson/cJSON.h>

#include "base/cleanup.h"
#include "tools/lvm/cli.h"
#include "tools/lvm/vm.h"

enum list_format {
	LIST_PLAIN,
	LIST_QUIET,
	LIST_VERBOSE,
	LIST_JSON,
};

struct list_entry {
	const char *name;
	bool is_default;
	struct vm_status status;
	uint64_t disk_size, disk_used; /* bytes */
};

static void look(const struct store *s, struct list_entry *e)
{
	cleanup_free char *disk = store_distro_path(s, e->name, "root.ext4");
	struct stat st;

	vm_status(s, e->name, &e->status);
	if (stat(disk, &st) == 0) {
		e->disk_size = (uint64_t)st.st_size;
		e->disk_used = (uint64_t)st.st_blocks * 512;
	}
}

static cJSON *json_of(const struct list_entry *e)
{
	cJSON *o = cJSON_CreateObject();

	(void)cJSON_AddStringToObject(o, "name", e->name);
	(void)cJSON_AddStringToObject(o, "state", e->status.state);
	(void)cJSON_AddBoolToObject(o, "default", e->is_default);
	(void)cJSON_AddNumberToObject(o, "disk_size", (double)e->disk_size);
	(void)cJSON_AddNumberToObject(o, "disk_used", (double)e->disk_used);
	if (e->status.running) {
		(void)cJSON_AddNumberToObject(o, "pid", e->status.pid);
		(void)cJSON_AddNumberToObject(o, "vcpus", (double)e->status.vcpus);
		(void)cJSON_AddNumberToObject(o, "memory", (double)e->status.memory);
		(void)cJSON_AddNumberToObject(o, "uptime_ms", (double)e->status.uptime_ms);
	}
	return o;
}

static void print_size(uint64_t bytes)
{
	if (bytes >= 10ull << 30)
		(void)printf(" %6lluG", (unsigned long long)(bytes >> 30));
	else
		(void)printf(" %6lluM", (unsigned long long)(bytes >> 20));
}

static void print_entry(const struct list_entry *e, enum list_format format, cJSON *array)
{
	switch (format) {
	case LIST_PLAIN:
		(void)printf("%s%s%s\n", e->name, e->is_default ? " (default)" : "",
			     e->status.running ? " (running)" : "");
		break;
	case LIST_QUIET:
		(void)printf("%s\n", e->name);
		break;
	case LIST_VERBOSE:
		(void)printf("%c %-24s %-9s", e->is_default ? '*' : ' ', e->name, e->status.state);
		print_size(e->disk_used);
		print_size(e->disk_size);
		if (e->status.running) {
			print_size(e->status.memory);
			(void)printf(" %5llu %8d", (unsigned long long)e->status.vcpus,
				     e->status.pid);
		}
		(void)printf("\n");
		break;
	case LIST_JSON:
		(void)cJSON_AddItemToArray(array, json_of(e));
		break;
	}
}

static int parse(int argc, char **argv, enum list_format *format, bool *running, struct err *err)
{
	static const struct option longs[] = {
		{"verbose", no_argument, NULL, 'v'},
		{"quiet", no_argument, NULL, 'q'},
		{"json", no_argument, NULL, 'j'},
		{"running", no_argument, NULL, 'r'},
		{NULL, 0, NULL, 0},
	};
	int opt;

	while ((opt = cli_getopt(&verb_list, argc, argv, ":vq", longs, err)) != -1) {
		if (opt == '?')
			return -EINVAL;
		if (opt == 'r')
			*running = true;
		else
			*format = opt == 'v' ? LIST_VERBOSE : opt == 'q' ? LIST_QUIET : LIST_JSON;
	}
	return optind < argc ? cli_usage(&verb_list, err, "'%s' is too much", argv[optind]) : 0;
}

static int list(const struct store *s, int argc, char **argv, struct err *err)
{
	enum list_format format = LIST_PLAIN;
	bool running_only = false;
	cleanup_free char *def = store_get_default(s, STORE_DEFAULT_DISTRO);
	struct strv names = {0};
	cJSON *array;
	int r = parse(argc, argv, &format, &running_only, err);

	if (r == 0)
		r = store_list_distros(s, &names, err);
	if (r < 0)
		return r;
	array = cJSON_CreateArray();
	if (format == LIST_VERBOSE)
		(void)printf("  %-24s %-9s %7s %7s %7s %5s %8s\n", "NAME", "STATE", "USED", "SIZE",
			     "MEMORY", "VCPUS", "PID");
	for (size_t i = 0; i < names.num; i++) {
		struct list_entry e = {.name = names.v[i],
				       .is_default = def && !strcmp(def, names.v[i])};

		look(s, &e);
		if (!running_only || e.status.running)
			print_entry(&e, format, array);
	}
	if (format == LIST_JSON) {
		cleanup_free char *text = cJSON_Print(array);

		(void)printf("%s\n", text);
	} else if (!names.num && format == LIST_PLAIN) {
		(void)fprintf(stderr,
			      "There is no distro yet: install one with 'lvm install SOURCE'.\n");
	}
	cJSON_Delete(array);
	strv_done(&names);
	return 0;
}

const struct verb verb_list = {
	.name = "list",
	.usage = "list [-v|-q|--json] [--running]",
	.summary = "List the distros.",
	.help = "  -v, --verbose  with state, disk space used and in all, memory, vCPUs, process\n"
		"  -q, --quiet    names only\n"
		"      --json     for programs; sizes in bytes\n"
		"      --running  only those that run\n",
	.run = list,
};
