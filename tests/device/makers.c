/* SPDX-License-Identifier: Apache-2.0 */
/* Every virtio device there is: add a row here and the whole conformance matrix runs over it. */
#include "tests/device/makers.h"

#include <fcntl.h>
#include <ftw.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_vsock.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/endian.h"
#include "base/str.h"
#include "tests/support/check.h"

#define DISK_LEN  (1u << 20)
#define HOST_CID  2
#define GUEST_CID 3

static char dir[] = "/tmp/lvm-conformance-XXXXXX";
static int null_fd = -1;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

int makers_setup(void **state)
{
	check(mkdtemp(dir));
	null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	check(null_fd >= 0);
	return 0;
}

int makers_teardown(void **state)
{
	(void)close(null_fd);
	return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static struct virtio_dev *make_rng(const struct virtio_env *env)
{
	struct virtio_dev *d;

	check(rng_new(env, &d, NULL) == 0);
	return d;
}

static void rng_good(struct sample *s)
{
	s->wr_len = s->written = 37;
}

static void rng_busy(struct sample *s)
{
	s->wr_len = 70000;
}

static void rng_unknown(struct sample *s)
{
	s->rd_len = 4;
}

static struct virtio_dev *make_blk(const struct virtio_env *env)
{
	const struct disk_options opt = {.no_uring = true};
	char *path = str_fmt("%s/disk", dir);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct virtio_dev *d;
	struct disk *disk;

	check(fd >= 0 && ftruncate(fd, DISK_LEN) == 0);
	(void)close(fd);
	check(disk_raw_open(env->loop, path, &opt, &disk, NULL) == 0);
	check(blk_new(env, disk, "conformance", &d, NULL) == 0);
	free(path);
	return d;
}

static void blk_header(struct sample *s, uint32_t type)
{
	struct virtio_blk_outhdr *h = (struct virtio_blk_outhdr *)s->rd;

	h->type = htole32(type);
	s->rd_len = sizeof(*h);
}

static void blk_good(struct sample *s)
{
	blk_header(s, VIRTIO_BLK_T_GET_ID);
	s->wr_len = s->written = VIRTIO_BLK_ID_BYTES + 1;
}

static void blk_busy(struct sample *s)
{
	blk_header(s, VIRTIO_BLK_T_IN);
	s->wr_len = 8192 + 1;
}

static void blk_unknown(struct sample *s)
{
	blk_header(s, 0x7777);
	s->wr_len = 513;
}

static struct virtio_dev *make_console(const struct virtio_env *env)
{
	struct virtio_dev *d;

	check(console_new(env, null_fd, &d, NULL) == 0);
	return d;
}

static void console_good(struct sample *s)
{
	s->rd_len = 30;
	memset(s->rd, 'x', s->rd_len);
}

static void console_unknown(struct sample *s)
{
	s->wr_len = 16;
}

static struct virtio_dev *make_vsock(const struct virtio_env *env)
{
	char *path = str_fmt("%s/vsock", dir);
	struct virtio_dev *d;

	check(vsock_new(env, path, GUEST_CID, &d, NULL) == 0);
	free(path);
	return d;
}

static void vsock_packet(struct sample *s, uint16_t op)
{
	struct virtio_vsock_hdr *h = (struct virtio_vsock_hdr *)s->rd;

	h->src_cid = htole64(GUEST_CID);
	h->dst_cid = htole64(HOST_CID);
	h->src_port = htole32(1000);
	h->dst_port = htole32(1001);
	h->type = htole16(VIRTIO_VSOCK_TYPE_STREAM);
	h->op = htole16(op);
	s->rd_len = sizeof(*h);
}

static void vsock_good(struct sample *s)
{
	vsock_packet(s, VIRTIO_VSOCK_OP_RST);
}

static void vsock_unknown(struct sample *s)
{
	vsock_packet(s, 0x7777);
}

const struct maker makers[] = {
	{"rng", 0, make_rng, rng_good, rng_busy, rng_unknown},
	{"blk", 0, make_blk, blk_good, blk_busy, blk_unknown},
	{"console", 1, make_console, console_good, console_good, console_unknown},
	{"vsock", 1, make_vsock, vsock_good, vsock_good, vsock_unknown},
};
const unsigned num_makers = sizeof(makers) / sizeof(makers[0]);
