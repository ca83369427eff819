/* SPDX-License-Identifier: Apache-2.0 */
/* lvm-guest: PID 1 of the initramfs, then the agent in the VM. ARCHITECTURE.md, "Start-up". */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/loop.h"
#include "guest/agent.h"
#include "guest/bootlog.h"
#include "guest/etc.h"
#include "guest/init.h"
#include "guest/modules.h"
#include "guest/mount.h"
#include "guest/options.h"
#include "guest/power.h"
#include "guest/uevent.h"

#define NEW_ROOT "/newroot"

/*
 * Devices are found while their drivers load; these are for machines that are very slow, not for
 * ones without.
 */
#define VSOCK_WAIT_MS 10000
#define DISK_WAIT_MS  10000

#define KILL_GRACE_MS 5000
/* When the host is gone nobody waits for us, but the disk should be in order soon. */
#define KILL_GRACE_GONE_MS 1000
/* For the VMM to read our last line. */
#define LAST_LINE_MS 500

/* Says why the VM cannot serve, on the console and to the host, and ends it. */
static void die(struct notify *n, const struct err *err) __attribute__((noreturn));
static void die(struct notify *n, const struct err *err)
{
	log_error("%s", err->text);
	bootlog_copy();
	notify_send(n, "ERROR", err->text);
	notify_finish(n, LAST_LINE_MS);
	sync();
	power_off(false);
}

static void open_console(void)
{
	int fd = open("/dev/console", O_RDWR | O_NOCTTY);

	if (fd < 0)
		fd = open("/dev/null", O_RDWR);
	for (int i = 0; i < 3; i++)
		if (fd >= 0 && fd != i)
			(void)dup2(fd, i);
	if (fd > 2)
		close(fd);
	fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	log_init("lvm-guest", LOG_LEVEL_WARN, fd >= 0 ? fd : 2);
}

static void read_options(struct guest_options *o, struct notify *n)
{
	char line[8192];
	struct err err;
	cleanup_close int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t len = fd >= 0 ? fd_read_full(fd, line, sizeof(line) - 1) : 0;

	line[len > 0 ? len : 0] = 0;
	if (guest_options_parse(line, o, &err) < 0)
		die(n, &err);
}

static void connect_host(struct notify *n, int uevents)
{
	int64_t until = loop_now_ms() + VSOCK_WAIT_MS, left;
	struct err err;
	int r;

	while ((r = notify_connect(n)) < 0) {
		left = until - loop_now_ms();
		/* The host listens before it starts the VM: a refusal is final. */
		if (r == -ECONNREFUSED || r == -ECONNRESET || left <= 0 ||
		    !uevent_wait(uevents, (int)left)) {
			err_set(&err, -r, "lvm-guest cannot reach the host over vsock");
			die(n, &err);
		}
	}
}

static void wait_disk(const char *device, int uevents, struct notify *n)
{
	int64_t until = loop_now_ms() + DISK_WAIT_MS, left;
	struct stat st;
	struct err err;

	while (stat(device, &st) < 0 || !S_ISBLK(st.st_mode)) {
		left = until - loop_now_ms();
		if (left > 0 && uevent_wait(uevents, (int)left))
			continue;
		err_say(&err, ENODEV,
			"the distro's disk did not appear in the VM as %s: the kernel has "
			"no driver for it "
			"(virtio_blk), or its modules were not given to `lvm kernel add --modules`",
			device);
		die(n, &err);
	}
}

static void bring_up_loopback(void)
{
	struct ifreq ifr = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	cleanup_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &ifr) < 0)
		log_warn("cannot bring up the loopback interface: %s", strerror(errno));
}

static void set_hostname(const struct guest_options *o)
{
	char *name = NULL;
	size_t len;

	if (o->hostname[0]) {
		(void)sethostname(o->hostname, strlen(o->hostname));
		return;
	}
	if (etc_read("/etc", "hostname", 4096, &name, &len) == 0) {
		name[strcspn(name, " \t\r\n")] = 0;
		if (name[0] && name[0] != '#')
			(void)sethostname(name, strnlen(name, 64));
		free(name);
	}
}

/*
 * The kernel's 4096 descriptors are too few for what people run in a distro; the soft limit stays
 * select(2)-safe.
 */
static void set_limits(void)
{
	struct rlimit files = {.rlim_cur = 1024, .rlim_max = 524288};
	struct rlimit core = {.rlim_cur = 0, .rlim_max = RLIM_INFINITY};

	(void)setrlimit(RLIMIT_NOFILE, &files);
	(void)setrlimit(RLIMIT_CORE, &core);
}

static bool has_shell(void)
{
	static const char *const names[] = {"/bin/sh", "/usr/bin/sh", "/bin/bash", "/usr/bin/bash",
					    "/bin/busybox"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (access(names[i], X_OK) == 0)
			return true;
	return false;
}

static void enter_root(const struct guest_options *o, int uevents, struct notify *n)
{
	struct err err;

	wait_disk(o->root, uevents, n);
	if (mount_root(o->root, o->rootfstype, o->rootflags, NEW_ROOT, &err) < 0 ||
	    mount_switch_root(NEW_ROOT, &err) < 0)
		die(n, &err);
}

/* The end of the VM: everything stops, then the disk is in order, then the host knows. */
static void finish(struct notify *n, enum agent_end end, bool pid1) __attribute__((noreturn));
static void finish(struct notify *n, enum agent_end end, bool pid1)
{
	if (pid1)
		power_kill_all(end == AGENT_HOST_GONE ? KILL_GRACE_GONE_MS : KILL_GRACE_MS);
	(void)mount_end();
	if (end != AGENT_HOST_GONE && pid1) {
		notify_send(n, "BYE", end == AGENT_REBOOT ? "reboot" : "poweroff");
		notify_finish(n, LAST_LINE_MS);
	}
	power_off(end == AGENT_REBOOT);
}

static void serve(struct notify *n, int listener, const struct agent_config *cfg)
	__attribute__((noreturn));
static void serve(struct notify *n, int listener, const struct agent_config *cfg)
{
	enum agent_end end = agent_run(n, listener, cfg);

	close(listener);
	finish(n, end, cfg->pid1);
}

/* Forks the agent, then becomes the distro's init. */
static void serve_beside_init(struct notify *n, int listener, struct agent_config *cfg)
{
	const char *path = init_find(&cfg->systemd);
	struct err err;
	int started[2];
	char byte;
	pid_t pid;

	if (!path) {
		err_say(&err, ENOENT,
			"the distro has no init (/sbin/init), which systemd=true needs; "
			"install systemd in it, or "
			"set systemd=false");
		die(n, &err);
	}
	if (pipe2(started, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
		err_set(&err, errno, "lvm-guest cannot start beside the distro's init");
		die(n, &err);
	}
	if (pid > 0) {
		(void)init_exec(path, &err);
		(void)kill(pid, SIGKILL);
		die(n, &err);
	}
	close(started[1]);
	(void)setsid();
	init_live_beside(cfg->argv0);
	set_limits();
	/* End of file: init has been executed, which closed its end. */
	(void)fd_read_full(started[0], &byte, 1);
	close(started[0]);
	cfg->session.systemd = cfg->systemd;
	serve(n, listener, cfg);
}

static void run_distro(const struct guest_options *o, struct notify *n, int uevents,
		       struct agent_config *cfg)
{
	struct err err;
	int listener;

	enter_root(o, uevents, n);
	close(uevents);
	if (!has_shell()) {
		err_say(&err, ENOENT,
			"the distro's disk holds no Linux system: it has neither a shell "
			"(/bin/sh) nor BusyBox; "
			"install a complete root file system");
		die(n, &err);
	}
	mount_late(o->systemd);
	set_hostname(o);
	bring_up_loopback();
	if (agent_listen(&listener, &err) < 0)
		die(n, &err);
	if (o->systemd)
		serve_beside_init(n, listener, cfg);
	set_limits();
	serve(n, listener, cfg);
}

static void run_installer(const struct guest_options *o, struct notify *n, int uevents,
			  struct agent_config *cfg)
{
	struct err err;
	int listener;

	wait_disk(o->root, uevents, n);
	close(uevents);
	cfg->session.install_disk = o->root;
	mount_late(false);
	if (agent_listen(&listener, &err) < 0)
		die(n, &err);
	serve(n, listener, cfg);
}

int main(int argc, char **argv)
{
	static struct guest_options options;
	struct notify notify = {.fd = -1};
	struct agent_config cfg = {
		.session = {.etc = "/etc",
			    .run = "/run",
			    .default_user = options.user,
			    .grace_ms = SESSION_GRACE_MS},
		.pid1 = true,
		.argv0 = argv[0],
	};
	int uevents;

	if (getpid() != 1) {
		bool version = argc == 2 && strcmp(argv[1], "--version") == 0;

		(void)fprintf(version ? stdout : stderr, "lvm-guest %s%s\n", LVM_VERSION,
			      version ? "" : ": runs as PID 1 of the VM's initramfs, not by hand");
		return version ? 0 : 1;
	}
	mount_early();
	open_console();
	uevents = uevent_open();
	modules_load("/lib/modules");
	connect_host(&notify, uevents);
	read_options(&options, &notify);
	if (options.debug)
		log_init("lvm-guest", LOG_LEVEL_DEBUG, 2);
	if (options.installer)
		run_installer(&options, &notify, uevents, &cfg);
	cfg.pid1 = !options.systemd;
	run_distro(&options, &notify, uevents, &cfg);
	return 1;
}
