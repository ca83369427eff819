/* SPDX-License-Identifier: Apache-2.0 */
/* libarchive from a stream to the disk: one reader decompresses, a second one reads tar. */
#include "guest/extract.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/str.h"
#include "guest/extract_acl.h"

#define TAR_BLOCK 512

/*
 * A directory that was there before its entry came: libarchive sets its times then, and what is put
 * in it later changes them.
 */
struct dir_times {
	char *path;
	struct timespec times[2]; /* access, modification: as utimensat(2) takes them */
};

struct extract {
	const struct extract_ops *ops;
	void *arg;
	struct archive *raw; /* the compression */
	struct archive *tar;
	struct archive *disk;
	bool raw_open;
	struct acl_list acls; /* with names that only the finished tree can resolve */
	struct dir_times *dirs;
	size_t num_dirs;
	uint64_t entries;
	uint8_t tail[TAR_BLOCK]; /* the tar's last bytes */
	size_t tail_len;
};

/* libarchive has no words for a cut gzip trailer. */
static const char *reason(struct archive *a)
{
	const char *text = archive_error_string(a);

	return text ? text : "it ends early";
}

static la_ssize_t read_input(struct archive *a, void *arg, const void **ret_buf)
{
	struct extract *x = arg;
	ssize_t n = x->ops->read(x->arg, ret_buf);

	if (n < 0) {
		archive_set_error(a, (int)-n, "%s", strerror((int)-n));
		return -1;
	}
	return n;
}

static void keep_tail(struct extract *x, const uint8_t *p, size_t len)
{
	size_t keep;

	if (len >= TAR_BLOCK) {
		memcpy(x->tail, p + len - TAR_BLOCK, TAR_BLOCK);
		x->tail_len = TAR_BLOCK;
		return;
	}
	keep = x->tail_len + len > TAR_BLOCK ? TAR_BLOCK - len : x->tail_len;
	memmove(x->tail, x->tail + x->tail_len - keep, keep);
	memcpy(x->tail + keep, p, len);
	x->tail_len = keep + len;
}

/* Decompressed bytes for the tar reader. */
static la_ssize_t read_raw(struct archive *a, void *arg, const void **ret_buf)
{
	struct extract *x = arg;
	struct archive_entry *entry;
	la_int64_t off;
	size_t len;
	int r;

	if (!x->raw_open) {
		r = archive_read_next_header(x->raw, &entry);
		if (r == ARCHIVE_EOF)
			return 0;
		if (r < ARCHIVE_WARN)
			goto fail;
		x->raw_open = true;
	}
	do { /* no bytes would look like the end to the tar reader */
		r = archive_read_data_block(x->raw, ret_buf, &len, &off);
	} while (r == ARCHIVE_OK && len == 0);
	if (r == ARCHIVE_EOF)
		return 0;
	if (r < ARCHIVE_WARN)
		goto fail;
	keep_tail(x, *ret_buf, len);
	return (la_ssize_t)len;
fail:
	archive_set_error(a, archive_errno(x->raw), "%s", reason(x->raw));
	return -1;
}

static int open_readers(struct extract *x, struct err *err)
{
	x->raw = archive_read_new();
	x->tar = archive_read_new();
	x->disk = archive_write_disk_new();
	if (!x->raw || !x->tar || !x->disk)
		return err_set(err, ENOMEM, "cannot unpack the archive");
	archive_read_support_filter_gzip(x->raw);
	archive_read_support_filter_xz(x->raw);
	archive_read_support_filter_zstd(x->raw);
	archive_read_support_filter_bzip2(x->raw);
	archive_read_support_format_raw(x->raw);
	archive_read_support_format_empty(x->raw);
	archive_read_support_format_tar(x->tar);
	/* Names are bytes; nothing here knows their character set. */
	archive_read_set_options(x->tar, "hdrcharset=BINARY");
	archive_write_disk_set_options(
		x->disk, ARCHIVE_EXTRACT_OWNER | ARCHIVE_EXTRACT_PERM | ARCHIVE_EXTRACT_TIME |
				 ARCHIVE_EXTRACT_ACL | ARCHIVE_EXTRACT_XATTR |
				 ARCHIVE_EXTRACT_FFLAGS | ARCHIVE_EXTRACT_UNLINK);
	if (archive_read_open(x->raw, x, NULL, read_input, NULL) < ARCHIVE_WARN)
		return err_say(err, ENODATA, "the archive is truncated or damaged: %s",
			       reason(x->raw));
	return 0;
}

/*
 * libarchive cannot convert a name to the (absent) locale, but has kept its bytes: that is what we
 * want.
 */
static bool only_charset(struct archive *a)
{
	const char *text = archive_error_string(a);

	return text && strstr(text, "can't be converted");
}

static void warn(struct extract *x, const char *path, struct archive *a)
{
	struct err e;

	err_say(&e, EIO, "%.512s: %s", path ? path : "archive", reason(a));
	x->ops->warn(x->arg, e.text);
}

/* A failure of the reading side. */
static int bad_archive(struct extract *x, struct err *err)
{
	int code = archive_errno(x->tar);

	if (code == ECONNABORTED)
		return err_say(err, code, "the archive ended early: the lvm command has gone");
	if (x->entries == 0)
		return err_say(err, ENODATA,
			       "this is not a root file system archive: it must be a tar file, "
			       "plain or compressed by "
			       "gzip, xz, zstd or bzip2 (%s)",
			       reason(x->tar));
	return err_say(err, ENODATA, "the archive is truncated or damaged after %llu entries: %s",
		       (unsigned long long)x->entries, reason(x->tar));
}

/* A failure of the writing side. */
static int bad_disk(struct extract *x, const char *path, struct err *err)
{
	int code = archive_errno(x->disk);

	if (code == ENOSPC)
		return err_say(err, ENOSPC,
			       "the distro's disk is full after %llu entries; install it with a "
			       "larger --size",
			       (unsigned long long)x->entries);
	return err_say(err, code > 0 ? code : EIO, "cannot unpack '%.512s' from the archive: %s",
		       path, reason(x->disk));
}

static int copy_data(struct extract *x, const char *path, struct err *err)
{
	const void *buf;
	la_int64_t off;
	size_t len;
	int r;

	while ((r = archive_read_data_block(x->tar, &buf, &len, &off)) == ARCHIVE_OK ||
	       r == ARCHIVE_WARN) {
		/* A failed write(2) is but a warning to libarchive. */
		if (archive_write_data_block(x->disk, buf, len, off) != ARCHIVE_OK)
			return bad_disk(x, path, err);
		x->ops->progress(x->arg, x->entries);
	}
	return r == ARCHIVE_EOF ? 0 : bad_archive(x, err);
}

static void note_dir_times(struct extract *x, struct archive_entry *e, const char *path)
{
	struct stat st;
	struct dir_times *d;

	if (archive_entry_filetype(e) != AE_IFDIR || !archive_entry_mtime_is_set(e) ||
	    stat(path, &st) < 0)
		return;
	if ((x->num_dirs & (x->num_dirs + 1)) == 0) /* 0, 1, 3, 7, …: room for twice as many */
		x->dirs = xrealloc(x->dirs, x->num_dirs * 2 + 1, sizeof(*x->dirs));
	d = &x->dirs[x->num_dirs++];
	*d = (struct dir_times){.path = str_dup(path), .times = {{.tv_nsec = UTIME_OMIT}}};
	d->times[1].tv_sec = archive_entry_mtime(e);
	d->times[1].tv_nsec = archive_entry_mtime_nsec(e);
	if (archive_entry_atime_is_set(e)) {
		d->times[0].tv_sec = archive_entry_atime(e);
		d->times[0].tv_nsec = archive_entry_atime_nsec(e);
	}
}

static void set_dir_times(struct extract *x)
{
	for (size_t i = 0; i < x->num_dirs; i++) {
		(void)utimensat(AT_FDCWD, x->dirs[i].path, x->dirs[i].times, 0);
		free(x->dirs[i].path);
	}
	free(x->dirs);
}

/* What a step on the disk returned: warnings are passed on, unless it is the disk that fails. */
static int check_disk(struct extract *x, int r, const char *path, struct err *err)
{
	int code = archive_errno(x->disk);

	if (r == ARCHIVE_OK)
		return 0;
	if (r < ARCHIVE_WARN || code == ENOSPC || code == EIO || code == EROFS)
		return bad_disk(x, path, err);
	warn(x, path, x->disk);
	return 0;
}

static int extract_entry(struct extract *x, struct archive_entry *e, struct err *err)
{
	const char *path = archive_entry_pathname(e);
	int r;

	if (!path || !path[0])
		return err_say(err, ENODATA, "the archive is damaged: entry %llu has no name",
			       (unsigned long long)x->entries + 1);
	acl_list_take(&x->acls, e);
	note_dir_times(x, e, path);
	r = check_disk(x, archive_write_header(x->disk, e), path, err);
	if (r == 0 && archive_entry_size(e) > 0 && !archive_entry_hardlink(e))
		r = copy_data(x, path, err);
	if (r == 0)
		r = check_disk(x, archive_write_finish_entry(x->disk), path, err);
	if (r < 0)
		return r;
	x->entries++;
	x->ops->progress(x->arg, x->entries);
	return 0;
}

static int extract_entries(struct extract *x, struct err *err)
{
	struct archive_entry *e;
	int r;

	if (archive_read_open(x->tar, x, NULL, read_raw, NULL) < ARCHIVE_WARN)
		return bad_archive(x, err);
	while ((r = archive_read_next_header(x->tar, &e)) != ARCHIVE_EOF) {
		if (r < ARCHIVE_WARN)
			return bad_archive(x, err);
		if (r == ARCHIVE_WARN && !only_charset(x->tar))
			warn(x, archive_entry_pathname(e), x->tar);
		r = extract_entry(x, e, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* What follows the tar's end mark: its padding, and the compression's check sum. */
static int read_to_end(struct extract *x, struct err *err)
{
	const void *buf;
	la_ssize_t n;
	size_t zeros = 0;

	while ((n = read_raw(x->tar, x, &buf)) > 0)
		;
	if (n < 0)
		return bad_archive(x, err);
	if (x->entries == 0)
		return err_say(err, ENODATA, "the archive is empty");
	while (zeros < x->tail_len && x->tail[zeros] == 0)
		zeros++;
	/*
	 * tar ends with two blocks of zeros (POSIX pax, "ustar Interchange Format"); one is enough
	 * to tell.
	 */
	if (x->tail_len < TAR_BLOCK || zeros < TAR_BLOCK)
		return err_say(err, ENODATA,
			       "the archive is truncated: it stops after %llu entries without "
			       "tar's end mark",
			       (unsigned long long)x->entries);
	return 0;
}

int extract_tree(const struct extract_ops *ops, void *arg, struct err *err)
{
	struct extract x = {.ops = ops, .arg = arg};
	int r;

	(void)umask(0);
	r = open_readers(&x, err);
	if (r == 0)
		r = extract_entries(&x, err);
	if (r == 0)
		r = read_to_end(&x, err);
	/* Directories get their times and modes here. */
	if (r == 0)
		r = check_disk(&x, archive_write_close(x.disk), "the directories", err);
	if (r == 0)
		acl_list_apply(&x.acls, ops, arg);
	set_dir_times(&x);
	acl_list_done(&x.acls);
	archive_read_free(x.tar);
	archive_read_free(x.raw);
	archive_write_free(x.disk);
	return r;
}
