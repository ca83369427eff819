/* SPDX-License-Identifier: Apache-2.0 */
/* The file that keeps what the guest prints, by the serial port first, by virtio later. */
#ifndef LVM_VMM_CONSOLE_LOG_H
#define LVM_VMM_CONSOLE_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/loop.h"

/*
 * The virtio console writes to fd by itself and bounds what it adds. Serial output goes through
 * here, line by line, and ends after CONSOLE_LOG_SERIAL_MAX bytes: nobody runs a session over it,
 * and a guest must not fill the host's disk.
 */
#define CONSOLE_LOG_SERIAL_MAX (1024 * 1024)

struct console_log {
	int fd;
	bool owned;
	struct loop *loop;
	struct loop_timer flush; /* for a line that does not end */
	char line[256];
	unsigned line_len;
	uint32_t serial_bytes;
	off_t mark;
};

/*
 * Creates or truncates the file at path, mode 0600; NULL: stderr. loop is borrowed. *l need not be
 * initialised.
 */
int console_log_init(struct console_log *l, struct loop *loop, const char *path, struct err *err);
void console_log_done(struct console_log *l);

/* On the loop: one byte from the serial port. */
void console_log_serial(struct console_log *l, uint8_t byte);

/*
 * On the loop. Panics printed before now are of no interest any more: the guest said that it ends
 * in order.
 */
void console_log_mark(struct console_log *l);
/*
 * Whether a kernel panic stands in the log's last part, after the mark; its line is then in text
 * (len bytes, always ended). Not known, thus false, when the log is no file.
 */
bool console_log_find_panic(struct console_log *l, char *text, size_t len);

#endif
