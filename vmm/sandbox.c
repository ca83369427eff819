/* SPDX-License-Identifier: Apache-2.0 */
/* The sandbox: no new privileges, Landlock, seccomp. */
/*
 * The guest is hostile, and one day there is a hole in a device. Then whoever is behind it has this
 * process: what is open in it (the guest's disks, its sockets, KVM) and what the kernel lets it do.
 * The latter is made small here, in three layers that need no privilege and work in containers:
 *
 * 1. no_new_privs: no setuid program helps.
 * 2. Landlock, where the kernel has it: no file is opened, made or changed by path. Only removing
 *    files in the directories of our own sockets stays, for the end. This also holds for what
 *    io_uring does, which seccomp does not see. It counts for the calling thread and those it
 *    starts: the vCPUs. (Disk workers begun before are held by seccomp alone.)
 * 3. seccomp, all threads: an allowlist; anything else kills the process, which `log_only` turns
 *    into a log line. Calls that the C library makes by itself and can do without get EACCES
 *    instead. ioctl is allowed by request number: those of a running KVM, none that makes a VM or
 *    a memory slot. Sockets: only unix ones. Paths: only openat(O_PATH), for sockets behind long
 *    paths, and unlink. No execve, no mmap with PROT_EXEC.
 *
 * What stays possible: connecting to unix sockets of the same user (vsock needs it), burning CPU,
 * filling the disk images.
 */
#include "vmm/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/kvm.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

/* Rights of the third ABI (Linux 6.2); older kernels are asked for less. */
#define FS_RIGHTS_V1 ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1)
#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (1ULL << 13)
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif

/* ---- Landlock */

static int landlock_allow_unlink(int rules, const char *dir)
{
	cleanup_close int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct landlock_path_beneath_attr rule = {
		.allowed_access = LANDLOCK_ACCESS_FS_REMOVE_FILE,
		.parent_fd = fd,
	};

	if (fd < 0)
		return -errno;
	if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
		return -errno;
	return 0;
}

static int landlock_enter(const char *const *unlink_dirs, unsigned num, struct err *err)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	struct landlock_ruleset_attr attr = {.handled_access_fs = FS_RIGHTS_V1};
	cleanup_close int rules = -1;

	/* Not built in, not enabled, or forbidden by a container: then seccomp must do. */
	if (abi < 1)
		return 0;
	if (abi >= 2)
		attr.handled_access_fs |= LANDLOCK_ACCESS_FS_REFER;
	if (abi >= 3)
		attr.handled_access_fs |= LANDLOCK_ACCESS_FS_TRUNCATE;
	rules = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (rules < 0)
		return err_set(err, errno, "cannot make a Landlock ruleset");
	for (unsigned i = 0; i < num; i++) {
		int r = landlock_allow_unlink(rules, unlink_dirs[i]);

		if (r < 0)
			return err_set(err, -r, "cannot keep the right to remove files in '%s'",
				       unlink_dirs[i]);
	}
	if (syscall(SYS_landlock_restrict_self, rules, 0) < 0)
		return err_set(err, errno, "cannot enter the Landlock ruleset");
	return 0;
}

/* ---- seccomp */

/* Allowed whatever their arguments. */
static const int plain_calls[] = {
	/* data */
	SCMP_SYS(read),
	SCMP_SYS(write),
	SCMP_SYS(readv),
	SCMP_SYS(writev),
	SCMP_SYS(pread64),
	SCMP_SYS(pwrite64),
	SCMP_SYS(preadv),
	SCMP_SYS(pwritev),
	SCMP_SYS(preadv2),
	SCMP_SYS(pwritev2),
	SCMP_SYS(lseek),
	SCMP_SYS(ftruncate),
	SCMP_SYS(fallocate),
	SCMP_SYS(fdatasync),
	SCMP_SYS(fsync),
	SCMP_SYS(fstat),
	SCMP_SYS(close),
	SCMP_SYS(io_uring_enter),
	/* sockets that are open, or asked for below */
	SCMP_SYS(connect),
	SCMP_SYS(accept4),
	SCMP_SYS(recvfrom),
	SCMP_SYS(recvmsg),
	SCMP_SYS(sendto),
	SCMP_SYS(sendmsg),
	SCMP_SYS(shutdown),
	SCMP_SYS(getsockopt),
	SCMP_SYS(getsockname),
	SCMP_SYS(getpeername),
	/* events */
	SCMP_SYS(epoll_wait),
	SCMP_SYS(epoll_pwait),
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	SCMP_SYS(eventfd2),
	SCMP_SYS(restart_syscall),
	/* time and chance */
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(nanosleep),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(time),
	SCMP_SYS(getrandom),
	/* threads and memory */
	SCMP_SYS(futex),
	SCMP_SYS(sched_yield),
	SCMP_SYS(sched_getaffinity),
	SCMP_SYS(gettid),
	SCMP_SYS(getpid),
	SCMP_SYS(geteuid),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(set_robust_list),
	SCMP_SYS(rseq),
	SCMP_SYS(brk),
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(madvise),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
	SCMP_SYS(unlink),
	SCMP_SYS(unlinkat),
};

/*
 * Answered EACCES: libraries ask, and live with a no. clone3 has a fallback (clone, whose flags can
 * be looked at).
 */
static const int refused_calls[] = {
	SCMP_SYS(open),   SCMP_SYS(statx),      SCMP_SYS(readlink),
	SCMP_SYS(access), SCMP_SYS(faccessat2), SCMP_SYS(getdents64),
	SCMP_SYS(uname),  SCMP_SYS(sysinfo),    SCMP_SYS(prlimit64),
};

/* What is asked of KVM, and of descriptors, while a guest runs and when it ends. */
static const unsigned long ioctls[] = {
	KVM_RUN,
	KVM_GET_REGS,
	KVM_IRQFD,
	KVM_IOEVENTFD,
	KVM_SET_GSI_ROUTING,
	FIONREAD,
	FIONBIO,
	BLKGETSIZE64,
	BLKPBSZGET,
	/* Reads of a function's configuration space come back to us (pci_trap_reads()). */
	KVM_SET_USER_MEMORY_REGION,
};

static int allow_by_value(scmp_filter_ctx f, int call, unsigned arg, uint64_t value)
{
	return seccomp_rule_add(f, SCMP_ACT_ALLOW, call, 1, SCMP_CMP64(arg, SCMP_CMP_EQ, value));
}

static int allow_by_mask(scmp_filter_ctx f, int call, unsigned arg, uint64_t mask, uint64_t value)
{
	return seccomp_rule_add(f, SCMP_ACT_ALLOW, call, 1,
				SCMP_CMP64(arg, SCMP_CMP_MASKED_EQ, mask, value));
}

static int add_checked_calls(scmp_filter_ctx f)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(ioctls) / sizeof(ioctls[0]); i++)
		r = allow_by_value(f, SCMP_SYS(ioctl), 1, ioctls[i]);
	if (r == 0)
		r = allow_by_value(f, SCMP_SYS(socket), 0, AF_UNIX);
	if (r == 0)
		r = allow_by_value(f, SCMP_SYS(setsockopt), 1, SOL_SOCKET);
	if (r == 0)
		r = allow_by_mask(f, SCMP_SYS(openat), 2, O_PATH, O_PATH);
	/* How the C library spells fstat(). */
	if (r == 0)
		r = allow_by_mask(f, SCMP_SYS(newfstatat), 3, AT_EMPTY_PATH, AT_EMPTY_PATH);
	if (r == 0)
		r = allow_by_mask(f, SCMP_SYS(mmap), 2, PROT_EXEC, 0);
	if (r == 0)
		r = allow_by_mask(f, SCMP_SYS(mprotect), 2, PROT_EXEC, 0);
	/* Threads, no processes. */
	if (r == 0)
		r = allow_by_mask(f, SCMP_SYS(clone), 0, CLONE_THREAD, CLONE_THREAD);
	if (r == 0)
		r = allow_by_value(f, SCMP_SYS(fcntl), 1, F_GETFL);
	if (r == 0)
		r = allow_by_value(f, SCMP_SYS(fcntl), 1, F_SETFL);
	if (r == 0)
		r = allow_by_value(f, SCMP_SYS(prctl), 0, PR_SET_NAME);
	/* Signals to ourselves only: kicks, and abort(). */
	if (r == 0)
		r = allow_by_value(f, SCMP_SYS(tgkill), 0, (uint64_t)getpid());
	return r;
}

static int add_calls(scmp_filter_ctx f)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(plain_calls) / sizeof(plain_calls[0]); i++)
		r = seccomp_rule_add(f, SCMP_ACT_ALLOW, plain_calls[i], 0);
	if (r == 0)
		r = add_checked_calls(f);
	for (size_t i = 0; r == 0 && i < sizeof(refused_calls) / sizeof(refused_calls[0]); i++)
		r = seccomp_rule_add(f, SCMP_ACT_ERRNO(EACCES), refused_calls[i], 0);
	if (r == 0)
		r = seccomp_rule_add(f, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(openat), 1,
				     SCMP_CMP64(2, SCMP_CMP_MASKED_EQ, O_PATH, 0));
	if (r == 0)
		r = seccomp_rule_add(f, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(newfstatat), 1,
				     SCMP_CMP64(3, SCMP_CMP_MASKED_EQ, AT_EMPTY_PATH, 0));
	/* The C library falls back to clone on this, and only on this, errno. */
	if (r == 0)
		r = seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	return r;
}

static int seccomp_enter(bool log_only, struct err *err)
{
	scmp_filter_ctx f = seccomp_init(log_only ? SCMP_ACT_LOG : SCMP_ACT_KILL_PROCESS);
	int r;

	if (!f)
		return err_set(err, ENOMEM, "cannot make a seccomp filter");
	/* All threads; a binary search, as KVM_RUN passes the filter each time. */
	r = seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1);
	if (r == 0)
		(void)seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (r == 0)
		r = add_calls(f);
	if (r == 0)
		r = seccomp_load(f);
	seccomp_release(f);
	return r < 0 ? err_set(err, -r, "cannot load the seccomp filter") : 0;
}

int sandbox_enter(const char *const *unlink_dirs, unsigned num, bool log_only, struct err *err)
{
	int r;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_set(err, errno, "cannot give up new privileges");
	r = landlock_enter(unlink_dirs, num, err);
	if (r == 0)
		r = seccomp_enter(log_only, err);
	return r < 0 ? err_wrap(err, "cannot enter the sandbox (--no-sandbox runs without)") : 0;
}
