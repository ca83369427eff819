/* SPDX-License-Identifier: Apache-2.0 */
/* kill(-1), wait by event, reboot(2). */
#include "guest/power.h"

#include <errno.h>
#include <signal.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/loop.h"

/* Waits until PID 1 has no child, which means that no process is left at all. */
static bool wait_all(int timeout_ms)
{
	int64_t until = loop_now_ms() + timeout_ms;
	sigset_t child;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	(void)sigprocmask(SIG_BLOCK, &child, NULL);
	for (;;) {
		pid_t pid = waitpid(-1, NULL, WNOHANG);
		int64_t left = until - loop_now_ms();
		struct timespec ts;

		if (pid < 0 && errno == ECHILD)
			return true;
		if (pid > 0)
			continue;
		if (left <= 0)
			return false;
		ts = (struct timespec){.tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000};
		(void)sigtimedwait(&child, NULL, &ts);
	}
}

void power_kill_all(int grace_ms)
{
	(void)kill(-1, SIGTERM);
	(void)kill(-1, SIGCONT);
	if (wait_all(grace_ms))
		return;
	(void)kill(-1, SIGKILL);
	(void)wait_all(1000);
}

void power_off(bool again)
{
	(void)reboot(again ? RB_AUTOBOOT : RB_POWER_OFF);
	/* The machine takes a moment, or cannot power off. PID 1 must not return. */
	for (;;)
		pause();
}
