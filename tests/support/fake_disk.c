/* SPDX-License-Identifier: Apache-2.0 */
/* A disk in memory, for tests of its fronts. */
#include "tests/support/fake_disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "tests/support/check.h"

static struct fake_disk *to_fake(struct disk *d)
{
	return container_of(d, struct fake_disk, disk);
}

/* The request's node while it is asked. */
static struct list *node_of(struct disk_req *r)
{
	return (struct list *)r->backend_private;
}

static void carry_out(struct fake_disk *f, struct disk_req *r)
{
	struct iobuf data = r->data;

	switch (r->op) {
	case DISK_READ:
		check(iobuf_put(&data, f->mem + r->offset, r->len));
		break;
	case DISK_WRITE:
		check(iobuf_get(&data, f->mem + r->offset, r->len));
		break;
	case DISK_FLUSH:
		break;
	case DISK_DISCARD:
	case DISK_WRITE_ZEROES:
	case DISK_WRITE_ZEROES_UNMAP:
		memset(f->mem + r->offset, 0, r->len);
		break;
	}
}

static void complete(struct fake_disk *f, struct list *node)
{
	struct disk_req *r = container_of(node, struct disk_req, backend_private);
	int result = f->result[r->op];

	list_remove(node);
	f->num_asked--;
	if (result == 0)
		carry_out(f, r);
	r->done(r, result);
}

void fake_disk_complete(struct fake_disk *f)
{
	check(f->num_asked);
	complete(f, f->asked.next);
}

static void answer(struct loop_work *w)
{
	struct fake_disk *f = container_of(w, struct fake_disk, answer);

	while (!f->hold && f->num_asked)
		complete(f, f->newest_first ? f->asked.prev : f->asked.next);
}

/* What a front must see to before it submits. */
static void check_request(const struct fake_disk *f, const struct disk_req *r)
{
	check((unsigned)r->op < FAKE_DISK_NUM_OPS && r->done);
	if (r->op == DISK_FLUSH)
		return;
	check(r->offset % 512 == 0 && r->len % 512 == 0);
	check(r->len <= f->disk.capacity && r->offset <= f->disk.capacity - r->len);
	check(r->op == DISK_READ || !f->disk.read_only);
	if (r->op == DISK_READ || r->op == DISK_WRITE)
		check(r->data.len == r->len);
}

static void submit(struct disk *d, struct disk_req *r)
{
	struct fake_disk *f = to_fake(d);

	check_request(f, r);
	f->num[r->op]++;
	if (f->num_traced < FAKE_DISK_TRACE_LEN) {
		f->trace[f->num_traced].op = r->op;
		f->trace[f->num_traced].offset = r->offset;
		f->trace[f->num_traced++].len = r->len;
	}
	list_append(&f->asked, node_of(r));
	f->num_asked++;
}

static void commit(struct disk *d)
{
	struct fake_disk *f = to_fake(d);

	loop_defer(f->loop, &f->answer);
}

static void drain(struct disk *d)
{
	struct fake_disk *f = to_fake(d);

	while (f->num_asked)
		fake_disk_complete(f);
}

static int refresh(struct disk *d)
{
	struct fake_disk *f = to_fake(d);

	if (!f->next_capacity)
		return -EINVAL;
	d->capacity = f->next_capacity;
	return 0;
}

static void release(struct disk *d)
{
	struct fake_disk *f = to_fake(d);

	check(f->num_asked == 0);
	loop_undefer(&f->answer);
	free(f->mem);
	free(f);
}

static const struct disk_ops fake_disk_ops = {
	.name = "fake",
	.submit = submit,
	.commit = commit,
	.drain = drain,
	.refresh = refresh,
	.free = release,
};

struct fake_disk *fake_disk_new(struct loop *loop, uint64_t capacity, bool read_only)
{
	struct fake_disk *f = xcalloc(1, sizeof(*f));

	f->disk.ops = &fake_disk_ops;
	f->disk.capacity = capacity;
	f->disk.read_only = read_only;
	f->disk.block_size = 4096;
	f->loop = loop;
	f->mem = xcalloc(1, capacity);
	f->answer.fn = answer;
	list_init(&f->asked);
	return f;
}
