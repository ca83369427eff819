/* SPDX-License-Identifier: Apache-2.0 */
/* Mounts of PID 1, from the initramfs' to the last read-only remount. */
#include "guest/mount.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <unistd.h>

#include <linux/fs.h>

#include "base/cleanup.h"
#include "base/endian.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"

struct entry {
	const char *target, *type, *options;
	unsigned long flags;
	mode_t mode; /* of the directory where it has to be made; 0: it must be there */
};

#define NSD (MS_NOSUID | MS_NODEV)
#define NSX (MS_NOSUID | MS_NOEXEC | MS_NODEV)

static const struct entry early[] = {
	{"/dev", "devtmpfs", "mode=0755", MS_NOSUID, 0755},
	{"/proc", "proc", NULL, NSX, 0555},
	{"/sys", "sysfs", NULL, NSX, 0555},
};

static const struct entry late[] = {
	{"/run", "tmpfs", "mode=0755", NSD, 0755},
	{"/dev/pts", "devpts", "mode=0620,ptmxmode=0666,gid=5", MS_NOSUID | MS_NOEXEC, 0755},
	{"/dev/shm", "tmpfs", "mode=1777", NSD, 01777},
	{"/sys/fs/cgroup", "cgroup2", "nsdelegate,memory_recursiveprot", NSX, 0},
};

/* What systemd mounts by itself. */
static const struct entry without_systemd[] = {
	{"/tmp", "tmpfs", "mode=1777", NSD, 01777},
	{"/dev/mqueue", "mqueue", NULL, NSX, 01777},
	{"/dev/hugepages", "hugetlbfs", NULL, MS_NOSUID | MS_NODEV, 0755},
	{"/sys/kernel/security", "securityfs", NULL, NSX, 0},
	{"/sys/kernel/debug", "debugfs", NULL, NSX, 0},
	{"/sys/kernel/tracing", "tracefs", NULL, NSX, 0},
	{"/sys/fs/bpf", "bpf", "mode=0700", NSX, 0},
	{"/proc/sys/fs/binfmt_misc", "binfmt_misc", NULL, NSX, 0},
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void mount_entries(const struct entry *e, size_t num)
{
	for (size_t i = 0; i < num; i++, e++) {
		if (e->mode && mkdir(e->target, e->mode) < 0 && errno != EEXIST)
			log_warn("cannot make %s: %s", e->target, strerror(errno));
		if (mount(e->type, e->target, e->type, e->flags, e->options) == 0)
			continue;
		/* An older kernel may not know the options. */
		if (errno == EINVAL && mount(e->type, e->target, e->type, e->flags, NULL) == 0)
			continue;
		if (errno != ENODEV && errno != ENOENT && errno != EBUSY)
			log_warn("cannot mount %s on %s: %s", e->type, e->target, strerror(errno));
	}
}

void mount_early(void)
{
	mount_entries(early, COUNT(early));
}

void mount_late(bool systemd)
{
	mount_entries(late, COUNT(late));
	if (!systemd)
		mount_entries(without_systemd, COUNT(without_systemd));
	/* Programs expect these next to devtmpfs' own nodes. */
	(void)symlink("/proc/self/fd", "/dev/fd");
	(void)symlink("/proc/self/fd/0", "/dev/stdin");
	(void)symlink("/proc/self/fd/1", "/dev/stdout");
	(void)symlink("/proc/self/fd/2", "/dev/stderr");
}

/* Linux filesystems/ext4/super.rst: the fields that tell what the disk is. */
#define EXT_SUPER_OFFSET 1024
#define EXT_MAGIC        0xef53
#define EXT_64BIT        0x80

static int explain_root(const char *device, int code, struct err *err)
{
	cleanup_close int fd = open(device, O_RDONLY | O_CLOEXEC);
	uint64_t disk = 0, blocks, block_size;
	uint8_t sb[1024];

	if (code == ENODEV)
		return err_say(err, code,
			       "the kernel has no ext4 file system, which the distro's disk "
			       "needs; use another kernel");
	if (fd < 0 || fd_pread_full(fd, sb, sizeof(sb), EXT_SUPER_OFFSET) != (ssize_t)sizeof(sb) ||
	    get_le16(sb + 0x38) != EXT_MAGIC)
		return err_say(err, code, "the distro's disk %s holds no ext4 file system", device);
	blocks = get_le32(sb + 4);
	if (get_le32(sb + 0x60) & EXT_64BIT)
		blocks |= (uint64_t)get_le32(sb + 0x150) << 32;
	block_size = 1024ull << (get_le32(sb + 0x18) & 7);
	if (ioctl(fd, BLKGETSIZE64, &disk) == 0 && blocks > disk / block_size)
		return err_say(err, code,
			       "the distro's disk %s is truncated: it has %llu MiB of the file "
			       "system's %llu MiB",
			       device, (unsigned long long)(disk >> 20),
			       (unsigned long long)(blocks * block_size >> 20));
	return err_set(err, code,
		       "cannot mount the distro's disk %s; its ext4 file system is damaged or "
		       "needs a newer kernel",
		       device);
}

int mount_root(const char *device, const char *type, const char *flags, const char *target,
	       struct err *err)
{
	cleanup_free char *data = NULL;
	unsigned long bits = 0;

	/* "ro" is a flag of mount(2), all else is for the file system. */
	if (strcmp(flags, "ro") == 0 || str_starts(flags, "ro,")) {
		bits = MS_RDONLY;
		flags += flags[2] ? 3 : 2;
	}
	data = str_dup(flags);
	if (mkdir(target, 0755) < 0 && errno != EEXIST)
		return err_set(err, errno, "cannot make %s in the initramfs", target);
	if (mount(device, target, type, bits, data) == 0)
		return 0;
	if (strcmp(type, "ext4") == 0)
		return explain_root(device, errno, err);
	return err_set(err, errno, "cannot mount the distro's disk %s as %s", device, type);
}

/* Removes everything below an open directory that is on the same file system. Takes fd. */
static void remove_tree(int fd, dev_t dev)
{
	DIR *dir = fdopendir(fd);
	struct dirent *d;

	if (!dir) {
		close(fd);
		return;
	}
	while ((d = readdir(dir))) {
		struct stat st;
		int sub;

		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		if (fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    st.st_dev != dev)
			continue;
		if (S_ISDIR(st.st_mode)) {
			sub = openat(dirfd(dir), d->d_name,
				     O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			if (sub >= 0)
				remove_tree(sub, dev);
			(void)unlinkat(dirfd(dir), d->d_name, AT_REMOVEDIR);
		} else {
			(void)unlinkat(dirfd(dir), d->d_name, 0);
		}
	}
	closedir(dir);
}

int mount_switch_root(const char *target, struct err *err)
{
	cleanup_close int old = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	for (size_t i = 0; i < COUNT(early); i++) {
		cleanup_free char *to = str_fmt("%s%s", target, early[i].target);

		if (mkdir(to, early[i].mode) < 0 && errno != EEXIST)
			return err_set(err, errno,
				       "cannot make %s in the distro's root file system",
				       early[i].target);
		if (mount(early[i].target, to, NULL, MS_MOVE, NULL) < 0)
			return err_set(err, errno,
				       "cannot move %s to the distro's root file system",
				       early[i].target);
	}
	/*
	 * pivot_root(2) cannot leave the initramfs: the mount is moved over it instead (Linux
	 * filesystems/ramfs-rootfs-initramfs.rst).
	 */
	if (chdir(target) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
	    chdir("/") < 0)
		return err_set(err, errno, "cannot make the distro's disk the root file system");
	if (old >= 0 && fstat(old, &st) == 0)
		remove_tree(steal_fd(&old), st.st_dev);
	return 0;
}

static bool is_octal(const char *p)
{
	return p[0] >= '0' && p[0] <= '3' && p[1] >= '0' && p[1] <= '7' && p[2] >= '0' &&
	       p[2] <= '7';
}

char *mountinfo_point(char *line)
{
	char *p = line, *out, *start;

	for (int field = 0; field < 4; field++) {
		p = strchr(p, ' ');
		if (!p)
			return NULL;
		p++;
	}
	start = out = p;
	while (*p && *p != ' ' && *p != '\n') {
		if (*p == '\\' && is_octal(p + 1)) {
			*out++ = (char)((p[1] - '0') * 64 + (p[2] - '0') * 8 + (p[3] - '0'));
			p += 4;
		} else {
			*out++ = *p++;
		}
	}
	*out = 0;
	return start;
}

static void swap_end(void)
{
	cleanup_fclose FILE *f = fopen("/proc/swaps", "re");
	char line[4352], *end;

	if (!f || !fgets(line, sizeof(line), f))
		return;
	while (fgets(line, sizeof(line), f)) {
		end = strpbrk(line, " \t\n");
		if (end)
			*end = 0;
		(void)swapoff(line);
	}
}

/* One pass, last mounted first. Returns how many were unmounted. */
static unsigned unmount_pass(void)
{
	cleanup_fclose FILE *f = fopen("/proc/self/mountinfo", "re");
	struct strv points = {0};
	char line[8192], *point;
	unsigned done = 0;

	while (f && fgets(line, sizeof(line), f)) {
		point = mountinfo_point(line);
		/* /proc is read for the next pass, /dev keeps the root's device. */
		if (point && strcmp(point, "/") != 0 && strcmp(point, "/proc") != 0 &&
		    strcmp(point, "/dev") != 0)
			strv_add(&points, point);
	}
	for (size_t i = points.num; i > 0; i--)
		done += umount2(points.v[i - 1], UMOUNT_NOFOLLOW) == 0;
	strv_done(&points);
	return done;
}

bool mount_end(void)
{
	swap_end();
	sync();
	while (unmount_pass() > 0)
		;
	if (mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL) == 0)
		return true;
	log_warn("cannot make the root read-only: %s", strerror(errno));
	/* The kernel's own way, which does not mind files open for writing. */
	{
		cleanup_close int fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);

		if (fd >= 0)
			(void)fd_write_full(fd, "u", 1);
	}
	sync();
	return false;
}
