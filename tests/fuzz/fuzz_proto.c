/* SPDX-License-Identifier: Apache-2.0 */
/* lvm-guest against a host that is mostly right: its decoders, or a whole session. */
/*
 * The first byte chooses. A decoder gets the rest as it is. A session gets frames made from it,
 * mostly valid, on a socketpair, and runs one of a few harmless commands as a user whose shell is
 * cat, so that nothing of the input is ever executed. Checked are what the session sends (whole
 * frames, nothing beyond the credit it had) and that its process ends by itself and in peace.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/endian.h"
#include "base/loop.h"
#include "guest/conn.h"
#include "guest/env.h"
#include "guest/options.h"
#include "guest/request.h"
#include "guest/session.h"
#include "guest/users.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/check.h"

#define MAX_STEPS 24
#define END_MS    20000

struct host {
	struct fuzz in;
	int fd;
	pid_t session;
	uint8_t buf[4 * PROTO_MAX_PAYLOAD];
	size_t len;
	uint64_t credit[PROTO_TTY + 1]; /* what the session may have sent in all */
	uint64_t received[PROTO_TTY + 1];
	bool flawed; /* a broken frame may have been taken for credit */
	bool over;
};

static void decode_fields(const uint8_t *data, size_t size)
{
	struct proto_frame f = {.type = PROTO_EXEC, .payload = data, .len = (uint32_t)size};
	struct request r;
	struct err err;

	if (size > PROTO_MAX_REQUEST || request_parse(&f, &r, &err) < 0)
		return;
	check(r.argv[r.num_args] == NULL && r.env[r.num_env] == NULL);
	for (unsigned i = 0; i < r.num_args; i++)
		check(strlen(r.argv[i]) <= size);
	request_done(&r);
}

static void decode_frames(const uint8_t *data, size_t size)
{
	struct proto_frame f;
	size_t need;

	while (proto_parse(data, size, &f, &need) == 1) {
		check(need <= size && f.payload + f.len == data + need);
		if (f.type == PROTO_EXEC)
			decode_fields(f.payload, f.len);
		if (f.type == PROTO_HELLO)
			(void)proto_get_hello(&f);
		data += need;
		size -= need;
	}
}

static void decode_texts(const uint8_t *data, size_t size)
{
	char *text = calloc(1, size + 1);
	struct guest_options o;
	struct env env = {0};
	struct user u;
	unsigned id;

	memcpy(text, data, size);
	(void)guest_options_parse(text, &o, NULL);
	env_add_file(&env, text, size);
	env_done(&env);
	free(login_defs_get(text, size, "PATH"));
	(void)users_find_id(text, size, "a", &id);
	if (users_find(text, size, "a", &u) == 0) {
		users_add_groups(&u, text, size);
		user_done(&u);
	}
	free(text);
}

/* Made once a process; the user's shell is cat. */
static const char *world(void)
{
	static char dir[64];
	char path[128];
	FILE *f;

	if (dir[0])
		return dir;
	strcpy(dir, "/tmp/lvm-fuzz-proto.XXXXXX");
	check(mkdtemp(dir) != NULL);
	snprintf(path, sizeof(path), "%s/passwd", dir);
	f = fopen(path, "we");
	check(f != NULL);
	fprintf(f, "me:x:%u:%u::/:/bin/cat\n", (unsigned)getuid(), (unsigned)getgid());
	fclose(f);
	return dir;
}

static void forget_world(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/passwd", world());
	(void)unlink(path);
	snprintf(path, sizeof(path), "%s/user/%u", world(), (unsigned)getuid());
	(void)rmdir(path);
	snprintf(path, sizeof(path), "%s/user", world());
	(void)rmdir(path);
	(void)rmdir(world());
}

static void take(struct host *h)
{
	struct proto_frame f;
	size_t used = 0, size;
	ssize_t n = recv(h->fd, h->buf + h->len, sizeof(h->buf) - h->len, MSG_DONTWAIT);
	int r;

	if (n <= 0) {
		h->over |= n == 0 || errno != EAGAIN;
		return;
	}
	h->len += (size_t)n;
	while ((r = proto_parse(h->buf + used, h->len - used, &f, &size)) == 1) {
		used += size;
		if (f.type != PROTO_DATA)
			continue;
		h->received[f.stream] += f.len;
		check(h->flawed || h->received[f.stream] <= h->credit[f.stream]);
	}
	check(r == 0);
	memmove(h->buf, h->buf + used, h->len - used);
	h->len -= used;
}

static void put(struct host *h, const void *buf, size_t len)
{
	const uint8_t *p = buf;
	int64_t until = loop_now_ms() + END_MS;

	while (len && !h->over) {
		struct pollfd wait = {.fd = h->fd, .events = POLLIN | POLLOUT};
		ssize_t n = send(h->fd, p, len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n > 0) {
			p += n;
			len -= (size_t)n;
			continue;
		}
		if (errno != EAGAIN)
			return;
		/* A session that neither reads nor writes nor ends would be stuck. */
		check(loop_now_ms() < until);
		(void)poll(&wait, 1, END_MS);
		take(h);
	}
}

/* A whole frame, one byte of its header or fields wrong now and then. */
static void put_frame(struct host *h, uint8_t *frame, size_t len)
{
	if (fuzz_flaw(&h->in, 24)) {
		frame[fuzz_pick(&h->in, len < 24 ? (unsigned)len : 24)] ^=
			(uint8_t)(1 + fuzz_pick(&h->in, 255));
		h->flawed = true;
	}
	if (fuzz_flaw(&h->in, 64)) {
		len = fuzz_pick(&h->in, len > 65535 ? 65535 : (unsigned)len);
		h->flawed = true;
	}
	put(h, frame, len);
}

static void put_exec(struct host *h)
{
	static const char *const commands[][4] = {
		{"cat"},
		{"true"},
		{"sh", "-c", "echo out; echo err >&2; exit 3"},
		{"head", "-c", "400000", "/dev/zero"},
		{"sh", "-c", "exec <&-; exec sleep 5"},
		{"nosuch"},
		{""},
		{NULL},
	};
	static const char *const dirs[] = {"/", "~", "~/x", "rel", "/nosuch"};
	const char *const *argv = commands[fuzz_pick(&h->in, 8)];
	struct proto_winsize ws = {.rows = 3};
	struct proto_request r;

	proto_request_begin(&r);
	for (unsigned i = 0; i < 4 && argv[i]; i++)
		proto_request_add_str(&r, PROTO_F_ARG, argv[i]);
	if (fuzz_flaw(&h->in, 4))
		proto_request_add_str(&r, PROTO_F_CWD, dirs[fuzz_pick(&h->in, 5)]);
	if (fuzz_flaw(&h->in, 4))
		proto_request_add_str(&r, PROTO_F_ENV, fuzz_flaw(&h->in, 2) ? "A=b" : "A");
	if (fuzz_flaw(&h->in, 8))
		proto_request_add_str(&r, PROTO_F_USER, "x");
	if (fuzz_flaw(&h->in, 4))
		proto_request_add_winsize(&r, &ws);
	proto_request_add_u32(&r, PROTO_F_FLAGS,
			      fuzz_pick(&h->in, fuzz_flaw(&h->in, 8) ? 256 : 32));
	check(proto_request_finish(&r, PROTO_EXEC) == 0);
	put_frame(h, r.buf, r.len);
	proto_request_done(&r);
}

static void put_data(struct host *h)
{
	static uint8_t frame[PROTO_HEADER_LEN + PROTO_MAX_PAYLOAD];
	size_t len = fuzz_flaw(&h->in, 4) ? PROTO_MAX_PAYLOAD : 1 + fuzz_pick(&h->in, 200);

	proto_put_header(frame, PROTO_DATA, fuzz_pick(&h->in, 8) ? PROTO_STDIN : PROTO_TTY, len);
	memset(frame + PROTO_HEADER_LEN, (int)fuzz_pick(&h->in, 256), len);
	put_frame(h, frame, PROTO_HEADER_LEN + len);
}

static void put_credit(struct host *h)
{
	enum proto_stream stream = fuzz_pick(&h->in, 4);
	uint32_t n =
		fuzz_flaw(&h->in, 16) ? (uint32_t)fuzz_bits(&h->in, 4) : fuzz_pick(&h->in, 65536);
	uint8_t frame[PROTO_SMALL_FRAME];

	h->credit[stream] += n;
	proto_put_u32(frame, PROTO_CREDIT, stream, n);
	put(h, frame, PROTO_HEADER_LEN + 4);
}

static void step(struct host *h)
{
	struct proto_winsize ws = {.rows = (uint16_t)fuzz_bits(&h->in, 2)};
	uint8_t frame[PROTO_SMALL_FRAME] = {0};

	switch (fuzz_pick(&h->in, 10)) {
	case 0:
		put_exec(h);
		return;
	case 1:
	case 2:
		put_data(h);
		return;
	case 3:
		put_credit(h);
		return;
	case 4:
		put_frame(h, frame, proto_put_empty(frame, PROTO_END, fuzz_pick(&h->in, 4)));
		return;
	case 5:
		put_frame(h, frame, proto_put_winsize(frame, &ws));
		return;
	case 6:
		put_frame(h, frame, proto_put_u32(frame, PROTO_SIGNAL, 0, fuzz_pick(&h->in, 67)));
		return;
	case 7:
		proto_put_header(frame, PROTO_PING, 0, 8);
		put_frame(h, frame, PROTO_HEADER_LEN + 8);
		return;
	case 8:
		take(h);
		return;
	default:
		if (fuzz_flaw(&h->in, 8))
			put_frame(h, frame,
				  proto_put_u32(frame, PROTO_SHUTDOWN, 0, fuzz_pick(&h->in, 3)));
	}
}

static void run_session(const uint8_t *data, size_t size)
{
	static struct host h;
	struct session_config cfg = {
		.etc = world(), .run = world(), .default_user = "me", .grace_ms = 0};
	uint8_t frame[PROTO_SMALL_FRAME];
	int sp[2], status;
	pid_t pid;

	h = (struct host){.in = {data, size}};
	for (unsigned i = 0; i <= PROTO_TTY; i++)
		h.credit[i] = PROTO_WINDOW;
	check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sp) == 0);
	h.session = fork();
	check(h.session >= 0);
	if (h.session == 0) {
		close(sp[0]);
		session_run(sp[1], &cfg);
		_exit(0);
	}
	close(sp[1]);
	h.fd = sp[0];
	put_frame(&h, frame, proto_put_hello(frame));
	if (!fuzz_flaw(&h.in, 16))
		put_exec(&h);
	for (unsigned i = 0; i < MAX_STEPS && h.in.left && !h.over; i++)
		step(&h);
	take(&h);
	close(h.fd);
	/*
	 * However it was left: it sees the end, ends its command, and goes. A hang here is the
	 * test's time-out.
	 */
	do { /* libFuzzer has a timer */
		pid = waitpid(h.session, &status, 0);
	} while (pid < 0 && errno == EINTR);
	check(pid == h.session);
	check(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool registered;

	if (size == 0)
		return 0;
	if (!registered) {
		registered = true;
		(void)atexit(forget_world);
	}
	switch (data[0] % 4) {
	case 0:
		decode_frames(data + 1, size - 1);
		break;
	case 1:
		decode_fields(data + 1, size - 1);
		break;
	case 2:
		decode_texts(data + 1, size - 1);
		break;
	default:
		run_session(data + 1, size - 1);
	}
	return 0;
}
