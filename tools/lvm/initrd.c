/* SPDX-License-Identifier: Apache-2.0 */
/* Packing our initramfs archives, and keeping them. */
#include "tools/lvm/initrd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "boot/initramfs.h"
#include "tools/lvm/launch.h"

#define STALE_AFTER_S (24 * 3600)

/* What a stock kernel may have as modules and a guest needs before, or beside, its root. */
static const char *const guest_modules[] = {
	"virtio_pci",
	"virtio_blk",
	"virtio_console",
	"virtio_rng",
	"virtio_net",
	"vmw_vsock_virtio_transport",
	"virtio_balloon",
	"ext4",
	"overlay",
	"autofs4",
	"button",
	"evdev",
	NULL,
};

/* Programs of e2fsprogs by the names they have in the archive. */
static const char *const installer_programs[] = {"mke2fs", "e2fsck", "resize2fs"};
#define NUM_INSTALLER_PROGRAMS (sizeof(installer_programs) / sizeof(installer_programs[0]))

static char *find_sbin(const char *name)
{
	static const char *const dirs[] = {"/usr/sbin", "/sbin", "/usr/bin", "/usr/local/sbin"};

	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		char *path = str_fmt("%s/%s", dirs[i], name);

		if (access(path, X_OK) == 0)
			return path;
		free(path);
	}
	return NULL;
}

/* Which version of a file this is, without reading it: enough to tell one build of ours from the next. */
static int mix_identity(uint64_t *h, const char *path, struct err *err)
{
	struct stat st;
	uint64_t parts[4];

	if (stat(path, &st) < 0)
		return err_set(err, errno, "cannot find '%s'", path);
	parts[0] = st.st_ino;
	parts[1] = (uint64_t)st.st_size;
	parts[2] = (uint64_t)st.st_mtim.tv_sec;
	parts[3] = (uint64_t)st.st_mtim.tv_nsec;
	for (size_t i = 0; i < sizeof(parts); i++)
		*h = (*h ^ ((const uint8_t *)parts)[i]) * 0x100000001b3u;
	return 0;
}

struct agent_parts {
	char *guest;
	char *program[NUM_INSTALLER_PROGRAMS]; /* NULL: not for this archive */
};

static void agent_parts_done(struct agent_parts *p)
{
	free(p->guest);
	for (size_t i = 0; i < NUM_INSTALLER_PROGRAMS; i++)
		free(p->program[i]);
}

static int find_parts(struct agent_parts *p, bool installer, struct err *err)
{
	int r = launch_find_program("lvm-guest", &p->guest, err);

	for (size_t i = 0; r == 0 && installer && i < NUM_INSTALLER_PROGRAMS; i++) {
		p->program[i] = find_sbin(installer_programs[i]);
		if (!p->program[i])
			r = err_say(
				err, ENOENT,
				"cannot find %s, which makes the distro's file system: install the "
				"package e2fsprogs",
				installer_programs[i]);
	}
	return r;
}

static int pack_agent(int fd, const struct agent_parts *p, struct err *err)
{
	struct cpio *c;
	int r = cpio_new(fd, &c, err);

	if (r < 0)
		return r;
	r = cpio_add_file(c, "init", 0755, p->guest, err);
	/* /dev/console before devtmpfs is mounted: the kernel opens it for PID 1. */
	if (r == 0)
		r = cpio_add_node(c, "dev/console", S_IFCHR | 0600, 5, 1, err);
	for (size_t i = 0; r == 0 && i < NUM_INSTALLER_PROGRAMS; i++) {
		cleanup_free char *path = str_fmt("sbin/%s", installer_programs[i]);

		if (p->program[i])
			r = initramfs_add_program(c, p->program[i], path, err);
	}
	if (r < 0) {
		cpio_abandon(c);
		return r;
	}
	return cpio_finish(c, err);
}

/* A file beside path that becomes path when whole. */
static int open_beside(const char *path, char **ret_tmp, struct err *err)
{
	char *tmp = str_fmt("%s.XXXXXX", path);
	int fd = mkostemp(tmp, O_CLOEXEC);

	if (fd < 0) {
		int r = err_set(err, errno, "cannot make a file beside '%s'", path);

		free(tmp);
		return r;
	}
	*ret_tmp = tmp;
	return fd;
}

/* Archives of older builds: a day old, so nobody is just about to open them. */
static void remove_stale(const struct store *s, const char *keep)
{
	cleanup_free char *dir_path = store_cache_path(s, NULL);
	cleanup_closedir DIR *dir = opendir(dir_path);
	time_t now = time(NULL);
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		cleanup_free char *path = store_cache_path(s, e->d_name);
		struct stat st;

		if (str_starts(e->d_name, "initrd-") && strcmp(path, keep) != 0 &&
		    stat(path, &st) == 0 && now - st.st_mtime > STALE_AFTER_S)
			(void)unlink(path);
	}
}

int initrd_agent(const struct store *s, bool installer, char **ret_path, struct err *err)
{
	struct agent_parts parts = {0};
	cleanup_free char *path = NULL, *tmp = NULL, *file = NULL;
	cleanup_close int fd = -1;
	uint64_t h = 0xcbf29ce484222325u;
	int r = find_parts(&parts, installer, err);

	if (r == 0)
		r = mix_identity(&h, parts.guest, err);
	for (size_t i = 0; r == 0 && i < NUM_INSTALLER_PROGRAMS; i++) {
		if (parts.program[i])
			r = mix_identity(&h, parts.program[i], err);
	}
	if (r < 0)
		goto out;
	file = str_fmt("initrd-%s-%016" PRIx64, installer ? "installer" : "agent", h);
	path = store_cache_path(s, file);
	if (access(path, R_OK) != 0) {
		fd = open_beside(path, &tmp, err);
		r = fd < 0 ? fd : pack_agent(fd, &parts, err);
		if (r == 0 && rename(tmp, path) < 0)
			r = err_set(err, errno, "cannot write '%s'", path);
		if (r < 0 && tmp)
			(void)unlink(tmp);
		if (r == 0)
			remove_stale(s, path);
	}
	if (r == 0)
		*ret_path = steal_ptr(path);
out:
	agent_parts_done(&parts);
	return r;
}

int initrd_modules(const char *modules_dir, const char *path, unsigned *ret_num, struct err *err)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct cpio *c;
	int r;

	if (fd < 0)
		return err_set(err, errno, "cannot make '%s'", path);
	r = cpio_new(fd, &c, err);
	if (r < 0)
		return r;
	r = initramfs_add_modules(c, modules_dir, guest_modules, ret_num, err);
	if (r < 0) {
		cpio_abandon(c);
		return r;
	}
	return cpio_finish(c, err);
}
