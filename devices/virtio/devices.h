/* SPDX-License-Identifier: Apache-2.0 */
/* Makers of the virtio devices: what a machine's parts list calls. */
#ifndef LVM_DEVICES_VIRTIO_DEVICES_H
#define LVM_DEVICES_VIRTIO_DEVICES_H

#include "base/err.h"
#include "base/loop.h"
#include "devices/backend/disk.h"
#include "devices/guest_mem.h"
#include "devices/virtio/device.h"

/* What each device needs from its machine; both borrowed for the device's life. */
struct virtio_env {
	struct loop *loop;
	const struct guest_mem *mem;
};

/* Entropy, §5.4: bytes of getrandom(2). */
int rng_new(const struct virtio_env *env, struct virtio_dev **ret_d, struct err *err);

/*
 * Block, §5.2. Takes ownership of disk, also on failure. serial: at most 20 bytes, longer is cut;
 * may be NULL.
 */
int blk_new(const struct virtio_env *env, struct disk *disk, const char *serial,
	    struct virtio_dev **ret_d, struct err *err);
/* The disk's file was resized: looks again and tells the driver. On the loop. 0 or -errno. */
int blk_refresh(struct virtio_dev *d);

/*
 * Console, §5.3, one port: output is written to out_fd (borrowed; a log: never blocks the guest for
 * long), no input.
 */
int console_new(const struct virtio_env *env, int out_fd, struct virtio_dev **ret_d,
		struct err *err);

/*
 * Socket, §5.10, stream sockets. Host programs connect to the unix socket at path and say "CONNECT
 * <port>\n"; the guest's connections to CID 2 port P go to the unix socket "<path>_P". cid: the
 * guest's, >= 3.
 */
int vsock_new(const struct virtio_env *env, const char *path, uint32_t cid,
	      struct virtio_dev **ret_d, struct err *err);

#endif
