/* SPDX-License-Identifier: Apache-2.0 */
/* The console (virtio 1.2 §5.3), one port: what the guest prints goes to a log. */
/*
 * The guest's driver spins until its output is taken, so it is always taken at once; and the guest
 * decides how much it prints, so not all of it is kept:
 * - more than the host takes just now (a full disk, a stopped terminal) is dropped, never waited
 *   for;
 * - so is what comes faster than CONSOLE_RATE, after a burst as long as any boot;
 * - a log file that has grown by CONSOLE_FILE_MAX starts over with its last CONSOLE_TAIL bytes.
 * The log says so where it happened. There is no input: the driver's receive buffers stay where
 * they are.
 */
#include <errno.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "devices/virtio/devices.h"

#define CONSOLE_TX          1 /* transmitq, §5.3.2 */
#define CONSOLE_RX          0
#define CONSOLE_RX_SIZE     16 /* never used, and Linux rings for every buffer it puts there */
#define CONSOLE_KICK_CHAINS 64
#define CONSOLE_CHAIN_MAX   (64 * 1024)
#define CONSOLE_CHUNK       512 /* what a terminal or pipe takes at once if poll() says so */
#define CONSOLE_RATE        (256 * 1024) /* bytes a second */
#define CONSOLE_FILE_MAX    (2 * 1024 * 1024)
#define CONSOLE_BURST       (CONSOLE_FILE_MAX - 64 * 1024)
#define CONSOLE_TAIL        (16 * 1024)

struct console {
	struct virtio_dev dev;
	struct virtio_console_config config;
	int out_fd;
	bool is_file;
	off_t file_start; /* how long the file was when we came: that part is not ours */
	off_t file_len;   /* what we added; others may have added more */
	uint64_t dropped;
	int64_t tokens, tokens_at_ms;
	uint64_t tail_end; /* bytes ever written; the last of them are in tail[], as a ring */
	char tail[CONSOLE_TAIL];
};

static struct console *to_console(struct virtio_dev *d)
{
	return container_of(d, struct console, dev);
}

/* Writes what the host takes without waiting; returns how much. */
static size_t console_write_some(const struct console *c, const char *buf, size_t n)
{
	size_t done = 0;

	while (done < n) {
		struct pollfd p = {.fd = c->out_fd, .events = POLLOUT};
		size_t here = n - done;
		ssize_t r;

		if (!c->is_file && poll(&p, 1, 0) <= 0)
			break;
		if (!c->is_file && here > CONSOLE_CHUNK)
			here = CONSOLE_CHUNK;
		r = write(c->out_fd, buf + done, here);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			break;
		done += (size_t)r;
	}
	return done;
}

static void console_keep_tail(struct console *c, const char *buf, size_t n)
{
	for (size_t i = 0; i < n; i++)
		c->tail[c->tail_end++ % CONSOLE_TAIL] = buf[i];
}

/*
 * Begins the file anew with the tail. Where it cannot be truncated it goes on growing: then it is
 * no plain log.
 */
static void console_restart_file(struct console *c)
{
	static const char note[] = "[lvm: the log was full, earlier output is gone]\n";
	size_t n = c->tail_end < CONSOLE_TAIL ? c->tail_end : CONSOLE_TAIL;
	size_t first = (c->tail_end - n) % CONSOLE_TAIL;
	size_t until_wrap = n < CONSOLE_TAIL - first ? n : CONSOLE_TAIL - first;

	c->file_len = 0;
	if (ftruncate(c->out_fd, c->file_start) < 0)
		return;
	(void)lseek(c->out_fd, c->file_start, SEEK_SET);
	c->file_len += (off_t)console_write_some(c, note, sizeof(note) - 1);
	c->file_len += (off_t)console_write_some(c, c->tail + first, until_wrap);
	c->file_len += (off_t)console_write_some(c, c->tail, n - until_wrap);
}

static size_t console_emit(struct console *c, const char *buf, size_t n)
{
	size_t done = console_write_some(c, buf, n);

	console_keep_tail(c, buf, done);
	c->file_len += (off_t)done;
	if (c->is_file && c->file_len > CONSOLE_FILE_MAX)
		console_restart_file(c);
	return done;
}

/* How many of n bytes the rate allows now. */
static size_t console_allow(struct console *c, size_t n)
{
	int64_t now = loop_now_ms(), passed = now - c->tokens_at_ms;

	if (passed > 0) {
		c->tokens_at_ms = now;
		/* The bucket is full by then, however long it was. */
		if (passed > CONSOLE_BURST * 1000ll / CONSOLE_RATE)
			passed = CONSOLE_BURST * 1000ll / CONSOLE_RATE;
		c->tokens += passed * CONSOLE_RATE / 1000;
		if (c->tokens > CONSOLE_BURST)
			c->tokens = CONSOLE_BURST;
	}
	if ((int64_t)n > c->tokens)
		n = (size_t)c->tokens;
	c->tokens -= (int64_t)n;
	return n;
}

static void console_output(struct console *c, const char *buf, size_t n)
{
	size_t allowed = console_allow(c, n), done = 0;
	char note[80];

	if (allowed && c->dropped) {
		int len = snprintf(note, sizeof(note), "\n[lvm: %llu bytes of output dropped]\n",
				   (unsigned long long)c->dropped);

		if (console_emit(c, note, (size_t)len) == (size_t)len)
			c->dropped = 0;
	}
	if (!c->dropped)
		done = console_emit(c, buf, allowed);
	c->dropped += n - done;
}

static void console_chain(struct console *c, struct vchain *chain)
{
	struct iobuf *rd = &chain->rd;
	char buf[4096];
	size_t kept = 0;

	while (rd->len && kept < CONSOLE_CHAIN_MAX) {
		size_t n = rd->len < sizeof(buf) ? rd->len : sizeof(buf);

		(void)iobuf_get(rd, buf, n);
		console_output(c, buf, n);
		kept += n;
	}
	c->dropped += rd->len;
	vqueue_push(chain, 0);
}

static void console_kick(struct virtio_dev *d, unsigned q)
{
	struct vchain *chain = NULL;

	if (q != CONSOLE_TX)
		return;
	/* In portions, so that a chatty guest leaves the loop to the other devices. */
	for (unsigned i = 0; i < CONSOLE_KICK_CHAINS; i++) {
		chain = vqueue_pop(d->vq[q]);
		if (!chain)
			break;
		console_chain(to_console(d), chain);
	}
	if (chain)
		virtio_rekick(d, q);
}

/* Nothing is ever in flight: a chain is pushed where it is popped. */
static void console_stop(struct virtio_dev *d)
{
}

static void console_free(struct virtio_dev *d)
{
	free(to_console(d));
}

static const struct virtio_ops console_ops = {
	.name = "console",
	.id = VIRTIO_ID_CONSOLE,
	.stop = console_stop,
	.kick = console_kick,
	.free = console_free,
};

int console_new(const struct virtio_env *env, int out_fd, struct virtio_dev **ret_d,
		struct err *err)
{
	struct console *c = xcalloc(1, sizeof(*c));
	struct stat st;
	int r;

	c->dev.ops = &console_ops;
	c->dev.loop = env->loop;
	c->dev.mem = env->mem;
	c->dev.config = &c->config;
	c->dev.config_len = sizeof(c->config);
	c->dev.num_vq = 2;
	c->dev.vq_max_size[CONSOLE_RX] = CONSOLE_RX_SIZE;
	c->out_fd = out_fd;
	c->tokens = CONSOLE_BURST;
	c->tokens_at_ms = loop_now_ms();
	if (fstat(out_fd, &st) < 0) {
		r = err_set(err, errno, "cannot use descriptor %d as the console's log", out_fd);
		console_free(&c->dev);
		return r;
	}
	c->is_file = S_ISREG(st.st_mode);
	c->file_start = st.st_size;
	r = virtio_init(&c->dev, err);
	if (r < 0) {
		console_free(&c->dev);
		return r;
	}
	*ret_d = &c->dev;
	return 0;
}
