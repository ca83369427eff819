/* SPDX-License-Identifier: Apache-2.0 */
/* One line that says what is taking long, on a terminal only. */
#ifndef LVM_TOOLS_LVM_PROGRESS_H
#define LVM_TOOLS_LVM_PROGRESS_H

/* Replaces the line on stderr, at most a few times a second. Nothing when stderr is no terminal. */
void progress_show(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Takes the line away, before anything else is printed. */
void progress_clear(void);

#endif
