/* SPDX-License-Identifier: Apache-2.0 */
/* An EXEC or INSTALL request, decoded and checked. */
#ifndef LVM_GUEST_REQUEST_H
#define LVM_GUEST_REQUEST_H

#include <stdint.h>

#include "base/err.h"
#include "guest/proto.h"

struct request {
	char *strings;                  /* owned: what the pointers below point into */
	const char *user, *cwd, *label; /* NULL: not given */
	char **argv;                    /* NULL-terminated, owned array */
	char **env;
	unsigned num_args, num_env;
	uint32_t flags; /* enum proto_exec_flags */
	uint64_t size;
	bool has_winsize;
	struct proto_winsize winsize;
};

/*
 * The payload of an EXEC or INSTALL frame. -EPROTO: malformed, said in err; nothing to free then.
 */
int request_parse(const struct proto_frame *f, struct request *ret, struct err *err);
void request_done(struct request *r);

#endif
