/* SPDX-License-Identifier: Apache-2.0 */
/* Terminal modes, and the guard that survives us. */
#include "tools/lvm/term.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

void term_init(struct term *t, int fd, bool keep_output)
{
	*t = (struct term){.fd = fd, .keep_output = keep_output, .guard_fd = -1};
}

/*
 * The guard: waits for the pipe to close. A byte before that says that the terminal is as it was. It
 * ignores SIGTTOU, because it may be in the background by then, and every signal meant for us.
 */
static void __attribute__((noreturn)) guard(int pipe_fd, int tty, const struct termios *saved)
{
	char byte;
	ssize_t n;

	for (int sig = 1; sig < NSIG; sig++)
		(void)signal(sig, SIG_IGN);
	(void)prctl(PR_SET_NAME, "lvm-term");
	/* Whoever waits for our output's end must not wait for the guard. */
	for (int fd = 0; fd < 256; fd++) {
		if (fd != pipe_fd && fd != tty)
			(void)close(fd);
	}
	do {
		n = read(pipe_fd, &byte, 1);
	} while (n < 0 && errno == EINTR);
	if (n != 1)
		(void)tcsetattr(tty, TCSADRAIN, saved);
	_exit(0);
}

static int start_guard(struct term *t, struct err *err)
{
	int fds[2];
	pid_t pid;

	if (pipe(fds) < 0)
		return err_set(err, errno, "cannot make a pipe");
	pid = fork();
	if (pid < 0) {
		(void)close(fds[0]);
		(void)close(fds[1]);
		return err_set(err, errno, "cannot start a process");
	}
	if (pid == 0) {
		(void)close(fds[1]);
		/* Out of the foreground group, where Ctrl-C and the end of the session would reach it. */
		(void)setpgid(0, 0);
		guard(fds[0], t->fd, &t->saved);
	}
	(void)close(fds[0]);
	t->guard_fd = fds[1];
	t->guard_pid = pid;
	return 0;
}

int term_raw(struct term *t, struct err *err)
{
	struct termios raw;
	int r;

	if (t->fd < 0 || t->raw)
		return 0;
	if (tcgetattr(t->fd, &t->saved) < 0)
		return err_set(err, errno, "cannot read the terminal's settings");
	if (t->guard_fd < 0) {
		r = start_guard(t, err);
		if (r < 0)
			return r;
	}
	raw = t->saved;
	cfmakeraw(&raw);
	if (t->keep_output)
		raw.c_oflag = t->saved.c_oflag;
	if (tcsetattr(t->fd, TCSADRAIN, &raw) < 0)
		return err_set(err, errno, "cannot set the terminal to raw mode");
	t->raw = true;
	return 0;
}

void term_restore(struct term *t)
{
	sigset_t ttou, before;

	if (!t->raw)
		return;
	/* In the background the kernel would stop us for this; it must be done all the same. */
	sigemptyset(&ttou);
	sigaddset(&ttou, SIGTTOU);
	(void)sigprocmask(SIG_BLOCK, &ttou, &before);
	(void)tcsetattr(t->fd, TCSADRAIN, &t->saved);
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	t->raw = false;
}

void term_done(struct term *t)
{
	char byte = 0;

	term_restore(t);
	if (t->guard_fd < 0)
		return;
	(void)!write(t->guard_fd, &byte, 1);
	(void)close(t->guard_fd);
	t->guard_fd = -1;
	(void)waitpid(t->guard_pid, NULL, 0);
}

bool term_size(const struct term *t, struct winsize *ret_ws)
{
	return t->fd >= 0 && ioctl(t->fd, TIOCGWINSZ, ret_ws) == 0;
}
