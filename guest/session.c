/* SPDX-License-Identifier: Apache-2.0 */
/* A session: one poll loop between a connection's frames and one command. */
/*
 * The session's process leads a terminal session of its own; the command is the foreground process
 * group in it. So Ctrl-Z stops a command that `lvm run` started directly (its group is not
 * orphaned: its parent is here), and we see that with WUNTRACED. A login shell moves the foreground
 * group about as it likes; signals from the host follow it.
 *
 * The end of a session. EXIT is sent after all that the command wrote. A process it left behind may
 * hold the same pipes open for days (a daemon started by a script), so end of file cannot be waited
 * for; and what `cmd > >(filter)` still prints should not be cut off. Therefore: what was in the
 * pipes when the command exited is sent in any case, however slow the host reads; after that output
 * is awaited until it pauses for QUIET_MS, or LINGER_MS are over.
 *
 * When the host goes away first, the command gets SIGHUP as from a terminal that was closed, and
 * SIGKILL after grace_ms.
 */
#include "guest/session.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/endian.h"
#include "base/loop.h"
#include "guest/install.h"
#include "guest/session_priv.h"

#define QUIET_MS  200
#define LINGER_MS 2000
#define CLOSE_MS  5000

/* Room that is kept for the frames that answer one frame of the host. */
#define REPLY_ROOM 1024
/* Output is read when at least this much of it can be queued. */
#define MIN_READ 4096

static void queue(struct session *s, const uint8_t *frame, size_t len)
{
	memcpy(conn_reserve(&s->conn, len), frame, len);
	conn_queued(&s->conn, len);
}

static void queue_u32(struct session *s, enum proto_type type, enum proto_stream stream, uint32_t v)
{
	uint8_t frame[PROTO_SMALL_FRAME];

	queue(s, frame, proto_put_u32(frame, type, stream, v));
}

static void refuse(struct session *s, int code, enum proto_fault fault, const char *sentence)
{
	conn_send_error(&s->conn, code, fault, sentence);
	s->state = SESSION_OVER;
}

/* The group that a terminal's keys would reach, else the command's. 0 before there is one. */
static pid_t foreground_group(struct session *s)
{
	pid_t group = -1;

	if (s->stream[PROTO_TTY].fd >= 0 &&
	    ioctl(s->stream[PROTO_TTY].fd, TIOCGPGRP, &group) == 0 && group > 1 &&
	    group != getpid())
		s->foreground = group;
	return s->foreground;
}

static void signal_foreground(struct session *s, int sig)
{
	pid_t group = foreground_group(s);

	if (group > 1 && kill(-group, sig) < 0 && errno == ESRCH && s->command > 1)
		(void)kill(-s->command, sig);
}

static void hang_up(struct session *s)
{
	pid_t group = foreground_group(s);

	if (s->state == SESSION_RUNNING) {
		/* A stopped process gets no SIGHUP before it is continued. */
		(void)kill(-group, SIGHUP);
		(void)kill(-group, SIGCONT);
		if (group != s->command) {
			(void)kill(-s->command, SIGHUP);
			(void)kill(-s->command, SIGCONT);
		}
		s->kill_at = loop_now_ms() + s->cfg->grace_ms;
		s->state = SESSION_HANGUP;
	} else if (s->state != SESSION_HANGUP) {
		s->state = SESSION_OVER;
	}
	if (s->tty >= 0)
		close(s->tty);
	s->tty = -1;
	stream_close(&s->stream[PROTO_STDIN]);
	stream_close(&s->stream[PROTO_TTY]);
}

static void start_install(struct session *s, const struct request *req)
{
	struct err err;
	uint8_t frame[PROTO_SMALL_FRAME];
	int r;

	if (!s->cfg->install_disk) {
		refuse(s, EOPNOTSUPP, PROTO_FAULT_LVM,
		       "this VM runs a distro and is not the installer");
		return;
	}
	r = install_run(&s->conn, s->cfg->install_disk, req, &err);
	if (r < 0) {
		refuse(s, -r, PROTO_FAULT_LVM, err.text);
		return;
	}
	conn_send(&s->conn, frame, proto_put_u32x2(frame, PROTO_EXIT, 0, 0));
	s->state = SESSION_OVER;
}

static void start_command(struct session *s, const struct request *req)
{
	enum proto_fault fault;
	struct err err;
	int r = session_exec(s, req, &fault, &err);

	if (r < 0) {
		refuse(s, -r, fault, err.text);
		return;
	}
	s->state = SESSION_RUNNING;
	queue_u32(s, PROTO_STARTED, 0, (uint32_t)s->command);
}

static void start_shutdown(struct session *s, uint32_t how)
{
	uint8_t frame[PROTO_SMALL_FRAME];

	if (how > 1 || s->cfg->agent == 0) {
		refuse(s, EINVAL, PROTO_FAULT_LVM,
		       "lvm-guest cannot shut down in the way that was asked for");
		return;
	}
	conn_send(&s->conn, frame, proto_put_u32x2(frame, PROTO_EXIT, 0, 0));
	conn_flush(&s->conn);
	(void)kill(s->cfg->agent, SIGRTMIN + 4 + (int)how);
	s->state = SESSION_OVER;
}

static void handle_hello(struct session *s, const struct proto_frame *f)
{
	int version = proto_get_hello(f);

	if (version == -EPROTONOSUPPORT)
		refuse(s, EPROTONOSUPPORT, PROTO_FAULT_LVM,
		       "the lvm command and the VM's lvm-guest have no protocol version in "
		       "common; restart the distro");
	else if (version < 0)
		s->state = SESSION_OVER; /* not lvm at all: no sentence would be read */
	else
		s->state = SESSION_REQUEST;
}

static void handle_request(struct session *s, const struct proto_frame *f)
{
	struct request req;
	struct err err;

	if (f->type == PROTO_SHUTDOWN) {
		start_shutdown(s, get_le32(f->payload));
		return;
	}
	if (f->type != PROTO_EXEC && f->type != PROTO_INSTALL) {
		refuse(s, EPROTO, PROTO_FAULT_LVM, "lvm-guest got a frame that no request allows");
		return;
	}
	if (request_parse(f, &req, &err) < 0) {
		refuse(s, err.code, PROTO_FAULT_LVM, err.text);
		return;
	}
	if (f->type == PROTO_EXEC)
		start_command(s, &req);
	else
		start_install(s, &req);
	request_done(&req);
}

static void set_winsize(struct session *s, const uint8_t *payload)
{
	struct proto_winsize ws;
	struct winsize w;

	proto_get_winsize(payload, &ws);
	w = (struct winsize){.ws_row = ws.rows,
			     .ws_col = ws.cols,
			     .ws_xpixel = ws.xpixel,
			     .ws_ypixel = ws.ypixel};
	if (s->stream[PROTO_TTY].fd >= 0)
		(void)ioctl(s->stream[PROTO_TTY].fd, TIOCSWINSZ, &w);
}

/* Frames for a running command. -EPROTO: the host does not keep to the protocol. */
static int handle_running(struct session *s, const struct proto_frame *f)
{
	struct stream *st = &s->stream[f->stream];
	uint32_t sig;

	switch (f->type) {
	case PROTO_DATA:
		return f->stream == PROTO_STDIN || f->stream == PROTO_TTY
			       ? stream_receive(st, f->payload, f->len)
			       : -EPROTO;
	case PROTO_END:
		/* A terminal's input has no end of its own. */
		if (f->stream != PROTO_TTY)
			stream_receive_end(st);
		return 0;
	case PROTO_CREDIT:
		return stream_add_credit(st, get_le32(f->payload));
	case PROTO_WINSIZE:
		set_winsize(s, f->payload);
		return 0;
	case PROTO_SIGNAL:
		sig = get_le32(f->payload);
		if (sig < 1 || sig >= NSIG)
			return -EPROTO;
		if (s->state == SESSION_RUNNING)
			signal_foreground(s, (int)sig);
		return 0;
	default:
		return -EPROTO;
	}
}

static int handle_frame(struct session *s, const struct proto_frame *f)
{
	uint8_t *p;

	if (s->state == SESSION_HELLO) {
		handle_hello(s, f);
		return 0;
	}
	if (f->type == PROTO_PING) {
		p = conn_reserve(&s->conn, PROTO_SMALL_FRAME);
		proto_put_header(p, PROTO_PONG, 0, f->len);
		memcpy(p + PROTO_HEADER_LEN, f->payload, f->len);
		conn_queued(&s->conn, PROTO_HEADER_LEN + f->len);
		return 0;
	}
	if (s->state == SESSION_REQUEST) {
		handle_request(s, f);
		return 0;
	}
	return handle_running(s, f);
}

static void handle_input(struct session *s)
{
	struct proto_frame f;
	int r = 0;

	while (s->state < SESSION_HANGUP && conn_space(&s->conn) >= REPLY_ROOM) {
		r = conn_next(&s->conn, &f);
		if (r <= 0)
			break;
		r = handle_frame(s, &f);
		if (r < 0)
			break;
	}
	if (r < 0) {
		conn_send_error(&s->conn, EPROTO, PROTO_FAULT_LVM,
				"lvm-guest got a frame that the protocol does not allow");
		hang_up(s);
	} else if (s->conn.eof && r == 0 && s->state < SESSION_HANGUP) {
		hang_up(s);
	}
}

/*
 * After a hang-up output is still read: SIGPIPE must not be faster than the command's handler of
 * SIGHUP.
 */
static void drop_output(struct stream *st)
{
	uint8_t drop[4096];

	if (!st->gives)
		return;
	st->tx_left = PROTO_WINDOW;
	(void)stream_read(st, drop, sizeof(drop));
}

/* Reads a stream of the command into a DATA frame, or notes its end. */
static void pump_output(struct session *s, enum proto_stream id)
{
	struct stream *st = &s->stream[id];
	uint8_t frame[PROTO_SMALL_FRAME], *p;
	size_t max = conn_space(&s->conn);
	ssize_t n;

	if (!stream_wants_read(st) || max < PROTO_HEADER_LEN + MIN_READ + REPLY_ROOM)
		return;
	max -= PROTO_HEADER_LEN + REPLY_ROOM;
	max = max < PROTO_MAX_PAYLOAD ? max : PROTO_MAX_PAYLOAD;
	max = max < st->tx_left ? max : st->tx_left;
	p = conn_reserve(&s->conn, PROTO_HEADER_LEN + max);
	n = stream_read(st, p + PROTO_HEADER_LEN, max);
	if (n > 0) {
		proto_put_header(p, PROTO_DATA, id, (size_t)n);
		conn_queued(&s->conn, PROTO_HEADER_LEN + (size_t)n);
		s->quiet_at = loop_now_ms() + QUIET_MS;
	} else if (n == 0) {
		queue(s, frame, proto_put_empty(frame, PROTO_END, id));
	}
}

static void give_credits(struct session *s)
{
	static const enum proto_stream inputs[] = {PROTO_STDIN, PROTO_TTY};

	for (unsigned i = 0; i < 2; i++) {
		uint32_t n = stream_credit(&s->stream[inputs[i]]);

		if (n)
			queue_u32(s, PROTO_CREDIT, inputs[i], n);
	}
}

static void command_exited(struct session *s, int status)
{
	int64_t now = loop_now_ms();

	s->status = status;
	s->command = 0;
	if (s->state == SESSION_HANGUP) {
		s->state = SESSION_OVER;
		return;
	}
	s->state = SESSION_EXITED;
	s->quiet_at = now + QUIET_MS;
	s->give_up_at = now + LINGER_MS;
	if (s->tty >= 0)
		close(s->tty);
	s->tty = -1;
	for (unsigned i = 0; i <= PROTO_TTY; i++) {
		struct pollfd p = {.fd = s->stream[i].fd, .events = POLLIN};
		int bytes = 0;

		/*
		 * poll() has the terminal's buffers flushed, without which some of its output would
		 * not be counted.
		 */
		if (s->stream[i].gives && poll(&p, 1, 0) >= 0 && ioctl(p.fd, FIONREAD, &bytes) == 0)
			s->stream[i].owed = (size_t)bytes;
	}
}

static void reap(struct session *s)
{
	pid_t pid;
	int status;

	while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
		if (pid != s->command)
			continue; /* one whose exec failed */
		if (!WIFSTOPPED(status))
			command_exited(s, status);
		else if (s->state == SESSION_RUNNING && conn_space(&s->conn) >= REPLY_ROOM)
			queue_u32(s, PROTO_STOPPED, 0, (uint32_t)WSTOPSIG(status));
	}
}

static void handle_signals(struct session *s)
{
	struct signalfd_siginfo info;

	while (read(s->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo != SIGTERM)
			continue;
		/* The VM is going down: what a terminal's end does. EXIT still gets to the host. */
		if (s->state == SESSION_RUNNING) {
			signal_foreground(s, SIGHUP);
			signal_foreground(s, SIGCONT);
		} else if (s->state < SESSION_RUNNING) {
			s->state = SESSION_OVER;
		} else if (s->state == SESSION_HANGUP) {
			s->kill_at = 0;
		}
	}
	reap(s);
}

/* Ends SESSION_EXITED once all output has been taken; see the top of the file. */
static void check_exited(struct session *s)
{
	uint8_t frame[PROTO_SMALL_FRAME];
	int64_t now = loop_now_ms();
	bool open = false, owed = false;

	for (unsigned i = 0; i <= PROTO_TTY; i++) {
		open |= s->stream[i].gives;
		owed |= s->stream[i].owed > 0;
	}
	if (open && (owed || (now < s->quiet_at && now < s->give_up_at)))
		return;
	if (WIFSIGNALED(s->status))
		conn_send(&s->conn, frame,
			  proto_put_u32x2(frame, PROTO_EXIT, 1, (uint32_t)WTERMSIG(s->status)));
	else
		conn_send(&s->conn, frame,
			  proto_put_u32x2(frame, PROTO_EXIT, 0, (uint32_t)WEXITSTATUS(s->status)));
	s->state = SESSION_OVER;
}

static void check_hangup(struct session *s)
{
	if (loop_now_ms() < s->kill_at)
		return;
	(void)kill(-s->foreground, SIGKILL);
	(void)kill(-s->command, SIGKILL);
	s->kill_at = INT64_MAX;
}

static int poll_timeout(const struct session *s)
{
	int64_t at, left;

	if (s->state == SESSION_EXITED)
		at = s->quiet_at < s->give_up_at ? s->quiet_at : s->give_up_at;
	else if (s->state == SESSION_HANGUP && s->kill_at != INT64_MAX)
		at = s->kill_at;
	else
		return -1;
	left = at - loop_now_ms();
	return left < 0 ? 0 : (int)left;
}

enum { POLL_CONN, POLL_SIGNALS, POLL_STREAMS, POLL_NUM = POLL_STREAMS + PROTO_TTY + 1 };

static void prepare_poll(const struct session *s, struct pollfd p[POLL_NUM])
{
	size_t space = conn_space(&s->conn);
	const struct conn *c = &s->conn;
	bool can_read = !c->eof && space >= REPLY_ROOM && c->in_len - c->in_off < c->in_cap;
	short conn_events = (can_read ? POLLIN : 0) | (c->out_len > c->out_off ? POLLOUT : 0);

	p[POLL_CONN] = (struct pollfd){.fd = conn_events ? c->fd : -1, .events = conn_events};
	p[POLL_SIGNALS] = (struct pollfd){.fd = s->signals, .events = POLLIN};
	for (unsigned i = 0; i <= PROTO_TTY; i++) {
		const struct stream *st = &s->stream[i];
		short events = stream_wants_write(st) ? POLLOUT : 0;

		if (s->state == SESSION_HANGUP
			    ? st->gives
			    : stream_wants_read(st) &&
				      space >= PROTO_HEADER_LEN + MIN_READ + REPLY_ROOM)
			events |= POLLIN;
		/*
		 * Without interest the descriptor is left out: its POLLHUP would be reported for
		 * ever.
		 */
		p[POLL_STREAMS + i] = (struct pollfd){.fd = events ? st->fd : -1, .events = events};
	}
}

static void session_step(struct session *s)
{
	struct pollfd p[POLL_NUM];

	prepare_poll(s, p);
	if (poll(p, POLL_NUM, poll_timeout(s)) < 0)
		return;
	if (p[POLL_SIGNALS].revents)
		handle_signals(s);
	if (p[POLL_CONN].revents & ~POLLOUT)
		conn_fill(&s->conn);
	handle_input(s);
	for (unsigned i = 0; i <= PROTO_TTY; i++) {
		if (p[POLL_STREAMS + i].revents & ~POLLIN)
			stream_flush(&s->stream[i]);
		if (p[POLL_STREAMS + i].revents & ~POLLOUT && s->state == SESSION_HANGUP)
			drop_output(&s->stream[i]);
		else if (p[POLL_STREAMS + i].revents & ~POLLOUT)
			pump_output(s, i);
	}
	if (s->state == SESSION_EXITED)
		check_exited(s);
	if (s->state == SESSION_HANGUP)
		check_hangup(s);
	if (s->state < SESSION_HANGUP)
		give_credits(s);
	conn_flush(&s->conn);
	if (s->conn.broken && s->state < SESSION_HANGUP)
		hang_up(s);
}

static int prepare_process(void)
{
	static const int ignored[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGPIPE, SIGTSTP,
				      SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2};
	sigset_t set;

	(void)setsid();
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		(void)signal(ignored[i], SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	(void)sigprocmask(SIG_SETMASK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

void session_run(int conn, const struct session_config *cfg)
{
	struct session s = {.cfg = cfg, .tty = -1, .state = SESSION_HELLO};
	uint8_t frame[PROTO_SMALL_FRAME];

	s.signals = prepare_process();
	for (unsigned i = 0; i <= PROTO_TTY; i++)
		stream_init(&s.stream[i], -1, false, false);
	if (conn_init(&s.conn, conn) < 0 || s.signals < 0)
		s.state = SESSION_OVER;
	else
		queue(&s, frame, proto_put_hello(frame));
	while (s.state != SESSION_OVER)
		session_step(&s);
	for (unsigned i = 0; i <= PROTO_TTY; i++)
		stream_close(&s.stream[i]);
	conn_finish(&s.conn, CLOSE_MS);
	conn_done(&s.conn);
	if (s.tty >= 0)
		close(s.tty);
	if (s.signals >= 0)
		close(s.signals);
}
