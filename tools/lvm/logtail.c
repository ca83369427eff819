/* SPDX-License-Identifier: Apache-2.0 */
/* Showing logs that a guest wrote. */
#include "tools/lvm/logtail.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
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

/* The length of the colour setting (ECMA-48 SGR) that p begins with, or 0. */
static size_t colour_len(const char *p, size_t n)
{
	size_t i = 2;

	if (n < 3 || p[0] != '\033' || p[1] != '[')
		return 0;
	while (i < n && ((p[i] >= '0' && p[i] <= '9') || p[i] == ';'))
		i++;
	return i < n && p[i] == 'm' ? i + 1 : 0;
}

/*
 * What the log has for a terminal: text, without systemd's colours and the console's carriage
 * returns. Anything else that could command the terminal shows as '?'. In place; returns the new
 * length.
 */
static size_t make_harmless(char *p, size_t n)
{
	size_t out = 0;

	for (size_t i = 0; i < n;) {
		size_t skip = p[i] == '\r' ? 1 : colour_len(p + i, n - i);

		if (!skip)
			p[out++] = p[i++];
		i += skip;
	}
	str_harmless(p, out, "\n\t");
	return out;
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
	n = fd_pread_full(fd, buf, TAIL_BYTES,
			  st.st_size > TAIL_BYTES ? st.st_size - TAIL_BYTES : 0);
	if (n <= 0)
		return;
	n = (ssize_t)make_harmless(buf, (size_t)n);
	if (n == 0)
		return;
	end = buf + n;
	for (p = end - 1; p > buf; p--) {
		if (p[-1] == '\n' && lines-- == 1)
			break;
	}
	(void)fwrite(p, 1, (size_t)(end - p), out);
	if (end[-1] != '\n')
		(void)fputc('\n', out);
	(void)fflush(out);
}

/*
 * Copies from the descriptor's position to the file's end: byte by byte as it is, but to a terminal
 * only what is harmless, and by whole lines as far as there are, so that no sequence is cut in two.
 */
static int copy_rest(int fd, int out_fd)
{
	bool tty = isatty(out_fd);
	char buf[16384];
	ssize_t n;
	int r = 0;

	while (r == 0 && (n = fd_read_full(fd, buf, sizeof(buf))) > 0) {
		const char *nl =
			tty && (size_t)n == sizeof(buf) ? memrchr(buf, '\n', (size_t)n) : NULL;

		if (nl) {
			(void)lseek(fd, nl + 1 - (buf + n), SEEK_CUR);
			n = nl + 1 - buf;
		}
		r = fd_write_full(out_fd, buf, tty ? make_harmless(buf, (size_t)n) : (size_t)n);
	}
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
