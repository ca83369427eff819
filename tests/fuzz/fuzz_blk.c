/* SPDX-License-Identifier: Apache-2.0 */
/* The block device against a guest that is mostly right (virtio 1.2 §5.2). */
/*
 * The input is a list of steps. Requests are framed anyhow and wrong in one place now and then;
 * whole rings are scribbled over only rarely. Checked are what the device asks of its disk
 * (fake_disk.c does that), that a chain comes back once with a length that fits it, and in the end
 * that all have come back or the device asks for a reset.
 */
#include <linux/virtio_blk.h>
#include <string.h>

#include "base/endian.h"
#include "base/log.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/check.h"
#include "tests/support/fake_disk.h"
#include "tests/support/fake_driver.h"

#define SECTORS   512u
#define MAX_STEPS 64
#define MAX_DATA  8192
#define MAX_SEGS  64

struct world {
	struct fuzz in;
	struct fake_machine m;
	struct fake_driver drv;
	struct fake_disk *disk;
	unsigned in_flight;
	uint32_t wr_len
		[VQUEUE_MAX_SIZE]; /* by head: 1 + bytes the device may write; 0: not in flight */
	bool scribbled;            /* since the last reset: the rings mean nothing any more */
};

/* ---- one request */

struct request {
	uint8_t rd[sizeof(struct virtio_blk_outhdr) + MAX_DATA];
	uint32_t rd_len, wr_len;
};

static uint64_t pick_sector(struct fuzz *in)
{
	if (fuzz_flaw(in, 16))
		return fuzz_bits(in, 8);
	return fuzz_pick(in, SECTORS + 2);
}

static uint32_t pick_len(struct fuzz *in)
{
	if (fuzz_flaw(in, 16))
		return fuzz_pick(in, MAX_DATA);
	return fuzz_pick(in, MAX_DATA / 512) * 512;
}

static uint32_t pick_type(struct fuzz *in)
{
	static const uint32_t type[] = {
		VIRTIO_BLK_T_IN,     VIRTIO_BLK_T_OUT,     VIRTIO_BLK_T_FLUSH,
		VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES,
	};
	unsigned i = fuzz_pick(in, sizeof(type) / sizeof(type[0]) + 1);

	return i < sizeof(type) / sizeof(type[0]) ? type[i] : (uint32_t)fuzz_bits(in, 4);
}

static uint32_t put_ranges(struct fuzz *in, uint8_t *at, bool zeroes)
{
	struct virtio_blk_discard_write_zeroes r;
	unsigned num = fuzz_flaw(in, 8) ? fuzz_pick(in, 20) : 1 + fuzz_pick(in, 3);

	for (unsigned i = 0; i < num; i++) {
		r.sector = htole64(pick_sector(in));
		r.num_sectors =
			htole32(fuzz_flaw(in, 16) ? (uint32_t)fuzz_bits(in, 4) : fuzz_pick(in, 16));
		r.flags = htole32(fuzz_flaw(in, 16) ? (uint32_t)fuzz_bits(in, 4)
						    : zeroes && fuzz_pick(in, 2));
		memcpy(at + i * sizeof(r), &r, sizeof(r));
	}
	return num * sizeof(r) - fuzz_flaw(in, 32);
}

static void make_request(struct fuzz *in, struct request *r)
{
	uint32_t type = pick_type(in), len;
	struct virtio_blk_outhdr hdr = {.type = htole32(type), .sector = htole64(pick_sector(in))};

	memset(r->rd, 0x77, sizeof(r->rd));
	memcpy(r->rd, &hdr, sizeof(hdr));
	r->rd_len = sizeof(hdr);
	r->wr_len = 1;
	switch (type) {
	case VIRTIO_BLK_T_IN:
		r->wr_len += pick_len(in);
		break;
	case VIRTIO_BLK_T_OUT:
		r->rd_len += pick_len(in);
		break;
	case VIRTIO_BLK_T_GET_ID:
		r->wr_len += fuzz_flaw(in, 4) ? fuzz_pick(in, 40) : 20;
		break;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		len = put_ranges(in, r->rd + sizeof(hdr), type == VIRTIO_BLK_T_WRITE_ZEROES);
		r->rd_len = len > MAX_DATA ? sizeof(hdr) : sizeof(hdr) + len;
		break;
	}
	if (fuzz_flaw(in, 32))
		r->rd_len = fuzz_pick(in, sizeof(hdr));
	if (fuzz_flaw(in, 32))
		r->wr_len = fuzz_pick(in, 2048);
}

/* ---- its chain */

static unsigned cut(struct fuzz *in, struct fake_seg *seg, unsigned max, gpa_t gpa, uint32_t len,
		    bool write)
{
	unsigned n = 0;

	while (len && n < max) {
		uint32_t here = n + 1 < max && fuzz_pick(in, 2) ? 1 + fuzz_pick(in, 1024) : len;

		here = here < len ? here : len;
		seg[n++] = (struct fake_seg){gpa, here, write};
		gpa += here;
		len -= here;
	}
	return n;
}

/* One thing that no driver should do. */
static void spoil(struct world *w, struct fake_seg *seg, unsigned num)
{
	struct fake_seg *s = &seg[fuzz_pick(&w->in, num)];

	w->scribbled = true;
	switch (fuzz_pick(&w->in, 6)) {
	case 0:
		s->gpa = FAKE_NOT_RAM;
		break;
	case 1:
		s->gpa = fuzz_bits(&w->in, 8);
		break;
	case 2:
		s->len = (uint32_t)fuzz_bits(&w->in, 4);
		break;
	case 3:
		s->write = !s->write;
		break;
	case 4:
		s->len = 0;
		break;
	case 5:
		s->gpa = FAKE_RAM_LOW_LEN - 1;
		break;
	}
}

static unsigned free_descs(const struct fake_queue *q)
{
	unsigned n = 0;

	for (unsigned i = 0; i < q->size; i++)
		n += !q->taken[i];
	return n;
}

static void add_request(struct world *w)
{
	static struct request r;
	struct fake_queue *q = &w->drv.queue[0];
	struct fake_seg seg[MAX_SEGS];
	unsigned n;
	uint16_t head;
	gpa_t rd, wr;
	bool indirect;

	make_request(&w->in, &r);
	rd = fake_alloc(&w->m, r.rd_len, 1);
	wr = fake_alloc(&w->m, r.wr_len, 1);
	if (r.rd_len)
		memcpy(fake_ptr(&w->m, rd, r.rd_len), r.rd, r.rd_len);
	n = cut(&w->in, seg, MAX_SEGS / 2, rd, r.rd_len, false);
	n += cut(&w->in, seg + n, MAX_SEGS / 2, wr, r.wr_len, true);
	if (!n || n > free_descs(q))
		return;
	if (fuzz_flaw(&w->in, 32))
		spoil(w, seg, n);
	indirect = w->drv.acked >> VIRTIO_RING_F_INDIRECT_DESC & 1 && fuzz_pick(&w->in, 2);
	head = indirect ? fake_queue_add_indirect(q, seg, n) : fake_queue_add(q, seg, n);
	if (w->scribbled)
		return;
	check(!w->wr_len[head]);
	w->wr_len[head] = 1 + r.wr_len;
	w->in_flight++;
}

/* ---- steps */

static void take_used(struct world *w)
{
	struct fake_queue *q = &w->drv.queue[0];
	uint32_t id, len;

	for (unsigned i = 0; i < 2u * VQUEUE_MAX_SIZE && fake_queue_take_used(q, &id, &len); i++) {
		if (w->scribbled)
			continue;
		check(id < q->size && w->wr_len[id]);
		check(len < w->wr_len[id]);
		w->wr_len[id] = 0;
		w->in_flight--;
	}
}

static void restart(struct world *w)
{
	uint64_t features = fuzz_pick(&w->in, 2) ? UINT64_MAX : ~fuzz_bits(&w->in, 4);

	w->m.next = 4096;
	fake_driver_start(&w->drv, features);
	memset(w->wr_len, 0, sizeof(w->wr_len));
	w->in_flight = 0;
	w->scribbled = false;
}

/* Any byte of the rings may be anything. */
static void scribble(struct world *w)
{
	struct fake_queue *q = &w->drv.queue[0];
	uint8_t *p = (uint8_t *)q->desc;
	size_t len = q->used_gpa + 6 + 8 * q->size - q->desc_gpa;

	for (unsigned n = fuzz_pick(&w->in, 8); n; n--)
		p[fuzz_bits(&w->in, 2) % len] = (uint8_t)fuzz_bits(&w->in, 1);
	w->scribbled = true;
}

static void change_disk(struct world *w)
{
	static const uint64_t capacity[] = {SECTORS * 512ull, SECTORS * 256ull, 512, 0};

	w->disk->next_capacity = capacity[fuzz_pick(&w->in, 4)];
	loop_enter(w->m.loop);
	/* A disk that shrinks under requests is the host's doing, and no front can help it. */
	if (!w->disk->num_asked)
		(void)blk_refresh(w->drv.dev);
	loop_leave(w->m.loop);
}

static void write_config(struct world *w)
{
	static const unsigned widths[] = {1, 2, 4};
	unsigned width = widths[fuzz_pick(&w->in, 3)];
	unsigned off = fuzz_pick(&w->in, 2) ? offsetof(struct virtio_blk_config, wce)
					    : fuzz_pick(&w->in, 80);

	fake_config_write(&w->drv, off, fuzz_bits(&w->in, 4), width);
	(void)fake_config_read(&w->drv, off, width);
}

static void step(struct world *w)
{
	switch (fuzz_pick(&w->in, 16)) {
	default:
		add_request(w);
		break;
	case 8:
	case 9:
	case 10:
		if (fuzz_flaw(&w->in, 4))
			fake_queue_ring(&w->drv.queue[0]);
		else
			(void)fake_queue_kick(&w->drv.queue[0]);
		fake_run_idle(&w->m);
		take_used(w);
		break;
	case 11:
		w->disk->hold = fuzz_pick(&w->in, 2);
		w->disk->newest_first = fuzz_pick(&w->in, 2);
		break;
	case 12:
		if (w->disk->num_asked) {
			loop_enter(w->m.loop);
			fake_disk_complete(w->disk);
			loop_leave(w->m.loop);
		}
		break;
	case 13:
		if (fuzz_pick(&w->in, 2))
			write_config(w);
		else
			change_disk(w);
		break;
	case 14:
		w->disk->result[fuzz_pick(&w->in, FAKE_DISK_NUM_OPS)] =
			fuzz_pick(&w->in, 2) ? -5 : 0;
		break;
	case 15:
		if (fuzz_pick(&w->in, 2))
			restart(w);
		else
			scribble(w);
		break;
	}
}

/* With the disk answering and the doorbell rung, nothing is left over. */
static void settle(struct world *w)
{
	w->disk->hold = false;
	for (int i = 0; i < 4; i++) {
		loop_enter(w->m.loop);
		w->disk->disk.ops->commit(&w->disk->disk);
		loop_leave(w->m.loop);
		fake_queue_ring(&w->drv.queue[0]);
		fake_run_idle(&w->m);
		take_used(w);
	}
	check(w->disk->num_asked == 0);
	if (!w->scribbled) {
		check(!fake_driver_needs_reset(&w->drv));
		check(w->in_flight == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world w;
	struct virtio_dev *dev;

	memset(&w, 0, sizeof(w));
	w.in = (struct fuzz){.p = data, .left = size};
	log_init("fuzz", LOG_LEVEL_ERROR, 2);
	fake_machine_init(&w.m);
	w.disk = fake_disk_new(w.m.loop, SECTORS * 512, fuzz_flaw(&w.in, 8));
	check(blk_new(&w.m.env, &w.disk->disk, "serial", &dev, NULL) == 0);
	fake_driver_init(&w.drv, &w.m, dev);
	restart(&w);
	for (unsigned i = 0; i < MAX_STEPS && w.in.left; i++)
		step(&w);
	settle(&w);
	fake_driver_done(&w.drv);
	fake_machine_done(&w.m);
	return 0;
}
