/* SPDX-License-Identifier: Apache-2.0 */
/* Serving vmm/control.h: connections, lines and JSON; what commands do is the machine's. */
#ifndef LVM_VMM_CONTROL_SERVER_H
#define LVM_VMM_CONTROL_SERVER_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/loop.h"
#include "vmm/control.h"

enum control_command {
	CONTROL_STATUS,
	CONTROL_SHUTDOWN,
	CONTROL_POWERBUTTON,
	CONTROL_STOP,
	CONTROL_STATISTICS,
	CONTROL_RESIZE_DISK,
	CONTROL_WAIT,
	CONTROL_NUM_COMMANDS,
};

struct control_request {
	enum control_command command;
	unsigned disk; /* of RESIZE_DISK */
};

/* Understands one line; pure. */
int control_parse(const char *line, size_t len, struct control_request *ret_req, struct err *err);

/*
 * On the loop. Adds to reply, which has "ok"; failing makes the reply the error's sentence. Not
 * called for WAIT.
 */
typedef int control_fn(void *opaque, const struct control_request *req, cJSON *reply,
		       struct err *err);

struct control;

/* loop and path are borrowed. Users other than ours and root are refused. */
int control_new(struct loop *loop, const char *path, control_fn *fn, void *opaque,
		struct control **ret_c, struct err *err);
/* After the loop's end: tells whoever waits, and sends what was not sent yet, briefly. */
void control_finish(struct control *c, int exit_status);
/* Also removes the socket. NULL is fine. */
void control_free(struct control *c);

#endif
