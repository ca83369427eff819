/* SPDX-License-Identifier: Apache-2.0 */
/* The progress line. */
#include "tools/lvm/progress.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "base/loop.h"

#define PROGRESS_EVERY_MS 150

/* The terminal's line is one per process, and so is this. */
static struct {
	bool shown;
	int64_t last_ms;
} progress;

void progress_show(const char *fmt, ...)
{
	int64_t now = loop_now_ms();
	char line[160];
	va_list ap;

	if (!isatty(STDERR_FILENO) ||
	    (progress.shown && now - progress.last_ms < PROGRESS_EVERY_MS))
		return;
	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	(void)fprintf(stderr, "\r%s\033[K", line);
	(void)fflush(stderr);
	progress.shown = true;
	progress.last_ms = now;
}

void progress_clear(void)
{
	if (!progress.shown)
		return;
	(void)fprintf(stderr, "\r\033[K");
	(void)fflush(stderr);
	progress.shown = false;
}
