/* SPDX-License-Identifier: Apache-2.0 */
/* The host's side of a lvm-guest session on a socketpair, for tests. */
#ifndef LVM_TESTS_SUPPORT_GUEST_CLIENT_H
#define LVM_TESTS_SUPPORT_GUEST_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "guest/proto.h"

/*
 * A directory with etc/passwd, etc/group and home, for the user "me" with the caller's ids. Owned
 * by the process.
 */
struct guest_world {
	char dir[64];
	char etc[80], run[80], home[80];
};
void guest_world_make(struct guest_world *w);
void guest_world_remove(struct guest_world *w);

struct guest_client {
	int fd;
	pid_t session; /* the process of session_run() */
	pid_t command;
	uint8_t in[2 * (PROTO_HEADER_LEN + PROTO_MAX_PAYLOAD)];
	size_t in_len;
	bool give_credit;               /* give back what was received; true at first */
	bool sending;                   /* a frame is half sent, no other may come between */
	uint32_t due[PROTO_TTY + 1];    /* credit to give */
	uint32_t window[PROTO_TTY + 1]; /* bytes that may be sent */

	/* What has come. */
	uint8_t *out[PROTO_TTY + 1];
	size_t out_len[PROTO_TTY + 1];
	bool ended[PROTO_TTY + 1];
	unsigned pongs;
	uint32_t stopped; /* the last STOPPED's signal */
	bool over;        /* EXIT, ERROR or end of file */
	bool exited, failed;
	uint32_t kind, code; /* of EXIT */
	uint32_t err, fault; /* of ERROR */
	char sentence[4096];
};

/* Forks a session and says HELLO. */
void guest_client_open(struct guest_client *c, const struct guest_world *w, int grace_ms);
/* Sends EXEC of argv (NULL: login shell) as "me". */
void guest_client_exec(struct guest_client *c, uint32_t flags, const char *const *argv);
void guest_client_send(struct guest_client *c, const void *frame, size_t len);
void guest_client_request(struct guest_client *c, struct proto_request *r, enum proto_type type);
/* DATA within the window; takes what comes meanwhile. False when the session ended first. */
bool guest_client_write(struct guest_client *c, enum proto_stream stream, const void *buf,
			size_t len);
void guest_client_end(struct guest_client *c, enum proto_stream stream);
void guest_client_signal(struct guest_client *c, int sig);
/* Takes what comes for at most timeout_ms. False when nothing did. */
bool guest_client_step(struct guest_client *c, int timeout_ms);
/* Until the session is over. Fails the test after 20 s. */
void guest_client_finish(struct guest_client *c);
/* Until the text has come on the stream. Fails the test after 20 s. */
void guest_client_expect(struct guest_client *c, enum proto_stream stream, const char *text);
/* Closes, and waits for the session's process. */
void guest_client_close(struct guest_client *c);

#endif
