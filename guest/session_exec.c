/* SPDX-License-Identifier: Apache-2.0 */
/* From EXEC to a running command: user, environment, streams, whose fault a failure is. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "guest/env.h"
#include "guest/session_priv.h"
#include "guest/spawn.h"

/* The command's ends of its streams, each close-on-exec and above 2; -1 where there is none. */
struct ends {
	int fd[3];
	int master;
};

static const enum proto_exec_flags tty_flag[3] = {PROTO_EXEC_TTY_STDIN, PROTO_EXEC_TTY_STDOUT,
						  PROTO_EXEC_TTY_STDERR};

static int set_winsize(int master, const struct proto_winsize *ws)
{
	struct winsize w = {.ws_row = ws->rows,
			    .ws_col = ws->cols,
			    .ws_xpixel = ws->xpixel,
			    .ws_ypixel = ws->ypixel};

	return ioctl(master, TIOCSWINSZ, &w);
}

/* Opens a terminal that belongs to the user and makes it this process's controlling one. */
static int open_tty(struct session *s, const struct request *req, uid_t uid, struct ends *e,
		    struct err *err)
{
	struct termios t;
	int unlocked = 0;

	e->master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (e->master < 0 || ioctl(e->master, TIOCSPTLCK, &unlocked) < 0)
		return err_set(err, errno, "cannot open a terminal in the distro (/dev/ptmx)");
	s->tty = ioctl(e->master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (s->tty < 0)
		return err_set(err, errno, "cannot open a terminal in the distro (/dev/pts)");
	if (fchown(s->tty, uid, (gid_t)-1) < 0 && geteuid() == 0)
		return err_set(err, errno, "cannot give the terminal to user %u", (unsigned)uid);
	if (tcgetattr(s->tty, &t) == 0) {
		t.c_iflag |= IUTF8; /* erase takes whole characters */
		(void)tcsetattr(s->tty, TCSANOW, &t);
	}
	if (req->has_winsize)
		(void)set_winsize(e->master, &req->winsize);
	if (ioctl(s->tty, TIOCSCTTY, 0) < 0)
		return err_set(err, errno, "cannot make the new terminal the session's own");
	return 0;
}

/*
 * A pipe whose inode belongs to the user: commands open /dev/stdin and /dev/stdout by name. Index 0
 * is stdin.
 */
static int open_pipe(unsigned index, uid_t uid, int *ret_ours, int *ret_theirs, struct err *err)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		return err_set(err, errno, "cannot make a pipe in the distro");
	*ret_ours = p[index == 0 ? 1 : 0];
	*ret_theirs = p[index == 0 ? 0 : 1];
	if (fchown(*ret_theirs, uid, (gid_t)-1) < 0 && geteuid() == 0)
		return err_set(err, errno, "cannot give a pipe to user %u", (unsigned)uid);
	(void)fd_set_nonblock(*ret_ours, true);
	return 0;
}

static int open_streams(struct session *s, const struct request *req, uid_t uid, struct ends *e,
			struct err *err)
{
	uint32_t any = PROTO_EXEC_TTY_STDIN | PROTO_EXEC_TTY_STDOUT | PROTO_EXEC_TTY_STDERR;
	int r = 0, ours;

	if (req->flags & any)
		r = open_tty(s, req, uid, e, err);
	stream_init(&s->stream[PROTO_TTY], e->master, true, true);
	for (unsigned i = 0; i < 3 && r == 0; i++) {
		if (req->flags & tty_flag[i]) {
			e->fd[i] = fcntl(s->tty, F_DUPFD_CLOEXEC, 3);
			if (e->fd[i] < 0)
				r = err_set(err, errno, "cannot duplicate a terminal");
			continue;
		}
		ours = -1;
		r = open_pipe(i, uid, &ours, &e->fd[i], err);
		stream_init(&s->stream[i], ours, i == 0, i != 0);
	}
	return r;
}

static void close_ends(struct ends *e)
{
	for (int i = 0; i < 3; i++)
		if (e->fd[i] >= 0)
			close(e->fd[i]);
}

/* /run/user/UID, as pam_systemd would have made it. */
static void add_runtime_dir(struct env *env, const struct session_config *cfg, const struct user *u)
{
	cleanup_free char *parent = str_fmt("%s/user", cfg->run);
	cleanup_free char *dir = str_fmt("%s/%u", parent, (unsigned)u->uid);
	cleanup_free char *var = str_fmt("XDG_RUNTIME_DIR=%s", dir);
	struct stat st;

	if (!cfg->systemd) {
		(void)mkdir(parent, 0755);
		if (mkdir(dir, 0700) == 0)
			(void)lchown(dir, u->uid, u->gid);
	}
	if (lstat(dir, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == u->uid)
		(void)env_put(env, var, strlen(var));
}

static int build_env(struct env *env, const struct session *s, const struct request *req,
		     const struct user *u, struct err *err)
{
	env_login(env, s->cfg->etc, u);
	add_runtime_dir(env, s->cfg, u);
	if (s->tty >= 0)
		(void)env_put(env, "TERM=xterm", strlen("TERM=xterm"));
	for (unsigned i = 0; i < req->num_env; i++) {
		int r = env_put(env, req->env[i], strlen(req->env[i]));

		if (r == -EINVAL)
			return err_say(
				err, EPROTO,
				"lvm-guest cannot use the environment entry '%.64s': it is not "
				"NAME=value",
				req->env[i]);
		if (r < 0)
			return err_say(err, E2BIG,
				       "the command's environment has more than %d variables",
				       ENV_MAX);
	}
	return 0;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* The directory to start in, by proto.h's rules; NULL means home. */
static int resolve_cwd(const struct request *req, const struct user *u, char **ret_cwd,
		       struct err *err)
{
	*ret_cwd = NULL;
	if (!req->cwd)
		return 0;
	if (req->cwd[0] == '/')
		*ret_cwd = str_dup(req->cwd);
	else if (req->cwd[0] == '~' && (req->cwd[1] == 0 || req->cwd[1] == '/'))
		*ret_cwd = str_fmt("%s%s", u->home, req->cwd + 1);
	else
		return err_say(err, ENOENT,
			       "cannot enter directory '%.512s': give an absolute path, or one "
			       "that begins with ~",
			       req->cwd);
	return 0;
}

static int explain(const struct spawn_plan *plan, const struct spawn_failure *f,
		   enum proto_fault *ret_fault, struct err *err)
{
	const char *user = plan->user->name;

	switch (f->stage) {
	case SPAWN_CWD:
		*ret_fault = PROTO_FAULT_CWD;
		return err_set(err, f->code, "cannot enter directory '%.512s' as user '%s'",
			       plan->cwd ? plan->cwd : "/", user);
	case SPAWN_USER:
		*ret_fault = PROTO_FAULT_LVM;
		return err_set(err, f->code, "cannot become user '%s' in the distro", user);
	case SPAWN_SETUP:
		*ret_fault = PROTO_FAULT_LVM;
		return err_set(err, f->code, "cannot start a process in the distro");
	case SPAWN_EXEC:
		break;
	}
	if (f->code == ENOENT || f->code == ENOTDIR) {
		*ret_fault = PROTO_FAULT_NOT_FOUND;
		if (strchr(plan->file, '/'))
			return err_set(err, f->code, "cannot run '%.512s'", plan->file);
		return err_say(err, f->code,
			       "cannot run '%.512s': no such command in the PATH of user '%s'",
			       plan->file, user);
	}
	*ret_fault = PROTO_FAULT_NOT_EXEC;
	return err_set(err, f->code, "cannot run '%.512s'", plan->file);
}

/*
 * Fills file and argv. args: room for four pointers, used where the request's own array does not
 * do.
 */
static void choose_command(struct spawn_plan *plan, const struct request *req, const struct user *u,
			   char **args, char *login_name)
{
	if (req->num_args == 0) {
		args[0] = login_name;
		args[1] = NULL;
	} else if (req->flags & PROTO_EXEC_SHELL) {
		args[0] = (char *)base_name(u->shell);
		args[1] = (char *)"-c";
		args[2] = req->argv[0];
		args[3] = NULL;
	} else {
		plan->file = req->argv[0];
		plan->argv = req->argv;
		return;
	}
	plan->file = u->shell;
	plan->argv = args;
}

static int start(struct session *s, const struct request *req, const struct user *u,
		 enum proto_fault *ret_fault, struct err *err)
{
	struct ends ends = {.fd = {-1, -1, -1}, .master = -1};
	struct spawn_plan plan = {.user = u, .cwd_optional = req->flags & PROTO_EXEC_CWD_OPTIONAL};
	cleanup_free char *login_name = str_fmt("-%s", base_name(u->shell));
	cleanup_free char *cwd = NULL;
	struct spawn_failure failure;
	struct env env = {0};
	char *args[4];
	int r = resolve_cwd(req, u, &cwd, err);

	if (r < 0) {
		*ret_fault = PROTO_FAULT_CWD;
		return r;
	}
	r = open_streams(s, req, u->uid, &ends, err);
	if (r == 0)
		r = build_env(&env, s, req, u, err);
	if (r == 0) {
		choose_command(&plan, req, u, args, login_name);
		memcpy(plan.fds, ends.fd, sizeof(plan.fds));
		plan.envp = env.v;
		plan.path = env_get(&env, "PATH");
		plan.cwd = cwd;
		plan.tty = s->tty;
		r = spawn_command(&plan, &s->command, &failure);
		if (r < 0)
			r = explain(&plan, &failure, ret_fault, err);
	}
	close_ends(&ends);
	env_done(&env);
	return r;
}

int session_exec(struct session *s, const struct request *req, enum proto_fault *ret_fault,
		 struct err *err)
{
	const char *name = req->user ? req->user : s->cfg->default_user;
	struct user u = {0};
	int r = users_lookup(s->cfg->etc, name, &u, err);

	*ret_fault = r == -ENOENT ? PROTO_FAULT_USER : PROTO_FAULT_LVM;
	if (r < 0)
		return r;
	*ret_fault = PROTO_FAULT_LVM;
	r = start(s, req, &u, ret_fault, err);
	user_done(&u);
	if (r < 0)
		for (unsigned i = 0; i <= PROTO_TTY; i++)
			stream_close(&s->stream[i]);
	s->foreground = s->command;
	return r;
}
