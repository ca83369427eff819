/* SPDX-License-Identifier: Apache-2.0 */
/* INSTALL: mke2fs, the archive of STDIN into it, and all on the disk before EXIT. */
#include "guest/install.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/endian.h"
#include "base/fd.h"
#include "base/loop.h"
#include "guest/extract.h"

#define TARGET      "/target"
#define PROGRESS_MS 100

/* More than this is not read by anyone, and stays well below STDERR's window. */
#define MAX_WARNINGS 50

struct install {
	struct conn *conn;
	bool end; /* END of STDIN has come */
	uint32_t rx_left, rx_done;
	uint64_t consumed; /* bytes of the archive */
	uint64_t entries;
	int64_t progress_at;
	unsigned warnings;
};

/* mke2fs is to be silent; what it says is why it failed. */
static int run_mke2fs(char *const *argv, struct err *err)
{
	char text[512];
	ssize_t len;
	int p[2], status;
	pid_t pid;

	if (pipe2(p, O_CLOEXEC) < 0)
		return err_set(err, errno, "cannot make a pipe");
	pid = vfork();
	if (pid == 0) {
		char *envp[] = {NULL};

		(void)dup2(p[1], 1);
		(void)dup2(p[1], 2);
		execve(argv[0], argv, envp);
		_exit(127);
	}
	close(p[1]);
	len = fd_read_full(p[0], text, sizeof(text) - 1);
	close(p[0]);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return err_set(err, errno, "cannot run %s", argv[0]);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	text[len > 0 ? len : 0] = 0;
	for (char *c = text; *c; c++)
		if (*c == '\n')
			*c = c[1] ? ' ' : 0;
	return err_say(err, EIO,
		       "cannot make a file system on the distro's disk (mke2fs status %d): %s",
		       WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), text);
}

static int make_file_system(const char *disk, const char *label, struct err *err)
{
	/*
	 * The disk is a fresh sparse file, so its inode tables are zero already: neither mke2fs now
	 * nor the kernel later needs to write them. Kernels before 5.15 do not know orphan_file,
	 * nor old ones metadata_csum_seed.
	 */
	char *argv[] = {(char *)"/sbin/mke2fs",
			(char *)"-q",
			(char *)"-F",
			(char *)"-t",
			(char *)"ext4",
			(char *)"-b",
			(char *)"4096",
			(char *)"-m",
			(char *)"1",
			(char *)"-O",
			(char *)"^orphan_file,^metadata_csum_seed",
			(char *)"-E",
			(char *)"lazy_itable_init=1,lazy_journal_init=1,assume_storage_prezeroed=1,"
				"nodiscard",
			(char *)"-L",
			(char *)(label ? label : ""),
			(char *)disk,
			NULL};

	if (label && strlen(label) > 16)
		return err_say(err, EINVAL, "the file system label '%.64s' is longer than 16 bytes",
			       label);
	return run_mke2fs(argv, err);
}

static void send_progress(struct install *in, bool now)
{
	uint8_t frame[PROTO_SMALL_FRAME];

	if (!now && loop_now_ms() < in->progress_at)
		return;
	in->progress_at = loop_now_ms() + PROGRESS_MS;
	conn_send(in->conn, frame,
		  proto_put_u64x2(frame, PROTO_PROGRESS, in->consumed, in->entries));
	conn_flush(in->conn);
}

static void on_progress(void *arg, uint64_t entries)
{
	struct install *in = arg;

	in->entries = entries;
	send_progress(in, false);
}

static void on_warn(void *arg, const char *sentence)
{
	struct install *in = arg;
	char line[1100];
	int len;

	if (in->warnings++ >= MAX_WARNINGS)
		return;
	len = snprintf(line, sizeof(line), "%s%s\n", sentence,
		       in->warnings == MAX_WARNINGS ? " (further warnings are not shown)" : "");
	conn_send_data(in->conn, PROTO_STDERR, line,
		       (size_t)len < sizeof(line) ? (size_t)len : sizeof(line) - 1);
}

static void give_credit(struct install *in)
{
	uint8_t frame[PROTO_SMALL_FRAME];

	if (in->rx_done < PROTO_WINDOW / 4)
		return;
	conn_send(in->conn, frame, proto_put_u32(frame, PROTO_CREDIT, PROTO_STDIN, in->rx_done));
	conn_flush(in->conn);
	in->rx_left += in->rx_done;
	in->rx_done = 0;
}

/* Anything but the archive's bytes. -EPROTO: it has no place here. */
static int other_frame(struct install *in, const struct proto_frame *f)
{
	uint8_t frame[PROTO_SMALL_FRAME];

	switch (f->type) {
	case PROTO_END:
		if (f->stream != PROTO_STDIN)
			return -EPROTO;
		in->end = true;
		return 0;
	case PROTO_PING:
		proto_put_header(frame, PROTO_PONG, 0, f->len);
		memcpy(frame + PROTO_HEADER_LEN, f->payload, f->len);
		conn_send(in->conn, frame, PROTO_HEADER_LEN + f->len);
		conn_flush(in->conn);
		return 0;
	case PROTO_CREDIT:
	case PROTO_WINSIZE:
		return 0;
	default:
		return -EPROTO;
	}
}

static ssize_t on_read(void *arg, const void **ret_buf)
{
	struct install *in = arg;
	struct proto_frame f;
	int r;

	for (;;) {
		/* By now the bytes that were given last are used up. */
		give_credit(in);
		if (in->end)
			return 0;
		r = conn_next(in->conn, &f);
		if (r < 0)
			return r;
		if (r == 0) {
			if (in->conn->eof)
				return -ECONNABORTED;
			conn_wait(in->conn, POLLIN, -1);
			conn_fill(in->conn);
			continue;
		}
		if (f.type == PROTO_DATA && f.stream == PROTO_STDIN && f.len <= in->rx_left &&
		    !in->end) {
			in->rx_left -= f.len;
			in->rx_done += f.len;
			in->consumed += f.len;
			*ret_buf = f.payload;
			return (ssize_t)f.len;
		}
		r = other_frame(in, &f);
		if (r < 0)
			return r;
	}
}

/* Into the new file system and back: an archive's names cannot leave it meanwhile. */
static int extract_in_target(struct install *in, struct err *err)
{
	static const struct extract_ops ops = {
		.read = on_read, .progress = on_progress, .warn = on_warn};
	cleanup_close int old = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_close int new = open(TARGET, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (old < 0 || new < 0 || fchdir(new) < 0 || chroot(".") < 0)
		return err_set(err, errno, "cannot enter the new file system");
	r = extract_tree(&ops, in, err);
	/* Write errors that were put off, delayed allocation's for one, come out here. */
	if (r == 0 && syncfs(new) < 0)
		r = err_set(err, errno, "cannot write the distro's disk");
	if (fchdir(old) < 0 || chroot(".") < 0)
		return r < 0 ? r : err_set(err, errno, "cannot leave the new file system");
	return r;
}

int install_run(struct conn *c, const char *disk, const struct request *req, struct err *err)
{
	struct install in = {.conn = c, .rx_left = PROTO_WINDOW};
	cleanup_close int disk_fd = -1;
	int r = make_file_system(disk, req->label, err);

	if (r < 0)
		return r;
	if (mkdir(TARGET, 0755) < 0 && errno != EEXIST)
		return err_set(err, errno, "cannot make %s", TARGET);
	if (mount(disk, TARGET, "ext4", MS_NOATIME, NULL) < 0)
		return err_set(err, errno,
			       "cannot mount the new file system; does the kernel have ext4?");
	r = extract_in_target(&in, err);
	/* After a failure too, so that the disk can be tried again. */
	if (umount(TARGET) < 0 && r == 0)
		r = err_set(err, errno, "cannot unmount the new file system");
	if (r < 0)
		return r;
	disk_fd = open(disk, O_RDWR | O_CLOEXEC);
	if (disk_fd < 0 || fsync(disk_fd) < 0)
		return err_set(err, errno, "cannot write the distro's disk");
	send_progress(&in, true);
	return 0;
}
