/* SPDX-License-Identifier: Apache-2.0 */
/* lvm-vmm: one process, one virtual machine. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"
#include "vmm/config.h"
#include "vmm/machine.h"
#include "vmm/probe.h"

static const char usage[] =
	"usage: lvm-vmm --kernel PATH [OPTION]...\n"
	"       lvm-vmm --probe [--json]\n"
	"\n"
	"Runs one virtual machine to its end. `lvm` starts it; by hand it is for tests.\n"
	"\n"
	"  --name NAME          for messages\n"
	"  --cpus N             virtual CPUs, 1 to 32 (default 1)\n"
	"  --memory SIZE        such as 512M or 4G (default 512M)\n"
	"  --kernel PATH        bzImage or ELF vmlinux\n"
	"  --initrd PATH        cpio archive; may be repeated\n"
	"  --cmdline TEXT       the kernel's command line, after what the machine says itself\n"
	"  --disk path=P[,ro][,serial=S]   raw image, /dev/vda and so on; a comma in P is doubled\n"
	"  --vsock PATH         unix socket in front of the guest's vsock\n"
	"  --cid N              the guest's vsock address (default 3)\n"
	"  --control PATH       control socket to make\n"
	"  --console-log PATH   file for the guest's console (default: stderr)\n"
	"  --cache-dir PATH     keeps decompressed kernels\n"
	"  --ready-fd N         \"ready\" or \"error SENTENCE\" is written there\n"
	"  --lock-fd N          only kept open\n"
	"  --no-sandbox  --no-early-console  --debug\n"
	"  --probe [--json]     says whether KVM can run a guest here\n"
	"  --version  --help\n"
	"\n"
	"Exit status: 0 powered off, 10 reboot, 11 crash, 12 killed, 125 could not start.\n";

/* Options that are no machine's; false when there is none of them. */
static bool other_modes(int argc, char **argv, int *ret_status)
{
	bool probe = false, json = false;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0) {
			(void)fputs(usage, stdout);
			*ret_status = 0;
			return true;
		}
		if (strcmp(argv[i], "--version") == 0) {
			(void)puts("lvm-vmm " LVM_VERSION);
			*ret_status = 0;
			return true;
		}
		probe = probe || strcmp(argv[i], "--probe") == 0;
		json = json || strcmp(argv[i], "--json") == 0;
	}
	if (!probe)
		return false;
	*ret_status = probe_main(json);
	return true;
}

/* Signals arrive by the machine's signalfd, or at a vCPU's thread that lets its kick through. */
static void block_signals(void)
{
	sigset_t set;

	(void)signal(SIGPIPE, SIG_IGN);
	/*
	 * Past a limit on file sizes a write fails with EFBIG, which the guest hears as an I/O
	 * error.
	 */
	(void)signal(SIGXFSZ, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGRTMIN);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
}

/* Each vsock connection is a descriptor, and the usual soft limit is for programs with select(). */
static void raise_fd_limit(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return;
	lim.rlim_cur = lim.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &lim);
}

static enum vmm_exit run(const struct vmm_config *cfg, struct err *err)
{
	struct probe_result probe;
	struct machine *m;
	enum vmm_exit how;
	int r = 0;

	if (!cfg->kernel)
		r = err_say(err, EINVAL, "no kernel given; --kernel PATH names it");
	if (r == 0)
		r = probe_kvm(&probe, err);
	if (r == 0)
		r = machine_new(cfg, &m, err);
	if (r < 0) {
		machine_say_error(cfg->ready_fd, err);
		return VMM_EXIT_FAILED;
	}
	how = machine_run(m, err);
	machine_free(m);
	return how;
}

int main(int argc, char **argv)
{
	struct vmm_config cfg = {0};
	struct err err = {0};
	enum vmm_exit how;
	char *prefix = NULL;
	int status;

	if (other_modes(argc, argv, &status))
		return status;
	block_signals();
	raise_fd_limit();
	vmm_config_defaults(&cfg);
	log_init("lvm-vmm", LOG_LEVEL_WARN, STDERR_FILENO);
	if (vmm_config_parse(&cfg, argc, argv, &err) < 0) {
		log_error("%s", err.text);
		machine_say_error(cfg.ready_fd, &err);
		vmm_config_done(&cfg);
		return VMM_EXIT_FAILED;
	}
	if (cfg.name)
		prefix = str_fmt("lvm-vmm[%s]", cfg.name);
	log_init(prefix ? prefix : "lvm-vmm", cfg.debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARN,
		 STDERR_FILENO);
	how = run(&cfg, &err);
	if (how != VMM_EXIT_POWEROFF && how != VMM_EXIT_REBOOT)
		log_error("%s", err.text);
	free(prefix);
	vmm_config_done(&cfg);
	return (int)how;
}
