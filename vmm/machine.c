/* SPDX-License-Identifier: Apache-2.0 */
/* The parts list: what the machine is made of, and its kernel. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/str.h"
#include "boot/acpi.h"
#include "boot/boot.h"
#include "vmm/machine_priv.h"
#include "vmm/sandbox.h"
#include "vmm/x86/cpuid.h"
#include "vmm/x86/layout.h"

#include <linux/kvm.h>

/* ---- the kernel's command line */

/*
 * What the machine itself says, before what the user says (of an option given twice, the kernel
 * takes the last):
 *
 * quiet
 *	Warnings and worse go to the console; each line costs exits. The kernel's log has them all.
 * console=hvc0
 *	The virtio console. It is where /dev/console leads.
 * panic=-1
 *	A panic resets at once. The reset and the words "Kernel panic" in the log make it a crash.
 * pci=noearly
 *	No scan of bus 0 by ports 0xcf8/0xcfc, which are not there. (Without them the kernel says
 *	"PCI: Fatal: No config space access function found", and a moment later finds the
 *	memory-mapped access in MCFG.)
 * swiotlb=noforce
 *	No 64 MiB of bounce buffers, which machines beyond 4 GiB get otherwise: our devices reach
 *	all memory.
 * 8250.nr_uarts=0
 *	No probing of four serial ports; only unless the user's part speaks of ttyS.
 * earlycon=
 *	What is printed before the virtio console is up goes out by the serial port.
 */
static char *machine_cmdline(const struct vmm_config *cfg)
{
	const char *user = cfg->cmdline ? cfg->cmdline : "";
	bool serial = strstr(user, "ttyS") != NULL;

	return str_fmt("quiet console=hvc0 panic=-1 pci=noearly swiotlb=noforce%s%s%s%s",
		       serial ? "" : " 8250.nr_uarts=0",
		       cfg->early_console ? " earlycon=uart8250,io,0x3f8" : "", *user ? " " : "",
		       user);
}

static int machine_load(struct machine *m, struct boot_entry *ret_entry, struct err *err)
{
	const struct vmm_config *cfg = m->cfg;
	cleanup_free char *cmdline = machine_cmdline(cfg);
	const struct boot_reserved reserved[] = {
		{.gpa = LAYOUT_ECAM_BASE, .len = LAYOUT_ECAM_LEN},
		{.gpa = BOOT_ACPI_GPA, .len = BOOT_ACPI_LEN, .acpi = true},
	};
	uint8_t apic_id[VMM_MAX_VCPUS];
	struct acpi_machine acpi = {
		.num_vcpus = cfg->num_vcpus,
		.apic_id = apic_id,
		.lapic_base = LAYOUT_LAPIC_BASE,
		.ioapic_base = LAYOUT_IOAPIC_BASE,
		.ioapic_id = (uint8_t)cfg->num_vcpus,
		.ecam_base = m->windows.ecam_base,
		.mmio32_base = m->windows.mmio32_base,
		.mmio32_len = m->windows.mmio32_len,
		.mmio64_base = m->windows.mmio64_base,
		.mmio64_len = m->windows.mmio64_len,
		.sleep_port = LAYOUT_SLEEP_PORT,
		.reset_port = LAYOUT_RESET_PORT,
		.event_port = LAYOUT_EVENT_PORT,
		.event_gsi = LAYOUT_EVENT_GSI,
		.serial_port = strstr(cmdline, "ttyS") ? LAYOUT_SERIAL_PORT : 0,
		.serial_gsi = LAYOUT_SERIAL_GSI,
	};
	struct boot_request req = {
		.mem = &m->memory.mem,
		.kernel = cfg->kernel,
		.initrd = (const char *const *)cfg->initrd,
		.num_initrds = cfg->num_initrds,
		.cmdline = cmdline,
		.cache_dir = cfg->cache_dir,
		.reserved = reserved,
		.num_reserved = sizeof(reserved) / sizeof(reserved[0]),
	};
	int r;

	for (unsigned i = 0; i < cfg->num_vcpus; i++)
		apic_id[i] = (uint8_t)i;
	r = acpi_build(&acpi, &m->memory.mem, BOOT_ACPI_GPA, BOOT_ACPI_LEN, &req.rsdp, err);
	if (r < 0)
		return r;
	return boot_linux(&req, ret_entry, err);
}

/* ---- chips */

static void machine_serial_out(void *opaque, uint8_t byte)
{
	struct machine *m = opaque;

	console_log_serial(&m->log, byte);
}

static int machine_add_serial(struct machine *m, struct err *err)
{
	struct serial_wiring w = {
		.pio = &m->pio,
		.port = LAYOUT_SERIAL_PORT,
		.irq_fd = -1,
		.out = machine_serial_out,
		.opaque = m,
	};
	struct hw *hw = irq_hw(m->irq);
	int r = hw->ops->line_new(hw, LAYOUT_SERIAL_GSI, &w.irq_fd, err);

	return r < 0 ? r : serial_new(&w, &m->serial, err);
}

static int machine_add_power(struct machine *m, struct err *err)
{
	struct acpi_pm_wiring w = {
		.pio = &m->pio,
		.sleep_port = LAYOUT_SLEEP_PORT,
		.reset_port = LAYOUT_RESET_PORT,
		.event_port = LAYOUT_EVENT_PORT,
		.s5 = ACPI_SLP_TYP_S5,
		.event_fd = -1,
		.power_off = life_power_off,
		.reset = life_reset,
		.opaque = m,
	};
	struct hw *hw = irq_hw(m->irq);
	int r = hw->ops->line_new(hw, LAYOUT_EVENT_GSI, &w.event_fd, err);

	if (r == 0)
		r = acpi_pm_new(&w, &m->pm, err);
	if (r == 0)
		r = pc_reset_new(&m->pio, life_reset, m, &m->reset, err);
	return r;
}

/* ---- virtio devices, in the order of their slots on the PCI bus */

static int machine_plug(struct machine *m, struct virtio_dev *d, struct err *err)
{
	struct virtio_pci **slot = &m->virtio[m->num_virtio];
	int r = virtio_pci_new(m->pci, d, slot, err);

	if (r == 0)
		m->num_virtio++;
	return r;
}

static int machine_add_disk(struct machine *m, const struct virtio_env *env, unsigned i,
			    struct err *err)
{
	const struct vmm_disk_config *c = &m->cfg->disk[i];
	const struct disk_options opt = {.read_only = c->read_only};
	struct virtio_dev *d;
	struct disk *disk;
	int r = disk_raw_open(m->loop, c->path, &opt, &disk, err);

	if (r == 0)
		r = blk_new(env, disk, c->serial, &d, err);
	if (r == 0)
		r = machine_plug(m, d, err);
	if (r == 0)
		m->disk[i] = d;
	return r;
}

static int machine_add_virtio(struct machine *m, struct err *err)
{
	const struct virtio_env env = {.loop = m->loop, .mem = &m->memory.mem};
	struct virtio_dev *d;
	int r;

	r = console_new(&env, m->log.fd, &d, err);
	if (r == 0)
		r = machine_plug(m, d, err);
	if (r == 0)
		r = rng_new(&env, &d, err);
	if (r == 0)
		r = machine_plug(m, d, err);
	if (r == 0 && m->cfg->vsock) {
		r = vsock_new(&env, m->cfg->vsock, m->cfg->cid, &d, err);
		if (r == 0)
			r = machine_plug(m, d, err);
	}
	for (unsigned i = 0; r == 0 && i < m->cfg->num_disks; i++)
		r = machine_add_disk(m, &env, i, err);
	return r;
}

/* ---- memory, processors */

/*
 * Where PCI memory lies, once RAM's end is known; it must be within what the processor can address.
 */
static int machine_place_windows(struct machine *m, struct kvm_cpuid2 *cpuid, struct err *err)
{
	uint64_t base = vm_memory_end(&m->memory) + LAYOUT_MMIO64_ALIGN - 1;
	unsigned bits = cpuid_phys_bits(cpuid);

	base -= base % LAYOUT_MMIO64_ALIGN;
	if (bits < 64 && base + LAYOUT_MMIO64_LEN > UINT64_C(1) << bits)
		return err_say(err, E2BIG,
			       "the machine is given %llu MiB of memory, which with its devices is "
			       "more than this processor's %u address bits reach; ask for less",
			       (unsigned long long)(m->cfg->memory_bytes >> 20), bits);
	m->windows = (struct pci_windows){
		.ecam_base = LAYOUT_ECAM_BASE,
		.mmio32_base = LAYOUT_MMIO32_BASE,
		.mmio32_len = LAYOUT_MMIO32_LEN,
		.mmio64_base = base,
		.mmio64_len = LAYOUT_MMIO64_LEN,
	};
	return 0;
}

static int machine_add_vcpus(struct machine *m, struct kvm_cpuid2 *cpuid, struct err *err)
{
	const struct cpuid_machine cm = {
		.num_cpus = m->cfg->num_vcpus,
		.tsc_deadline = kvm_cap(&m->kvm, KVM_CAP_TSC_DEADLINE_TIMER),
	};
	int r = 0;

	m->vcpu_env = (struct vcpu_env){
		.kvm = &m->kvm,
		.loop = m->loop,
		.pio = &m->pio,
		.mmio = &m->mmio,
		.ended = life_vcpu_ended,
		.opaque = m,
	};
	for (unsigned i = 0; r == 0 && i < m->cfg->num_vcpus; i++) {
		cpuid_tune(cpuid, &cm, i);
		r = vcpu_new(&m->vcpu_env, i, cpuid, &m->vcpu[i], err);
	}
	return r;
}

/* KVM's side: the VM, its memory, interrupt controllers, processors. */
static int machine_build_core(struct machine *m, struct err *err)
{
	struct kvm_cpuid2 *cpuid = NULL;
	int r;

	r = kvm_open(&m->kvm, err);
	if (r == 0)
		r = kvm_create_vm(&m->kvm, err);
	if (r == 0)
		r = vm_memory_init(&m->memory, m->cfg->memory_bytes, err);
	if (r == 0)
		r = vm_memory_attach(&m->memory, &m->kvm, err);
	if (r == 0)
		vm_memory_prepare(&m->memory);
	if (r == 0)
		r = irq_new(&m->kvm, &m->irq, err);
	if (r == 0)
		r = cpuid_supported(&m->kvm, &cpuid, err);
	if (r == 0)
		r = machine_place_windows(m, cpuid, err);
	if (r == 0)
		r = machine_add_vcpus(m, cpuid, err);
	free(cpuid);
	return r;
}

static int machine_build_devices(struct machine *m, struct err *err)
{
	int r;

	r = console_log_init(&m->log, m->loop, m->cfg->console_log, err);
	if (r == 0)
		r = machine_add_serial(m, err);
	if (r == 0)
		r = machine_add_power(m, err);
	if (r == 0)
		r = pci_root_new(irq_hw(m->irq), &m->mmio, &m->windows, &m->pci, err);
	if (r == 0)
		r = machine_add_virtio(m, err);
	return r;
}

/* The host's doors: the agent's line, the control socket. */
static int machine_build_doors(struct machine *m, struct err *err)
{
	const struct vmm_config *cfg = m->cfg;
	int r = stats_init(&m->stats, err);

	if (r == 0 && cfg->vsock)
		r = notify_new(m->loop, cfg->vsock, life_notify, m, &m->notify, err);
	if (r == 0 && cfg->control)
		r = control_new(m->loop, cfg->control, life_control, m, &m->control, err);
	return r;
}

int machine_new(const struct vmm_config *cfg, struct machine **ret_m, struct err *err)
{
	struct machine *m = xcalloc(1, sizeof(*m));
	struct boot_entry entry;
	int r;

	m->cfg = cfg;
	m->kvm = (struct kvm){.sys_fd = -1, .vm_fd = -1};
	m->memory.fd = -1;
	m->stats.smaps_fd = -1;
	m->life.signals.fd = -1;
	r = loop_new(&m->loop, err);
	if (r == 0)
		r = life_init(m, err);
	if (r == 0)
		r = machine_build_core(m, err);
	if (r == 0)
		r = machine_build_devices(m, err);
	if (r == 0)
		r = machine_load(m, &entry, err);
	if (r == 0)
		r = vcpu_set_entry(m->vcpu[0], &entry, err);
	if (r == 0)
		r = machine_build_doors(m, err);
	if (r < 0) {
		machine_free(m);
		return r;
	}
	*ret_m = m;
	return 0;
}

/* Where sockets will be removed when the machine ends. The strings are the caller's to free. */
static unsigned machine_socket_dirs(const struct vmm_config *cfg, char *dir[2])
{
	const char *const path[] = {cfg->vsock, cfg->control};
	unsigned n = 0;

	for (unsigned i = 0; i < 2; i++) {
		const char *slash = path[i] ? strrchr(path[i], '/') : NULL;

		if (!path[i])
			continue;
		dir[n++] =
			slash ? str_fmt("%.*s", (int)(slash - path[i]) + 1, path[i]) : str_dup(".");
	}
	return n;
}

static int machine_enter_sandbox(struct machine *m, struct err *err)
{
	char *dir[2];
	unsigned n = machine_socket_dirs(m->cfg, dir);
	int r = sandbox_enter((const char *const *)dir, n, m->cfg->debug, err);

	while (n > 0)
		free(dir[--n]);
	return r;
}

/* To the end of the guest, or until the machine cannot run it. */
static int machine_loop(struct machine *m, struct err *err)
{
	int r = 0;

	if (m->cfg->sandbox)
		r = machine_enter_sandbox(m, err);
	for (unsigned i = 0; r == 0 && i < m->cfg->num_vcpus; i++)
		r = vcpu_start(m->vcpu[i], err);
	if (r < 0)
		return r;
	r = loop_run(m->loop);
	return r < 0 ? err_set(err, -r, "the event loop failed") : 0;
}

enum vmm_exit machine_run(struct machine *m, struct err *err)
{
	struct err failure;

	if (machine_loop(m, &failure) < 0)
		life_end(m, VMM_EXIT_FAILED, "%s", failure.text);
	for (unsigned i = 0; i < m->cfg->num_vcpus; i++)
		vcpu_stop(m->vcpu[i]);
	for (unsigned i = 0; i < m->cfg->num_vcpus; i++) {
		vcpu_free(m->vcpu[i]);
		m->vcpu[i] = NULL;
	}
	life_last_word(m);
	if (m->control)
		control_finish(m->control, m->life.exit);
	*err = m->life.why;
	return m->life.exit;
}

void machine_free(struct machine *m)
{
	if (!m)
		return;
	for (unsigned i = 0; i < VMM_MAX_VCPUS; i++)
		vcpu_free(m->vcpu[i]);
	control_free(m->control);
	for (unsigned i = m->num_virtio; i-- > 0;)
		virtio_pci_free(m->virtio[i]);
	notify_free(m->notify);
	pci_root_free(m->pci);
	pc_reset_free(m->reset);
	acpi_pm_free(m->pm);
	serial_free(m->serial);
	console_log_done(&m->log);
	irq_free(m->irq);
	stats_done(&m->stats);
	life_done(m);
	kvm_done(&m->kvm);
	vm_memory_done(&m->memory);
	loop_free(m->loop);
	free(m);
}
