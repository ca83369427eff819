/* SPDX-License-Identifier: Apache-2.0 */
/* Decodes the fields of a request (docs/agent-protocol.md, "Requests"). */
#include "guest/request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/str.h"

#define KNOWN_FLAGS                                                                                \
	(PROTO_EXEC_SHELL | PROTO_EXEC_TTY_STDIN | PROTO_EXEC_TTY_STDOUT | PROTO_EXEC_TTY_STDERR | \
	 PROTO_EXEC_CWD_OPTIONAL)

/*
 * Counts ARG and ENV, and finds out whether the rest of the fields can be taken without another
 * check.
 */
static int count(const struct proto_frame *f, unsigned *ret_args, unsigned *ret_env)
{
	const uint8_t *pos = f->payload;
	size_t left = f->len;
	struct proto_field_view v;
	unsigned args = 0, env = 0;
	int r;

	while ((r = proto_field_next(&pos, &left, &v)) == 1) {
		args += v.tag == PROTO_F_ARG;
		env += v.tag == PROTO_F_ENV;
	}
	*ret_args = args;
	*ret_env = env;
	return r;
}

/* Copies a string to *at; each has had a field header of more than the one byte of its NUL. */
static char *take_string(char **at, const struct proto_field_view *v)
{
	char *s = *at;

	if (v->len)
		memcpy(s, v->val, v->len);
	s[v->len] = 0;
	*at += v->len + 1;
	return s;
}

static void take_field(struct request *r, const struct proto_field_view *v, char **at)
{
	switch (v->tag) {
	case PROTO_F_USER:
		r->user = take_string(at, v);
		break;
	case PROTO_F_CWD:
		r->cwd = take_string(at, v);
		break;
	case PROTO_F_LABEL:
		r->label = take_string(at, v);
		break;
	case PROTO_F_ARG:
		r->argv[r->num_args++] = take_string(at, v);
		break;
	case PROTO_F_ENV:
		r->env[r->num_env++] = take_string(at, v);
		break;
	case PROTO_F_FLAGS:
		r->flags = get_le32(v->val);
		break;
	case PROTO_F_SIZE:
		r->size = get_le64(v->val);
		break;
	case PROTO_F_WINSIZE:
		r->has_winsize = true;
		proto_get_winsize(v->val, &r->winsize);
		break;
	}
}

int request_parse(const struct proto_frame *f, struct request *ret, struct err *err)
{
	const uint8_t *pos = f->payload;
	size_t left = f->len;
	struct proto_field_view v;
	struct request r = {0};
	unsigned num_args, num_env;
	char *at;

	if (count(f, &num_args, &num_env) < 0)
		return err_say(
			err, EPROTO,
			"lvm-guest cannot read the request: a field is malformed or unknown");
	r.strings = at = xcalloc(1, f->len + 1);
	r.argv = xcalloc(num_args + 1, sizeof(*r.argv));
	r.env = xcalloc(num_env + 1, sizeof(*r.env));
	while (proto_field_next(&pos, &left, &v) == 1)
		take_field(&r, &v, &at);
	if ((r.flags & ~(uint32_t)KNOWN_FLAGS) ||
	    ((r.flags & PROTO_EXEC_SHELL) && r.num_args != 1)) {
		request_done(&r);
		return err_say(err, EPROTO,
			       "lvm-guest cannot read the request: its flags make no sense");
	}
	*ret = r;
	return 0;
}

void request_done(struct request *r)
{
	free(r->strings);
	free(r->argv);
	free(r->env);
	*r = (struct request){0};
}
