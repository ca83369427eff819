/* SPDX-License-Identifier: Apache-2.0 */
/* Copying the kernel's log to the console. */
#include "guest/bootlog.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"

/* syslog(2)'s numbers have no names in libc's headers. */
#define SYSLOG_READ_ALL    3
#define SYSLOG_SIZE_BUFFER 10

#define BOOTLOG_MAX        (512 * 1024)
#define QUIET_LOGLEVEL     4 /* the console's with "quiet": errors and worse */

size_t bootlog_strip(char *text, size_t n)
{
	size_t out = 0;

	for (size_t i = 0; i < n;) {
		const char *nl;
		size_t len;

		if (text[i] == '<') {
			const char *end = memchr(text + i, '>', n - i < 5 ? n - i : 5);

			if (end)
				i = (size_t)(end + 1 - text);
		}
		nl = memchr(text + i, '\n', n - i);
		len = nl ? (size_t)(nl + 1 - text) - i : n - i;
		memmove(text + out, text + i, len);
		out += len;
		i += len;
	}
	return out;
}

static int console_loglevel(void)
{
	cleanup_free char *text = NULL;

	if (file_read("/proc/sys/kernel/printk", 256, &text, NULL, NULL) < 0)
		return QUIET_LOGLEVEL;
	return atoi(text);
}

void bootlog_copy(void)
{
	cleanup_close int fd = -1;
	cleanup_free char *text = NULL;
	int size, n;

	if (console_loglevel() > QUIET_LOGLEVEL)
		return;
	size = klogctl(SYSLOG_SIZE_BUFFER, NULL, 0);
	if (size <= 0)
		return;
	if (size > BOOTLOG_MAX)
		size = BOOTLOG_MAX;
	text = malloc((size_t)size);
	if (!text)
		return;
	n = klogctl(SYSLOG_READ_ALL, text, size);
	fd = open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);
	if (n > 0 && fd >= 0)
		(void)fd_write_full(fd, text, bootlog_strip(text, (size_t)n));
}
