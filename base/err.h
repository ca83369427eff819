/* SPDX-License-Identifier: Apache-2.0 */
/* An error on its way to the user: a code and one sentence, set where it happens, wrapped on the way up. */
#ifndef LVM_BASE_ERR_H
#define LVM_BASE_ERR_H

/*
 * A function that can fail for reasons of the host or the user returns 0 or -errno and takes a
 * `struct err *err` last. On failure it has set *err, on success it has not touched it. Only main()
 * prints it. NULL is allowed everywhere and means "the code is enough".
 */
struct err {
	int code;        /* positive errno */
	char text[1024]; /* what failed, on what, why, what to do; no newline at the end */
};

/* Sets "<formatted>: <strerror(code)>". Returns -code; code must be positive. */
int err_set(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Sets the formatted sentence alone, for failures that errno's text would not explain. Returns -code. */
int err_say(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "<formatted>: " before the sentence that is there. Returns -err->code (or -EIO for NULL). */
int err_wrap(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
