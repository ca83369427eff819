/* SPDX-License-Identifier: Apache-2.0 */
/* The split ring against a driver that is mostly right (virtio 1.2 §2.7). */
/*
 * The input is a list of steps of a driver and of a device. Chains are valid but for a rare flaw,
 * and as long as there was none, the queue must hand out exactly what was offered, must not break,
 * and no wake-up may be lost on either side. Whatever was done to the rings, every buffer handed
 * out lies in RAM, a chain is no longer than the queue, and no head is out twice. In one mode
 * another thread scribbles over the rings all the while: only the last sentence holds then.
 */
#include <endian.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "devices/virtio/vqueue.h"
#include "tests/fuzz/fuzz.h"
#include "tests/support/check.h"

#define BASE       0x100000
#define RAM_LEN    0x10000
#define RINGS_LEN  0x4000
#define AVAIL_OFF  0x1000
#define USED_OFF   0x2000
#define TABLES_OFF 0x3000
#define MAX_SIZE   64
#define NUM_TABLES 16
#define TABLE_SIZE 16
#define MAX_STEPS  4096

static _Alignas(4096) uint8_t ram[RAM_LEN];
static const struct guest_mem mem = {.region = {{BASE, RAM_LEN, ram}}, .num = 1};
static struct vring_desc *const desc = (struct vring_desc *)ram;
static struct vring_avail *const avail = (struct vring_avail *)(ram + AVAIL_OFF);
static struct vring_used *const used = (struct vring_used *)(ram + USED_OFF);

/* What the driver offered under a head, while it is out. */
struct offered {
	bool out;
	unsigned num_desc; /* direct ones, from the head on, modulo the size */
	uint64_t rd_len, wr_len;
};

struct world {
	struct fuzz in;
	struct vqueue *vq;
	struct vqueue_config cfg;
	bool flawed; /* the rings no longer say what the driver meant */
	bool broken, threaded;
	bool armed;     /* the device went to sleep: the next kick must be wanted */
	bool wants_irq; /* the driver went to sleep */
	unsigned interrupts;
	struct offered offered[MAX_SIZE];
	bool taken[MAX_SIZE]; /* descriptors that are part of what is out */
	unsigned next_desc;
	uint16_t next_avail, last_kick, last_used;
	uint16_t next_pop; /* position in the available ring */
	struct vchain *chain[MAX_SIZE];
	unsigned num_chains;
};

static void on_interrupt(void *opaque)
{
	((struct world *)opaque)->interrupts++;
}

static void on_broken(void *opaque, const char *why)
{
	struct world *w = opaque;

	check(!w->broken && (w->flawed || !"a good ring broke"));
	w->broken = true;
}

static void open_queue(struct world *w)
{
	static const uint16_t sizes[] = {1, 2, 4, 8, 16, 64};

	memset(ram, 0, sizeof(ram));
	w->cfg = (struct vqueue_config){
		.mem = &mem,
		.size = sizes[fuzz_pick(&w->in, 6)],
		.desc = BASE,
		.avail = BASE + AVAIL_OFF,
		.used = BASE + USED_OFF,
		.event_idx = fuzz_pick(&w->in, 2),
		.indirect = fuzz_pick(&w->in, 2),
		.interrupt = on_interrupt,
		.broken = on_broken,
		.opaque = w,
	};
	check(vqueue_new(&w->cfg, &w->vq) == 0);
}

/* ---- the driver */

static struct vring_desc pick_desc(struct world *w, struct offered *o, bool more, uint16_t next,
				   bool *wr)
{
	uint32_t len = fuzz_pick(&w->in, 4) ? fuzz_pick(&w->in, 2048) : 0;
	uint64_t addr = BASE + RINGS_LEN + fuzz_pick(&w->in, 32768);

	*wr = *wr || fuzz_pick(&w->in, 3) == 0;
	*(*wr ? &o->wr_len : &o->rd_len) += len;
	return (struct vring_desc){
		.addr = htole64(addr),
		.len = htole32(len),
		.flags = htole16((*wr ? VRING_DESC_F_WRITE : 0) | (more ? VRING_DESC_F_NEXT : 0)),
		.next = htole16(next),
	};
}

/* One wrong thing in a descriptor. */
static void spoil(struct world *w, struct vring_desc *d)
{
	w->flawed = true;
	switch (fuzz_pick(&w->in, 4)) {
	case 0:
		d->addr = fuzz_bits(&w->in, 8);
		break;
	case 1:
		d->len = fuzz_bits(&w->in, 4);
		break;
	case 2:
		d->flags = fuzz_bits(&w->in, 1);
		break;
	default:
		d->next = fuzz_bits(&w->in, 2);
		break;
	}
}

/* num descriptors of a table that has room for them from `first` on, going round. */
static void fill_table(struct world *w, struct vring_desc *table, unsigned size, unsigned first,
		       unsigned num, struct offered *o)
{
	bool wr = false;

	for (unsigned i = 0; i < num; i++) {
		unsigned at = (first + i) % size;

		table[at] = pick_desc(w, o, i + 1 < num, (at + 1) % size, &wr);
		if (fuzz_flaw(&w->in, 200))
			spoil(w, &table[at]);
	}
}

/* How many descriptors are free from next_desc on. */
static unsigned free_run(const struct world *w)
{
	unsigned n = 0;

	while (n < w->cfg.size && !w->taken[(w->next_desc + n) % w->cfg.size])
		n++;
	return n;
}

/* Each table's place is shared by every 16th head. */
static bool table_is_free(const struct world *w, unsigned head)
{
	for (unsigned i = head % NUM_TABLES; i < w->cfg.size; i += NUM_TABLES) {
		if (i != head && w->offered[i].out)
			return false;
	}
	return true;
}

static void add_indirect(struct world *w, unsigned head, struct offered *o)
{
	unsigned off = TABLES_OFF + head % NUM_TABLES * TABLE_SIZE * sizeof(*desc);
	unsigned num = 1 + fuzz_pick(&w->in, w->cfg.size < TABLE_SIZE ? w->cfg.size : TABLE_SIZE);

	fill_table(w, (struct vring_desc *)(ram + off), TABLE_SIZE, 0, num, o);
	desc[head] = (struct vring_desc){
		.addr = htole64(BASE + off),
		.len = htole32(num * sizeof(*desc)),
		.flags = htole16(VRING_DESC_F_INDIRECT),
	};
}

static void driver_add(struct world *w)
{
	unsigned size = w->cfg.size, head = w->next_desc, room = free_run(w);
	struct offered *o = &w->offered[head];

	if (!room) {
		w->next_desc = (head + 1) % size;
		return;
	}
	memset(o, 0, sizeof(*o));
	o->out = true;
	o->num_desc = 1;
	if (w->cfg.indirect && table_is_free(w, head) && fuzz_pick(&w->in, 2)) {
		add_indirect(w, head, o);
	} else {
		o->num_desc = 1 + fuzz_pick(&w->in, room);
		fill_table(w, desc, size, head, o->num_desc, o);
	}
	for (unsigned i = 0; i < o->num_desc; i++)
		w->taken[(head + i) % size] = true;
	w->next_desc = (head + o->num_desc) % size;
	avail->ring[w->next_avail % size] = htole16(head);
	avail->idx = htole16(++w->next_avail);
}

static void driver_kick(struct world *w)
{
	uint16_t event = le16toh(*(uint16_t *)&used->ring[w->cfg.size]);
	bool wanted = w->cfg.event_idx ? vring_need_event(event, w->next_avail, w->last_kick)
				       : !(le16toh(used->flags) & VRING_USED_F_NO_NOTIFY);

	check(w->flawed || !w->armed || w->next_avail == w->last_kick || wanted);
	if (w->next_avail != w->last_kick)
		w->armed = false;
	w->last_kick = w->next_avail;
}

static void driver_collect(struct world *w)
{
	while (!w->flawed && le16toh(used->idx) != w->last_used) {
		const struct vring_used_elem *e = &used->ring[w->last_used++ % w->cfg.size];
		struct offered *o = &w->offered[le32toh(e->id) % MAX_SIZE];

		check(le32toh(e->id) < w->cfg.size && o->out && le32toh(e->len) <= o->wr_len);
		o->out = false;
		for (unsigned i = 0; i < o->num_desc; i++)
			w->taken[(le32toh(e->id) + i) % w->cfg.size] = false;
	}
	avail->ring[w->cfg.size] = htole16(w->last_used);
	w->wants_irq = true;
	w->interrupts = 0;
}

/* ---- the device */

static void check_side(const struct iobuf *b)
{
	size_t sum = 0;

	for (unsigned i = 0; i < b->num; i++) {
		const uint8_t *p = b->iov[i].iov_base;

		check(p >= ram && b->iov[i].iov_len &&
		      b->iov[i].iov_len <= (size_t)(ram + RAM_LEN - p));
		sum += b->iov[i].iov_len;
	}
	check(sum == b->len);
}

static void device_pop(struct world *w)
{
	struct vchain *c = vqueue_pop(w->vq);

	if (!c)
		return;
	check_side(&c->rd);
	check_side(&c->wr);
	check(c->head < w->cfg.size && c->rd.num + c->wr.num <= w->cfg.size);
	for (unsigned i = 0; i < w->num_chains; i++)
		check(w->chain[i]->head != c->head);
	if (!w->flawed) {
		const struct offered *o = &w->offered[c->head];

		check(o->out && o->rd_len == c->rd.len && o->wr_len == c->wr.len);
		check(c->head == le16toh(avail->ring[w->next_pop % w->cfg.size]));
	}
	if (fuzz_flaw(&w->in, 8)) {
		vqueue_unpop(c);
		return;
	}
	w->next_pop++;
	w->chain[w->num_chains++] = c;
}

static void device_push(struct world *w)
{
	unsigned i;
	size_t n;

	if (!w->num_chains)
		return;
	i = fuzz_pick(&w->in, w->num_chains);
	n = w->chain[i]->wr.len ? fuzz_pick(&w->in, 65536) % (w->chain[i]->wr.len + 1) : 0;
	vqueue_push(w->chain[i], n);
	w->chain[i] = w->chain[--w->num_chains];
}

static void device_flush(struct world *w)
{
	uint16_t before = w->last_used;

	vqueue_flush(w->vq);
	/* A driver that asked to hear of the next element, and has not, must hear now. */
	if (!w->flawed && w->wants_irq && le16toh(used->idx) != before) {
		check(w->interrupts >= 1);
		w->wants_irq = false;
	}
}

static void device_sleep(struct world *w)
{
	vqueue_disable_kick(w->vq);
	w->armed = !vqueue_enable_kick(w->vq);
	check(w->flawed || w->armed);
	w->last_kick = w->next_avail; /* whatever was added before has been seen */
}

static void scribble(struct world *w)
{
	unsigned off = fuzz_pick(&w->in, RINGS_LEN);

	w->flawed = true;
	for (unsigned i = 0; i < 8; i++)
		ram[(off + i) % RINGS_LEN] = fuzz_bits(&w->in, 1);
}

static void drop_chains(struct world *w)
{
	while (w->num_chains)
		vqueue_drop(w->chain[--w->num_chains]);
	check(vqueue_in_flight(w->vq) == 0);
	vqueue_free(w->vq);
}

/* A reset: everything begins anew, with another geometry. */
static void reset(struct world *w)
{
	struct fuzz in = w->in;
	bool threaded = w->threaded;

	drop_chains(w);
	memset(w, 0, sizeof(*w));
	w->in = in;
	w->flawed = w->threaded = threaded;
	open_queue(w);
}

static void sleep_or_worse(struct world *w)
{
	switch (fuzz_pick(&w->in, 32)) {
	case 30:
		reset(w);
		break;
	case 31:
		scribble(w);
		break;
	default:
		device_sleep(w);
		break;
	}
}

static void step(struct world *w)
{
	switch (fuzz_pick(&w->in, 9)) {
	case 0:
	case 1:
		driver_add(w);
		break;
	case 2:
		driver_kick(w);
		break;
	case 3:
		driver_collect(w);
		break;
	case 4:
	case 5:
		device_pop(w);
		break;
	case 6:
		device_push(w);
		break;
	case 7:
		device_flush(w);
		break;
	default:
		sleep_or_worse(w);
		break;
	}
}

/* ---- another CPU of the guest */

static atomic_bool scribbler_stop;

static void *scribbler(void *arg)
{
	uint64_t noise = 88172645463325252ull;

	while (!atomic_load(&scribbler_stop)) {
		volatile uint8_t *p;

		noise ^= noise << 13;
		noise ^= noise >> 7;
		noise ^= noise << 17;
		/* The beginnings of the three areas: that is where the device looks. */
		p = ram + AVAIL_OFF * (noise >> 60 & 3) + (noise & 0xff);
		*p = noise & 1 << 20 ? noise >> 40 & 0xff : noise >> 40 & 7;
	}
	return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world w = {.in = {data, size}};
	pthread_t thread;

	w.flawed = w.threaded = fuzz_flaw(&w.in, 32);
	open_queue(&w);
	if (w.threaded) {
		atomic_store(&scribbler_stop, false);
		check(pthread_create(&thread, NULL, scribbler, NULL) == 0);
	}
	for (unsigned i = 0; i < MAX_STEPS && w.in.left; i++)
		step(&w);
	if (w.threaded) {
		atomic_store(&scribbler_stop, true);
		check(pthread_join(thread, NULL) == 0);
	}
	drop_chains(&w);
	return 0;
}
