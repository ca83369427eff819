/* SPDX-License-Identifier: Apache-2.0 */
/* Talking to lvm-vmm. */
#include "tools/lvm/vm.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/loop.h"
#include "vmm/control.h"

/* One line of at most CONTROL_MAX_LINE bytes, before the deadline. */
static int read_line(int fd, char *line, int64_t deadline_ms)
{
	size_t n = 0;

	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		int64_t left = deadline_ms < 0 ? -1 : deadline_ms - loop_now_ms();
		ssize_t r;

		if (deadline_ms >= 0 && left < 0)
			return -ETIMEDOUT;
		r = poll(&p, 1, (int)left);
		if (r < 0 && errno != EINTR)
			return -errno;
		if (r <= 0)
			continue;
		r = read(fd, line + n, CONTROL_MAX_LINE - n);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0)
			return -ECONNRESET;
		n += (size_t)r;
		if (line[n - 1] == '\n') {
			line[n - 1] = '\0';
			return 0;
		}
		if (n == CONTROL_MAX_LINE)
			return -EMSGSIZE;
	}
}

int vm_control(const struct store *s, const char *name, const char *command, int timeout_ms,
	       struct cJSON **ret_reply, struct err *err)
{
	cleanup_free char *path = store_socket_path(s, name, "control");
	cleanup_free char *request = str_fmt("{\"command\":\"%s\"}\n", command);
	cleanup_close int fd = -1;
	char line[CONTROL_MAX_LINE];
	cJSON *reply;
	int r = unix_connect(path, false, &fd, err);

	if (r < 0)
		return err_wrap(err, "cannot reach the VM of '%s'", name);
	r = fd_write_full(fd, request, strlen(request));
	if (r == 0)
		r = read_line(fd, line, timeout_ms < 0 ? -1 : loop_now_ms() + timeout_ms);
	if (r < 0)
		return err_set(err, -r, "the VM of '%s' did not answer '%s'", name, command);
	reply = cJSON_Parse(line);
	if (!cJSON_IsTrue(cJSON_GetObjectItem(reply, "ok"))) {
		const char *why = cJSON_GetStringValue(cJSON_GetObjectItem(reply, "error"));

		r = err_say(err, EPROTO, "the VM of '%s' refused '%s': %s", name, command,
			    why ?: "its answer is not understood");
		cJSON_Delete(reply);
		return r;
	}
	if (ret_reply)
		*ret_reply = reply;
	else
		cJSON_Delete(reply);
	return 0;
}

static uint64_t number_of(const cJSON *o, const char *key)
{
	const cJSON *n = cJSON_GetObjectItem(o, key);

	return cJSON_IsNumber(n) && n->valuedouble > 0 ? (uint64_t)n->valuedouble : 0;
}

void vm_status(const struct store *s, const char *name, struct vm_status *ret_status)
{
	struct vm_status st = {.running = store_is_running(s, name)};
	cJSON *reply = NULL;

	(void)snprintf(st.state, sizeof(st.state), "%s", st.running ? "booting" : "stopped");
	if (st.running && vm_control(s, name, "status", 2000, &reply, NULL) == 0) {
		const char *state = cJSON_GetStringValue(cJSON_GetObjectItem(reply, "state"));

		(void)snprintf(st.state, sizeof(st.state), "%s", state ?: "running");
		st.pid = (int)number_of(reply, "pid");
		st.memory = number_of(reply, "memory");
		st.vcpus = number_of(reply, "vcpus");
		st.uptime_ms = number_of(reply, "uptime_ms");
		st.boot_ms = number_of(reply, "boot_ms");
		cJSON_Delete(reply);
	}
	*ret_status = st;
}

/* The lock is the truth: it ends with the process. Waiting for it is waiting for the end. */
static int wait_gone(const struct store *s, const char *name, int timeout_ms)
{
	int64_t deadline = loop_now_ms() + timeout_ms;
	int r;

	while (store_is_running(s, name)) {
		int64_t left = deadline - loop_now_ms();

		if (left <= 0)
			return -ETIMEDOUT;
		/* "wait" answers at the end of the machine; then only the process's own end is left. */
		r = vm_control(s, name, "wait", (int)left, NULL, NULL);
		if (r == -ETIMEDOUT)
			return r;
		if (store_is_running(s, name))
			(void)poll(NULL, 0, 10);
	}
	return 0;
}

/* The process behind the control socket, as the kernel knows it: for when it does not answer. */
static void kill_vmm(const struct store *s, const char *name)
{
	cleanup_free char *path = store_socket_path(s, name, "control");
	cleanup_close int fd = -1;
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (unix_connect(path, true, &fd, NULL) == 0 &&
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && peer.pid > 1)
		(void)kill(peer.pid, SIGKILL);
}

int vm_stop(const struct store *s, const char *name, bool force, int timeout_ms, struct err *err)
{
	int r;

	if (!store_is_running(s, name))
		return 0;
	r = vm_control(s, name, force ? "stop" : "shutdown", 5000, NULL, err);
	/* It may just have ended by itself. */
	if (r < 0 && !store_is_running(s, name))
		return 0;
	if (r < 0 && !force)
		return r;
	if (r == 0)
		r = wait_gone(s, name, timeout_ms);
	if (r < 0 && force) {
		kill_vmm(s, name);
		r = wait_gone(s, name, timeout_ms);
	}
	if (r < 0)
		return err_say(
			err, ETIMEDOUT,
			"'%s' did not shut down within %d seconds; 'lvm stop --force %s' ends it "
			"as pulling the plug would",
			name, timeout_ms / 1000, name);
	return 0;
}
