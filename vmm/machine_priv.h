/* SPDX-License-Identifier: Apache-2.0 */
/* The machine's insides, shared by machine.c (its parts) and life.c (what happens to it). */
#ifndef LVM_VMM_MACHINE_PRIV_H
#define LVM_VMM_MACHINE_PRIV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "devices/bus.h"
#include "devices/legacy/acpi_pm.h"
#include "devices/legacy/pc_reset.h"
#include "devices/legacy/serial.h"
#include "devices/pci/pci.h"
#include "devices/virtio/devices.h"
#include "devices/virtio/pci.h"
#include "vmm/config.h"
#include "vmm/console_log.h"
#include "vmm/control_server.h"
#include "vmm/irq.h"
#include "vmm/kvm.h"
#include "vmm/machine.h"
#include "vmm/memory.h"
#include "vmm/notify.h"
#include "vmm/stats.h"
#include "vmm/vcpu.h"

#define MACHINE_MAX_VIRTIO (VMM_MAX_DISKS + 3)

enum machine_state {
	MACHINE_BOOTING,
	MACHINE_RUNNING,  /* the agent said READY */
	MACHINE_STOPPING, /* it was asked to end */
};

/* What happens to a machine; all of it on the loop. */
struct life {
	enum machine_state state;
	int64_t start_ms, ready_ms; /* ready_ms 0: not yet */
	int ready_fd;               /* -1: said, or nobody wants to know */
	char status[NOTIFY_MAX_LINE];
	char guest_error[NOTIFY_MAX_LINE];
	bool shutdown_told; /* the agent has been asked */
	struct loop_timer deadline;
	struct loop_fd signals;
	bool ended;
	enum vmm_exit exit;
	struct err why;
};

struct machine {
	const struct vmm_config *cfg;
	struct loop *loop;
	struct kvm kvm;
	struct vm_memory memory;
	struct irq *irq;
	struct bus pio, mmio;
	struct pci_windows windows;
	struct pci_root *pci;
	struct console_log log;
	struct serial *serial;
	struct acpi_pm *pm;
	struct pc_reset *reset;
	struct virtio_pci *virtio[MACHINE_MAX_VIRTIO];
	unsigned num_virtio;
	struct virtio_dev *disk[VMM_MAX_DISKS];
	struct vcpu_env vcpu_env;
	struct vcpu *vcpu[VMM_MAX_VCPUS];
	struct notify *notify;
	struct control *control;
	struct stats stats;
	struct life life;
};

/* Signals, timers, ready_fd. */
int life_init(struct machine *m, struct err *err);
void life_done(struct machine *m);
/* The machine ends: the first call decides how. On the loop. */
void life_end(struct machine *m, enum vmm_exit how, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* After the loop: says on ready_fd what was not said yet. */
void life_last_word(struct machine *m);

/* Callbacks of the parts; opaque is the machine. */
void life_power_off(void *opaque);
void life_reset(void *opaque);
void life_vcpu_ended(void *opaque, enum vcpu_end how, const char *text);
void life_notify(void *opaque, enum notify_kind kind, const char *text);
int life_control(void *opaque, const struct control_request *req, cJSON *reply, struct err *err);

#endif
