/* SPDX-License-Identifier: Apache-2.0 */
/* The host's side of virtual sockets: byte streams to and from host programs, by port number. */
#ifndef LVM_DEVICES_BACKEND_VSOCK_HOST_H
#define LVM_DEVICES_BACKEND_VSOCK_HOST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* What a stream tells its front. */
#define VSOCK_READABLE 0x1 /* read() will not say -EAGAIN */
#define VSOCK_WRITABLE 0x2 /* write() will not say -EAGAIN */
#define VSOCK_HUNG_UP \
	0x4 /* both directions are over; said once, what was sent before can still be read */
#define VSOCK_OPENED  0x8  /* the connection that was under way is there */
#define VSOCK_FAILED  0x10 /* it will not be */

#define VSOCK_SHUT_RD 0x1
#define VSOCK_SHUT_WR 0x2

/*
 * One host program's end of a connection. Everything here is called on the loop and never blocks.
 * The backend allocates it; whoever holds it returns it by close(), which may be called inside
 * event().
 */
struct vsock_stream {
	const struct vsock_stream_ops *ops;
	/*
	 * Set by the front that takes the stream. VSOCK_* bits; only those watched, and the last
	 * three.
	 */
	void (*event)(struct vsock_stream *s, unsigned events);
	void *front;
};

struct vsock_stream_ops {
	/*
	 * As readv(2) and writev(2), but -errno; 0 from read is the end. write never raises
	 * SIGPIPE.
	 */
	ssize_t (*read)(struct vsock_stream *s, const struct iovec *iov, unsigned num);
	ssize_t (*write)(struct vsock_stream *s, const struct iovec *iov, unsigned num);
	/*
	 * Which of VSOCK_READABLE and VSOCK_WRITABLE to report from now on, again and again while
	 * they hold.
	 */
	void (*watch)(struct vsock_stream *s, unsigned events);
	/*
	 * VSOCK_SHUT_* bits: the other end sees its direction end. SHUT_RD throws away what is
	 * unread.
	 */
	void (*shut)(struct vsock_stream *s, unsigned how);
	/*
	 * For streams the host asked for: tells the program that port, ours, is connected. 0 or
	 * -errno.
	 */
	int (*accept)(struct vsock_stream *s, uint32_t port);
	/* Frees s. clean: the program reads an end of file, even when it wrote what nobody read. */
	void (*close)(struct vsock_stream *s, bool clean);
};

/* The host as a whole; on the loop. */
struct vsock_host {
	const struct vsock_host_ops *ops;
	/*
	 * Set by the front before the loop runs. A host program wants the guest's port: true takes
	 * s over (which watches nothing yet), false refuses, and the backend closes it.
	 */
	bool (*incoming)(struct vsock_host *h, struct vsock_stream *s, uint32_t port);
	void *front;
};

struct vsock_host_ops {
	const char *name;
	/*
	 * The guest wants the host's port. 0: *ret_s is open; 1: it is under way, and says
	 * VSOCK_OPENED or VSOCK_FAILED later; -errno: nobody listens there. It watches nothing yet.
	 */
	int (*connect)(struct vsock_host *h, uint32_t port, struct vsock_stream **ret_s);
	/* Every stream the front holds must have been closed. */
	void (*free)(struct vsock_host *h);
};

#endif
