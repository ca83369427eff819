/* SPDX-License-Identifier: Apache-2.0 */
/* Bounded reads of the distro's files: never blocks on a fifo or device in their place. */
#include "guest/etc.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"

int etc_read(const char *etc, const char *name, size_t max, char **ret_buf, size_t *ret_len)
{
	cleanup_free char *path = str_fmt("%s/%s", etc, name);
	cleanup_free char *buf = NULL;
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	ssize_t got;

	if (fd < 0)
		return errno == ENOTDIR ? -ENOENT : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if ((uint64_t)st.st_size > max)
		return -EFBIG;
	buf = xcalloc(1, (size_t)st.st_size + 1);
	got = fd_read_full(fd, buf, (size_t)st.st_size);
	if (got < 0)
		return (int)got;
	*ret_len = (size_t)got;
	*ret_buf = steal_ptr(buf);
	return 0;
}
