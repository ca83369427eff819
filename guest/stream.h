/* SPDX-License-Identifier: Apache-2.0 */
/* One stream of a session: a pipe or the terminal on one side, credits on the other. */
#ifndef LVM_GUEST_STREAM_H
#define LVM_GUEST_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "guest/proto.h"

struct stream {
	int fd; /* our end, owned, non-blocking; -1: this stream does not exist, or no more */

	/* Towards the command: what the host has sent and the command has not read yet. */
	bool takes; /* the command may still read */
	bool end;   /* the host has ended it: close once the ring is empty */
	uint8_t *ring;
	size_t head, held;
	uint32_t rx_left; /* bytes that the host may still send */
	uint32_t rx_done; /* bytes dealt with, credit for which has not been given back */

	/* From the command. */
	bool gives;       /* end of file has not been seen */
	uint32_t tx_left; /* bytes that we may still send */
	size_t owed;      /* bytes the command had written when it exited */
};

/*
 * fd: our end of the pipe or the terminal's master, or -1. The host's initial credit holds also for
 * a stream that is not there.
 */
void stream_init(struct stream *s, int fd, bool takes, bool gives);
void stream_close(struct stream *s);

/*
 * Bytes from the host. What the command cannot take at once waits in the ring; what no one will
 * ever read is dropped and credited. -EPROTO: more than the host had credit for.
 */
int stream_receive(struct stream *s, const uint8_t *buf, size_t len);
/*
 * END from the host: nothing more for the command, or nobody reads what it writes. Not for a
 * terminal.
 */
void stream_receive_end(struct stream *s);
/* Writes from the ring what the command takes. */
void stream_flush(struct stream *s);
/* Credit to give back now, or 0: it is given in steps of a quarter of the window. */
uint32_t stream_credit(struct stream *s);

/* CREDIT from the host. -EPROTO: beyond any sense. */
int stream_add_credit(struct stream *s, uint32_t n);
/* Reads at most n bytes, n <= tx_left. >0: bytes; 0: end of file, gives is false now; -EAGAIN. */
ssize_t stream_read(struct stream *s, uint8_t *buf, size_t n);

static inline bool stream_wants_read(const struct stream *s)
{
	return s->gives && s->tx_left > 0;
}

static inline bool stream_wants_write(const struct stream *s)
{
	return s->takes && s->held > 0;
}

#endif
