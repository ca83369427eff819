/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of text over vsock to the VMM, and from it. */
#include "guest/notify.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/loop.h"
#include "base/str.h"
#include "guest/proto.h"

int notify_connect(struct notify *n)
{
	struct sockaddr_vm addr = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = PROTO_PORT_NOTIFY};
	cleanup_close int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -errno;
	(void)fd_set_nonblock(fd, true);
	*n = (struct notify){.fd = steal_fd(&fd)};
	return 0;
}

void notify_close(struct notify *n)
{
	if (n->fd >= 0)
		close(n->fd);
	n->fd = -1;
}

void notify_send(struct notify *n, const char *key, const char *text)
{
	cleanup_free char *line = str_fmt("%s=%.1000s\n", key, text);
	size_t len = strlen(line);

	if (n->fd < 0)
		return;
	for (size_t i = 0; i + 1 < len; i++)
		if (line[i] == '\n' || line[i] == '\r')
			line[i] = ' ';
	/*
	 * The host reads it all: a full socket means that it hangs, and then nobody waits for the
	 * line.
	 */
	(void)send(n->fd, line, len, MSG_NOSIGNAL);
}

static enum notify_event understand(const char *line)
{
	if (strcmp(line, "SHUTDOWN=poweroff") == 0)
		return NOTIFY_POWEROFF;
	if (strcmp(line, "SHUTDOWN=reboot") == 0)
		return NOTIFY_REBOOT;
	return NOTIFY_NOTHING;
}

enum notify_event notify_read(struct notify *n)
{
	enum notify_event event = NOTIFY_NOTHING;
	char c;

	while (event == NOTIFY_NOTHING) {
		ssize_t got = read(n->fd, &c, 1);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && errno == EAGAIN)
			return NOTIFY_NOTHING;
		if (got <= 0)
			return NOTIFY_EOF;
		if (c != '\n') {
			n->overlong |= n->len == sizeof(n->line) - 1;
			if (!n->overlong)
				n->line[n->len++] = c;
			continue;
		}
		n->line[n->len] = 0;
		if (!n->overlong)
			event = understand(n->line);
		n->len = 0;
		n->overlong = false;
	}
	return event;
}

void notify_finish(struct notify *n, int timeout_ms)
{
	int64_t until = loop_now_ms() + timeout_ms, left;

	if (n->fd < 0)
		return;
	(void)shutdown(n->fd, SHUT_WR);
	while ((left = until - loop_now_ms()) > 0) {
		struct pollfd p = {.fd = n->fd, .events = POLLIN};

		if (poll(&p, 1, (int)left) > 0 && notify_read(n) == NOTIFY_EOF)
			return;
	}
}
