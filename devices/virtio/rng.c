/* SPDX-License-Identifier: Apache-2.0 */
/* The entropy device (virtio 1.2 §5.4): whatever the driver hands us comes back full of random bytes. */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/str.h"
#include "devices/virtio/devices.h"

/*
 * What one buffer gets at most, and one kick: a guest that asks for gigabytes must not hold up the
 * loop.
 */
#define RNG_BUFFER_MAX (64u << 10)
#define RNG_KICK_MAX   (256u << 10)

struct rng {
	struct virtio_dev dev;
};

/* Fills up to RNG_BUFFER_MAX bytes; the count says where it ended (§5.4.6.2: fewer is allowed). */
static uint32_t rng_fill(struct iobuf *wr)
{
	uint32_t done = 0;

	while (done < RNG_BUFFER_MAX && wr->len) {
		struct iovec part;
		size_t want;
		ssize_t n;

		(void)iobuf_iov(wr, &part, 1, RNG_BUFFER_MAX - done, &want);
		n = getrandom(part.iov_base, want, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		(void)iobuf_skip(wr, n);
		done += n;
	}
	return done;
}

static void rng_kick(struct virtio_dev *d, unsigned q)
{
	uint32_t total = 0;
	struct vchain *c;

	while (total < RNG_KICK_MAX && (c = vqueue_pop(d->vq[q]))) {
		uint32_t n = rng_fill(&c->wr);

		vqueue_push(c, n);
		/* A chain costs us something even when it is empty. */
		total += n + 256;
	}
	if (total >= RNG_KICK_MAX)
		virtio_rekick(d, q);
}

/* Nothing is ever in flight between two kicks. */
static void rng_stop(struct virtio_dev *d)
{
}

static void rng_free(struct virtio_dev *d)
{
	free(container_of(d, struct rng, dev));
}

static const struct virtio_ops rng_ops = {
	.name = "rng",
	.id = VIRTIO_ID_RNG,
	.stop = rng_stop,
	.kick = rng_kick,
	.free = rng_free,
};

int rng_new(const struct virtio_env *env, struct virtio_dev **ret_d, struct err *err)
{
	struct rng *rng = xcalloc(1, sizeof(*rng));
	int r;

	rng->dev.ops = &rng_ops;
	rng->dev.loop = env->loop;
	rng->dev.mem = env->mem;
	rng->dev.num_vq = 1;
	rng->dev.vq_max_size[0] = 64;
	r = virtio_init(&rng->dev, err);
	if (r < 0) {
		free(rng);
		return r;
	}
	*ret_d = &rng->dev;
	return 0;
}
