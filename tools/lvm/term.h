/* SPDX-License-Identifier: Apache-2.0 */
/* The user's terminal: raw while a guest's terminal is behind it, and restored whatever happens. */
#ifndef LVM_TOOLS_LVM_TERM_H
#define LVM_TOOLS_LVM_TERM_H

#include <stdbool.h>
#include <termios.h>

#include "base/err.h"

struct winsize;

struct term {
	int fd; /* the terminal, borrowed; -1: none */
	struct termios saved;
	bool raw;
	bool keep_output; /* output processing stays on: something else of ours writes to this terminal too */
	int guard_fd; /* the guard ends when this closes */
	int guard_pid;
};

/* fd: a terminal, or -1 for none (all calls do nothing then). */
void term_init(struct term *t, int fd, bool keep_output);

/*
 * Raw mode. The first time a small guard process is left beside: should this process die in any way without
 * having restored the terminal, the guard does it.
 */
int term_raw(struct term *t, struct err *err);
/* Back as it was. Harmless when it is. */
void term_restore(struct term *t);
/* Restores and lets the guard go. */
void term_done(struct term *t);

/* The window's size; false when there is none. */
bool term_size(const struct term *t, struct winsize *ret_ws);

#endif
