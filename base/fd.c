/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors, whole files, unix sockets. */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"

ssize_t fd_read_full(int fd, void *buf, size_t n)
{
	size_t got = 0;

	while (got < n) {
		ssize_t r = read(fd, (uint8_t *)buf + got, n - got);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0)
			break;
		got += (size_t)r;
	}
	return (ssize_t)got;
}

ssize_t fd_pread_full(int fd, void *buf, size_t n, off_t off)
{
	size_t got = 0;

	while (got < n) {
		ssize_t r = pread(fd, (uint8_t *)buf + got, n - got, off + (off_t)got);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0)
			break;
		got += (size_t)r;
	}
	return (ssize_t)got;
}

int fd_write_full(int fd, const void *buf, size_t n)
{
	const uint8_t *p = buf;

	while (n) {
		ssize_t r = write(fd, p, n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		p += r;
		n -= (size_t)r;
	}
	return 0;
}

#define COPY_BYTES (128 * 1024)

int fd_copy(int in, int out)
{
	cleanup_free char *buf = NULL;
	ssize_t n;
	int r = 0;

	do {
		n = copy_file_range(in, NULL, out, NULL, SSIZE_MAX & ~4095, 0);
	} while (n > 0 || (n < 0 && errno == EINTR));
	if (n == 0)
		return 0;
	/* Between file systems, or to a pipe: what was not copied yet is after in's position. */
	if (errno != EXDEV && errno != EINVAL && errno != EOPNOTSUPP && errno != ENOSYS &&
	    errno != EBADF)
		return -errno;
	buf = xcalloc(1, COPY_BYTES);
	while (r == 0 && (n = fd_read_full(in, buf, COPY_BYTES)) > 0)
		r = fd_write_full(out, buf, (size_t)n);
	return r < 0 ? r : (int)n;
}

int fd_set_nonblock(int fd, bool on)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -errno;
	flags = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
	return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0;
}

int fd_set_cloexec(int fd, bool on)
{
	return fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0) < 0 ? -errno : 0;
}

int file_read(const char *path, size_t max, char **ret_buf, size_t *ret_len, struct err *err)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	cleanup_free char *buf = NULL;
	size_t cap = 4096, len = 0;

	if (fd < 0)
		return err_set(err, errno, "cannot open '%s'", path);
	/* Grown by what is really there: the size of a file in /proc or on a moving system says little. */
	for (;;) {
		ssize_t r;

		buf = xrealloc(buf, cap + 1, 1);
		r = fd_read_full(fd, buf + len, cap - len);
		if (r < 0)
			return err_set(err, (int)-r, "cannot read '%s'", path);
		len += (size_t)r;
		if (len > max)
			return err_set(err, EFBIG, "cannot read '%s'", path);
		if (len < cap)
			break;
		cap *= 2;
	}
	buf[len] = '\0';
	*ret_buf = steal_ptr(buf);
	if (ret_len)
		*ret_len = len;
	return 0;
}

/* Makes a rename in path's directory durable. */
static int dir_sync(const char *path)
{
	const char *slash = strrchr(path, '/');
	cleanup_free char *dir = NULL;
	cleanup_close int fd = -1;

	dir = slash ? str_fmt("%.*s", (int)(slash - path) + 1, path) : str_dup(".");
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return fsync(fd) < 0 ? -errno : 0;
}

int file_replace(const char *path, const void *buf, size_t len, mode_t mode, struct err *err)
{
	cleanup_free char *tmp = str_fmt("%s.XXXXXX", path);
	cleanup_close int fd = mkostemp(tmp, O_CLOEXEC);
	int r;

	if (fd < 0)
		return err_set(err, errno, "cannot make a file beside '%s'", path);
	r = fd_write_full(fd, buf, len);
	if (r == 0 && fchmod(fd, mode) < 0)
		r = -errno;
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (r == 0 && rename(tmp, path) < 0)
		r = -errno;
	if (r < 0) {
		(void)unlink(tmp);
		return err_set(err, -r, "cannot write '%s'", path);
	}
	r = dir_sync(path);
	return r < 0 ? err_set(err, -r, "cannot make the new '%s' durable", path) : 0;
}

/*
 * Fills *sa for path. One that is too long for sun_path is reached through its directory's descriptor, which is
 * then in *ret_dir for the caller to close after bind or connect.
 */
static int unix_address(const char *path, struct sockaddr_un *sa, int *ret_dir, struct err *err)
{
	const char *slash = strrchr(path, '/');
	cleanup_free char *dir = NULL;
	int fd, n;

	*sa = (struct sockaddr_un){.sun_family = AF_UNIX};
	*ret_dir = -1;
	if (strlen(path) < sizeof(sa->sun_path)) {
		memcpy(sa->sun_path, path, strlen(path));
		return 0;
	}
	dir = slash ? str_fmt("%.*s", (int)(slash - path) + 1, path) : str_dup(".");
	fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, errno, "cannot open the directory of socket '%s'", path);
	n = snprintf(sa->sun_path, sizeof(sa->sun_path), "/proc/self/fd/%d/%s", fd,
		     slash ? slash + 1 : path);
	if (n < 0 || (size_t)n >= sizeof(sa->sun_path)) {
		(void)close(fd);
		return err_set(err, ENAMETOOLONG, "cannot use socket '%s'", path);
	}
	*ret_dir = fd;
	return 0;
}

int unix_listen(const char *path, int backlog, int *ret_fd, struct err *err)
{
	cleanup_close int fd = -1, dir = -1;
	struct sockaddr_un sa;
	int r = unix_address(path, &sa, &dir, err);
	mode_t mask;

	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(err, errno, "cannot make a socket for '%s'", path);
	if (unlink(sa.sun_path) < 0 && errno != ENOENT)
		return err_set(err, errno, "cannot remove the old socket '%s'", path);
	/* By the mask and not by a chmod after: no moment with an open door. */
	mask = umask(0177);
	r = bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ? -errno : 0;
	(void)umask(mask);
	if (r == 0 && listen(fd, backlog) < 0)
		r = -errno;
	if (r < 0)
		return err_set(err, -r, "cannot listen on socket '%s'", path);
	*ret_fd = steal_fd(&fd);
	return 0;
}

int unix_connect(const char *path, bool nonblock, int *ret_fd, struct err *err)
{
	cleanup_close int fd = -1, dir = -1;
	struct sockaddr_un sa;
	int r = unix_address(path, &sa, &dir, err);

	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (nonblock ? SOCK_NONBLOCK : 0), 0);
	if (fd < 0)
		return err_set(err, errno, "cannot make a socket for '%s'", path);
	do {
		r = connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ? -errno : 0;
	} while (r == -EINTR);
	if (r < 0)
		return err_set(err, -r, "cannot connect to socket '%s'", path);
	*ret_fd = steal_fd(&fd);
	return 0;
}
