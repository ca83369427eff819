/* SPDX-License-Identifier: Apache-2.0 */
/* Virtual socket streams over unix sockets: one for the VM, one for each port the host serves. */
#ifndef LVM_DEVICES_BACKEND_VSOCK_UNIX_H
#define LVM_DEVICES_BACKEND_VSOCK_UNIX_H

#include "base/err.h"
#include "base/loop.h"
#include "devices/backend/vsock_host.h"

/* NULL, or 0 in a member, stands for the value named. */
struct vsock_unix_options {
	unsigned greeting_ms;   /* 10 000: to say CONNECT after connecting */
	unsigned connect_ms;    /* 2 000: to wait for a host program whose backlog is full */
	unsigned num_greetings; /* 256: who has not said CONNECT yet; more wait in the backlog */
};

/*
 * Listens at path (mode 0600; its directory must exist). A host program says "CONNECT <port>\n",
 * port a decimal number below 2^32 - 1, and reads "OK <port of ours>\n" once the guest accepts;
 * what it writes after its line belongs to the stream. An end of file instead means refused. The
 * guest's connection to port P goes to "<path>_P".
 *
 * Every file is named here, none by the guest: ports are numbers that we format. Nothing is opened
 * later except sockets: socket, connect, accept4, sendmsg, recvmsg, recvfrom, shutdown, close and
 * epoll_ctl are what a sandbox has to leave, and either path's directory or /proc/self/fd has to
 * stay visible. A connection is one descriptor: the process's limit has to have room for them.
 */
int vsock_unix_new(struct loop *loop, const char *path, const struct vsock_unix_options *opt,
		   struct vsock_host **ret_h, struct err *err);

#endif
