/* SPDX-License-Identifier: Apache-2.0 */
/* Virtual socket streams over unix sockets, and the one-line greeting of host programs. */
/*
 * A stream is greeting (ours until it has said CONNECT), connecting (waiting for room in a
 * listener's backlog) or live. A live one stays in epoll with no events asked for, to learn that
 * the other end is gone; but EPOLLHUP cannot be masked, so it leaves epoll for good when that is
 * told. After it, read and write never say EAGAIN, so nobody needs to be woken.
 */
#include "devices/backend/vsock_unix.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"

#define LINE_MAX_LEN    32  /* "CONNECT 4294967294\n" is 19 */
#define ACCEPT_BATCH    16  /* then others have their turn */
#define ACCEPT_PAUSE_MS 100 /* when descriptors have run out */
#define CONNECT_WAIT_MS 10  /* between two looks at a full backlog */
#define DRAIN_ROUNDS    64  /* of 16 KiB: more than a socket holds */

enum phase { GREETING, CONNECTING, LIVE };

struct unix_stream {
	struct vsock_stream s;
	struct vsock_unix *host;
	enum phase phase;
	struct loop_fd fd;
	unsigned watched; /* VSOCK_* bits */
	struct loop_timer timer;
	struct list node; /* in host->greetings */
	char line[LINE_MAX_LEN + 1];
	unsigned line_len;
	uint32_t port;
	int64_t give_up_ms;
};

struct vsock_unix {
	struct vsock_host h;
	struct loop *loop;
	struct vsock_unix_options opt;
	char *path, *base; /* base: the last component, in path */
	int dir_fd;
	struct loop_fd listener; /* not in the loop while paused */
	struct loop_timer resume;
	struct list greetings;
	unsigned num_greetings;
	struct log_limit limit;
};

static struct unix_stream *to_unix(struct vsock_stream *s)
{
	return container_of(s, struct unix_stream, s);
}

static void listener_resume(struct vsock_unix *h)
{
	if (h->listener.loop || h->resume.loop || h->num_greetings >= h->opt.num_greetings)
		return;
	if (loop_add(h->loop, &h->listener, EPOLLIN, NULL) < 0)
		loop_timer_arm(h->loop, &h->resume, ACCEPT_PAUSE_MS);
}

static void listener_resume_later(struct loop_timer *t)
{
	listener_resume(container_of(t, struct vsock_unix, resume));
}

/* ---- streams */

static ssize_t unix_read(struct vsock_stream *s, const struct iovec *iov, unsigned num)
{
	struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = num};
	ssize_t n;

	do {
		n = recvmsg(to_unix(s)->fd.fd, &msg, MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t unix_write(struct vsock_stream *s, const struct iovec *iov, unsigned num)
{
	struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = num};
	ssize_t n;

	do {
		n = sendmsg(to_unix(s)->fd.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static void unix_watch(struct vsock_stream *s, unsigned events)
{
	struct unix_stream *u = to_unix(s);

	if (events == u->watched)
		return;
	u->watched = events;
	if (u->fd.loop)
		loop_modify(&u->fd, (events & VSOCK_READABLE ? EPOLLIN : 0) |
					    (events & VSOCK_WRITABLE ? EPOLLOUT : 0));
}

/*
 * Bytes left unread would make the close an ECONNRESET for the other end, which then loses our last
 * bytes. It cannot write more after the shutdown, so this ends.
 */
static void stream_drain(struct unix_stream *u)
{
	uint8_t waste[16384];

	for (unsigned i = 0; i < DRAIN_ROUNDS; i++) {
		if (recv(u->fd.fd, waste, sizeof(waste), MSG_DONTWAIT) <= 0)
			break;
	}
}

static void unix_shut(struct vsock_stream *s, unsigned how)
{
	struct unix_stream *u = to_unix(s);

	assert(how & (VSOCK_SHUT_RD | VSOCK_SHUT_WR));
	(void)shutdown(u->fd.fd, !(how & VSOCK_SHUT_RD)   ? SHUT_WR
				 : !(how & VSOCK_SHUT_WR) ? SHUT_RD
							  : SHUT_RDWR);
	if (how & VSOCK_SHUT_RD)
		stream_drain(u);
}

static int unix_accept(struct vsock_stream *s, uint32_t port)
{
	char line[32];
	int len = snprintf(line, sizeof(line), "OK %u\n", port);
	struct iovec iov = {.iov_base = line, .iov_len = (size_t)len};
	ssize_t n = unix_write(s, &iov, 1);

	/* These are the first bytes in an empty socket: a part of them does not happen. */
	return n == len ? 0 : n < 0 ? (int)n : -EIO;
}

static void greeting_leave(struct unix_stream *u)
{
	loop_timer_disarm(&u->timer);
	list_remove(&u->node);
	u->host->num_greetings--;
	listener_resume(u->host);
}

static void unix_close(struct vsock_stream *s, bool clean)
{
	struct unix_stream *u = to_unix(s);

	if (u->phase == GREETING)
		greeting_leave(u);
	loop_timer_disarm(&u->timer);
	if (clean && u->phase != CONNECTING)
		unix_shut(s, VSOCK_SHUT_RD | VSOCK_SHUT_WR);
	loop_remove(&u->fd);
	(void)close(u->fd.fd);
	free(u);
}

static const struct vsock_stream_ops unix_stream_ops = {
	.read = unix_read,
	.write = unix_write,
	.watch = unix_watch,
	.shut = unix_shut,
	.accept = unix_accept,
	.close = unix_close,
};

static void stream_ready(struct loop_fd *f, uint32_t events)
{
	struct unix_stream *u = container_of(f, struct unix_stream, fd);
	unsigned told = 0;

	if (events & EPOLLIN)
		told |= u->watched & VSOCK_READABLE;
	if (events & EPOLLOUT)
		told |= u->watched & VSOCK_WRITABLE;
	if (events & (EPOLLHUP | EPOLLERR)) {
		loop_remove(f);
		told |= VSOCK_HUNG_UP;
	}
	if (told)
		u->s.event(&u->s, told);
}

/* Takes fd over, also on failure. The stream watches nothing. */
static int stream_new(struct vsock_unix *h, int fd, enum phase phase, struct unix_stream **ret_u)
{
	struct unix_stream *u = calloc(1, sizeof(*u));

	if (!u) {
		(void)close(fd);
		return -ENOMEM;
	}
	u->s.ops = &unix_stream_ops;
	u->host = h;
	u->phase = phase;
	u->fd.fd = fd;
	list_init(&u->node);
	*ret_u = u;
	return 0;
}

/* ---- host programs that connect */

/*
 * Reads up to the end of the line and not a byte further: what follows is the stream's. 1: there is
 * a whole line, without its newline; 0: not yet; -errno: there will be none.
 */
static int greeting_read(struct unix_stream *u)
{
	char *at = u->line + u->line_len, *end;
	ssize_t n = recv(u->fd.fd, at, LINE_MAX_LEN - u->line_len, MSG_DONTWAIT | MSG_PEEK);

	if (n <= 0)
		return n == 0 ? -EPIPE : errno == EAGAIN || errno == EINTR ? 0 : -errno;
	end = memchr(at, '\n', (size_t)n);
	if (end)
		n = end - at + 1;
	if (recv(u->fd.fd, at, (size_t)n, MSG_DONTWAIT) != n)
		return -EIO;
	u->line_len += (unsigned)n;
	if (end) {
		*end = '\0';
		return 1;
	}
	return u->line_len == LINE_MAX_LEN ? -EMSGSIZE : 0;
}

static int greeting_parse(const struct unix_stream *u, uint32_t *ret_port)
{
	static const char verb[] = "CONNECT ";
	uint64_t port;

	if (strlen(u->line) + 1 != u->line_len || !str_starts(u->line, verb) ||
	    str_to_u64(u->line + strlen(verb), 0, UINT32_MAX - 1, &port) < 0)
		return -EINVAL;
	*ret_port = (uint32_t)port;
	return 0;
}

static void greeting_ready(struct loop_fd *f, uint32_t events)
{
	struct unix_stream *u = container_of(f, struct unix_stream, fd);
	struct vsock_unix *h = u->host;
	int r = greeting_read(u);
	uint32_t port;

	if (r == 0)
		return;
	if (r < 0 || greeting_parse(u, &port) < 0) {
		unix_close(&u->s, true);
		return;
	}
	greeting_leave(u);
	u->phase = LIVE;
	f->fn = stream_ready;
	loop_modify(f, 0);
	if (!h->h.incoming || !h->h.incoming(&h->h, &u->s, port))
		unix_close(&u->s, true);
}

static void greeting_late(struct loop_timer *t)
{
	unix_close(&container_of(t, struct unix_stream, timer)->s, true);
}

static void greeting_new(struct vsock_unix *h, int fd)
{
	struct unix_stream *u;

	if (stream_new(h, fd, GREETING, &u) < 0)
		return;
	h->num_greetings++;
	list_append(&h->greetings, &u->node);
	u->fd.fn = greeting_ready;
	u->timer.fn = greeting_late;
	loop_timer_arm(h->loop, &u->timer, h->opt.greeting_ms);
	if (loop_add(h->loop, &u->fd, EPOLLIN, NULL) < 0)
		unix_close(&u->s, true);
}

static void listener_ready(struct loop_fd *f, uint32_t events)
{
	struct vsock_unix *h = container_of(f, struct vsock_unix, listener);

	for (unsigned i = 0; i < ACCEPT_BATCH && h->num_greetings < h->opt.num_greetings; i++) {
		int fd = accept4(f->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0) {
			greeting_new(h, fd);
		} else if (errno == EAGAIN) {
			return;
		} else if (errno != EINTR && errno != ECONNABORTED) {
			/*
			 * The connection stays in the backlog and would wake us at once, again and
			 * again.
			 */
			log_guest(&h->limit, "vsock: cannot accept a connection: %s",
				  strerror(errno));
			loop_remove(f);
			loop_timer_arm(h->loop, &h->resume, ACCEPT_PAUSE_MS);
			return;
		}
	}
	if (h->num_greetings >= h->opt.num_greetings)
		loop_remove(f);
}

/* ---- connecting to host programs */

/*
 * Where the program serving port listens; via our descriptor of the directory when indirect. False:
 * no room.
 */
static bool port_address(const struct vsock_unix *h, uint32_t port, bool indirect,
			 struct sockaddr_un *sa)
{
	int n;

	*sa = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (indirect)
		n = snprintf(sa->sun_path, sizeof(sa->sun_path), "/proc/self/fd/%d/%s_%u",
			     h->dir_fd, h->base, port);
	else
		n = snprintf(sa->sun_path, sizeof(sa->sun_path), "%s_%u", h->path, port);
	return n >= 0 && (size_t)n < sizeof(sa->sun_path);
}

/*
 * The short name first; a sandbox may have left only the other one, and a long path has no short
 * name.
 */
static int port_connect(const struct vsock_unix *h, uint32_t port, int fd)
{
	struct sockaddr_un sa;
	int r = -ENOENT;

	for (int indirect = 0; indirect < 2 && r == -ENOENT; indirect++) {
		if (port_address(h, port, indirect, &sa))
			r = connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ? -errno : 0;
	}
	return r;
}

static void connect_retry(struct loop_timer *t)
{
	struct unix_stream *u = container_of(t, struct unix_stream, timer);
	struct vsock_unix *h = u->host;
	int r = port_connect(h, u->port, u->fd.fd);

	if ((r == -EAGAIN || r == -EINTR) && loop_now_ms() < u->give_up_ms) {
		loop_timer_arm(h->loop, t, CONNECT_WAIT_MS);
		return;
	}
	if (r == 0)
		r = loop_add(h->loop, &u->fd, 0, NULL);
	if (r == 0)
		u->phase = LIVE;
	u->s.event(&u->s, r == 0 ? VSOCK_OPENED : VSOCK_FAILED);
}

static int unix_host_connect(struct vsock_host *host, uint32_t port, struct vsock_stream **ret_s)
{
	struct vsock_unix *h = container_of(host, struct vsock_unix, h);
	struct unix_stream *u;
	int fd, r;

	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	r = stream_new(h, fd, CONNECTING, &u);
	if (r < 0)
		return r;
	u->fd.fn = stream_ready;
	r = port_connect(h, port, fd);
	if (r == -EAGAIN || r == -EINTR) {
		u->port = port;
		u->give_up_ms = loop_now_ms() + h->opt.connect_ms;
		u->timer.fn = connect_retry;
		loop_timer_arm(h->loop, &u->timer, CONNECT_WAIT_MS);
		*ret_s = &u->s;
		return 1;
	}
	if (r == 0)
		r = loop_add(h->loop, &u->fd, 0, NULL);
	if (r < 0) {
		unix_close(&u->s, false);
		return r;
	}
	u->phase = LIVE;
	*ret_s = &u->s;
	return 0;
}

/* ---- the host as a whole */

static void unix_host_free(struct vsock_host *host)
{
	struct vsock_unix *h = container_of(host, struct vsock_unix, h);

	if (h->listener.fd >= 0)
		(void)unlinkat(h->dir_fd, h->base, 0);
	while (!list_empty(&h->greetings))
		unix_close(&container_of(h->greetings.next, struct unix_stream, node)->s, true);
	loop_timer_disarm(&h->resume);
	loop_remove(&h->listener);
	if (h->listener.fd >= 0)
		(void)close(h->listener.fd);
	if (h->dir_fd >= 0)
		(void)close(h->dir_fd);
	free(h->path);
	free(h);
}

static const struct vsock_host_ops unix_host_ops = {
	.name = "unix",
	.connect = unix_host_connect,
	.free = unix_host_free,
};

static int host_open(struct vsock_unix *h, struct err *err)
{
	cleanup_free char *dir = str_fmt("%.*s", (int)(h->base - h->path), h->path);
	struct sockaddr_un sa;
	int r;

	h->dir_fd = open(*dir ? dir : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (h->dir_fd < 0)
		return err_set(err, errno, "cannot open the directory of the vsock socket '%s'",
			       h->path);
	/* The longest port: a name that fits only some ports would fail at a time nobody looks. */
	if (!port_address(h, UINT32_MAX, true, &sa))
		return err_say(err, ENAMETOOLONG,
			       "the name of the vsock socket '%s' is too long: 60 bytes always fit",
			       h->path);
	r = unix_listen(h->path, SOMAXCONN, &h->listener.fd, err);
	if (r < 0)
		return r;
	h->listener.fn = listener_ready;
	return loop_add(h->loop, &h->listener, EPOLLIN, err);
}

int vsock_unix_new(struct loop *loop, const char *path, const struct vsock_unix_options *opt,
		   struct vsock_host **ret_h, struct err *err)
{
	struct vsock_unix *h = xcalloc(1, sizeof(*h));
	int r;

	h->h.ops = &unix_host_ops;
	h->loop = loop;
	h->opt = (struct vsock_unix_options){
		.greeting_ms = opt && opt->greeting_ms ? opt->greeting_ms : 10000,
		.connect_ms = opt && opt->connect_ms ? opt->connect_ms : 2000,
		.num_greetings = opt && opt->num_greetings ? opt->num_greetings : 256,
	};
	h->path = str_dup(path);
	h->base = strrchr(h->path, '/') ? strrchr(h->path, '/') + 1 : h->path;
	h->dir_fd = h->listener.fd = -1;
	h->resume.fn = listener_resume_later;
	list_init(&h->greetings);
	r = host_open(h, err);
	if (r < 0) {
		unix_host_free(&h->h);
		return r;
	}
	*ret_h = &h->h;
	return 0;
}
