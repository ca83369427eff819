/* SPDX-License-Identifier: Apache-2.0 */
/* The block device (virtio 1.2 §5.2) in front of any struct disk. */
/*
 * A request is a chain: a 16-byte header and what is written come from `rd`, what is read and, as
 * the very last byte, the status go to `wr`. Nothing here depends on how the driver cut it into
 * buffers (§2.7.4.1).
 *
 * When is a write on stable storage (§5.2.6.2)? After a FLUSH that was sent once the write had
 * completed; or by itself where the driver did not negotiate FLUSH, or has turned the write-back
 * cache off (CONFIG_WCE). Then the write's own flush follows it, and only when that is done does
 * the driver hear of either.
 *
 * The header and the ranges of DISCARD and WRITE_ZEROES are copied once, and the copies are checked
 * and used. The number of requests in flight is bounded by the queue, their size by size_max and
 * seg_max, the ranges by max_discard_seg: nothing is allocated for a request.
 */
#include <errno.h>
#include <linux/virtio_blk.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/log.h"
#include "base/str.h"
#include "devices/virtio/devices.h"

#define SECTOR_SHIFT      9
#define BLK_QUEUE_SIZE    256
#define BLK_SEG_MAX       (BLK_QUEUE_SIZE - 2) /* and a descriptor each for header and status */
#define BLK_SIZE_MAX      (4u << 20)
#define BLK_RANGE_MAX     16
#define BLK_RANGE_SECTORS (1u << 21) /* 1 GiB: what one DISCARD or WRITE_ZEROES range may cover */

/* Up to max_write_zeroes_seg and what follows; the header may know more fields than we fill. */
#define BLK_CONFIG_LEN (offsetof(struct virtio_blk_config, unused1) + 3)

struct blk {
	struct virtio_dev dev;
	struct disk *disk;
	struct virtio_blk_config config;
	char serial[VIRTIO_BLK_ID_BYTES]; /* zero-padded, not terminated when full */
	bool writeback;                   /* the driver's choice, if it negotiated one */
	bool stopping;
	struct disk_req cache_flush; /* of our own, when the driver turns the cache off */
	bool cache_flushing;
	struct log_limit limit;
};

struct blk_range {
	uint64_t offset, len; /* bytes */
	enum disk_op op;
};

struct blk_req {
	struct vchain chain;
	struct blk *blk;
	struct disk_req io;
	struct iobuf data;   /* wr without the status */
	struct iobuf status; /* one byte */
	uint32_t type;       /* VIRTIO_BLK_T_* */
	unsigned range_next, num_ranges;
	struct blk_range range[BLK_RANGE_MAX];
};

static struct blk *to_blk(struct virtio_dev *d)
{
	return container_of(d, struct blk, dev);
}

/* ---- configuration, §5.2.4 */

static void blk_fill_config(struct blk *b)
{
	struct virtio_blk_config *c = &b->config;
	uint32_t block_sectors = b->disk->block_size >> SECTOR_SHIFT;

	*c = (struct virtio_blk_config){
		.capacity = htole64(b->disk->capacity >> SECTOR_SHIFT),
		.size_max = htole32(BLK_SIZE_MAX),
		.seg_max = htole32(BLK_SEG_MAX),
		.blk_size = htole32(1u << SECTOR_SHIFT),
		.physical_block_exp = (uint8_t)__builtin_ctz(block_sectors),
		.min_io_size = htole16((uint16_t)block_sectors),
		.wce = b->writeback,
	};
	if (b->disk->read_only)
		return;
	c->max_discard_sectors = htole32(BLK_RANGE_SECTORS);
	c->max_discard_seg = htole32(BLK_RANGE_MAX);
	c->discard_sector_alignment = htole32(block_sectors);
	c->max_write_zeroes_sectors = htole32(BLK_RANGE_SECTORS);
	c->max_write_zeroes_seg = htole32(BLK_RANGE_MAX);
	c->write_zeroes_may_unmap = 1;
}

static void blk_cache_flushed(struct disk_req *io, int result)
{
	container_of(io, struct blk, cache_flush)->cache_flushing = false;
}

/*
 * From now on the driver sends no FLUSH, not even for writes that completed before: flush those
 * without being asked. With one such flush in flight already, the next write's own covers what that
 * may miss.
 */
static void blk_flush_cache(struct blk *b)
{
	if (b->cache_flushing)
		return;
	b->cache_flushing = true;
	b->cache_flush.op = DISK_FLUSH;
	b->cache_flush.done = blk_cache_flushed;
	b->disk->ops->submit(b->disk, &b->cache_flush);
	b->disk->ops->commit(b->disk);
}

static void blk_config_written(struct virtio_dev *d, size_t off, size_t len)
{
	const size_t wce = offsetof(struct virtio_blk_config, wce);
	struct blk *b = to_blk(d);
	bool before = b->writeback;

	if (virtio_has(d, VIRTIO_BLK_F_CONFIG_WCE) && virtio_has(d, VIRTIO_BLK_F_FLUSH) &&
	    off <= wce && wce - off < len)
		b->writeback = b->config.wce;
	/* All other fields are read-only. */
	blk_fill_config(b);
	if (before && !b->writeback && d->running)
		blk_flush_cache(b);
}

/* Whether a completed write must be stable (§5.2.6.2, cases 1 and 2). */
static bool blk_is_writethrough(const struct blk *b)
{
	return !virtio_has(&b->dev, VIRTIO_BLK_F_FLUSH) || !b->writeback;
}

/* ---- completion */

/*
 * Answers with a status. prefix: how many bytes of data, from its beginning, have been written;
 * used.len must not claim more than is written without a gap (§2.7.8.2), and the status is behind
 * the data.
 */
static void blk_answer(struct blk_req *req, uint8_t status, size_t prefix)
{
	size_t written = prefix;

	if (req->blk->stopping) {
		vqueue_drop(&req->chain);
		return;
	}
	if (req->status.len) {
		(void)iobuf_put(&req->status, &status, 1);
		written += prefix == req->data.len;
	}
	vqueue_push(&req->chain, (uint32_t)written);
}

static void blk_fail(struct blk_req *req, const char *why)
{
	log_guest(&req->blk->limit, "blk: refused a request of type %u: %s", req->type, why);
	blk_answer(req, VIRTIO_BLK_S_IOERR, 0);
}

static void blk_done(struct disk_req *io, int result);

/* The next step of a request that has one. */
static void blk_next(struct blk_req *req)
{
	struct disk *disk = req->blk->disk;

	if (req->range_next < req->num_ranges) {
		const struct blk_range *range = &req->range[req->range_next++];

		req->io.op = range->op;
		req->io.offset = range->offset;
		req->io.len = range->len;
	} else {
		req->io.op = DISK_FLUSH;
	}
	disk->ops->submit(disk, &req->io);
}

static void blk_done(struct disk_req *io, int result)
{
	struct blk_req *req = container_of(io, struct blk_req, io);
	struct blk *b = req->blk;
	bool writes = req->type == VIRTIO_BLK_T_OUT || req->type == VIRTIO_BLK_T_WRITE_ZEROES;

	if (b->stopping || result < 0) {
		blk_answer(req, VIRTIO_BLK_S_IOERR, 0);
		return;
	}
	if (req->range_next < req->num_ranges ||
	    (writes && io->op != DISK_FLUSH && blk_is_writethrough(b))) {
		blk_next(req);
		b->disk->ops->commit(b->disk);
		return;
	}
	blk_answer(req, VIRTIO_BLK_S_OK, req->type == VIRTIO_BLK_T_IN ? req->data.len : 0);
}

/* ---- requests */

/* Whether n sectors from the given one are on the disk. */
static bool blk_in_range(const struct blk *b, uint64_t sector, uint64_t n)
{
	uint64_t capacity = b->disk->capacity >> SECTOR_SHIFT;

	return n <= capacity && sector <= capacity - n;
}

static void blk_transfer(struct blk_req *req, uint64_t sector)
{
	struct blk *b = req->blk;
	bool in = req->type == VIRTIO_BLK_T_IN;
	const struct iobuf *data = in ? &req->data : &req->chain.rd;

	if (!in && b->disk->read_only) {
		blk_fail(req, "the disk is read-only");
		return;
	}
	if (data->len % (1u << SECTOR_SHIFT) || data->len > (uint64_t)BLK_SIZE_MAX * BLK_SEG_MAX) {
		blk_fail(req, "its data is no whole number of sectors, or too much");
		return;
	}
	if (!blk_in_range(b, sector, data->len >> SECTOR_SHIFT)) {
		blk_fail(req, "it is not inside the disk");
		return;
	}
	req->io.op = in ? DISK_READ : DISK_WRITE;
	req->io.offset = sector << SECTOR_SHIFT;
	req->io.len = data->len;
	req->io.data = *data;
	b->disk->ops->submit(b->disk, &req->io);
}

/* Checks one range, already copied; VIRTIO_BLK_S_OK and *ret_range when it can be done. */
static uint8_t blk_parse_range(struct blk_req *req, const struct virtio_blk_discard_write_zeroes *w,
			       struct blk_range *ret_range)
{
	uint64_t sector = le64toh(w->sector);
	uint32_t n = le32toh(w->num_sectors), flags = le32toh(w->flags);
	bool discard = req->type == VIRTIO_BLK_T_DISCARD;

	/* §5.2.6.2: unknown flags, and for DISCARD the known one, are not supported. */
	if (flags & (discard ? ~0u : ~(uint32_t)VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP))
		return VIRTIO_BLK_S_UNSUPP;
	if (n > BLK_RANGE_SECTORS || !blk_in_range(req->blk, sector, n))
		return VIRTIO_BLK_S_IOERR;
	ret_range->offset = sector << SECTOR_SHIFT;
	ret_range->len = (uint64_t)n << SECTOR_SHIFT;
	ret_range->op = discard ? DISK_DISCARD
			: flags ? DISK_WRITE_ZEROES_UNMAP
				: DISK_WRITE_ZEROES;
	return VIRTIO_BLK_S_OK;
}

/* All ranges are checked before the first is touched. */
static void blk_ranges(struct blk_req *req)
{
	struct virtio_blk_discard_write_zeroes w;
	struct iobuf *rd = &req->chain.rd;

	if (req->blk->disk->read_only) {
		blk_fail(req, "the disk is read-only");
		return;
	}
	if (!rd->len || rd->len % sizeof(w) || rd->len / sizeof(w) > BLK_RANGE_MAX) {
		blk_fail(req, "it has no range, half a range, or too many");
		return;
	}
	while (iobuf_get(rd, &w, sizeof(w))) {
		uint8_t status = blk_parse_range(req, &w, &req->range[req->num_ranges++]);

		if (status == VIRTIO_BLK_S_UNSUPP) {
			blk_answer(req, status, 0);
			return;
		}
		if (status != VIRTIO_BLK_S_OK) {
			blk_fail(req, "a range is too long or not inside the disk");
			return;
		}
	}
	blk_next(req);
}

static void blk_get_id(struct blk_req *req)
{
	struct iobuf out = req->data;
	size_t n = out.len < sizeof(req->blk->serial) ? out.len : sizeof(req->blk->serial);

	(void)iobuf_put(&out, req->blk->serial, n);
	blk_answer(req, VIRTIO_BLK_S_OK, n);
}

static void blk_request(struct blk *b, struct blk_req *req)
{
	struct virtio_blk_outhdr hdr;

	req->blk = b;
	req->io.done = blk_done;
	req->data = req->status = req->chain.wr;
	if (!req->status.len) {
		log_guest(&b->limit, "blk: a request has no room for its status");
		blk_answer(req, VIRTIO_BLK_S_IOERR, 0);
		return;
	}
	(void)iobuf_take(&req->status, req->status.len - 1, &req->data);
	if (!iobuf_get(&req->chain.rd, &hdr, sizeof(hdr))) {
		blk_fail(req, "its header is too short");
		return;
	}
	req->type = le32toh(hdr.type);
	switch (req->type) {
	case VIRTIO_BLK_T_IN:
	case VIRTIO_BLK_T_OUT:
		blk_transfer(req, le64toh(hdr.sector));
		return;
	case VIRTIO_BLK_T_FLUSH:
		blk_next(req);
		return;
	case VIRTIO_BLK_T_GET_ID:
		blk_get_id(req);
		return;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		if (!virtio_has(&b->dev, req->type == VIRTIO_BLK_T_DISCARD
						 ? VIRTIO_BLK_F_DISCARD
						 : VIRTIO_BLK_F_WRITE_ZEROES))
			break;
		blk_ranges(req);
		return;
	}
	blk_answer(req, VIRTIO_BLK_S_UNSUPP, 0);
}

static void blk_kick(struct virtio_dev *d, unsigned q)
{
	struct blk *b = to_blk(d);
	struct vchain *c = NULL;

	/*
	 * A driver that refills the queue as fast as we answer must not keep the loop from the
	 * other devices.
	 */
	for (unsigned i = 0; i < BLK_QUEUE_SIZE; i++) {
		c = vqueue_pop(d->vq[q]);
		if (!c)
			break;
		blk_request(b, container_of(c, struct blk_req, chain));
	}
	b->disk->ops->commit(b->disk);
	if (c)
		virtio_rekick(d, q);
}

/* ---- life */

static int blk_start(struct virtio_dev *d)
{
	struct blk *b = to_blk(d);

	/* §5.2.5.2: without FLUSH there is no cache to write back. */
	if (!virtio_has(d, VIRTIO_BLK_F_FLUSH))
		b->writeback = false;
	blk_fill_config(b);
	return 0;
}

static void blk_stop(struct virtio_dev *d)
{
	struct blk *b = to_blk(d);

	b->stopping = true;
	b->disk->ops->drain(b->disk);
	b->stopping = false;
	b->writeback = true;
	blk_fill_config(b);
}

static void blk_free(struct virtio_dev *d)
{
	struct blk *b = to_blk(d);

	b->disk->ops->free(b->disk);
	free(b);
}

static const struct virtio_ops blk_ops = {
	.name = "blk",
	.id = VIRTIO_ID_BLOCK,
	.req_size = sizeof(struct blk_req),
	.start = blk_start,
	.stop = blk_stop,
	.kick = blk_kick,
	.config_written = blk_config_written,
	.free = blk_free,
};

int blk_new(const struct virtio_env *env, struct disk *disk, const char *serial,
	    struct virtio_dev **ret_d, struct err *err)
{
	static const unsigned features[] = {
		VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_F_SEG_MAX,  VIRTIO_BLK_F_BLK_SIZE,
		VIRTIO_BLK_F_FLUSH,    VIRTIO_BLK_F_TOPOLOGY, VIRTIO_BLK_F_CONFIG_WCE,
	};
	struct blk *b = xcalloc(1, sizeof(*b));
	int r;

	b->dev.ops = &blk_ops;
	b->dev.loop = env->loop;
	b->dev.mem = env->mem;
	b->dev.config = &b->config;
	b->dev.config_len = BLK_CONFIG_LEN;
	b->dev.num_vq = 1;
	b->dev.vq_max_size[0] = BLK_QUEUE_SIZE;
	for (unsigned i = 0; i < sizeof(features) / sizeof(features[0]); i++)
		b->dev.features |= 1ull << features[i];
	if (disk->read_only)
		b->dev.features |= 1ull << VIRTIO_BLK_F_RO;
	else
		b->dev.features |= 1ull << VIRTIO_BLK_F_DISCARD | 1ull << VIRTIO_BLK_F_WRITE_ZEROES;
	b->disk = disk;
	b->writeback = true;
	if (serial)
		memcpy(b->serial, serial, strnlen(serial, sizeof(b->serial)));
	blk_fill_config(b);
	r = virtio_init(&b->dev, err);
	if (r < 0) {
		blk_free(&b->dev);
		return r;
	}
	*ret_d = &b->dev;
	return 0;
}

int blk_refresh(struct virtio_dev *d)
{
	struct blk *b = to_blk(d);
	uint64_t before = b->disk->capacity;
	int r = b->disk->ops->refresh(b->disk);

	if (r < 0)
		return r;
	blk_fill_config(b);
	if (b->disk->capacity != before)
		virtio_config_changed(d);
	return 0;
}
