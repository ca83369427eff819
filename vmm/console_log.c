/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's console log. */
#include "vmm/console_log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/list.h"

#define FLUSH_MS  200
#define TAIL_MAX  (64 * 1024)
#define PANIC_MSG "Kernel panic - not syncing"

static void console_log_flush(struct console_log *l)
{
	struct pollfd p = {.fd = l->fd, .events = POLLOUT};

	loop_timer_disarm(&l->flush);
	/*
	 * Where nobody reads (a stopped terminal), the line is lost rather than the guest stopped.
	 */
	if (l->line_len && poll(&p, 1, 0) > 0)
		(void)!write(l->fd, l->line, l->line_len);
	l->line_len = 0;
}

static void console_log_timer(struct loop_timer *t)
{
	console_log_flush(container_of(t, struct console_log, flush));
}

int console_log_init(struct console_log *l, struct loop *loop, const char *path, struct err *err)
{
	*l = (struct console_log){.fd = STDERR_FILENO, .loop = loop};
	l->flush.fn = console_log_timer;
	if (!path)
		return 0;
	l->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0600);
	if (l->fd < 0)
		return err_set(err, errno, "cannot write the console log '%s'", path);
	l->owned = true;
	return 0;
}

void console_log_done(struct console_log *l)
{
	if (!l->loop)
		return;
	console_log_flush(l);
	if (l->owned)
		(void)close(l->fd);
	*l = (struct console_log){.fd = -1};
}

void console_log_serial(struct console_log *l, uint8_t byte)
{
	static const char note[] = "\n[lvm: the serial port said enough, the rest is not kept]\n";

	if (l->serial_bytes >= CONSOLE_LOG_SERIAL_MAX)
		return;
	l->line[l->line_len++] = (char)byte;
	if (++l->serial_bytes == CONSOLE_LOG_SERIAL_MAX) {
		console_log_flush(l);
		memcpy(l->line, note, sizeof(note) - 1);
		l->line_len = sizeof(note) - 1;
	}
	if (byte == '\n' || l->line_len >= sizeof(l->line) ||
	    l->serial_bytes == CONSOLE_LOG_SERIAL_MAX)
		console_log_flush(l);
	else if (!l->flush.loop)
		loop_timer_arm(l->loop, &l->flush, FLUSH_MS);
}

void console_log_mark(struct console_log *l)
{
	struct stat st;

	if (fstat(l->fd, &st) == 0)
		l->mark = st.st_size;
}

bool console_log_find_panic(struct console_log *l, char *text, size_t len)
{
	static char tail[TAIL_MAX + 1];
	struct stat st;
	off_t from;
	ssize_t n;
	char *p;

	console_log_flush(l);
	if (fstat(l->fd, &st) < 0 || !S_ISREG(st.st_mode))
		return false;
	/* A log that was cut since has nothing from before the mark that could be told apart. */
	from = l->mark <= st.st_size ? l->mark : 0;
	if (st.st_size - from > TAIL_MAX)
		from = st.st_size - TAIL_MAX;
	n = fd_pread_full(l->fd, tail, TAIL_MAX, from);
	if (n <= 0)
		return false;
	tail[n] = '\0';
	p = memmem(tail, (size_t)n, PANIC_MSG, strlen(PANIC_MSG));
	if (!p)
		return false;
	n = (ssize_t)strcspn(p, "\r\n");
	if ((size_t)n >= len)
		n = (ssize_t)len - 1;
	for (ssize_t i = 0; i < n; i++)
		text[i] = p[i] >= ' ' && p[i] < 0x7f ? p[i] : '?';
	text[n] = '\0';
	return true;
}
