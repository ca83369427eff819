/* SPDX-License-Identifier: Apache-2.0 */
/* Showing logs that a guest wrote. */
#include "tools/lvm/logtail.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"

#define TAIL_BYTES (32 * 1024)

/* Newlines, tabs and printable bytes stay; the rest could command the user's terminal. */
static void put_harmless(const char *p, const char *end, FILE *out)
{
	for (; p < end; p++) {
		unsigned char c = (unsigned char)*p;

		if (c == '\r')
			continue;
		(void)fputc(c == '\n' || c == '\t' || (c >= ' ' && c != 0x7f) ? c : '?', out);
	}
}

void logtail_show(const char *path, unsigned lines, FILE *out)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	cleanup_free char *buf = NULL;
	struct stat st;
	const char *p, *end;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size == 0)
		return;
	buf = xcalloc(1, TAIL_BYTES);
	n = fd_pread_full(fd, buf, TAIL_BYTES, st.st_size > TAIL_BYTES ? st.st_size - TAIL_BYTES : 0);
	if (n <= 0)
		return;
	end = buf + n;
	for (p = end - 1; p > buf; p--) {
		if (p[-1] == '\n' && lines-- == 1)
			break;
	}
	put_harmless(p, end, out);
	if (end[-1] != '\n')
		(void)fputc('\n', out);
	(void)fflush(out);
}

/* Copies from the descriptor's position to the file's end. */
static int copy_rest(int fd, int out_fd)
{
	char buf[16384];
	ssize_t n;
	int r = 0;

	while (r == 0 && (n = fd_read_full(fd, buf, sizeof(buf))) > 0)
		r = fd_write_full(out_fd, buf, (size_t)n);
	return r < 0 ? r : n < 0 ? (int)n : 0;
}

/* A log that was started afresh is shorter than where we are. */
static void rewind_if_cut(int fd)
{
	struct stat st;

	if (fstat(fd, &st) == 0 && st.st_size < lseek(fd, 0, SEEK_CUR))
		(void)lseek(fd, 0, SEEK_SET);
}

int logtail_copy(const char *path, int out_fd, int follow, struct err *err)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC), watch = -1;
	char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	int r;

	if (fd < 0)
		return err_set(err, errno, "cannot open the log '%s'", path);
	if (follow) {
		watch = inotify_init1(IN_CLOEXEC);
		if (watch < 0 || inotify_add_watch(watch, path, IN_MODIFY) < 0)
			return err_set(err, errno, "cannot watch the log '%s'", path);
	}
	do {
		rewind_if_cut(fd);
		r = copy_rest(fd, out_fd);
		if (r == -EPIPE)
			return 0;
		if (r < 0)
			return err_set(err, -r, "cannot copy the log '%s'", path);
	} while (follow && (read(watch, events, sizeof(events)) > 0 || errno == EINTR));
	return 0;
}
