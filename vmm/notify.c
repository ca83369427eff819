/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and answering lvm-guest's lines. */
/*
 * Anything in the guest that may open a vsock connection can come here and say anything: all it
 * gains is to mislead its own owner about its own machine. Lines are bounded, nothing is answered,
 * and a line that is too long ends the connection.
 */
#include "vmm/notify.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "base/str.h"
#include "guest/proto.h"

#define NOTIFY_BACKLOG 4

struct notify {
	struct loop *loop;
	char *path;
	struct loop_fd listener, conn; /* conn.fd -1: none */
	notify_fn *fn;
	void *opaque;
	char buf[NOTIFY_MAX_LINE];
	size_t len;
	struct log_limit limit;
};

static void copy_clean(char *text, const char *s, size_t len)
{
	size_t n = len < NOTIFY_MAX_LINE - 1 ? len : NOTIFY_MAX_LINE - 1;

	memcpy(text, s, n);
	str_harmless(text, n, "");
	text[n] = '\0';
}

enum notify_kind notify_parse(const char *line, size_t len, char *text)
{
	static const struct {
		const char *word;
		bool with_text;
		enum notify_kind kind;
	} words[] = {
		{"READY=1", false, NOTIFY_READY},
		{"STATUS=", true, NOTIFY_STATUS},
		{"ERROR=", true, NOTIFY_ERROR},
		{"BYE=poweroff", false, NOTIFY_BYE_POWEROFF},
		{"BYE=reboot", false, NOTIFY_BYE_REBOOT},
	};

	text[0] = '\0';
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		size_t n = strlen(words[i].word);

		if (len < n || memcmp(line, words[i].word, n) != 0)
			continue;
		if (!words[i].with_text && len != n)
			continue;
		copy_clean(text, line + n, len - n);
		return words[i].kind;
	}
	return NOTIFY_UNKNOWN;
}

static void notify_drop(struct notify *n)
{
	if (n->conn.fd < 0)
		return;
	loop_remove(&n->conn);
	(void)close(n->conn.fd);
	n->conn.fd = -1;
	n->len = 0;
}

static void notify_line(struct notify *n, const char *line, size_t len)
{
	char text[NOTIFY_MAX_LINE];
	enum notify_kind kind = notify_parse(line, len, text);

	if (kind == NOTIFY_UNKNOWN)
		log_guest(&n->limit, "the guest's agent said something unknown (%zu bytes)", len);
	else
		n->fn(n->opaque, kind, text);
}

static void notify_lines(struct notify *n)
{
	char *start = n->buf, *end = n->buf + n->len, *nl;

	while ((nl = memchr(start, '\n', (size_t)(end - start)))) {
		notify_line(n, start, (size_t)(nl - start));
		start = nl + 1;
	}
	n->len = (size_t)(end - start);
	memmove(n->buf, start, n->len);
}

static void notify_readable(struct loop_fd *f, uint32_t events)
{
	struct notify *n = container_of(f, struct notify, conn);
	ssize_t r = read(f->fd, n->buf + n->len, sizeof(n->buf) - n->len);

	if (r < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (r <= 0) {
		notify_drop(n);
		return;
	}
	n->len += (size_t)r;
	notify_lines(n);
	if (n->len == sizeof(n->buf)) {
		log_guest(&n->limit, "the guest's agent sent a line that does not end");
		notify_drop(n);
	}
}

static void notify_accept(struct loop_fd *f, uint32_t events)
{
	struct notify *n = container_of(f, struct notify, listener);
	int fd = accept4(f->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct err err;

	if (fd < 0)
		return;
	if (n->conn.fd >= 0) {
		log_guest(&n->limit, "a second connection to the notify port was refused");
		(void)close(fd);
		return;
	}
	n->conn.fd = fd;
	n->conn.fn = notify_readable;
	if (loop_add(n->loop, &n->conn, EPOLLIN, &err) < 0) {
		log_warn("the guest's agent cannot be heard: %s", err.text);
		(void)close(fd);
		n->conn.fd = -1;
	}
}

int notify_new(struct loop *loop, const char *vsock_path, notify_fn *fn, void *opaque,
	       struct notify **ret_n, struct err *err)
{
	struct notify *n = xcalloc(1, sizeof(*n));
	int r;

	n->loop = loop;
	n->path = str_fmt("%s_%d", vsock_path, PROTO_PORT_NOTIFY);
	n->fn = fn;
	n->opaque = opaque;
	n->conn.fd = -1;
	n->listener.fd = -1;
	n->listener.fn = notify_accept;
	r = unix_listen(n->path, NOTIFY_BACKLOG, &n->listener.fd, err);
	if (r == 0)
		r = loop_add(loop, &n->listener, EPOLLIN, err);
	if (r < 0) {
		notify_free(n);
		return r;
	}
	*ret_n = n;
	return 0;
}

void notify_free(struct notify *n)
{
	if (!n)
		return;
	notify_drop(n);
	loop_remove(&n->listener);
	if (n->listener.fd >= 0) {
		(void)close(n->listener.fd);
		(void)unlink(n->path);
	}
	free(n->path);
	free(n);
}

bool notify_connected(const struct notify *n)
{
	return n->conn.fd >= 0;
}

bool notify_shutdown(struct notify *n, bool reboot)
{
	const char *line = reboot ? "SHUTDOWN=reboot\n" : "SHUTDOWN=poweroff\n";
	size_t len = strlen(line);

	return n->conn.fd >= 0 && send(n->conn.fd, line, len, MSG_NOSIGNAL) == (ssize_t)len;
}
