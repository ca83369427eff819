/* SPDX-License-Identifier: Apache-2.0 */
/* The block device behind its transport, as a guest sees it (virtio 1.2 §5.2). */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/str.h"
#include "tests/support/fake_disk.h"
#include "tests/support/fake_driver.h"

#define SECTORS  2048ull
#define CAPACITY (SECTORS * 512)
#define SERIAL   "disk-0123456789-long-serial"

#define F(bit)   (1ull << VIRTIO_BLK_F_##bit)
#define ALL      UINT64_MAX

struct fixture {
	struct fake_machine m;
	struct fake_driver drv;
	struct fake_disk *disk;
};

static void begin(struct fixture *f, bool read_only, uint64_t features)
{
	struct virtio_dev *dev;

	memset(f, 0, sizeof(*f));
	fake_machine_init(&f->m);
	f->disk = fake_disk_new(f->m.loop, CAPACITY, read_only);
	assert_int_equal(blk_new(&f->m.env, &f->disk->disk, SERIAL, &dev, NULL), 0);
	fake_driver_init(&f->drv, &f->m, dev);
	fake_driver_start(&f->drv, features);
}

static void end(struct fixture *f)
{
	fake_driver_done(&f->drv);
	fake_machine_done(&f->m);
}

static int setup(void **state)
{
	static struct fixture f;

	begin(&f, false, ALL);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	end(*state);
	return 0;
}

static struct virtio_blk_outhdr header(uint32_t type, uint64_t sector)
{
	return (struct virtio_blk_outhdr){.type = htole32(type), .sector = htole64(sector)};
}

/*
 * One request as drivers usually frame it. wr has wr_len bytes for data and one more for the
 * status, which is returned; *ret_written is used.len.
 */
static int request(struct fixture *f, uint32_t type, uint64_t sector, const void *rd,
		   uint32_t rd_len, void *wr, uint32_t wr_len, uint32_t *ret_written)
{
	struct virtio_blk_outhdr hdr = header(type, sector);
	uint8_t *out = xcalloc(1, sizeof(hdr) + rd_len), *in = xcalloc(1, wr_len + 1);
	int status;

	memcpy(out, &hdr, sizeof(hdr));
	if (rd_len)
		memcpy(out + sizeof(hdr), rd, rd_len);
	in[wr_len] = 0xee;
	assert_int_equal(fake_driver_request(&f->drv, 0, out, sizeof(hdr) + rd_len, in, wr_len + 1,
					     ret_written),
			 0);
	if (wr_len)
		memcpy(wr, in, wr_len);
	status = in[wr_len];
	free(out);
	free(in);
	return status;
}

static int do_read(struct fixture *f, uint64_t sector, void *buf, uint32_t len)
{
	uint32_t written;
	int status = request(f, VIRTIO_BLK_T_IN, sector, NULL, 0, buf, len, &written);

	assert_int_equal(written, status == VIRTIO_BLK_S_OK ? len + 1 : len == 0);
	return status;
}

static int do_write(struct fixture *f, uint64_t sector, const void *buf, uint32_t len)
{
	uint32_t written;
	int status = request(f, VIRTIO_BLK_T_OUT, sector, buf, len, NULL, 0, &written);

	assert_int_equal(written, 1);
	return status;
}

static void fill(uint8_t *p, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(seed + i * 7 + i / 251);
}

/* ---- configuration */

static void test_config(void **state)
{
	struct fixture *f = *state;
	uint64_t offered = fake_driver_offered(&f->drv);
	const uint64_t expected = F(SIZE_MAX) | F(SEG_MAX) | F(BLK_SIZE) | F(FLUSH) | F(TOPOLOGY) |
				  F(CONFIG_WCE) | F(DISCARD) | F(WRITE_ZEROES);

	assert_int_equal(offered & 0xffffff, expected);
	assert_int_equal(fake_config_read(&f->drv, 0, 4), SECTORS);
	assert_int_equal(fake_config_read(&f->drv, offsetof(struct virtio_blk_config, seg_max), 4),
			 254);
	assert_int_equal(fake_config_read(&f->drv, offsetof(struct virtio_blk_config, blk_size), 4),
			 512);
	assert_int_equal(fake_config_read(&f->drv,
					  offsetof(struct virtio_blk_config, physical_block_exp),
					  1),
			 3);
	assert_int_equal(fake_config_read(&f->drv, offsetof(struct virtio_blk_config, wce), 1), 1);
	assert_true(fake_config_read(&f->drv, offsetof(struct virtio_blk_config, max_discard_seg),
				     4) >= 1);
	/* A queue holds the largest request it is promised. */
	assert_int_equal(f->drv.queue[0].size, 256);
}

static void test_config_of_a_read_only_disk(void **state)
{
	static struct fixture f;
	uint64_t offered;

	begin(&f, true, ALL);
	offered = fake_driver_offered(&f.drv);
	assert_true(offered & F(RO));
	assert_false(offered & (F(DISCARD) | F(WRITE_ZEROES)));
	assert_int_equal(
		fake_config_read(&f.drv, offsetof(struct virtio_blk_config, max_discard_seg), 4),
		0);
	end(&f);
}

static void test_driver_writes_only_the_cache_mode(void **state)
{
	struct fixture *f = *state;
	const unsigned wce = offsetof(struct virtio_blk_config, wce);

	fake_config_write(&f->drv, 0, 0xffffffff, 4);
	fake_config_write(&f->drv, offsetof(struct virtio_blk_config, seg_max), 1, 4);
	assert_int_equal(fake_config_read(&f->drv, 0, 4), SECTORS);
	assert_int_equal(fake_config_read(&f->drv, offsetof(struct virtio_blk_config, seg_max), 4),
			 254);
	fake_config_write(&f->drv, wce, 0, 1);
	assert_int_equal(fake_config_read(&f->drv, wce, 1), 0);
	fake_config_write(&f->drv, wce, 0xff, 1);
	assert_int_equal(fake_config_read(&f->drv, wce, 1), 1);
	/* As part of a wider write too. */
	fake_config_write(&f->drv, wce, 0, 2);
	assert_int_equal(fake_config_read(&f->drv, wce, 2), 0);
}

static void test_capacity_change(void **state)
{
	struct fixture *f = *state;
	uint8_t gen = fake_common_read(&f->drv, VIRTIO_PCI_COMMON_CFGGENERATION, 1);
	uint8_t data[512] = {0};

	f->disk->next_capacity = 0;
	assert_true(blk_refresh(f->drv.dev) < 0);
	f->disk->next_capacity = CAPACITY;
	assert_int_equal(blk_refresh(f->drv.dev), 0);
	assert_int_equal(fake_config_interrupts(&f->drv), 0);
	f->disk->next_capacity = CAPACITY / 2;
	assert_int_equal(blk_refresh(f->drv.dev), 0);
	assert_int_equal(fake_config_interrupts(&f->drv), 1);
	assert_int_equal(fake_config_read(&f->drv, 0, 4), SECTORS / 2);
	assert_true(gen != fake_common_read(&f->drv, VIRTIO_PCI_COMMON_CFGGENERATION, 1));
	assert_int_equal(do_read(f, SECTORS / 2, data, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(do_read(f, SECTORS / 2 - 1, data, 512), VIRTIO_BLK_S_OK);
}

/* ---- reading and writing */

static void test_round_trip(void **state)
{
	struct fixture *f = *state;
	static uint8_t data[65536], back[65536];

	fill(data, sizeof(data), 1);
	assert_int_equal(do_write(f, 5, data, sizeof(data)), VIRTIO_BLK_S_OK);
	assert_memory_equal(f->disk->mem + 5 * 512, data, sizeof(data));
	assert_int_equal(do_read(f, 5, back, sizeof(back)), VIRTIO_BLK_S_OK);
	assert_memory_equal(back, data, sizeof(back));
	assert_int_equal(do_write(f, SECTORS - 1, data, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(do_read(f, SECTORS - 1, back, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(do_read(f, SECTORS, back, 0), VIRTIO_BLK_S_OK);
}

/* Cuts a readable and a writable area into pieces of the given size, whatever is in them. */
static unsigned cut(struct fake_seg *seg, gpa_t rd, uint32_t rd_len, gpa_t wr, uint32_t wr_len,
		    uint32_t piece)
{
	unsigned n = 0;

	for (uint32_t at = 0; at < rd_len; at += piece)
		seg[n++] = (struct fake_seg){rd + at, rd_len - at < piece ? rd_len - at : piece,
					     false};
	for (uint32_t at = 0; at < wr_len; at += piece)
		seg[n++] =
			(struct fake_seg){wr + at, wr_len - at < piece ? wr_len - at : piece, true};
	return n;
}

static void test_any_framing(void **state)
{
	struct fixture *f = *state;
	struct fake_queue *q = &f->drv.queue[0];
	struct fake_seg seg[256];

	for (uint32_t piece = 3; piece <= 700; piece = piece * 5 / 4 + 1) {
		for (int in = 0; in < 2; in++) {
			struct virtio_blk_outhdr hdr =
				header(in ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT, 9);
			uint32_t rd_len = sizeof(hdr) + (in ? 0 : 512), wr_len = in ? 513 : 1,
				 written;
			gpa_t mark = f->m.next;
			gpa_t rd = fake_alloc(&f->m, rd_len, 1), wr = fake_alloc(&f->m, wr_len, 1);
			uint8_t *out = fake_ptr(&f->m, rd, rd_len),
				*back = fake_ptr(&f->m, wr, wr_len);
			unsigned n = cut(seg, rd, rd_len, wr, wr_len, piece);

			memcpy(out, &hdr, sizeof(hdr));
			if (!in)
				fill(out + sizeof(hdr), 512, piece);
			memset(back, 0xee, wr_len);
			if (piece % 2)
				(void)fake_queue_add(q, seg, n);
			else
				(void)fake_queue_add_indirect(q, seg, n);
			fake_queue_ring(q);
			assert_true(fake_queue_wait(q, 2000));
			assert_true(fake_queue_take_used(q, NULL, &written));
			assert_int_equal(written, wr_len);
			assert_int_equal(back[wr_len - 1], VIRTIO_BLK_S_OK);
			if (in)
				assert_memory_equal(back, f->disk->mem + 9 * 512, 512);
			else
				assert_memory_equal(out + sizeof(hdr), f->disk->mem + 9 * 512, 512);
			f->m.next = mark;
		}
	}
}

static void test_largest_request(void **state)
{
	struct fixture *f = *state;
	struct fake_queue *q = &f->drv.queue[0];
	struct virtio_blk_outhdr hdr = header(VIRTIO_BLK_T_IN, 0);
	gpa_t head = fake_alloc(&f->m, sizeof(hdr), 16), data = fake_alloc(&f->m, 254 * 4096, 4096);
	gpa_t status = fake_alloc(&f->m, 1, 1);
	struct fake_seg seg[256] = {{head, sizeof(hdr), false}};
	uint32_t written;

	fill(f->disk->mem, CAPACITY, 77);
	memcpy(fake_ptr(&f->m, head, sizeof(hdr)), &hdr, sizeof(hdr));
	/* Backwards, so that no two are neighbours. */
	for (unsigned i = 0; i < 254; i++)
		seg[1 + i] = (struct fake_seg){data + (253 - i) * 4096, 4096, true};
	seg[255] = (struct fake_seg){status, 1, true};
	(void)fake_queue_add(q, seg, 256);
	(void)fake_queue_kick(q);
	assert_true(fake_queue_wait(q, 2000));
	assert_true(fake_queue_take_used(q, NULL, &written));
	assert_int_equal(written, 254 * 4096 + 1);
	for (unsigned i = 0; i < 254; i++)
		assert_memory_equal(fake_ptr(&f->m, data + (253 - i) * 4096, 4096),
				    f->disk->mem + i * 4096, 4096);
}

static void test_outside_the_disk(void **state)
{
	static const struct {
		uint64_t sector;
		uint32_t len;
	} bad[] = {
		{SECTORS, 512},
		{SECTORS - 1, 1024},
		{UINT64_MAX, 512},
		{UINT64_MAX / 512 + 1, 512}, /* times 512 is 0 */
		{UINT64_MAX / 512, 1024},
		{0, 511},
		{0, 513},
		{1ull << 63, 512},
	};
	struct fixture *f = *state;
	uint8_t data[1024];

	memset(data, 0x55, sizeof(data));
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(do_read(f, bad[i].sector, data, bad[i].len), VIRTIO_BLK_S_IOERR);
		assert_int_equal(do_write(f, bad[i].sector, data, bad[i].len), VIRTIO_BLK_S_IOERR);
	}
	assert_int_equal(f->disk->num_traced, 0);
	assert_false(fake_driver_needs_reset(&f->drv));
}

static void test_host_errors(void **state)
{
	static const int code[] = {-EIO, -ENOSPC, -ENODATA, -ECANCELED};
	struct fixture *f = *state;
	uint8_t data[512] = {0};

	for (unsigned i = 0; i < sizeof(code) / sizeof(code[0]); i++) {
		f->disk->result[DISK_READ] = f->disk->result[DISK_WRITE] = code[i];
		assert_int_equal(do_read(f, 0, data, 512), VIRTIO_BLK_S_IOERR);
		assert_int_equal(do_write(f, 0, data, 512), VIRTIO_BLK_S_IOERR);
	}
	f->disk->result[DISK_FLUSH] = -EIO;
	assert_int_equal(request(f, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, NULL, 0, NULL),
			 VIRTIO_BLK_S_IOERR);
}

static void test_read_only(void **state)
{
	static struct fixture f;
	uint8_t data[512];
	struct virtio_blk_discard_write_zeroes range = {.num_sectors = htole32(8)};

	/* The second driver ignores that the disk is read-only. */
	for (int acks = 1; acks >= 0; acks--) {
		begin(&f, true, acks ? ALL : ~F(RO));
		memset(f.disk->mem, 3, CAPACITY);
		memset(data, 0x55, sizeof(data));
		assert_int_equal(do_write(&f, 0, data, 512), VIRTIO_BLK_S_IOERR);
		assert_int_not_equal(
			request(&f, VIRTIO_BLK_T_DISCARD, 0, &range, sizeof(range), NULL, 0, NULL),
			VIRTIO_BLK_S_OK);
		assert_int_not_equal(request(&f, VIRTIO_BLK_T_WRITE_ZEROES, 0, &range,
					     sizeof(range), NULL, 0, NULL),
				     VIRTIO_BLK_S_OK);
		assert_int_equal(f.disk->num_traced, 0);
		assert_int_equal(do_read(&f, 0, data, 512), VIRTIO_BLK_S_OK);
		assert_int_equal(data[511], 3);
		end(&f);
	}
}

/* ---- other requests */

static void test_get_id(void **state)
{
	struct fixture *f = *state;
	char id[32];
	uint32_t written;

	memset(id, 0x55, sizeof(id));
	assert_int_equal(request(f, VIRTIO_BLK_T_GET_ID, 0, NULL, 0, id, 20, &written),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(written, 21);
	assert_memory_equal(id, SERIAL, 20);
	assert_int_equal(request(f, VIRTIO_BLK_T_GET_ID, 0, NULL, 0, id, 7, &written),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(written, 8);
	/* More room than there is: the status is behind a gap, so used.len ends before it. */
	assert_int_equal(request(f, VIRTIO_BLK_T_GET_ID, 0, NULL, 0, id, 32, &written),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(written, 20);
	assert_int_equal(request(f, VIRTIO_BLK_T_GET_ID, 0, NULL, 0, NULL, 0, &written),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(written, 1);
}

static void test_unknown_type(void **state)
{
	static const uint32_t type[] = {2, 3, 5, 7, 9, 10, 12, 14, 15, 16, 0x80000000, UINT32_MAX};
	struct fixture *f = *state;
	uint8_t data[64];
	uint32_t written;

	for (unsigned i = 0; i < sizeof(type) / sizeof(type[0]); i++) {
		assert_int_equal(request(f, type[i], 0, "x", 1, NULL, 0, &written),
				 VIRTIO_BLK_S_UNSUPP);
		assert_int_equal(written, 1);
		assert_int_equal(request(f, type[i], 0, NULL, 0, data, sizeof(data), &written),
				 VIRTIO_BLK_S_UNSUPP);
		assert_int_equal(written, 0);
	}
	assert_int_equal(f->disk->num_traced, 0);
}

static void test_short_header_and_no_status(void **state)
{
	struct fixture *f = *state;
	struct virtio_blk_outhdr hdr = header(VIRTIO_BLK_T_FLUSH, 0);
	uint8_t status;
	uint32_t written;

	for (uint32_t len = 0; len < sizeof(hdr); len++) {
		status = 0xee;
		assert_int_equal(fake_driver_request(&f->drv, 0, &hdr, len, &status, 1, &written),
				 0);
		assert_int_equal(status, VIRTIO_BLK_S_IOERR);
		assert_int_equal(written, 1);
	}
	assert_int_equal(fake_driver_request(&f->drv, 0, &hdr, sizeof(hdr), NULL, 0, &written), 0);
	assert_int_equal(written, 0);
	assert_int_equal(f->disk->num_traced, 0);
}

/* ---- discard and write zeroes */

static struct virtio_blk_discard_write_zeroes range(uint64_t sector, uint32_t num, uint32_t flags)
{
	return (struct virtio_blk_discard_write_zeroes){
		.sector = htole64(sector), .num_sectors = htole32(num), .flags = htole32(flags)};
}

static int do_ranges(struct fixture *f, uint32_t type, const void *ranges, uint32_t len)
{
	uint32_t written;
	int status = request(f, type, 0, ranges, len, NULL, 0, &written);

	assert_int_equal(written, 1);
	return status;
}

static void test_ranges(void **state)
{
	struct fixture *f = *state;
	struct virtio_blk_discard_write_zeroes r[3] = {range(0, 8, 0), range(16, 1, 0),
						       range(SECTORS - 8, 8, 0)};

	memset(f->disk->mem, 1, CAPACITY);
	assert_int_equal(do_ranges(f, VIRTIO_BLK_T_DISCARD, r, sizeof(r)), VIRTIO_BLK_S_OK);
	assert_int_equal(f->disk->num[DISK_DISCARD], 3);
	assert_int_equal(f->disk->mem[8 * 512 - 1], 0);
	assert_int_equal(f->disk->mem[8 * 512], 1);
	assert_int_equal(f->disk->mem[16 * 512], 0);
	assert_int_equal(f->disk->mem[17 * 512], 1);
	assert_int_equal(f->disk->mem[CAPACITY - 1], 0);

	r[1] = range(100, 8, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);
	assert_int_equal(do_ranges(f, VIRTIO_BLK_T_WRITE_ZEROES, r, 2 * sizeof(r[0])),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(f->disk->num[DISK_WRITE_ZEROES], 1);
	assert_int_equal(f->disk->num[DISK_WRITE_ZEROES_UNMAP], 1);
	assert_int_equal(f->disk->mem[100 * 512], 0);
	f->disk->result[DISK_WRITE_ZEROES] = -ENOSPC;
	assert_int_equal(do_ranges(f, VIRTIO_BLK_T_WRITE_ZEROES, r, 2 * sizeof(r[0])),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(f->disk->num[DISK_WRITE_ZEROES_UNMAP], 1);
}

/* What is wrong with any range leaves all of them undone. */
static void test_bad_ranges(void **state)
{
	struct fixture *f = *state;
	struct virtio_blk_discard_write_zeroes r[17],
		bad[] = {
			range(SECTORS, 1, 0),        range(SECTORS - 1, 2, 0),
			range(UINT64_MAX, 1, 0),     range(0, UINT32_MAX, 0),
			range(0, (1u << 21) + 1, 0),
		};

	for (unsigned i = 0; i < 17; i++)
		r[i] = range(i, 1, 0);
	for (unsigned t = 0; t < 2; t++) {
		uint32_t type = t ? VIRTIO_BLK_T_WRITE_ZEROES : VIRTIO_BLK_T_DISCARD;

		assert_int_equal(do_ranges(f, type, NULL, 0), VIRTIO_BLK_S_IOERR);
		assert_int_equal(do_ranges(f, type, r, 15), VIRTIO_BLK_S_IOERR);
		assert_int_equal(do_ranges(f, type, r, 17), VIRTIO_BLK_S_IOERR);
		assert_int_equal(do_ranges(f, type, r, 17 * sizeof(r[0])), VIRTIO_BLK_S_IOERR);
		for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
			r[1] = bad[i];
			assert_int_equal(do_ranges(f, type, r, 2 * sizeof(r[0])),
					 VIRTIO_BLK_S_IOERR);
		}
		r[1] = range(1, 1, 2);
		assert_int_equal(do_ranges(f, type, r, 2 * sizeof(r[0])), VIRTIO_BLK_S_UNSUPP);
	}
	r[1] = range(1, 1, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);
	assert_int_equal(do_ranges(f, VIRTIO_BLK_T_DISCARD, r, 2 * sizeof(r[0])),
			 VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(f->disk->num_traced, 0);
}

static void test_ranges_that_were_not_negotiated(void **state)
{
	static struct fixture f;
	struct virtio_blk_discard_write_zeroes r = range(0, 8, 0);

	begin(&f, false, ~(F(DISCARD) | F(WRITE_ZEROES)));
	assert_int_equal(do_ranges(&f, VIRTIO_BLK_T_DISCARD, &r, sizeof(r)), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(do_ranges(&f, VIRTIO_BLK_T_WRITE_ZEROES, &r, sizeof(r)),
			 VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(f.disk->num_traced, 0);
	end(&f);
}

/* ---- stable writes, §5.2.6.2 */

/* Submits a one-sector write without waiting; the status byte's address is returned. */
static uint8_t *begin_write(struct fixture *f, uint64_t sector)
{
	struct virtio_blk_outhdr hdr = header(VIRTIO_BLK_T_OUT, sector);
	gpa_t rd = fake_alloc(&f->m, sizeof(hdr) + 512, 16), wr = fake_alloc(&f->m, 1, 1);
	struct fake_seg seg[] = {{rd, sizeof(hdr) + 512, false}, {wr, 1, true}};

	memcpy(fake_ptr(&f->m, rd, sizeof(hdr)), &hdr, sizeof(hdr));
	memset(fake_ptr(&f->m, rd + sizeof(hdr), 512), (int)sector, 512);
	*(uint8_t *)fake_ptr(&f->m, wr, 1) = 0xee;
	(void)fake_queue_add(&f->drv.queue[0], seg, 2);
	fake_queue_ring(&f->drv.queue[0]);
	fake_run_idle(&f->m);
	return fake_ptr(&f->m, wr, 1);
}

static void complete_one(struct fixture *f)
{
	loop_enter(f->m.loop);
	fake_disk_complete(f->disk);
	loop_leave(f->m.loop);
	fake_run_idle(&f->m);
}

static void check_write_through(struct fixture *f)
{
	struct fake_queue *q = &f->drv.queue[0];
	uint8_t *status;

	f->disk->hold = true;
	f->disk->num_traced = 0;
	status = begin_write(f, 3);
	assert_int_equal(f->disk->num_traced, 1);
	complete_one(f);
	/* Written, but not stable yet: the driver must not hear of it. */
	assert_false(fake_queue_take_used(q, NULL, NULL));
	assert_int_equal(*status, 0xee);
	assert_int_equal(f->disk->num_traced, 2);
	assert_int_equal(f->disk->trace[1].op, DISK_FLUSH);
	complete_one(f);
	assert_true(fake_queue_take_used(q, NULL, NULL));
	assert_int_equal(*status, VIRTIO_BLK_S_OK);

	/* A flush that fails is a write that failed. */
	f->disk->result[DISK_FLUSH] = -EIO;
	status = begin_write(f, 4);
	complete_one(f);
	complete_one(f);
	assert_true(fake_queue_take_used(q, NULL, NULL));
	assert_int_equal(*status, VIRTIO_BLK_S_IOERR);
	f->disk->result[DISK_FLUSH] = 0;
	f->disk->hold = false;
}

static void test_write_back(void **state)
{
	struct fixture *f = *state;
	uint8_t *status;

	f->disk->hold = true;
	status = begin_write(f, 3);
	complete_one(f);
	assert_true(fake_queue_take_used(&f->drv.queue[0], NULL, NULL));
	assert_int_equal(*status, VIRTIO_BLK_S_OK);
	assert_int_equal(f->disk->num[DISK_FLUSH], 0);
}

static void test_write_through_by_config(void **state)
{
	struct fixture *f = *state;
	const unsigned wce = offsetof(struct virtio_blk_config, wce);
	struct virtio_blk_discard_write_zeroes r[2] = {range(0, 8, 0), range(16, 8, 0)};

	fake_config_write(&f->drv, wce, 0, 1);
	fake_run_idle(&f->m);
	/* For the writes that completed before. */
	assert_int_equal(f->disk->num[DISK_FLUSH], 1);
	check_write_through(f);
	assert_int_equal(do_ranges(f, VIRTIO_BLK_T_WRITE_ZEROES, r, sizeof(r)), VIRTIO_BLK_S_OK);
	assert_int_equal(f->disk->trace[f->disk->num_traced - 2].op, DISK_WRITE_ZEROES);
	assert_int_equal(f->disk->trace[f->disk->num_traced - 1].op, DISK_FLUSH);
	/* And back. */
	fake_config_write(&f->drv, wce, 1, 1);
	f->disk->num[DISK_FLUSH] = 0;
	assert_int_equal(do_write(f, 0, f->disk->mem, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(f->disk->num[DISK_FLUSH], 0);
	/* Reset forgets the driver's choice. */
	fake_config_write(&f->drv, wce, 0, 1);
	fake_driver_start(&f->drv, ALL);
	assert_int_equal(fake_config_read(&f->drv, wce, 1), 1);
}

static void test_write_through_without_flush(void **state)
{
	static const uint64_t features[] = {~F(FLUSH), ~(F(FLUSH) | F(CONFIG_WCE))};
	static struct fixture f;

	for (unsigned i = 0; i < 2; i++) {
		begin(&f, false, features[i]);
		assert_int_equal(
			fake_config_read(&f.drv, offsetof(struct virtio_blk_config, wce), 1), 0);
		fake_config_write(&f.drv, offsetof(struct virtio_blk_config, wce), 1, 1);
		check_write_through(&f);
		end(&f);
	}
}

static void test_cache_mode_that_was_not_negotiated(void **state)
{
	static struct fixture f;

	begin(&f, false, ~F(CONFIG_WCE));
	fake_config_write(&f.drv, offsetof(struct virtio_blk_config, wce), 0, 1);
	assert_int_equal(do_write(&f, 0, f.disk->mem, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(f.disk->num[DISK_FLUSH], 0);
	assert_int_equal(request(&f, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, NULL, 0, NULL),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(f.disk->num[DISK_FLUSH], 1);
	end(&f);
}

/* ---- many at once, and the end of them */

static void test_full_queue_in_any_order(void **state)
{
	struct fixture *f = *state;
	struct fake_queue *q = &f->drv.queue[0];
	unsigned done = 0;

	f->disk->newest_first = true;
	for (unsigned i = 0; i < q->size / 2; i++) {
		struct virtio_blk_outhdr hdr = header(VIRTIO_BLK_T_OUT, i);
		gpa_t rd = fake_alloc(&f->m, sizeof(hdr) + 512, 16), wr = fake_alloc(&f->m, 1, 1);
		struct fake_seg seg[] = {{rd, sizeof(hdr) + 512, false}, {wr, 1, true}};

		memcpy(fake_ptr(&f->m, rd, sizeof(hdr)), &hdr, sizeof(hdr));
		memset(fake_ptr(&f->m, rd + sizeof(hdr), 512), (int)i, 512);
		(void)fake_queue_add(q, seg, 2);
	}
	(void)fake_queue_kick(q);
	while (done < q->size / 2) {
		assert_true(fake_queue_wait(q, 2000));
		while (fake_queue_take_used(q, NULL, NULL))
			done++;
	}
	for (unsigned i = 0; i < q->size / 2; i++)
		assert_int_equal(f->disk->mem[i * 512 + 511], (uint8_t)i);
	assert_int_equal(fake_queue_interrupts(q), 1);
}

static void test_reset_with_requests_in_flight(void **state)
{
	struct fixture *f = *state;
	const unsigned wce = offsetof(struct virtio_blk_config, wce);
	uint8_t *status[4], data[512];

	for (unsigned i = 0; i < 4; i++) {
		/* One that would be followed by a flush, and a request of several steps. */
		if (i == 2)
			fake_config_write(&f->drv, wce, 0, 1);
		f->disk->hold = true;
		status[i] = begin_write(f, i);
	}
	assert_int_equal(f->disk->num_asked, 5);
	fake_driver_reset(&f->drv);
	assert_int_equal(f->disk->num_asked, 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(*status[i], 0xee);
	assert_int_equal(le16toh(f->drv.queue[0].used->idx), 0);
	f->disk->hold = false;
	fake_driver_start(&f->drv, ALL);
	assert_int_equal(do_write(f, 1, f->disk->mem, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(do_read(f, 1, data, 512), VIRTIO_BLK_S_OK);
}

static void test_device_freed_with_requests_in_flight(void **state)
{
	static struct fixture f;

	begin(&f, false, ALL);
	f.disk->hold = true;
	(void)begin_write(&f, 1);
	(void)begin_write(&f, 2);
	end(&f);
}

/* ---- on a real file */

static void check_on_a_file(bool no_uring)
{
	static struct fixture f;
	static uint8_t data[128 * 1024], back[sizeof(data)];
	struct disk_options opt = {.no_uring = no_uring};
	struct virtio_dev *dev;
	struct disk *disk;
	char *path = str_fmt("%s/lvm-test-blk.XXXXXX", getenv("TMPDIR") ?: "/tmp");
	int fd = mkstemp(path);

	assert_true(fd >= 0 && ftruncate(fd, CAPACITY) == 0);
	memset(&f, 0, sizeof(f));
	fake_machine_init(&f.m);
	assert_int_equal(disk_raw_open(f.m.loop, path, &opt, &disk, NULL), 0);
	assert_int_equal(blk_new(&f.m.env, disk, NULL, &dev, NULL), 0);
	fake_driver_init(&f.drv, &f.m, dev);
	fake_driver_start(&f.drv, ALL);
	for (unsigned i = 0; i < 4; i++) {
		fill(data, sizeof(data), i);
		assert_int_equal(do_write(&f, i * 256, data, sizeof(data)), VIRTIO_BLK_S_OK);
	}
	assert_int_equal(request(&f, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, NULL, 0, NULL),
			 VIRTIO_BLK_S_OK);
	for (unsigned i = 0; i < 4; i++) {
		fill(data, sizeof(data), i);
		assert_int_equal(do_read(&f, i * 256, back, sizeof(back)), VIRTIO_BLK_S_OK);
		assert_memory_equal(data, back, sizeof(back));
		assert_int_equal(pread(fd, back, sizeof(back), i * 256 * 512), sizeof(back));
		assert_memory_equal(data, back, sizeof(back));
	}
	/* A queue full of writes, and the driver goes away. */
	for (unsigned i = 0; i < 128; i++)
		(void)begin_write(&f, i);
	fake_driver_reset(&f.drv);
	fake_driver_start(&f.drv, ALL);
	assert_int_equal(do_read(&f, 0, back, 512), VIRTIO_BLK_S_OK);
	fake_driver_done(&f.drv);
	fake_machine_done(&f.m);
	(void)close(fd);
	(void)unlink(path);
	free(path);
}

static void test_on_a_file_by_uring(void **state)
{
	check_on_a_file(false);
}

static void test_on_a_file_by_threads(void **state)
{
	check_on_a_file(true);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_config),
		cmocka_unit_test(test_config_of_a_read_only_disk),
		TEST(test_driver_writes_only_the_cache_mode),
		TEST(test_capacity_change),
		TEST(test_round_trip),
		TEST(test_any_framing),
		TEST(test_largest_request),
		TEST(test_outside_the_disk),
		TEST(test_host_errors),
		cmocka_unit_test(test_read_only),
		TEST(test_get_id),
		TEST(test_unknown_type),
		TEST(test_short_header_and_no_status),
		TEST(test_ranges),
		TEST(test_bad_ranges),
		cmocka_unit_test(test_ranges_that_were_not_negotiated),
		TEST(test_write_back),
		TEST(test_write_through_by_config),
		cmocka_unit_test(test_write_through_without_flush),
		cmocka_unit_test(test_cache_mode_that_was_not_negotiated),
		TEST(test_full_queue_in_any_order),
		TEST(test_reset_with_requests_in_flight),
		cmocka_unit_test(test_device_freed_with_requests_in_flight),
		cmocka_unit_test(test_on_a_file_by_uring),
		cmocka_unit_test(test_on_a_file_by_threads),
	};

	/* The log of what a bad driver did is not for this test's reader. */
	log_init("test", LOG_LEVEL_ERROR, STDERR_FILENO);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
