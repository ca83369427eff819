/* SPDX-License-Identifier: Apache-2.0 */
/* The split virtqueue, device side: the only code that touches rings (virtio 1.2 §2.6, §2.7). */
/*
 * Everything behind the three ring pointers is written by the guest while we read it, by any of its
 * CPUs and in bad faith. So each value is loaded exactly once (the volatile and atomic accesses
 * below are as much about the compiler as about other CPUs), checked as the private copy that it
 * then is, and only the copy is used. Geometry is as it was when the queue was made.
 *
 * A chain is popped into a slot that was set aside when the queue was made: the device's request
 * structure, then one iovec for each descriptor a chain can have. Slots are handed out last-in
 * first-out and lie in an untouched mapping, so a queue costs as many pages as it ever had chains
 * in flight. A head that is in flight cannot be popped again, therefore slots cannot run out.
 *
 * What the guest may try, and what stops it: a chain that loops or is longer than the queue
 * (count), a `next` past the table (bound), a buffer outside of RAM or wrapping (guest_mem_ptr), a
 * table in a table, an odd table or one never negotiated (walk), a buffer for us behind one for it
 * (order), an available index further ahead than the ring is long, a head out of bounds or in
 * flight (pop). Each of them breaks the queue: it touches the rings no more, its owner is told
 * once, and chains that are in flight are forgotten as they are pushed.
 *
 * Notifications. The driver's to us: `seen` is the available index we have acted upon. Before
 * sleeping we ask to be told when the index moves past `seen`, then look once more; the device is
 * called again only if it did move, so a device that leaves buffers lying (a receive queue) does
 * not make its loop spin. Ours to the driver: pushes are published at once, the question whether it
 * wants an interrupt is asked once per batch, in vqueue_flush().
 */
#include "devices/virtio/vqueue.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/str.h"

#define DESC_LEN sizeof(struct vring_desc)

/* What precedes each request structure in its slot. */
struct slot {
	uint64_t wr_len;    /* bytes of wr when popped */
	uint16_t popped_at; /* position in the available ring */
	uint16_t index;
	bool busy;
} __attribute__((aligned(16)));

struct vqueue {
	struct vqueue_config cfg;
	uint8_t *desc;   /* cfg.size descriptors */
	uint16_t *avail; /* flags, idx, ring[size], used_event */
	uint16_t *used;  /* flags, idx, then ring[size] of two 32-bit words, avail_event */
	uint16_t last_avail, seen, used_idx, flushed; /* flushed: used_idx at the last flush */
	bool broken, news;                            /* news: pushed since the last flush */
	unsigned in_flight;
	uint8_t *slots;
	size_t slots_len, slot_len, iov_off;
	uint16_t *free; /* indices of the free slots: a stack */
	bool busy_head[VQUEUE_MAX_SIZE];
};

/* One chain while it is being read. */
struct walk {
	struct iovec *iov;
	unsigned num_desc, num_rd, num_wr;
	uint64_t len, wr_len;
};

static uint16_t load16(const uint16_t *p)
{
	return le16toh(__atomic_load_n(p, __ATOMIC_RELAXED));
}

static void store16(uint16_t *p, uint16_t v)
{
	__atomic_store_n(p, htole16(v), __ATOMIC_RELAXED);
}

/*
 * The two words of a descriptor, each loaded once. An indirect table may lie at any address, hence
 * the alignment of 1; a torn load gives a descriptor that the guest did not mean, and it is checked
 * like any other.
 */
__attribute__((no_sanitize("thread"))) static struct vring_desc desc_load(const uint8_t *p)
{
	typedef uint64_t __attribute__((aligned(1), may_alias)) word;
	const volatile word *w = (const volatile word *)p;
	uint64_t v[2] = {w[0], w[1]};
	struct vring_desc d;

	memcpy(&d, v, sizeof(d));
	d.addr = le64toh(d.addr);
	d.len = le32toh(d.len);
	d.flags = le16toh(d.flags);
	d.next = le16toh(d.next);
	return d;
}

/*
 * Acquire: the heads and descriptors behind this index must not be read before it, or we read the
 * old ones.
 */
static uint16_t avail_idx(const struct vqueue *vq)
{
	return le16toh(__atomic_load_n(&vq->avail[1], __ATOMIC_ACQUIRE));
}

static uint16_t *used_event(const struct vqueue *vq)
{
	return vq->avail + 2 + vq->cfg.size;
}

static uint16_t *avail_event(const struct vqueue *vq)
{
	return vq->used + 2 + 4 * vq->cfg.size;
}

static struct slot *slot_at(const struct vqueue *vq, unsigned i)
{
	return (struct slot *)(vq->slots + i * vq->slot_len);
}

static struct slot *slot_of(struct vchain *c)
{
	struct slot *s = (struct slot *)c - 1;

	assert(s->busy);
	return s;
}

static int vqueue_map(struct vqueue *vq)
{
	const struct vqueue_config *c = &vq->cfg;

	/* §2.7: alignment of the three areas, and their lengths. */
	if (c->desc % VRING_DESC_ALIGN_SIZE || c->avail % VRING_AVAIL_ALIGN_SIZE ||
	    c->used % VRING_USED_ALIGN_SIZE)
		return -EINVAL;
	vq->desc = guest_mem_ptr(c->mem, c->desc, DESC_LEN * c->size);
	vq->avail = guest_mem_ptr(c->mem, c->avail, 6 + 2 * (uint64_t)c->size);
	vq->used = guest_mem_ptr(c->mem, c->used, 6 + 8 * (uint64_t)c->size);
	return vq->desc && vq->avail && vq->used ? 0 : -EINVAL;
}

static int vqueue_make_slots(struct vqueue *vq)
{
	size_t req = vq->cfg.req_size ? vq->cfg.req_size : sizeof(struct vchain);
	unsigned size = vq->cfg.size;

	assert(req >= sizeof(struct vchain));
	vq->iov_off = sizeof(struct slot) + ((req + 15) & ~(size_t)15);
	vq->slot_len = vq->iov_off + size * sizeof(struct iovec);
	vq->slots_len = vq->slot_len * size;
	/*
	 * A mapping of its own, not malloc: pages appear when a slot is first used, and go for sure
	 * at reset.
	 */
	vq->slots = mmap(NULL, vq->slots_len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (vq->slots == MAP_FAILED) {
		vq->slots = NULL;
		return -ENOMEM;
	}
	vq->free = xcalloc(size, sizeof(vq->free[0]));
	for (unsigned i = 0; i < size; i++)
		vq->free[i] = size - 1 - i;
	return 0;
}

int vqueue_new(const struct vqueue_config *cfg, struct vqueue **ret_vq)
{
	struct vqueue *vq;
	int r;

	if (cfg->size == 0 || cfg->size > VQUEUE_MAX_SIZE || (cfg->size & (cfg->size - 1)))
		return -EINVAL;
	vq = xcalloc(1, sizeof(*vq));
	vq->cfg = *cfg;
	r = vqueue_map(vq);
	if (r == 0)
		r = vqueue_make_slots(vq);
	if (r < 0) {
		vqueue_free(vq);
		return r;
	}
	*ret_vq = vq;
	return 0;
}

void vqueue_free(struct vqueue *vq)
{
	if (!vq)
		return;
	assert(vq->in_flight == 0);
	if (vq->slots)
		(void)munmap(vq->slots, vq->slots_len);
	free(vq->free);
	free(vq);
}

void vqueue_break(struct vqueue *vq, const char *why)
{
	if (vq->broken)
		return;
	vq->broken = true;
	vq->news = false;
	vq->cfg.broken(vq->cfg.opaque, why);
}

bool vqueue_is_broken(const struct vqueue *vq)
{
	return vq->broken;
}

unsigned vqueue_in_flight(const struct vqueue *vq)
{
	return vq->in_flight;
}

/* Takes one checked descriptor into the chain. NULL, or what is wrong with it. */
static const char *walk_add(const struct vqueue *vq, struct walk *w, const struct vring_desc *d)
{
	void *p;

	if (d->len == 0)
		return NULL;
	p = guest_mem_ptr(vq->cfg.mem, d->addr, d->len);
	if (!p)
		return "a buffer is not in RAM";
	/* §2.7.5.3: all readable ones first; a chain is at most 2^32 bytes. */
	if (!(d->flags & VRING_DESC_F_WRITE) && w->num_wr)
		return "a readable buffer follows a writable one";
	w->len += d->len;
	if (w->len > (uint64_t)1 << 32)
		return "a chain is longer than 4 GiB";
	w->iov[w->num_rd + w->num_wr] = (struct iovec){.iov_base = p, .iov_len = d->len};
	if (d->flags & VRING_DESC_F_WRITE) {
		w->num_wr++;
		w->wr_len += d->len;
	} else {
		w->num_rd++;
	}
	return NULL;
}

/*
 * Follows a chain through one table of num descriptors. Ends at its last descriptor, or at one that
 * refers to an indirect table, which is then *ret_indirect (whose flags are 0 else).
 */
static const char *walk_table(const struct vqueue *vq, struct walk *w, const uint8_t *table,
			      uint32_t num, uint32_t i, struct vring_desc *ret_indirect)
{
	const char *bad;

	ret_indirect->flags = 0;
	for (;;) {
		struct vring_desc d = desc_load(table + i * DESC_LEN);

		if (d.flags & VRING_DESC_F_INDIRECT) {
			*ret_indirect = d;
			return NULL;
		}
		if (++w->num_desc > vq->cfg.size)
			return "a chain loops or is longer than the queue";
		bad = walk_add(vq, w, &d);
		if (bad)
			return bad;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return NULL;
		i = d.next;
		if (i >= num)
			return "a descriptor's next is out of bounds";
	}
}

/* §2.7.5.3: an indirect table. Its own descriptor's WRITE flag means nothing. */
static const char *walk_indirect(const struct vqueue *vq, struct walk *w,
				 const struct vring_desc *ref)
{
	struct vring_desc inner;
	const uint8_t *table;
	const char *bad;

	if (!vq->cfg.indirect)
		return "an indirect table was not negotiated";
	if (ref->flags & VRING_DESC_F_NEXT)
		return "an indirect table has a next";
	if (ref->len == 0 || ref->len % DESC_LEN)
		return "an indirect table has an odd length";
	table = guest_mem_ptr(vq->cfg.mem, ref->addr, ref->len);
	if (!table)
		return "an indirect table is not in RAM";
	bad = walk_table(vq, w, table, ref->len / DESC_LEN, 0, &inner);
	if (!bad && inner.flags & VRING_DESC_F_INDIRECT)
		bad = "an indirect table is in an indirect table";
	return bad;
}

static const char *walk_chain(const struct vqueue *vq, struct walk *w, uint16_t head)
{
	struct vring_desc ref;
	const char *bad;

	bad = walk_table(vq, w, vq->desc, vq->cfg.size, head, &ref);
	if (!bad && ref.flags & VRING_DESC_F_INDIRECT)
		bad = walk_indirect(vq, w, &ref);
	return bad;
}

/* Whether a head waits; looks at the driver's index only when those known are used up. */
static bool vqueue_more(struct vqueue *vq)
{
	if (vq->broken)
		return false;
	if (vq->last_avail == vq->seen)
		vq->seen = avail_idx(vq);
	if ((uint16_t)(vq->seen - vq->last_avail) > vq->cfg.size) {
		vqueue_break(vq, "the available index is further ahead than the queue is long");
		return false;
	}
	return vq->last_avail != vq->seen;
}

struct vchain *vqueue_pop(struct vqueue *vq)
{
	struct walk w = {0};
	struct vchain *c;
	struct slot *s;
	const char *bad;
	uint16_t head;

	if (!vqueue_more(vq))
		return NULL;
	head = load16(&vq->avail[2 + vq->last_avail % vq->cfg.size]);
	if (head >= vq->cfg.size) {
		vqueue_break(vq, "an available head is out of bounds");
		return NULL;
	}
	if (vq->busy_head[head]) {
		vqueue_break(vq, "a chain was made available twice");
		return NULL;
	}
	s = slot_at(vq, vq->free[vq->cfg.size - vq->in_flight - 1]);
	w.iov = (struct iovec *)((uint8_t *)s + vq->iov_off);
	bad = walk_chain(vq, &w, head);
	if (bad) {
		vqueue_break(vq, bad);
		return NULL;
	}
	memset(s, 0, vq->iov_off);
	s->index = vq->free[vq->cfg.size - vq->in_flight - 1];
	s->popped_at = vq->last_avail++;
	s->wr_len = w.wr_len;
	s->busy = true;
	c = (struct vchain *)(s + 1);
	c->vq = vq;
	c->head = head;
	iobuf_init(&c->rd, w.iov, w.num_rd);
	iobuf_init(&c->wr, w.iov + w.num_rd, w.num_wr);
	vq->busy_head[head] = true;
	vq->in_flight++;
	return c;
}

void vqueue_drop(struct vchain *c)
{
	struct slot *s = slot_of(c);
	struct vqueue *vq = c->vq;

	s->busy = false;
	vq->busy_head[c->head] = false;
	vq->in_flight--;
	vq->free[vq->cfg.size - vq->in_flight - 1] = s->index;
}

void vqueue_unpop(struct vchain *c)
{
	struct vqueue *vq = c->vq;

	assert(slot_of(c)->popped_at == (uint16_t)(vq->last_avail - 1));
	vq->last_avail--;
	vqueue_drop(c);
}

void vqueue_push(struct vchain *c, uint32_t written)
{
	struct vqueue *vq = c->vq;
	uint32_t *elem = (uint32_t *)(vq->used + 2) + 2 * (vq->used_idx % vq->cfg.size);
	bool first = !vq->news;
	uint16_t head = c->head;

	assert(written <= slot_of(c)->wr_len);
	vqueue_drop(c);
	if (vq->broken)
		return;
	__atomic_store_n(&elem[0], htole32(head), __ATOMIC_RELAXED);
	__atomic_store_n(&elem[1], htole32(written), __ATOMIC_RELAXED);
	vq->used_idx++;
	/*
	 * Release: a driver that sees the index must see the element, and the data in its buffers.
	 */
	__atomic_store_n(&vq->used[1], htole16(vq->used_idx), __ATOMIC_RELEASE);
	vq->news = true;
	if (first && vq->cfg.pushed)
		vq->cfg.pushed(vq->cfg.opaque);
}

/* §2.7.7.2: whether the driver wants to hear of the elements from `old` up to used_idx. */
static bool driver_listens(const struct vqueue *vq, uint16_t old)
{
	if (vq->cfg.event_idx)
		return vring_need_event(load16(used_event(vq)), vq->used_idx, old);
	return !(load16(&vq->avail[0]) & VRING_AVAIL_F_NO_INTERRUPT);
}

void vqueue_flush(struct vqueue *vq)
{
	uint16_t old = vq->flushed;

	if (!vq->news)
		return;
	vq->news = false;
	vq->flushed = vq->used_idx;
	/*
	 * Our store of the used index must be visible before we load used_event or the flags. The
	 * driver stores those and then loads the used index; if both loads came first, it would
	 * sleep on an element we did not announce.
	 */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (driver_listens(vq, old))
		vq->cfg.interrupt(vq->cfg.opaque);
}

void vqueue_disable_kick(struct vqueue *vq)
{
	if (vq->broken)
		return;
	/*
	 * With event indices nothing is to be written: the index we asked to hear of has passed by
	 * (§2.7.10.2).
	 */
	if (!vq->cfg.event_idx)
		store16(&vq->used[0], VRING_USED_F_NO_NOTIFY);
	vq->seen = avail_idx(vq);
}

bool vqueue_enable_kick(struct vqueue *vq)
{
	if (vq->broken)
		return false;
	if (vq->cfg.event_idx)
		store16(avail_event(vq), vq->seen);
	else
		store16(&vq->used[0], 0);
	/*
	 * That store must be visible before we load the available index. The driver stores the
	 * index and then loads our wish; if both loads came first, it would not kick and we would
	 * sleep on its buffers.
	 */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return avail_idx(vq) != vq->seen;
}
