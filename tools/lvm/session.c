/* SPDX-License-Identifier: Apache-2.0 */
/* A session's host end: four streams with credit, the terminal, and signals, in one poll loop. */
/*
 * One thread, poll(2) rather than base/loop.h, because stdin and stdout may be regular files, which
 * epoll refuses. The descriptors belong to others too (the user's shell), so their O_NONBLOCK is never changed: a
 * read happens after POLLIN, a write after POLLOUT and with no more than a pipe is sure to take.
 *
 * Flow: what comes in for stdout, stderr and the terminal goes to a sink; the guest may send at most
 * PROTO_WINDOW bytes beyond what we credited, so a sink is bounded. What we send is bounded by the
 * guest's credit the same way. A reader that is gone (EPIPE) is told to the guest by END on that
 * stream, so the command there gets its SIGPIPE.
 *
 * Stopping: the guest says STOPPED when its command was stopped. We give the terminal back and stop ourselves; the shell's
 * SIGCONT brings us back, we take the terminal again and continue the command.
 */
#include "tools/lvm/session.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/endian.h"
#include "base/str.h"
#include "tools/lvm/term.h"

#define SESSION_READ 32768 /* bytes of stdin at a time */
#define EXIT_LVM     125

/* Where the guest's output of one stream goes. */
struct sink {
	int fd;         /* -1: no such stream */
	size_t at_once; /* bytes a write may have without blocking after POLLOUT */
	uint8_t *buf;
	size_t off, len, cap;
	uint32_t written; /* since the last credit */
	bool end, broken;
	int code; /* errno of the failed write when it was not EPIPE */
};

struct session {
	struct agent *agent;
	struct term term;
	int signal_fd;
	sigset_t signals, before;
	enum proto_stream in_stream; /* what our stdin feeds */
	uint64_t in_credit;
	bool in_end;
	struct sink sink[PROTO_TTY + 1]; /* indexed by stream; STDIN unused */
	bool done;
	int status; /* when done; negative: err is set */
	struct err *err;
};

static void queue_signal(struct session *s, int sig)
{
	uint8_t f[PROTO_SMALL_FRAME];

	agent_queue(s->agent, f, proto_put_u32(f, PROTO_SIGNAL, 0, (uint32_t)sig));
}

static void queue_winsize(struct session *s)
{
	uint8_t f[PROTO_SMALL_FRAME];
	struct winsize ws;

	if (!term_size(&s->term, &ws))
		return;
	agent_queue(s->agent, f,
		    proto_put_winsize(f, &(struct proto_winsize){ws.ws_row, ws.ws_col, ws.ws_xpixel,
								 ws.ws_ypixel}));
}

/* ---- output ---- */

static void sink_init(struct sink *k, int fd)
{
	struct stat st;

	k->fd = fd;
	/* A regular file never makes us wait; anything else takes a pipe's worth after POLLOUT. */
	k->at_once = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? PROTO_WINDOW : PIPE_BUF;
}

static void sink_credit(struct session *s, enum proto_stream stream, size_t n)
{
	struct sink *k = &s->sink[stream];
	uint8_t f[PROTO_SMALL_FRAME];

	k->written += (uint32_t)n;
	if (k->written < PROTO_WINDOW / 2)
		return;
	agent_queue(s->agent, f, proto_put_u32(f, PROTO_CREDIT, stream, k->written));
	k->written = 0;
}

/* The reader has gone, or the disk is full: the guest's command learns of it, and the rest is dropped. */
static void sink_break(struct session *s, enum proto_stream stream, int code)
{
	struct sink *k = &s->sink[stream];
	uint8_t f[PROTO_SMALL_FRAME];

	k->broken = true;
	if (code != EPIPE)
		k->code = code;
	sink_credit(s, stream, k->len - k->off);
	k->off = k->len = 0;
	if (stream != PROTO_TTY)
		agent_queue(s->agent, f, proto_put_empty(f, PROTO_END, stream));
}

/* One write. */
static void sink_write(struct session *s, enum proto_stream stream)
{
	struct sink *k = &s->sink[stream];
	size_t n = k->len - k->off;
	ssize_t r;

	if (n > k->at_once)
		n = k->at_once;
	r = write(k->fd, k->buf + k->off, n);
	if (r < 0) {
		if (errno != EAGAIN && errno != EINTR)
			sink_break(s, stream, errno);
		return;
	}
	k->off += (size_t)r;
	if (k->off == k->len)
		k->off = k->len = 0;
	sink_credit(s, stream, (size_t)r);
}

/* End of file for whoever reads our stdout, though we live on. */
static void sink_end(struct sink *k)
{
	int null;

	if (!k->end || k->off != k->len || k->fd != STDOUT_FILENO)
		return;
	null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (null < 0)
		return;
	(void)dup2(null, STDOUT_FILENO);
	(void)close(null);
	k->end = false;
}

static int sink_take(struct session *s, const struct proto_frame *f)
{
	struct sink *k = &s->sink[f->stream];

	if (f->stream == PROTO_STDIN || k->fd < 0)
		return -EPROTO;
	if (k->broken) {
		sink_credit(s, f->stream, f->len);
		return 0;
	}
	if (k->len - k->off + f->len > PROTO_WINDOW)
		return -EPROTO;
	if (k->len + f->len > k->cap) {
		memmove(k->buf, k->buf + k->off, k->len - k->off);
		k->len -= k->off;
		k->off = 0;
	}
	if (k->len + f->len > k->cap) {
		k->cap = k->len + f->len < PROTO_WINDOW / 2 ? 2 * (k->len + f->len) : PROTO_WINDOW;
		k->buf = xrealloc(k->buf, k->cap, 1);
	}
	memcpy(k->buf + k->len, f->payload, f->len);
	k->len += f->len;
	return 0;
}

/* ---- input ---- */

static void input_end(struct session *s)
{
	uint8_t f[PROTO_SMALL_FRAME];

	s->in_end = true;
	if (s->in_stream == PROTO_STDIN)
		agent_queue(s->agent, f, proto_put_empty(f, PROTO_END, PROTO_STDIN));
}

static bool input_wanted(const struct session *s)
{
	/* A terminal that is not raw is not ours now: we are in the background, or stopped. */
	if (s->in_end || !s->in_credit || (s->in_stream == PROTO_TTY && !s->term.raw))
		return false;
	return agent_pending(s->agent) < PROTO_WINDOW;
}

static void input_read(struct session *s)
{
	uint8_t buf[SESSION_READ];
	size_t max = s->in_credit < sizeof(buf) ? (size_t)s->in_credit : sizeof(buf);
	ssize_t n = read(STDIN_FILENO, buf, max);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		input_end(s);
		return;
	}
	s->in_credit -= (uint64_t)n;
	agent_queue_data(s->agent, s->in_stream, buf, (size_t)n);
}

/* ---- frames from the guest ---- */

static void finish(struct session *s, int status)
{
	s->done = true;
	s->status = status;
}

static void take_error(struct session *s, const struct proto_frame *f)
{
	uint32_t code = get_le32(f->payload), fault = get_le32(f->payload + 4);
	int len = (int)(f->len - 8) < 800 ? (int)(f->len - 8) : 800;
	int r = err_say(s->err, code && code < 4096 ? (int)code : EIO, "%.*s", len,
			(const char *)f->payload + 8);

	str_harmless(s->err->text, strlen(s->err->text), "");
	if (fault == PROTO_FAULT_NOT_FOUND || fault == PROTO_FAULT_NOT_EXEC) {
		(void)fprintf(stderr, "lvm: %s\n", s->err->text);
		r = fault == PROTO_FAULT_NOT_FOUND ? 127 : 126;
	}
	finish(s, r);
}

static void stop_here(struct session *s)
{
	term_restore(&s->term);
	(void)raise(SIGSTOP);
	/* The SIGCONT that woke us is in signal_fd and does the rest. */
}

static int take_frame(struct session *s, const struct proto_frame *f)
{
	switch (f->type) {
	case PROTO_STARTED:
		return 0;
	case PROTO_DATA:
		return sink_take(s, f);
	case PROTO_END:
		/* On stdin: nobody reads there any more. */
		if (f->stream == s->in_stream)
			s->in_end = true;
		s->sink[f->stream].end = true;
		return 0;
	case PROTO_CREDIT:
		if (f->stream == s->in_stream)
			s->in_credit += get_le32(f->payload);
		return 0;
	case PROTO_STOPPED:
		stop_here(s);
		return 0;
	case PROTO_EXIT: {
		uint32_t kind = get_le32(f->payload), code = get_le32(f->payload + 4);

		finish(s, (int)((kind == 1 ? 128 + code : code) & 0xff));
		return 0;
	}
	case PROTO_ERROR:
		take_error(s, f);
		return 0;
	default:
		return -EPROTO;
	}
}

static int take_frames(struct session *s)
{
	struct proto_frame f;
	int r;

	/* One frame at most past the end: a stop in between must not eat what follows EXIT. */
	while (!s->done && (r = agent_next(s->agent, &f)) != 0) {
		if (r > 0)
			r = take_frame(s, &f);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- signals ---- */

static const int forwarded[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGTSTP};

static int signals_begin(struct session *s)
{
	sigemptyset(&s->signals);
	for (size_t i = 0; i < sizeof(forwarded) / sizeof(forwarded[0]); i++) {
		struct sigaction sa;

		/* One that was ignored when we were started (nohup) stays ignored. */
		if (sigaction(forwarded[i], NULL, &sa) == 0 && sa.sa_handler != SIG_IGN)
			sigaddset(&s->signals, forwarded[i]);
	}
	sigaddset(&s->signals, SIGWINCH);
	sigaddset(&s->signals, SIGCONT);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)sigprocmask(SIG_BLOCK, &s->signals, &s->before);
	s->signal_fd = signalfd(-1, &s->signals, SFD_CLOEXEC | SFD_NONBLOCK);
	return s->signal_fd < 0 ? err_set(s->err, errno, "cannot watch for signals") : 0;
}

/* The terminal is ours to change only from the foreground. */
static void take_terminal(struct session *s)
{
	if (s->in_stream == PROTO_TTY && tcgetpgrp(s->term.fd) == getpgrp())
		(void)term_raw(&s->term, NULL);
}

static void take_signals(struct session *s)
{
	struct signalfd_siginfo si;

	while (read(s->signal_fd, &si, sizeof(si)) == sizeof(si)) {
		switch (si.ssi_signo) {
		case SIGWINCH:
			queue_winsize(s);
			break;
		case SIGCONT:
			take_terminal(s);
			queue_winsize(s);
			queue_signal(s, SIGCONT);
			break;
		default:
			queue_signal(s, (int)si.ssi_signo);
		}
	}
}

/* ---- the loop ---- */

enum {
	POLL_AGENT,
	POLL_SIGNALS,
	POLL_INPUT,
	POLL_SINKS, /* + stream */
	POLL_NUM = POLL_SINKS + PROTO_TTY + 1,
};

static void prepare_poll(struct session *s, struct pollfd *p)
{
	p[POLL_AGENT] = (struct pollfd){agent_fd(s->agent),
					POLLIN | (agent_pending(s->agent) ? POLLOUT : 0), 0};
	p[POLL_SIGNALS] = (struct pollfd){s->signal_fd, POLLIN, 0};
	p[POLL_INPUT] = (struct pollfd){input_wanted(s) ? STDIN_FILENO : -1, POLLIN, 0};
	for (int i = 0; i <= PROTO_TTY; i++) {
		struct sink *k = &s->sink[i];
		bool pending = k->len > k->off;
		bool watch = k->fd >= 0 && !k->broken && i != PROTO_STDIN;

		/* Without pending bytes only a reader's going is of interest, and that comes unasked. */
		p[POLL_SINKS + i] = (struct pollfd){watch ? k->fd : -1, pending ? POLLOUT : 0, 0};
	}
}

static int turn(struct session *s)
{
	struct pollfd p[POLL_NUM];
	int r = 0;

	prepare_poll(s, p);
	if (poll(p, POLL_NUM, -1) < 0)
		return errno == EINTR ? 0 : -errno;
	if (p[POLL_SIGNALS].revents)
		take_signals(s);
	if (p[POLL_INPUT].revents)
		input_read(s);
	for (int i = 0; i <= PROTO_TTY; i++) {
		short ev = p[POLL_SINKS + i].revents;

		if (ev & POLLOUT)
			sink_write(s, (enum proto_stream)i);
		else if (ev & (POLLERR | POLLHUP | POLLNVAL))
			sink_break(s, (enum proto_stream)i, ev & POLLNVAL ? EBADF : EPIPE);
		sink_end(&s->sink[i]);
	}
	if (p[POLL_AGENT].revents & (POLLIN | POLLHUP | POLLERR)) {
		r = agent_receive(s->agent);
		/* What came before the end still counts. */
		if (take_frames(s) < 0)
			r = -EPROTO;
		if (s->done)
			return 0;
	}
	if (r == 0)
		r = agent_flush(s->agent);
	return r;
}

/*
 * What is left to write when the command has ended; the readers may take their time. Signals have
 * nobody to be passed on to any more: those that come from now on do to us what they do to any
 * program. (The guard has the terminal.)
 */
static void drain(struct session *s)
{
	struct signalfd_siginfo si;

	while (read(s->signal_fd, &si, sizeof(si)) == sizeof(si))
		;
	(void)sigprocmask(SIG_SETMASK, &s->before, NULL);
	for (int i = PROTO_STDOUT; i <= PROTO_TTY; i++) {
		struct sink *k = &s->sink[i];

		while (k->fd >= 0 && !k->broken && k->off < k->len) {
			struct pollfd p = {k->fd, POLLOUT, 0};

			(void)poll(&p, 1, -1);
			sink_write(s, (enum proto_stream)i);
		}
	}
}

/* ---- set-up ---- */

static void add_environment(struct proto_request *req, bool tty)
{
	static const char *const always[] = {"COLORTERM", "NO_COLOR"};
	const char *term = getenv("TERM"), *list = getenv("LVM_PASS_ENV");
	cleanup_free char *names = str_dup(list ?: "");
	char *save = NULL;

	if (tty) {
		cleanup_free char *v = str_fmt("TERM=%s", term && *term ? term : "dumb");

		proto_request_add_str(req, PROTO_F_ENV, v);
	}
	for (size_t i = 0; tty && i < sizeof(always) / sizeof(always[0]); i++) {
		const char *value = getenv(always[i]);
		cleanup_free char *v = value ? str_fmt("%s=%s", always[i], value) : NULL;

		if (v)
			proto_request_add_str(req, PROTO_F_ENV, v);
	}
	for (char *n = strtok_r(names, ":", &save); n; n = strtok_r(NULL, ":", &save)) {
		const char *value = getenv(n);
		cleanup_free char *v = value ? str_fmt("%s=%s", n, value) : NULL;

		if (v)
			proto_request_add_str(req, PROTO_F_ENV, v);
	}
}

static int queue_exec(struct session *s, const struct session_command *c, uint32_t flags)
{
	struct proto_request req;
	struct winsize ws;
	int r;

	proto_request_begin(&req);
	if (c->user)
		proto_request_add_str(&req, PROTO_F_USER, c->user);
	if (c->cwd)
		proto_request_add_str(&req, PROTO_F_CWD, c->cwd);
	for (int i = 0; i < c->argc; i++)
		proto_request_add_str(&req, PROTO_F_ARG, c->argv[i]);
	add_environment(&req, s->term.fd >= 0);
	proto_request_add_u32(&req, PROTO_F_FLAGS, flags);
	if (term_size(&s->term, &ws))
		proto_request_add_winsize(
			&req,
			&(struct proto_winsize){ws.ws_row, ws.ws_col, ws.ws_xpixel, ws.ws_ypixel});
	r = proto_request_finish(&req, PROTO_EXEC);
	if (r == 0)
		agent_queue(s->agent, req.buf, req.len);
	proto_request_done(&req);
	return r < 0 ? err_set(s->err, -r, "cannot pass on a command line that long") : 0;
}

/* `lvm run < /dev/tty > file`: the only terminal is open for reading, but echoes go there. */
static int writable_terminal(int fd)
{
	char path[32];
	int again;

	if ((fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY)
		return fd;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_WRONLY | O_NOCTTY | O_CLOEXEC);
	return again < 0 ? fd : again;
}

/* Which streams are terminals, and the flags that say so to the guest. */
static uint32_t set_up_streams(struct session *s)
{
	bool tty[3];
	int term_fd = -1;
	uint32_t flags = 0;

	for (int fd = 0; fd < 3; fd++) {
		tty[fd] = isatty(fd);
		s->sink[fd].fd = -1;
		if (tty[fd] && (term_fd < 0 || fd == STDOUT_FILENO))
			term_fd = fd;
	}
	s->sink[PROTO_TTY].fd = -1;
	if (tty[0])
		flags |= PROTO_EXEC_TTY_STDIN;
	if (tty[1])
		flags |= PROTO_EXEC_TTY_STDOUT;
	else
		sink_init(&s->sink[PROTO_STDOUT], STDOUT_FILENO);
	if (tty[2])
		flags |= PROTO_EXEC_TTY_STDERR;
	else
		sink_init(&s->sink[PROTO_STDERR], STDERR_FILENO);
	if (term_fd >= 0)
		sink_init(&s->sink[PROTO_TTY], writable_terminal(term_fd));
	s->in_stream = tty[0] ? PROTO_TTY : PROTO_STDIN;
	s->in_credit = PROTO_WINDOW;
	/* With something of ours piped to this very terminal, its newlines still need their returns. */
	term_init(&s->term, tty[0] ? STDIN_FILENO : term_fd, !(tty[0] && tty[1] && tty[2]));
	return flags;
}

static int result(struct session *s, int r)
{
	if (!s->done)
		return err_say(
			s->err, r < 0 ? -r : EIO, "%s",
			r == -EPROTO
				? "the guest's agent broke the protocol; the command's fate is unknown"
				: "the connection to the guest was lost before the command ended; "
				  "'lvm list -v' and 'lvm logs' tell more");
	for (int i = PROTO_STDOUT; i <= PROTO_TTY; i++) {
		if (s->sink[i].code)
			return err_set(s->err, s->sink[i].code, "cannot write to standard %s",
				       i == PROTO_STDERR ? "error" : "output");
	}
	return s->status;
}

int session_run(struct agent *a, const struct session_command *c, struct err *err)
{
	struct session s = {.agent = a, .err = err, .signal_fd = -1};
	uint32_t flags = set_up_streams(&s) | (c->shell ? PROTO_EXEC_SHELL : 0);
	int r;

	r = queue_exec(&s, c, flags);
	if (r == 0)
		r = signals_begin(&s);
	if (r < 0)
		goto out;
	take_terminal(&s);
	r = agent_flush(a);
	while (r == 0 && !s.done)
		r = turn(&s);
	if (s.done)
		drain(&s);
	term_done(&s.term);
	r = result(&s, r);
	(void)sigprocmask(SIG_SETMASK, &s.before, NULL);
out:
	if (s.signal_fd >= 0)
		(void)close(s.signal_fd);
	for (int i = 0; i <= PROTO_TTY; i++)
		free(s.sink[i].buf);
	return r;
}
