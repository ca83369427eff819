/* SPDX-License-Identifier: Apache-2.0 */
/* What session.c (frames and events) and session_exec.c (starting the command) share. */
#ifndef LVM_GUEST_SESSION_PRIV_H
#define LVM_GUEST_SESSION_PRIV_H

#include <stdint.h>

#include "guest/conn.h"
#include "guest/request.h"
#include "guest/session.h"
#include "guest/stream.h"

enum session_state {
	SESSION_HELLO,   /* the host's HELLO is awaited */
	SESSION_REQUEST, /* a request is awaited */
	SESSION_RUNNING, /* the command runs */
	SESSION_EXITED,  /* it has exited, what it wrote is on its way */
	SESSION_HANGUP,  /* the host is gone, the command has been told */
	SESSION_OVER,
};

struct session {
	const struct session_config *cfg;
	struct conn conn;
	enum session_state state;
	int signals; /* signalfd */
	struct stream stream[PROTO_TTY + 1];
	int tty; /* the terminal's slave, held open until the command exits; -1 */
	pid_t command, foreground;
	int status;                   /* as waitpid(2) gave it */
	int64_t quiet_at, give_up_at; /* SESSION_EXITED: when to stop waiting for output */
	int64_t kill_at;              /* SESSION_HANGUP */
};

/*
 * Starts what the request says, and fills command, tty and stream. 0, or -errno with the fault and
 * the sentence in err; streams are then closed.
 */
int session_exec(struct session *s, const struct request *req, enum proto_fault *ret_fault,
		 struct err *err);

#endif
