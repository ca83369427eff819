/* SPDX-License-Identifier: Apache-2.0 */
/* Takes a newc archive apart (Linux early-userspace/buffer-format.rst). */
#include "tests/support/cpio_read.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/str.h"
#include "tests/support/check.h"

enum { INO, MODE, UID, GID, NLINK, MTIME, SIZE, MAJ, MIN, RMAJ, RMIN, NAMESIZE, SUM, NUM_FIELDS };

#define HEADER_LEN 110u

/* Eight hex digits, and nothing that strtoul() would forgive. */
static uint32_t field(const uint8_t *head, int n)
{
	char hex[9] = {0};

	memcpy(hex, head + 6 + 8 * n, 8);
	check(strspn(hex, "0123456789abcdef") == 8);
	return strtoul(hex, NULL, 16);
}

/* One entry at *off; false: the trailer. */
static bool read_entry(const uint8_t *buf, size_t len, size_t *off, uint32_t want_ino,
		       struct cpio_entry *e)
{
	const uint8_t *h = buf + *off;
	size_t name_len, end;

	check(*off % 4 == 0 && len - *off >= HEADER_LEN);
	check(memcmp(h, "070701", 6) == 0);
	for (int i = 0; i < NUM_FIELDS; i++)
		(void)field(h, i);
	name_len = field(h, NAMESIZE);
	*e = (struct cpio_entry){.path = (const char *)h + HEADER_LEN,
				 .mode = field(h, MODE),
				 .rmajor = field(h, RMAJ),
				 .rminor = field(h, RMIN),
				 .len = field(h, SIZE)};
	check(name_len >= 2 && strnlen(e->path, name_len) == name_len - 1);
	check(!field(h, UID) && !field(h, GID) && !field(h, MTIME) && !field(h, SUM));
	end = (*off + HEADER_LEN + name_len + 3) & ~(size_t)3;
	e->data = buf + end;
	check(end <= len && e->len <= len - end);
	*off = (end + e->len + 3) & ~(size_t)3;
	if (strcmp(e->path, "TRAILER!!!") == 0)
		return false;
	/* Equal numbers would make hard links. */
	check(field(h, INO) == want_ino);
	check(field(h, NLINK) == (S_ISDIR(e->mode) ? 2 : 1));
	return true;
}

struct cpio_image cpio_image_read(int fd)
{
	struct cpio_image im = {0};
	struct cpio_entry e;
	struct stat st;
	size_t off = 0;

	check(fstat(fd, &st) == 0 && st.st_size % 512 == 0);
	im.buf = xcalloc(1, st.st_size);
	check(fd_pread_full(fd, im.buf, st.st_size, 0) == st.st_size);
	while (read_entry(im.buf, st.st_size, &off, im.num + 1, &e)) {
		im.entry = xrealloc(im.entry, im.num + 1, sizeof(e));
		im.entry[im.num++] = e;
	}
	for (; off < (size_t)st.st_size; off++)
		check(im.buf[off] == 0);
	return im;
}

const struct cpio_entry *cpio_image_find(const struct cpio_image *im, const char *path)
{
	for (unsigned i = 0; i < im->num; i++)
		if (strcmp(im->entry[i].path, path) == 0)
			return &im->entry[i];
	fprintf(stderr, "'%s' is not in the archive\n", path);
	abort();
}

void cpio_image_done(struct cpio_image *im)
{
	free(im->buf);
	free(im->entry);
}
