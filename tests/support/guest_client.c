/* SPDX-License-Identifier: Apache-2.0 */
/* Drives real sessions of lvm-guest as ordinary processes: no VM is needed for what they do. */
#include "tests/support/guest_client.h"

#include <errno.h>
#include <ftw.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/endian.h"
#include "base/fd.h"
#include "base/loop.h"
#include "base/str.h"
#include "guest/session.h"

#define TEST_TIMEOUT_MS 20000

static void write_text(const char *dir, const char *name, const char *text)
{
	char *path = str_fmt("%s/%s", dir, name);
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	free(path);
}

void guest_world_make(struct guest_world *w)
{
	char *text;

	strcpy(w->dir, "/tmp/lvm-guest-test.XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	(void)chmod(w->dir, 0755);
	snprintf(w->etc, sizeof(w->etc), "%s/etc", w->dir);
	snprintf(w->run, sizeof(w->run), "%s/run", w->dir);
	snprintf(w->home, sizeof(w->home), "%s/home", w->dir);
	assert_int_equal(mkdir(w->etc, 0755) | mkdir(w->run, 0755) | mkdir(w->home, 0755), 0);
	text = str_fmt("nobody:x:65534:65534::/nonexistent:/bin/sh\nme:x:%u:%u:,,,:%s:/bin/sh\n",
		       (unsigned)getuid(), (unsigned)getgid(), w->home);
	write_text(w->etc, "passwd", text);
	free(text);
	write_text(w->etc, "group", "nogroup:x:65534:\nstaff:x:50:other,me\nwheel:x:10:me\n");
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	return remove(path);
}

void guest_world_remove(struct guest_world *w)
{
	(void)nftw(w->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void guest_client_open(struct guest_client *c, const struct guest_world *w, int grace_ms)
{
	struct session_config cfg = {
		.etc = w->etc, .run = w->run, .default_user = "me", .grace_ms = grace_ms};
	uint8_t frame[PROTO_SMALL_FRAME];
	int sp[2];

	memset(c, 0, sizeof(*c));
	c->give_credit = true;
	for (unsigned i = 0; i <= PROTO_TTY; i++)
		c->window[i] = PROTO_WINDOW;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sp), 0);
	c->session = fork();
	assert_true(c->session >= 0);
	if (c->session == 0) {
		close(sp[0]);
		session_run(sp[1], &cfg);
		_exit(0);
	}
	close(sp[1]);
	c->fd = sp[0];
	guest_client_send(c, frame, proto_put_hello(frame));
}

/* What the session sends may fill the socket while we write: take it, or both sides wait. */
void guest_client_send(struct guest_client *c, const void *frame, size_t len)
{
	const uint8_t *p = frame;

	c->sending = true;
	while (len) {
		ssize_t n = send(c->fd, p, len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n > 0) {
			p += n;
			len -= (size_t)n;
		} else if (errno == EAGAIN) {
			struct pollfd wait = {.fd = c->fd, .events = POLLIN | POLLOUT};

			assert_true(poll(&wait, 1, TEST_TIMEOUT_MS) > 0);
			(void)guest_client_step(c, 0);
		} else {
			break; /* the session is over, which the caller sees by what came */
		}
	}
	c->sending = false;
}

static void give_credits(struct guest_client *c)
{
	uint8_t frame[PROTO_SMALL_FRAME];

	for (unsigned i = 0; i <= PROTO_TTY && c->give_credit && !c->sending; i++) {
		uint32_t n = c->due[i];

		c->due[i] = 0;
		if (n)
			guest_client_send(c, frame, proto_put_u32(frame, PROTO_CREDIT, i, n));
	}
}

void guest_client_request(struct guest_client *c, struct proto_request *r, enum proto_type type)
{
	assert_int_equal(proto_request_finish(r, type), 0);
	guest_client_send(c, r->buf, r->len);
	proto_request_done(r);
}

void guest_client_exec(struct guest_client *c, uint32_t flags, const char *const *argv)
{
	struct proto_request r;

	proto_request_begin(&r);
	for (; argv && *argv; argv++)
		proto_request_add_str(&r, PROTO_F_ARG, *argv);
	proto_request_add_u32(&r, PROTO_F_FLAGS, flags);
	guest_client_request(c, &r, PROTO_EXEC);
}

static void take_data(struct guest_client *c, const struct proto_frame *f)
{
	size_t len = c->out_len[f->stream];

	c->out[f->stream] = realloc(c->out[f->stream], len + f->len + 1);
	memcpy(c->out[f->stream] + len, f->payload, f->len);
	c->out_len[f->stream] = len + f->len;
	c->out[f->stream][len + f->len] = 0;
	c->due[f->stream] += f->len;
}

static void take_frame(struct guest_client *c, const struct proto_frame *f)
{
	switch (f->type) {
	case PROTO_DATA:
		take_data(c, f);
		return;
	case PROTO_END:
		c->ended[f->stream] = true;
		return;
	case PROTO_CREDIT:
		c->window[f->stream] += get_le32(f->payload);
		return;
	case PROTO_STARTED:
		c->command = (pid_t)get_le32(f->payload);
		return;
	case PROTO_STOPPED:
		c->stopped = get_le32(f->payload);
		return;
	case PROTO_PONG:
		c->pongs++;
		return;
	case PROTO_EXIT:
		c->over = c->exited = true;
		c->kind = get_le32(f->payload);
		c->code = get_le32(f->payload + 4);
		return;
	case PROTO_ERROR:
		c->over = c->failed = true;
		c->err = get_le32(f->payload);
		c->fault = get_le32(f->payload + 4);
		snprintf(c->sentence, sizeof(c->sentence), "%.*s", (int)f->len - 8,
			 (const char *)f->payload + 8);
		return;
	default:
		assert_int_equal(f->type, PROTO_HELLO);
		assert_int_equal(proto_get_hello(f), PROTO_VERSION);
	}
}

bool guest_client_step(struct guest_client *c, int timeout_ms)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};
	struct proto_frame f;
	size_t size, used = 0;
	ssize_t n;

	give_credits(c);
	if (c->over || poll(&p, 1, timeout_ms) <= 0)
		return false;
	n = recv(c->fd, c->in + c->in_len, sizeof(c->in) - c->in_len, MSG_DONTWAIT);
	if (n <= 0) {
		c->over = n == 0 || errno != EAGAIN;
		return c->over;
	}
	c->in_len += (size_t)n;
	while (proto_parse(c->in + used, c->in_len - used, &f, &size) == 1) {
		take_frame(c, &f);
		used += size;
	}
	memmove(c->in, c->in + used, c->in_len - used);
	c->in_len -= used;
	give_credits(c);
	return true;
}

bool guest_client_write(struct guest_client *c, enum proto_stream stream, const void *buf,
			size_t len)
{
	static uint8_t frame[PROTO_HEADER_LEN + PROTO_MAX_PAYLOAD];
	const uint8_t *p = buf;

	while (len && !c->over) {
		size_t n = len < PROTO_MAX_PAYLOAD ? len : PROTO_MAX_PAYLOAD;

		n = n < c->window[stream] ? n : c->window[stream];
		if (n == 0) {
			assert_true(guest_client_step(c, TEST_TIMEOUT_MS));
			continue;
		}
		proto_put_header(frame, PROTO_DATA, stream, n);
		memcpy(frame + PROTO_HEADER_LEN, p, n);
		c->window[stream] -= (uint32_t)n;
		guest_client_send(c, frame, PROTO_HEADER_LEN + n);
		p += n;
		len -= n;
	}
	return !c->over;
}

void guest_client_end(struct guest_client *c, enum proto_stream stream)
{
	uint8_t frame[PROTO_SMALL_FRAME];

	guest_client_send(c, frame, proto_put_empty(frame, PROTO_END, stream));
}

void guest_client_signal(struct guest_client *c, int sig)
{
	uint8_t frame[PROTO_SMALL_FRAME];

	guest_client_send(c, frame, proto_put_u32(frame, PROTO_SIGNAL, 0, (uint32_t)sig));
}

void guest_client_finish(struct guest_client *c)
{
	int64_t until = loop_now_ms() + TEST_TIMEOUT_MS;

	while (!c->over) {
		assert_true(loop_now_ms() < until);
		(void)guest_client_step(c, 1000);
	}
}

void guest_client_expect(struct guest_client *c, enum proto_stream stream, const char *text)
{
	int64_t until = loop_now_ms() + TEST_TIMEOUT_MS;

	while (!c->out[stream] || !strstr((char *)c->out[stream], text)) {
		assert_true(loop_now_ms() < until && !c->over);
		(void)guest_client_step(c, 1000);
	}
}

void guest_client_close(struct guest_client *c)
{
	close(c->fd);
	assert_int_equal(waitpid(c->session, NULL, 0), c->session);
	for (unsigned i = 0; i <= PROTO_TTY; i++)
		free(c->out[i]);
}
