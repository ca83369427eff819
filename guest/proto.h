/* SPDX-License-Identifier: Apache-2.0 */
/* Messages between the host's programs and lvm-guest: docs/agent-protocol.md in C. */
#ifndef LVM_GUEST_PROTO_H
#define LVM_GUEST_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROTO_VERSION 1

/* lvm-guest listens here; each connection is one session. */
#define PROTO_PORT_AGENT 1024
/*
 * lvm-vmm listens here (as "<vsock socket>_1023"); lvm-guest connects once at start and keeps it.
 * Lines of text, both ways: guest: "READY=1", "STATUS=<text>", "ERROR=<text>" (start-up failed),
 * "BYE=poweroff|reboot"; host: "SHUTDOWN=poweroff|reboot". End of file means the host is gone: sync
 * and power off.
 */
#define PROTO_PORT_NOTIFY 1023

/* Every frame: this header, little-endian, then len bytes. */
struct proto_header {
	uint32_t len;   /* of the payload, at most PROTO_MAX_PAYLOAD */
	uint8_t type;   /* enum proto_type */
	uint8_t stream; /* enum proto_stream for DATA, END and CREDIT, else 0 */
	uint16_t zero;
};

#define PROTO_HEADER_LEN  8
#define PROTO_MAX_PAYLOAD (64 * 1024)       /* of DATA and of most */
#define PROTO_MAX_REQUEST (2 * 1024 * 1024) /* of EXEC: argv and environment */

/* Seen from the command: 0, 1 and 2 are pipes (or absent), TTY is both ways of its terminal. */
enum proto_stream {
	PROTO_STDIN = 0,  /* host to guest */
	PROTO_STDOUT = 1, /* guest to host */
	PROTO_STDERR = 2, /* guest to host */
	PROTO_TTY = 3,    /* both ways */
};

/*
 * Bytes a sender may have in flight on one stream before the receiver has said CREDIT: each stream
 * starts with this much, so a command that does not read its stdin holds up nothing else.
 */
#define PROTO_WINDOW (256 * 1024)

enum proto_type {
	PROTO_HELLO = 1,   /* first frame each way: struct proto_hello */
	PROTO_EXEC = 2,    /* to guest: a request, see below */
	PROTO_STARTED = 3, /* to host: u32 pid */
	PROTO_DATA = 4,    /* either: bytes of .stream */
	PROTO_END = 5,     /* either: no more bytes on .stream */
	PROTO_CREDIT = 6,  /* either: u32 bytes more that may be sent on .stream */
	PROTO_WINSIZE = 7, /* to guest: u16 rows, cols, xpixel, ypixel */
	PROTO_SIGNAL = 8,  /* to guest: u32 Linux signal number, for the foreground process group */
	PROTO_STOPPED =
		9,        /* to host: u32 signal that stopped the command; SIGNAL SIGCONT goes on */
	PROTO_EXIT = 10,  /* to host, last frame: struct proto_exit */
	PROTO_ERROR = 11, /* to host, last: u32 errno, u32 enum proto_fault, a sentence */
	PROTO_SHUTDOWN = 12, /* to guest: u32 0 power off, 1 reboot; answered by EXIT code 0 */
	PROTO_PING = 13, /* to guest; answered by PONG with the same payload (at most 64 bytes) */
	PROTO_PONG = 14,
	PROTO_INSTALL = 15,  /* to the installer: a request, see below; archive on STDIN */
	PROTO_PROGRESS = 16, /* to host: u64 bytes of archive consumed, u64 entries written */
};

struct proto_hello {
	uint32_t magic;   /* PROTO_MAGIC */
	uint16_t version; /* the sender's; the lower of both is spoken, and 0 is none */
	uint16_t flags;   /* 0 */
};

#define PROTO_MAGIC 0x316d766cu /* "lvm1" */

struct proto_exit {
	uint32_t kind; /* 0: exited, code is the status; 1: killed, code is the signal */
	uint32_t code;
};

/* Why an EXEC or INSTALL failed, when the errno alone would not say whose fault it is. */
enum proto_fault {
	PROTO_FAULT_LVM = 0,       /* lvm's or the system's: status 125 */
	PROTO_FAULT_NOT_FOUND = 1, /* the command: status 127 */
	PROTO_FAULT_NOT_EXEC = 2,  /* the command cannot be executed: status 126 */
	PROTO_FAULT_USER = 3,      /* no such user: status 125 */
	PROTO_FAULT_CWD = 4,       /* --cd names no directory: status 125 */
};

/*
 * EXEC and INSTALL payloads are a sequence of fields: u16 tag, u16 zero, u32 len, len bytes (no
 * padding). Unknown tags are an error. ARG and ENV repeat in order. Strings carry no NUL.
 */
enum proto_field {
	PROTO_F_USER = 1,    /* name, or decimal uid; absent: the distro's default user */
	PROTO_F_CWD = 2,     /* absolute, or "~" alone or "~/…"; absent: home */
	PROTO_F_ARG = 3,     /* one argv element; none: the user's login shell */
	PROTO_F_ENV = 4,     /* "NAME=value", on top of the login environment */
	PROTO_F_FLAGS = 5,   /* u32, enum proto_exec_flags */
	PROTO_F_WINSIZE = 6, /* as WINSIZE */
	PROTO_F_SIZE = 7,    /* INSTALL: u64 bytes, the disk's */
	PROTO_F_LABEL = 8,   /* INSTALL: file system label */
};

enum proto_exec_flags {
	PROTO_EXEC_SHELL = 1 << 0, /* exactly one ARG: run by the user's shell, `$SHELL -c ARG` */
	PROTO_EXEC_TTY_STDIN = 1 << 1, /* stream is the terminal instead of a pipe */
	PROTO_EXEC_TTY_STDOUT = 1 << 2,
	PROTO_EXEC_TTY_STDERR = 1 << 3,
	PROTO_EXEC_CWD_OPTIONAL = 1 << 4, /* a missing CWD means home instead of a failure */
};

/*
 * Encoding and decoding (guest/proto.c), for both sides. Decoders check every bound of
 * docs/agent-protocol.md and never read past what they are given; what they return points into it.
 * No function keeps state, any thread may call.
 */
struct proto_frame {
	enum proto_type type;
	enum proto_stream stream;
	const uint8_t *payload;
	uint32_t len;
};

/*
 * The frame at the start of buf. 1: whole, in *ret. 0: more bytes are needed. -EPROTO: no such
 * frame; the connection is lost. *ret_size (after 0 and 1) is the frame's whole size once its
 * header is there, PROTO_HEADER_LEN before.
 */
int proto_parse(const void *buf, size_t len, struct proto_frame *ret, size_t *ret_size);

void proto_put_header(uint8_t out[PROTO_HEADER_LEN], enum proto_type type, enum proto_stream stream,
		      size_t len);

/* Small whole frames; each returns its size, at most PROTO_SMALL_FRAME. */
#define PROTO_SMALL_FRAME (PROTO_HEADER_LEN + 64)
size_t proto_put_hello(uint8_t *out);
size_t proto_put_empty(uint8_t *out, enum proto_type type, enum proto_stream stream);
size_t proto_put_u32(uint8_t *out, enum proto_type type, enum proto_stream stream, uint32_t v);
size_t proto_put_u32x2(uint8_t *out, enum proto_type type, uint32_t a, uint32_t b);
size_t proto_put_u64x2(uint8_t *out, enum proto_type type, uint64_t a, uint64_t b);

struct proto_winsize {
	uint16_t rows, cols, xpixel, ypixel;
};
size_t proto_put_winsize(uint8_t *out, const struct proto_winsize *ws);
void proto_get_winsize(const uint8_t payload[8], struct proto_winsize *ret);

/*
 * The version to speak with the sender of a HELLO, or -EPROTO (not lvm) or -EPROTONOSUPPORT (none
 * in common).
 */
int proto_get_hello(const struct proto_frame *f);

/* One field of a request. Strings are not terminated: len says where they end. */
struct proto_field_view {
	uint16_t tag;
	uint32_t len;
	const uint8_t *val;
};

/*
 * Takes the field at *pos. 1: one in *ret; 0: none left; -EPROTO: cut off, unknown tag, wrong
 * length, or a NUL in a string.
 */
int proto_field_next(const uint8_t **pos, size_t *left, struct proto_field_view *ret);

/*
 * A request in the making: begin, add fields, finish, send buf[0..len), then proto_request_done().
 * Adding what would exceed PROTO_MAX_REQUEST is remembered, and proto_request_finish() returns
 * -E2BIG.
 */
struct proto_request {
	uint8_t *buf;
	size_t len, cap;
	bool too_big;
};
void proto_request_begin(struct proto_request *r);
void proto_request_add(struct proto_request *r, enum proto_field tag, const void *val, size_t len);
void proto_request_add_str(struct proto_request *r, enum proto_field tag, const char *s);
void proto_request_add_u32(struct proto_request *r, enum proto_field tag, uint32_t v);
void proto_request_add_u64(struct proto_request *r, enum proto_field tag, uint64_t v);
void proto_request_add_winsize(struct proto_request *r, const struct proto_winsize *ws);
/* Writes the frame header. type: PROTO_EXEC or PROTO_INSTALL. */
int proto_request_finish(struct proto_request *r, enum proto_type type);
void proto_request_done(struct proto_request *r);

#endif
