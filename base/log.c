/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines and the limiter for those a guest can cause. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOG_WINDOW_MS     5000
#define LOG_MAX_IN_WINDOW 10

/* The process has one log, set up once before threads start: the only file-level state of base/. */
static const char *log_prefix;
static enum log_level log_level = LOG_LEVEL_WARN;
static int log_fd = STDERR_FILENO;

void log_init(const char *prefix, enum log_level level, int fd)
{
	log_prefix = prefix;
	log_level = level;
	log_fd = fd;
}

static void log_vwrite(enum log_level level, const char *fmt, va_list ap)
{
	char line[1280];
	int n = 0;

	if (level > log_level)
		return;
	if (log_prefix)
		n = snprintf(line, sizeof(line), "%s: ", log_prefix);
	if (n < 0 || (size_t)n >= sizeof(line) - 2)
		n = 0;
	(void)vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
	n = (int)strlen(line);
	line[n] = '\n';
	/* A log that cannot be written has nobody to be told. */
	if (write(log_fd, line, (size_t)n + 1) < 0)
		return;
}

void log_write(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_vwrite(level, fmt, ap);
	va_end(ap);
}

static int64_t log_now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void log_guest(struct log_limit *limit, const char *fmt, ...)
{
	int64_t now = log_now_ms();
	va_list ap;

	if (!limit->window_start_ms || now - limit->window_start_ms >= LOG_WINDOW_MS) {
		if (limit->swallowed)
			log_warn("%u more of the next kind of message were left out",
				 limit->swallowed);
		limit->window_start_ms = now;
		limit->in_window = 0;
		limit->swallowed = 0;
	}
	if (limit->in_window >= LOG_MAX_IN_WINDOW) {
		limit->swallowed++;
		return;
	}
	limit->in_window++;
	va_start(ap, fmt);
	log_vwrite(LOG_LEVEL_WARN, fmt, ap);
	va_end(ap);
}
