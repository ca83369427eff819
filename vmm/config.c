/* SPDX-License-Identifier: Apache-2.0 */
/* lvm-vmm's command line, read and written. */
#include "vmm/config.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define MIN_MEMORY   (UINT64_C(32) << 20)
#define MEMORY_GRAIN (UINT64_C(2) << 20)
#define MIN_CID      3
#define DEFAULT_CID  3

/* One option: value is NULL for those that take none. */
struct option_spec {
	const char *name;
	bool takes_value;
	int (*set)(struct vmm_config *c, const char *value, struct err *err);
};

void vmm_config_defaults(struct vmm_config *c)
{
	c->num_vcpus = 1;
	c->memory_bytes = UINT64_C(512) << 20;
	c->cid = DEFAULT_CID;
	c->ready_fd = -1;
	c->lock_fd = -1;
	c->sandbox = true;
	c->early_console = true;
}

void vmm_config_done(struct vmm_config *c)
{
	free(c->name);
	free(c->kernel);
	for (unsigned i = 0; i < c->num_initrds; i++)
		free(c->initrd[i]);
	free(c->cmdline);
	for (unsigned i = 0; i < c->num_disks; i++) {
		free(c->disk[i].path);
		free(c->disk[i].serial);
	}
	free(c->vsock);
	free(c->control);
	free(c->console_log);
	free(c->cache_dir);
	*c = (struct vmm_config){.ready_fd = -1, .lock_fd = -1};
}

/* The last one given counts, as for every option that is not a list. */
static int set_string(char **field, const char *value)
{
	free(*field);
	*field = str_dup(value);
	return 0;
}

static int set_number(const char *option, const char *value, uint64_t min, uint64_t max,
		      uint64_t *ret_v, struct err *err)
{
	int r = str_to_u64(value, min, max, ret_v);

	if (r < 0)
		return err_say(err, -r, "--%s takes a number from %llu to %llu, not '%s'", option,
			       (unsigned long long)min, (unsigned long long)max, value);
	return 0;
}

static int set_name(struct vmm_config *c, const char *value, struct err *err)
{
	return set_string(&c->name, value);
}

static int set_cpus(struct vmm_config *c, const char *value, struct err *err)
{
	uint64_t v;
	int r = set_number("cpus", value, 1, VMM_MAX_VCPUS, &v, err);

	if (r == 0)
		c->num_vcpus = (unsigned)v;
	return r;
}

static int set_memory(struct vmm_config *c, const char *value, struct err *err)
{
	uint64_t v;
	int r = str_to_size(value, &v);

	if (r < 0)
		return err_say(err, -r, "--memory takes a size such as 512M or 4G, not '%s'",
			       value);
	if (v < MIN_MEMORY || v % MEMORY_GRAIN || v > INT64_MAX)
		return err_say(err, EINVAL,
			       "--memory must be at least 32M and a multiple of 2M, not '%s'",
			       value);
	c->memory_bytes = v;
	return 0;
}

static int set_kernel(struct vmm_config *c, const char *value, struct err *err)
{
	return set_string(&c->kernel, value);
}

static int add_initrd(struct vmm_config *c, const char *value, struct err *err)
{
	if (c->num_initrds == VMM_MAX_INITRDS)
		return err_say(err, E2BIG, "--initrd can be given at most %d times",
			       VMM_MAX_INITRDS);
	c->initrd[c->num_initrds++] = str_dup(value);
	return 0;
}

static int set_cmdline(struct vmm_config *c, const char *value, struct err *err)
{
	return set_string(&c->cmdline, value);
}

/*
 * Copies one comma-ended field of s into a new string, a doubled comma as one; returns what
 * follows, or NULL at the end.
 */
static const char *split_field(const char *s, char **ret_field)
{
	char *field = xcalloc(strlen(s) + 1, 1);
	size_t n = 0;

	for (; *s; s++) {
		if (*s == ',' && s[1] != ',')
			break;
		if (*s == ',')
			s++;
		field[n++] = *s;
	}
	*ret_field = field;
	return *s ? s + 1 : NULL;
}

static int set_disk_field(struct vmm_disk_config *d, const char *field, struct err *err)
{
	if (str_starts(field, "path="))
		return set_string(&d->path, field + strlen("path="));
	if (str_starts(field, "serial="))
		return set_string(&d->serial, field + strlen("serial="));
	if (strcmp(field, "ro") == 0) {
		d->read_only = true;
		return 0;
	}
	return err_say(err, EINVAL, "--disk takes path=PATH[,ro][,serial=TEXT], not '%s'", field);
}

static int add_disk(struct vmm_config *c, const char *value, struct err *err)
{
	struct vmm_disk_config d = {0};
	int r = 0;

	if (c->num_disks == VMM_MAX_DISKS)
		return err_say(err, E2BIG, "--disk can be given at most %d times", VMM_MAX_DISKS);
	while (value && r == 0) {
		char *field;

		value = split_field(value, &field);
		r = set_disk_field(&d, field, err);
		free(field);
	}
	if (r == 0 && (!d.path || !*d.path))
		r = err_say(err, EINVAL, "--disk needs path=PATH");
	if (r < 0) {
		free(d.path);
		free(d.serial);
		return r;
	}
	c->disk[c->num_disks++] = d;
	return 0;
}

static int set_vsock(struct vmm_config *c, const char *value, struct err *err)
{
	return set_string(&c->vsock, value);
}

static int set_cid(struct vmm_config *c, const char *value, struct err *err)
{
	uint64_t v;
	int r = set_number("cid", value, MIN_CID, UINT32_MAX - 1, &v, err);

	if (r == 0)
		c->cid = (uint32_t)v;
	return r;
}

static int set_control(struct vmm_config *c, const char *value, struct err *err)
{
	return set_string(&c->control, value);
}

static int set_console_log(struct vmm_config *c, const char *value, struct err *err)
{
	return set_string(&c->console_log, value);
}

static int set_cache_dir(struct vmm_config *c, const char *value, struct err *err)
{
	return set_string(&c->cache_dir, value);
}

static int set_ready_fd(struct vmm_config *c, const char *value, struct err *err)
{
	uint64_t v;
	int r = set_number("ready-fd", value, 0, INT_MAX, &v, err);

	if (r == 0)
		c->ready_fd = (int)v;
	return r;
}

static int set_lock_fd(struct vmm_config *c, const char *value, struct err *err)
{
	uint64_t v;
	int r = set_number("lock-fd", value, 0, INT_MAX, &v, err);

	if (r == 0)
		c->lock_fd = (int)v;
	return r;
}

static int set_no_sandbox(struct vmm_config *c, const char *value, struct err *err)
{
	c->sandbox = false;
	return 0;
}

static int set_no_early_console(struct vmm_config *c, const char *value, struct err *err)
{
	c->early_console = false;
	return 0;
}

static int set_debug(struct vmm_config *c, const char *value, struct err *err)
{
	c->debug = true;
	return 0;
}

static const struct option_spec options[] = {
	{"name", true, set_name},
	{"cpus", true, set_cpus},
	{"memory", true, set_memory},
	{"kernel", true, set_kernel},
	{"initrd", true, add_initrd},
	{"cmdline", true, set_cmdline},
	{"disk", true, add_disk},
	{"vsock", true, set_vsock},
	{"cid", true, set_cid},
	{"control", true, set_control},
	{"console-log", true, set_console_log},
	{"cache-dir", true, set_cache_dir},
	{"ready-fd", true, set_ready_fd},
	{"lock-fd", true, set_lock_fd},
	{"no-sandbox", false, set_no_sandbox},
	{"no-early-console", false, set_no_early_console},
	{"debug", false, set_debug},
};

/* The option that arg names, with *ret_value at what follows a '=' in it, or NULL. */
static const struct option_spec *option_find(const char *arg, const char **ret_value)
{
	if (!str_starts(arg, "--"))
		return NULL;
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		size_t n = strlen(options[i].name);

		if (strncmp(arg + 2, options[i].name, n) != 0)
			continue;
		if (arg[2 + n] != '\0' && arg[2 + n] != '=')
			continue;
		*ret_value = arg[2 + n] ? arg + 2 + n + 1 : NULL;
		return &options[i];
	}
	return NULL;
}

int vmm_config_parse(struct vmm_config *c, int argc, char **argv, struct err *err)
{
	for (int i = 1; i < argc; i++) {
		const struct option_spec *o;
		const char *value = NULL;
		int r;

		o = option_find(argv[i], &value);
		if (!o)
			return err_say(err, EINVAL, "unknown option '%s'; see lvm-vmm --help",
				       argv[i]);
		if (!o->takes_value && value)
			return err_say(err, EINVAL, "--%s takes no value", o->name);
		if (o->takes_value && !value) {
			if (i + 1 == argc)
				return err_say(err, EINVAL, "--%s needs a value", o->name);
			value = argv[++i];
		}
		r = o->set(c, value, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static char *double_commas(const char *s)
{
	char *out = xcalloc(2 * strlen(s) + 1, 1);
	char *p = out;

	for (; *s; s++) {
		if (*s == ',')
			*p++ = ',';
		*p++ = *s;
	}
	return out;
}

static void put_string(struct strv *argv, const char *option, const char *value)
{
	if (!value)
		return;
	strv_add(argv, option);
	strv_add(argv, value);
}

static void put_disk(struct strv *argv, const struct vmm_disk_config *d)
{
	char *path = double_commas(d->path);
	char *serial = double_commas(d->serial ? d->serial : "");

	strv_add(argv, "--disk");
	strv_addf(argv, "path=%s%s%s%s", path, d->read_only ? ",ro" : "",
		  d->serial ? ",serial=" : "", serial);
	free(path);
	free(serial);
}

static void put_fd(struct strv *argv, const char *option, int fd)
{
	if (fd < 0)
		return;
	strv_add(argv, option);
	strv_addf(argv, "%d", fd);
}

void vmm_config_to_argv(const struct vmm_config *c, struct strv *argv)
{
	put_string(argv, "--name", c->name);
	strv_add(argv, "--cpus");
	strv_addf(argv, "%u", c->num_vcpus);
	strv_add(argv, "--memory");
	strv_addf(argv, "%llu", (unsigned long long)c->memory_bytes);
	put_string(argv, "--kernel", c->kernel);
	for (unsigned i = 0; i < c->num_initrds; i++)
		put_string(argv, "--initrd", c->initrd[i]);
	put_string(argv, "--cmdline", c->cmdline);
	for (unsigned i = 0; i < c->num_disks; i++)
		put_disk(argv, &c->disk[i]);
	put_string(argv, "--vsock", c->vsock);
	strv_add(argv, "--cid");
	strv_addf(argv, "%u", c->cid);
	put_string(argv, "--control", c->control);
	put_string(argv, "--console-log", c->console_log);
	put_string(argv, "--cache-dir", c->cache_dir);
	put_fd(argv, "--ready-fd", c->ready_fd);
	put_fd(argv, "--lock-fd", c->lock_fd);
	if (!c->sandbox)
		strv_add(argv, "--no-sandbox");
	if (!c->early_console)
		strv_add(argv, "--no-early-console");
	if (c->debug)
		strv_add(argv, "--debug");
}
