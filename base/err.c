/* SPDX-License-Identifier: Apache-2.0 */
/* Errors as one sentence: setting and wrapping. */
#include "base/err.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *err, int code, const char *fmt, ...)
{
	char what[sizeof(err->text)];
	va_list ap;

	assert(code > 0);
	if (!err)
		return -code;
	/* Formatted aside first: an argument may point into err->text. */
	va_start(ap, fmt);
	(void)vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	err->code = code;
	(void)snprintf(err->text, sizeof(err->text), "%.*s: %s", (int)sizeof(err->text) - 80, what,
		       strerrordesc_np(code) ?: "unknown error");
	return -code;
}

int err_say(struct err *err, int code, const char *fmt, ...)
{
	char what[sizeof(err->text)];
	va_list ap;

	assert(code > 0);
	if (!err)
		return -code;
	va_start(ap, fmt);
	(void)vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	err->code = code;
	memcpy(err->text, what, sizeof(what));
	return -code;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
	char text[2 * sizeof(err->text)];
	va_list ap;
	int n;

	if (!err)
		return -EIO;
	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(err->text), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(err->text))
		(void)snprintf(text + n, sizeof(text) - (size_t)n, ": %s", err->text);
	text[sizeof(err->text) - 1] = '\0';
	memcpy(err->text, text, sizeof(err->text));
	return -err->code;
}
