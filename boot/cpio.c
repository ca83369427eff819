/* SPDX-License-Identifier: Apache-2.0 */
/* Writes newc cpio archives (Linux early-userspace/buffer-format.rst). */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "boot/initramfs.h"

#define HEADER_LEN 110
#define BUF_LEN    65536u
/* The file size has 32 bits. */
#define FILE_MAX UINT32_MAX
#define TRAILER  "TRAILER!!!"

struct cpio {
	int fd;
	int failed; /* -errno of the first failure: the archive is then of no use */
	uint32_t next_ino;
	uint64_t off; /* bytes so far, buffered ones included */
	void *paths;  /* tsearch tree of struct added */
	size_t num_buf;
	uint8_t buf[BUF_LEN];
};

struct added {
	bool is_dir;
	char path[];
};

/* One entry's header fields. */
struct header {
	uint32_t ino, mode, nlink, size, major, minor;
};

static int added_cmp(const void *a, const void *b)
{
	return strcmp(((const struct added *)a)->path, ((const struct added *)b)->path);
}

static struct added *added_new(const char *path, bool is_dir)
{
	struct added *e = xcalloc(1, sizeof(*e) + strlen(path) + 1);

	strcpy(e->path, path);
	e->is_dir = is_dir;
	return e;
}

static const struct added *find(const struct cpio *c, const char *path)
{
	struct added *key = added_new(path, false);
	void *node = tfind(key, &c->paths, added_cmp);

	free(key);
	return node ? *(struct added **)node : NULL;
}

bool cpio_has(const struct cpio *c, const char *path)
{
	return find(c, path) != NULL;
}

int cpio_new(int fd, struct cpio **ret_c, struct err *err)
{
	struct cpio *c = xcalloc(1, sizeof(*c));

	c->fd = fd;
	c->next_ino = 1;
	*ret_c = c;
	return 0;
}

void cpio_abandon(struct cpio *c)
{
	if (!c)
		return;
	tdestroy(c->paths, free);
	free(c);
}

static int flush(struct cpio *c, struct err *err)
{
	int r = c->failed ? c->failed : fd_write_full(c->fd, c->buf, c->num_buf);

	c->num_buf = 0;
	if (r < 0) {
		c->failed = r;
		return err_set(err, -r, "write the initramfs");
	}
	return 0;
}

static int emit(struct cpio *c, const void *p, size_t n, struct err *err)
{
	const uint8_t *from = p;

	c->off += n;
	while (n > 0) {
		size_t now = BUF_LEN - c->num_buf < n ? BUF_LEN - c->num_buf : n;
		int r;

		memcpy(c->buf + c->num_buf, from, now);
		c->num_buf += now;
		from += now;
		n -= now;
		r = c->num_buf == BUF_LEN ? flush(c, err) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

static int pad(struct cpio *c, unsigned align, struct err *err)
{
	static const uint8_t zero[512];

	return emit(c, zero, -c->off & (align - 1), err);
}

/* Owner, times, checksum and the archive's device are 0. */
static int emit_header(struct cpio *c, const char *path, const struct header *h, struct err *err)
{
	char head[HEADER_LEN + 1];
	int r;

	snprintf(head, sizeof(head), "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		 h->ino, h->mode, 0, 0, h->nlink, 0, h->size, 0, 0, h->major, h->minor,
		 (unsigned)strlen(path) + 1, 0);
	r = emit(c, head, HEADER_LEN, err);
	if (r == 0)
		r = emit(c, path, strlen(path) + 1, err);
	return r < 0 ? r : pad(c, 4, err);
}

static bool path_ok(const char *path)
{
	size_t len = strlen(path);

	if (len == 0 || len >= PATH_MAX || strcmp(path, TRAILER) == 0)
		return false;
	for (const char *p = path; p; p = strchr(p, '/') ? strchr(p, '/') + 1 : NULL) {
		size_t n = strcspn(p, "/");

		if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			return false;
	}
	return true;
}

/* Parents first, then the entry's own header. */
static int begin(struct cpio *c, const char *path, struct header h, struct err *err)
{
	const char *slash = strrchr(path, '/');
	struct added *e;

	if (!path_ok(path))
		return err_say(err, EINVAL, "'%s' cannot be a path in an initramfs", path);
	if (find(c, path))
		return err_say(err, EEXIST, "'%s' is in the initramfs already", path);
	if (slash) {
		cleanup_free char *parent = str_dup(path);
		const struct added *dir;
		int r = 0;

		parent[slash - path] = 0;
		dir = find(c, parent);
		if (dir && !dir->is_dir)
			return err_say(
				err, ENOTDIR,
				"'%s' cannot be put into the initramfs, '%s' is no directory there",
				path, parent);
		if (!dir)
			r = cpio_add_dir(c, parent, 0755, err);
		if (r < 0)
			return r;
	}
	e = added_new(path, S_ISDIR(h.mode));
	if (!tsearch(e, &c->paths, added_cmp)) {
		free(e);
		return err_set(err, ENOMEM, "add '%s' to the initramfs", path);
	}
	h.ino = c->next_ino++;
	h.nlink = S_ISDIR(h.mode) ? 2 : 1;
	return emit_header(c, path, &h, err);
}

int cpio_add_dir(struct cpio *c, const char *path, mode_t mode, struct err *err)
{
	const struct added *e = find(c, path);

	if (e && e->is_dir)
		return 0;
	return begin(c, path, (struct header){.mode = S_IFDIR | (mode & 07777)}, err);
}

/* The content of a file or symlink. */
static int add_content(struct cpio *c, const char *path, mode_t mode, const void *buf, size_t len,
		       struct err *err)
{
	int r;

	if (len > FILE_MAX)
		return err_say(err, EFBIG, "'%s' is too large for an initramfs", path);
	r = begin(c, path, (struct header){.mode = mode, .size = len}, err);
	if (r == 0)
		r = emit(c, buf, len, err);
	return r < 0 ? r : pad(c, 4, err);
}

int cpio_add_bytes(struct cpio *c, const char *path, mode_t mode, const void *buf, size_t len,
		   struct err *err)
{
	return add_content(c, path, S_IFREG | (mode & 07777), buf, len, err);
}

int cpio_add_symlink(struct cpio *c, const char *path, const char *target, struct err *err)
{
	return add_content(c, path, S_IFLNK | 0777, target, strlen(target), err);
}

static int copy_file(struct cpio *c, int fd, uint64_t len, const char *host_path, struct err *err)
{
	while (len > 0) {
		size_t room = BUF_LEN - c->num_buf;
		ssize_t n = fd_read_full(fd, c->buf + c->num_buf, len < room ? len : room);
		int r;

		if (n <= 0) {
			c->failed = n < 0 ? n : -EIO;
			return err_set(err, -c->failed,
				       "read '%s' for the initramfs (does something write to it?)",
				       host_path);
		}
		c->num_buf += n;
		c->off += n;
		len -= n;
		r = c->num_buf == BUF_LEN ? flush(c, err) : 0;
		if (r < 0)
			return r;
	}
	return pad(c, 4, err);
}

int cpio_add_file(struct cpio *c, const char *path, mode_t mode, const char *host_path,
		  struct err *err)
{
	cleanup_close int fd = open(host_path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, errno, "open '%s' for the initramfs", host_path);
	if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX)
		return err_say(err, EINVAL, "'%s' cannot be put into an initramfs: it is %s",
			       host_path, S_ISREG(st.st_mode) ? "too large" : "not a regular file");
	r = begin(c, path, (struct header){.mode = S_IFREG | (mode & 07777), .size = st.st_size},
		  err);
	return r < 0 ? r : copy_file(c, fd, st.st_size, host_path, err);
}

int cpio_add_node(struct cpio *c, const char *path, mode_t mode, unsigned major, unsigned minor,
		  struct err *err)
{
	return begin(c, path, (struct header){.mode = mode, .major = major, .minor = minor}, err);
}

int cpio_finish(struct cpio *c, struct err *err)
{
	int r;

	if (!c)
		return 0;
	r = emit_header(c, TRAILER, &(struct header){.nlink = 1}, err);
	if (r == 0)
		r = pad(c, 512, err);
	if (r == 0)
		r = flush(c, err);
	cpio_abandon(c);
	return r;
}
