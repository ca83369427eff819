/* SPDX-License-Identifier: Apache-2.0 */
/* The store: paths, names, defaults and locks. */
#include "tools/lvm/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"

/* mkdir -p with mode 0700 for what is made. */
static int make_dirs(const char *path, struct err *err)
{
	cleanup_free char *copy = str_dup(path);
	struct stat st;

	for (char *p = copy + 1;; p++) {
		bool last = !*p;

		if (*p != '/' && !last)
			continue;
		*p = '\0';
		if (mkdir(copy, 0700) < 0 && errno != EEXIST)
			return err_set(err, errno, "cannot make directory '%s'", copy);
		if (last)
			break;
		*p = '/';
	}
	if (stat(path, &st) < 0)
		return err_set(err, errno, "cannot use directory '%s'", path);
	if (!S_ISDIR(st.st_mode))
		return err_say(err, ENOTDIR, "'%s' is not a directory; move it away", path);
	return 0;
}

/* Sockets let whoever reaches them command the VM: the directory must be ours and closed to others. */
static int check_private(const char *path, struct err *err)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return err_set(err, errno, "cannot look at '%s'", path);
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077))
		return err_say(
			err, EPERM,
			"directory '%s' must belong to you and be closed to others: remove it, or "
			"set LVM_RUNTIME_DIR to another",
			path);
	return 0;
}

static char *home_dir(void)
{
	const char *own = getenv("LVM_HOME"), *xdg = getenv("XDG_DATA_HOME"),
		   *home = getenv("HOME");

	if (own && *own)
		return str_dup(own);
	if (xdg && *xdg == '/')
		return str_fmt("%s/lvm", xdg);
	return home && *home ? str_fmt("%s/.local/share/lvm", home) : NULL;
}

static char *runtime_dir(void)
{
	const char *own = getenv("LVM_RUNTIME_DIR"), *xdg = getenv("XDG_RUNTIME_DIR");

	if (own && *own)
		return str_dup(own);
	if (xdg && *xdg == '/')
		return str_fmt("%s/lvm", xdg);
	return str_fmt("/tmp/lvm-%u", (unsigned)geteuid());
}

/* A name that begins with a dot is an install under way, or the rest of one if nobody holds its lock. */
static void sweep(const struct store *s)
{
	cleanup_free char *path = store_distro_path(s, NULL, NULL);
	cleanup_closedir DIR *dir = opendir(path);
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		cleanup_close int fd = -1;
		cleanup_free char *rest = NULL;

		if (e->d_name[0] != '.' || !strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (store_lock(s, STORE_LOCK_OPERATION, e->d_name + 1, false, &fd, NULL) < 0)
			continue;
		rest = store_distro_path(s, e->d_name, NULL);
		(void)store_remove_tree(rest, NULL);
	}
}

/* lvm-vmm gets paths from here and does not stay in our working directory. */
static int make_absolute(char **path, struct err *err)
{
	char *real = realpath(*path, NULL);

	if (!real)
		return err_set(err, errno, "cannot use directory '%s'", *path);
	free(*path);
	*path = real;
	return 0;
}

int store_open(struct store *s, struct err *err)
{
	static const char *const parts[] = {"distros", "kernels", "cache"};
	int r;

	*s = (struct store){.home = home_dir(), .runtime = runtime_dir()};
	if (!s->home)
		return err_say(
			err, ENOENT,
			"cannot tell where to keep distros: set HOME or LVM_HOME to a directory");
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		cleanup_free char *dir = str_fmt("%s/%s", s->home, parts[i]);

		r = make_dirs(dir, err);
		if (r < 0)
			return r;
	}
	r = make_dirs(s->runtime, err);
	if (r == 0)
		r = make_absolute(&s->home, err);
	if (r == 0)
		r = make_absolute(&s->runtime, err);
	if (r == 0)
		r = check_private(s->runtime, err);
	if (r == 0)
		sweep(s);
	return r;
}

void store_done(struct store *s)
{
	free(s->home);
	free(s->runtime);
	*s = (struct store){0};
}

int store_check_name(const char *what, const char *name, struct err *err)
{
	static const char letters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
	size_t n = strlen(name), ok = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrst"
						   "uvwxyz0123456789._-");

	if (n && n <= STORE_NAME_MAX && ok == n && strchr(letters, name[0]))
		return 0;
	return err_say(
		err, EINVAL,
		"'%s' cannot name a %s: use letters, digits, '.', '_' and '-', beginning with a "
		"letter or digit, at most %d of them",
		name, what, STORE_NAME_MAX);
}

static char *join(const char *base, const char *dir, const char *name, const char *file)
{
	return str_fmt("%s%s%s%s%s%s", base, dir, name ? "/" : "", name ?: "", file ? "/" : "",
		       file ?: "");
}

char *store_distro_path(const struct store *s, const char *name, const char *file)
{
	return join(s->home, "/distros", name, file);
}

char *store_kernel_path(const struct store *s, const char *name, const char *file)
{
	return join(s->home, "/kernels", name, file);
}

char *store_cache_path(const struct store *s, const char *file)
{
	return join(s->home, "/cache", NULL, file);
}

char *store_socket_path(const struct store *s, const char *name, const char *file)
{
	return join(s->runtime, "", name, file);
}

static bool is_there(char *owned_path)
{
	bool there = access(owned_path, F_OK) == 0;

	free(owned_path);
	return there;
}

bool store_has_distro(const struct store *s, const char *name)
{
	return store_check_name("distro", name, NULL) == 0 &&
	       is_there(store_distro_path(s, name, NULL));
}

bool store_has_kernel(const struct store *s, const char *name)
{
	return store_check_name("kernel", name, NULL) == 0 &&
	       is_there(store_kernel_path(s, name, NULL));
}

int store_require_distro(const struct store *s, const char *name, struct err *err)
{
	struct strv names = {0};
	cleanup_free char *list = NULL;
	int r = store_check_name("distro", name, err);

	if (r < 0)
		return r;
	if (store_has_distro(s, name))
		return 0;
	r = store_list_distros(s, &names, err);
	if (r < 0)
		return r;
	list = str_dup("");
	for (size_t i = 0; i < names.num; i++) {
		char *longer = str_fmt("%s%s%s", list, i ? ", " : "", names.v[i]);

		free(list);
		list = longer;
	}
	strv_done(&names);
	if (*list)
		return err_say(err, ENOENT, "there is no distro '%s'; there are: %s", name, list);
	return err_say(err, ENOENT,
		       "there is no distro '%s', and no other either: see 'lvm help install'",
		       name);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list_dir(const char *path, struct strv *ret_names, struct err *err)
{
	cleanup_closedir DIR *dir = opendir(path);
	struct dirent *e;

	if (!dir)
		return err_set(err, errno, "cannot read directory '%s'", path);
	while ((e = readdir(dir))) {
		if (e->d_name[0] != '.')
			strv_add(ret_names, e->d_name);
	}
	if (ret_names->num)
		qsort(ret_names->v, ret_names->num, sizeof(*ret_names->v), compare_names);
	return 0;
}

int store_list_distros(const struct store *s, struct strv *ret_names, struct err *err)
{
	cleanup_free char *path = store_distro_path(s, NULL, NULL);

	return list_dir(path, ret_names, err);
}

int store_list_kernels(const struct store *s, struct strv *ret_names, struct err *err)
{
	cleanup_free char *path = store_kernel_path(s, NULL, NULL);

	return list_dir(path, ret_names, err);
}

static char *default_path(const struct store *s, enum store_default which)
{
	return join(s->home, which == STORE_DEFAULT_DISTRO ? "/default-distro" : "/default-kernel",
		    NULL, NULL);
}

char *store_get_default(const struct store *s, enum store_default which)
{
	cleanup_free char *path = default_path(s, which);
	cleanup_free char *name = NULL;
	struct strv names = {0};
	char *only = NULL;

	if (file_read(path, STORE_NAME_MAX + 1, &name, NULL, NULL) == 0) {
		name[strcspn(name, "\n")] = '\0';
		if (which == STORE_DEFAULT_DISTRO ? store_has_distro(s, name)
						  : store_has_kernel(s, name))
			return steal_ptr(name);
	}
	if (which == STORE_DEFAULT_DISTRO)
		(void)store_list_distros(s, &names, NULL);
	else
		(void)store_list_kernels(s, &names, NULL);
	if (names.num == 1)
		only = str_dup(names.v[0]);
	strv_done(&names);
	return only;
}

int store_set_default(const struct store *s, enum store_default which, const char *name,
		      struct err *err)
{
	cleanup_free char *path = default_path(s, which);
	cleanup_free char *line = NULL;

	if (!name) {
		if (unlink(path) < 0 && errno != ENOENT)
			return err_set(err, errno, "cannot remove '%s'", path);
		return 0;
	}
	line = str_fmt("%s\n", name);
	return file_replace(path, line, strlen(line), 0600, err);
}

/* FNV-1a: two names that meet only wait for each other without need. */
static uint64_t hash_name(const char *name, uint64_t h)
{
	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 0x100000001b3u;
	return h;
}

static struct flock lock_range(enum store_lock kind, const char *name)
{
	uint64_t h =
		hash_name(kind == STORE_LOCK_KERNEL ? "kernel/" : "distro/", 0xcbf29ce484222325u);

	/* 4-byte slots in 61 bits: off_t is signed. */
	h = (hash_name(name, h) >> 3) & ~(uint64_t)3;
	return (struct flock){
		.l_type = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = (off_t)(h + (kind == STORE_LOCK_VM)),
		.l_len = 1,
	};
}

static int open_lock_file(const struct store *s, struct err *err)
{
	cleanup_free char *path = join(s->home, "/lock", NULL, NULL);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	return fd < 0 ? err_set(err, errno, "cannot open '%s'", path) : fd;
}

int store_lock(const struct store *s, enum store_lock kind, const char *name, bool wait,
	       int *ret_fd, struct err *err)
{
	struct flock range = lock_range(kind, name);
	cleanup_close int fd = open_lock_file(s, err);
	int r;

	if (fd < 0)
		return fd;
	do {
		r = fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &range) < 0 ? -errno : 0;
	} while (r == -EINTR);
	if (r == -EACCES)
		r = -EAGAIN;
	if (r == -EAGAIN)
		return err_say(err, EAGAIN, "'%s' is in use by another lvm command", name);
	if (r < 0)
		return err_set(err, -r, "cannot lock '%s' in '%s'", name, s->home);
	*ret_fd = steal_fd(&fd);
	return 0;
}

bool store_is_running(const struct store *s, const char *name)
{
	struct flock range = lock_range(STORE_LOCK_VM, name);
	cleanup_close int fd = open_lock_file(s, NULL);

	if (fd < 0 || fcntl(fd, F_OFD_GETLK, &range) < 0)
		return false;
	return range.l_type != F_UNLCK;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path) < 0 && errno != ENOENT ? -1 : 0;
}

int store_remove_tree(const char *path, struct err *err)
{
	if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) < 0 && errno != ENOENT)
		return err_set(err, errno, "cannot remove '%s'", path);
	return 0;
}
