/* SPDX-License-Identifier: Apache-2.0 */
/* The sandbox, entered by a child process: what goes on working, what is refused, what kills. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/loop.h"
#include "vmm/sandbox.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

static char dir[32];

/*
 * Runs fn in a child inside the sandbox; its wait status. fn returns the number of the first thing
 * that went wrong.
 */
static int inside(int (*fn)(void))
{
	const char *dirs[] = {dir};
	struct rlimit none = {0};
	struct err err;
	int status = 0;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		(void)setrlimit(RLIMIT_CORE, &none);
		if (sandbox_enter(dirs, 1, false, &err) < 0) {
			(void)fprintf(stderr, "%s\n", err.text);
			_exit(99);
		}
		_exit(fn());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void in_order(int (*fn)(void))
{
	int status = inside(fn);

	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fail_msg("wait status 0x%x", status);
}

static void kills(int (*fn)(void))
{
	int status = inside(fn);

	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
		fail_msg("wait status 0x%x", status);
}

static void *thread(void *arg)
{
	free(malloc(1 << 20));
	*(int *)arg = 7;
	return NULL;
}

static int daily_work(void)
{
	struct stat st;
	pthread_t t;
	uint64_t size;
	int got = 0, fd;

	free(malloc(8 << 20));
	if (pthread_create(&t, NULL, thread, &got) != 0 || pthread_join(t, NULL) != 0 || got != 7)
		return 2;
	fd = eventfd(0, EFD_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || fd_set_nonblock(fd, true) < 0 || close(fd) < 0)
		return 3;
	if (loop_now_ms() <= 0)
		return 4;
	/* What finds out a disk's new size when it is a block device. */
	if (ioctl(fd, BLKGETSIZE64, &size) == 0 || ioctl(fd, BLKPBSZGET, &size) == 0)
		return 5;
	return 0;
}

static int sockets(void)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/s", dir);
	if (unix_connect(path, true, &fd, NULL) < 0)
		return 1;
	if (unlink(path) < 0)
		return 2;
	return 0;
}

static int files(void)
{
	char path[64];

	if (open("/etc/passwd", O_RDONLY) >= 0 || errno != EACCES)
		return 1;
	(void)snprintf(path, sizeof(path), "%s/new", dir);
	if (open(path, O_WRONLY | O_CREAT, 0600) >= 0 || errno != EACCES)
		return 2;
	if (access("/", F_OK) == 0)
		return 3;
	return 0;
}

static int try_epoll(void)
{
	return epoll_create1(0);
}

static int try_exec(void)
{
	char *argv[] = {(char *)"/bin/true", NULL};

	return execv(argv[0], argv);
}

static int try_fork(void)
{
	return fork();
}

static int try_inet(void)
{
	return socket(AF_INET, SOCK_STREAM, 0);
}

static int try_jit(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
	       MAP_FAILED;
}

static int try_kill(void)
{
	return kill(getppid(), 0);
}

static int try_other_ioctl(void)
{
	return ioctl(0, 0x5401, 0);
}

static void test_goes_on(void **state)
{
	in_order(daily_work);
}

static void test_sockets(void **state)
{
	char path[64];
	int fd = -1;

	(void)snprintf(path, sizeof(path), "%s/s", dir);
	assert_int_equal(unix_listen(path, 4, &fd, NULL), 0);
	in_order(sockets);
	assert_int_equal(access(path, F_OK), -1);
	close(fd);
}

static void test_refused(void **state)
{
	in_order(files);
}

static void test_killed(void **state)
{
	kills(try_epoll);
	kills(try_exec);
	kills(try_fork);
	kills(try_inet);
	kills(try_jit);
	kills(try_kill);
	kills(try_other_ioctl);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_goes_on),
		cmocka_unit_test(test_sockets),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_killed),
	};
	int r;

#ifdef SANITIZED
	return 77; /* the sanitizer's own system calls are none of the sandbox's */
#endif
	strcpy(dir, "/tmp/lvm-test-XXXXXX");
	if (!mkdtemp(dir))
		return 1;
	r = cmocka_run_group_tests(tests, NULL, NULL);
	(void)rmdir(dir);
	return r;
}
