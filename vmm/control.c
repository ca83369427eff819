/* SPDX-License-Identifier: Apache-2.0 */
/* Serving the control socket (vmm/control.h). */
/*
 * Clients are the owner's own programs, yet bounded: so many, so long a line, so much unread reply.
 * One that exceeds is disconnected; the machine never waits for a client.
 */
#include "vmm/control_server.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "base/str.h"

#define MAX_CLIENTS 32
#define MAX_OUT     (64 * 1024)
#define FINISH_MS   500

struct client {
	struct control *control;
	struct loop_fd fd;
	struct list node;
	bool waiting;
	size_t in_len;
	char in[CONTROL_MAX_LINE];
	char *out; /* what the socket did not take yet */
	size_t out_len;
};

struct control {
	struct loop *loop;
	char *path;
	struct loop_fd listener;
	struct list clients;
	unsigned num_clients;
	control_fn *fn;
	void *opaque;
};

static const char *const command_names[CONTROL_NUM_COMMANDS] = {
	[CONTROL_STATUS] = "status",
	[CONTROL_SHUTDOWN] = "shutdown",
	[CONTROL_POWERBUTTON] = "powerbutton",
	[CONTROL_STOP] = "stop",
	[CONTROL_STATISTICS] = "statistics",
	[CONTROL_RESIZE_DISK] = "resize-disk",
	[CONTROL_WAIT] = "wait",
};

static int parse_object(const cJSON *json, struct control_request *req, struct err *err)
{
	const cJSON *command = cJSON_GetObjectItemCaseSensitive(json, "command");
	const cJSON *disk = cJSON_GetObjectItemCaseSensitive(json, "disk");
	unsigned i = 0;

	if (!cJSON_IsObject(json) || !cJSON_IsString(command))
		return err_say(err, EINVAL, "a request is an object with a \"command\"");
	while (i < CONTROL_NUM_COMMANDS && strcmp(command->valuestring, command_names[i]) != 0)
		i++;
	if (i == CONTROL_NUM_COMMANDS)
		return err_say(err, EINVAL, "unknown command '%.64s'", command->valuestring);
	req->command = (enum control_command)i;
	if (req->command != CONTROL_RESIZE_DISK)
		return 0;
	if (!cJSON_IsNumber(disk) || disk->valuedouble < 0 || disk->valuedouble > 1000 ||
	    disk->valuedouble != (double)(unsigned)disk->valuedouble)
		return err_say(err, EINVAL, "resize-disk needs \"disk\": the disk's index");
	req->disk = (unsigned)disk->valuedouble;
	return 0;
}

int control_parse(const char *line, size_t len, struct control_request *ret_req, struct err *err)
{
	cJSON *json = cJSON_ParseWithLength(line, len);
	struct control_request req = {0};
	int r;

	if (!json)
		return err_say(err, EINVAL, "the request is not JSON");
	r = parse_object(json, &req, err);
	cJSON_Delete(json);
	if (r == 0)
		*ret_req = req;
	return r;
}

static void client_free(struct client *cl)
{
	loop_remove(&cl->fd);
	(void)close(cl->fd.fd);
	list_remove(&cl->node);
	cl->control->num_clients--;
	free(cl->out);
	free(cl);
}

/* Sends what the socket takes; false when the client is gone. */
static bool client_flush(struct client *cl)
{
	size_t done = 0;

	while (done < cl->out_len) {
		ssize_t r = send(cl->fd.fd, cl->out + done, cl->out_len - done, MSG_NOSIGNAL);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0 && errno == EAGAIN)
			break;
		if (r < 0)
			return false;
		done += (size_t)r;
	}
	cl->out_len -= done;
	if (cl->out)
		memmove(cl->out, cl->out + done, cl->out_len);
	if (cl->fd.loop)
		loop_modify(&cl->fd, cl->out_len ? EPOLLIN | EPOLLOUT : EPOLLIN);
	return true;
}

/* Takes json. False when the client is gone or does not read. */
static bool client_send(struct client *cl, cJSON *json)
{
	char *text = cJSON_PrintUnformatted(json);
	size_t len = text ? strlen(text) : 0;
	bool fits = text && cl->out_len + len + 1 <= MAX_OUT;

	if (fits) {
		cl->out = xrealloc(cl->out, cl->out_len + len + 1, 1);
		memcpy(cl->out + cl->out_len, text, len);
		cl->out[cl->out_len + len] = '\n';
		cl->out_len += len + 1;
	}
	cJSON_free(text);
	cJSON_Delete(json);
	return fits && client_flush(cl);
}

static bool client_refuse(struct client *cl, const struct err *err)
{
	cJSON *reply = cJSON_CreateObject();

	cJSON_AddFalseToObject(reply, "ok");
	cJSON_AddStringToObject(reply, "error", err->text);
	return client_send(cl, reply);
}

static bool client_line(struct client *cl, const char *line, size_t len)
{
	struct control *c = cl->control;
	struct control_request req;
	struct err err = {0};
	cJSON *reply;

	if (control_parse(line, len, &req, &err) < 0)
		return client_refuse(cl, &err);
	if (req.command == CONTROL_WAIT) {
		cl->waiting = true;
		return true;
	}
	reply = cJSON_CreateObject();
	cJSON_AddTrueToObject(reply, "ok");
	if (c->fn(c->opaque, &req, reply, &err) < 0) {
		cJSON_Delete(reply);
		return client_refuse(cl, &err);
	}
	return client_send(cl, reply);
}

/* False: disconnect. */
static bool client_lines(struct client *cl)
{
	char *start = cl->in, *end = cl->in + cl->in_len, *nl;

	while ((nl = memchr(start, '\n', (size_t)(end - start)))) {
		if (!client_line(cl, start, (size_t)(nl - start)))
			return false;
		start = nl + 1;
	}
	cl->in_len = (size_t)(end - start);
	memmove(cl->in, start, cl->in_len);
	return cl->in_len < sizeof(cl->in);
}

static void client_ready(struct loop_fd *f, uint32_t events)
{
	struct client *cl = container_of(f, struct client, fd);
	ssize_t r;

	if (events & EPOLLOUT && !client_flush(cl)) {
		client_free(cl);
		return;
	}
	if (!(events & ~(uint32_t)EPOLLOUT))
		return;
	r = read(f->fd, cl->in + cl->in_len, sizeof(cl->in) - cl->in_len);
	if (r < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (r <= 0) {
		client_free(cl);
		return;
	}
	cl->in_len += (size_t)r;
	if (!client_lines(cl))
		client_free(cl);
}

/*
 * The socket's mode keeps others out; this also holds where a directory made it reachable
 * otherwise.
 */
static bool peer_allowed(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return false;
	return cred.uid == geteuid() || cred.uid == 0;
}

static void control_accept(struct loop_fd *f, uint32_t events)
{
	struct control *c = container_of(f, struct control, listener);
	int fd = accept4(f->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct client *cl;

	if (fd < 0)
		return;
	if (c->num_clients == MAX_CLIENTS || !peer_allowed(fd)) {
		(void)close(fd);
		return;
	}
	cl = xcalloc(1, sizeof(*cl));
	cl->control = c;
	cl->fd.fd = fd;
	cl->fd.fn = client_ready;
	list_append(&c->clients, &cl->node);
	c->num_clients++;
	if (loop_add(c->loop, &cl->fd, EPOLLIN, NULL) < 0)
		client_free(cl);
}

int control_new(struct loop *loop, const char *path, control_fn *fn, void *opaque,
		struct control **ret_c, struct err *err)
{
	struct control *c = xcalloc(1, sizeof(*c));
	int r;

	c->loop = loop;
	c->path = str_dup(path);
	c->fn = fn;
	c->opaque = opaque;
	list_init(&c->clients);
	c->listener.fd = -1;
	c->listener.fn = control_accept;
	r = unix_listen(path, MAX_CLIENTS, &c->listener.fd, err);
	if (r == 0)
		r = loop_add(loop, &c->listener, EPOLLIN, err);
	if (r < 0) {
		control_free(c);
		return r;
	}
	*ret_c = c;
	return 0;
}

void control_finish(struct control *c, int exit_status)
{
	int64_t until = loop_now_ms() + FINISH_MS;

	list_for_each (node, &c->clients) {
		struct client *cl = container_of(node, struct client, node);
		cJSON *reply;

		if (!cl->waiting)
			continue;
		reply = cJSON_CreateObject();
		cJSON_AddTrueToObject(reply, "ok");
		cJSON_AddNumberToObject(reply, "exit", exit_status);
		(void)client_send(cl, reply);
	}
	list_for_each (node, &c->clients) {
		struct client *cl = container_of(node, struct client, node);
		struct pollfd p = {.fd = cl->fd.fd, .events = POLLOUT};
		int64_t left = until - loop_now_ms();

		if (cl->out_len && poll(&p, 1, left > 0 ? (int)left : 0) > 0)
			(void)client_flush(cl);
	}
}

void control_free(struct control *c)
{
	if (!c)
		return;
	list_for_each (node, &c->clients)
		client_free(container_of(node, struct client, node));
	loop_remove(&c->listener);
	if (c->listener.fd >= 0) {
		(void)close(c->listener.fd);
		(void)unlink(c->path);
	}
	free(c->path);
	free(c);
}
