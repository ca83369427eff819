/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors: whole reads and writes, whole files, unix sockets with paths of any length. */
#ifndef LVM_BASE_FD_H
#define LVM_BASE_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

/* Reads until n bytes or end of file; returns the count or -errno. Retries EINTR. */
ssize_t fd_read_full(int fd, void *buf, size_t n);
ssize_t fd_pread_full(int fd, void *buf, size_t n, off_t off);
/* Writes all n bytes; 0 or -errno. Retries EINTR. */
int fd_write_full(int fd, const void *buf, size_t n);
/* Copies from in's position to out's, to the end of in: by the kernel where it can, else through a buffer. 0 or -errno. */
int fd_copy(int in, int out);
int fd_set_nonblock(int fd, bool on);
int fd_set_cloexec(int fd, bool on);

/*
 * Reads a whole file of at most max bytes into *ret_buf (malloc'ed, NUL after the last byte, caller
 * frees). -EFBIG when larger.
 */
int file_read(const char *path, size_t max, char **ret_buf, size_t *ret_len, struct err *err);

/*
 * Replaces path by the given bytes so that a crash leaves the old or the new content: temporary in the same
 * directory, fsync, rename, fsync of the directory.
 */
int file_replace(const char *path, const void *buf, size_t len, mode_t mode, struct err *err);

/*
 * Unix stream sockets, close-on-exec. The path may be longer than sun_path. unix_listen replaces a
 * stale socket at that path; the socket's mode is 0600. unix_connect: blocking connect.
 */
int unix_listen(const char *path, int backlog, int *ret_fd, struct err *err);
int unix_connect(const char *path, bool nonblock, int *ret_fd, struct err *err);

#endif
