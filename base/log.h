/* SPDX-License-Identifier: Apache-2.0 */
/* One line of log for people: "<prefix>: <message>" on one descriptor, and a limiter for what a guest can cause. */
#ifndef LVM_BASE_LOG_H
#define LVM_BASE_LOG_H

#include <stdint.h>

enum log_level {
	LOG_LEVEL_ERROR, /* something the user asked for will not happen */
	LOG_LEVEL_WARN,  /* it happens, but not as it should */
	LOG_LEVEL_INFO,  /* milestones: started, stopped */
	LOG_LEVEL_DEBUG, /* for developers of lvm */
};

/*
 * Sets prefix (borrowed, must outlive all logging), the most verbose level that is written, and the
 * descriptor (borrowed). Before it is called: no prefix, WARN, stderr. Any thread may log; each
 * line is one write(2).
 */
void log_init(const char *prefix, enum log_level level, int fd);

void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* At most 10 lines in 5 seconds per place; how many were swallowed is said with the next one let through. */
struct log_limit {
	int64_t window_start_ms;
	unsigned in_window;
	unsigned swallowed;
};

/* For what a guest can trigger: warns through *limit (zero-initialised by the owner; one thread at a time). */
void log_guest(struct log_limit *limit, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
