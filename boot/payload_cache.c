/* SPDX-License-Identifier: Apache-2.0 */
/* The cache of decompressed kernels (Linux x86/boot.rst payload_offset, payload_length). */

/*
 * Two kinds of file lie in the directory.
 *
 *   vmlinux-<SHA-256 of the payload>: the ELF file, then a struct trailer. It appears whole, by
 *      rename.
 *
 *   stamp-<device>-<inode>: one struct stamp. It says "the kernel file that looked like this has
 *      that payload, and the cached file that looked like that has been found good".
 *
 * Start-up with a stamp costs two small reads: nothing is hashed, so a start reads the kernel
 * exactly once, straight into guest memory. Whatever changes a file changes its ctime, and then
 * both hashes are done again. A file changed within the clock's granularity of being stamped
 * would go unseen, so a kernel file that has just been written gets no stamp yet. Nothing here
 * is trusted beyond what the directory's owner could do anyway; the checks are against torn
 * writes, full disks and foreign files, and each ends in making the entry again.
 */
#include "boot/payload_cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/endian.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "boot/decompress.h"

#define PAYLOAD_MAX       (256ull << 20) /* compressed */
#define VMLINUX_MAX       (512ull << 20) /* decompressed: a debug build has 100 MiB */
#define CACHE_MAX_KERNELS 8              /* the oldest go */
#define CACHE_MAX_STAMPS  64
#define STALE_SECONDS     3600 /* a temporary file this old has no writer */

#define TRAILER_MAGIC     "lvmlinux"
#define STAMP_MAGIC       "lvmstamp"

/* Identity of a file's content without reading it. */
struct file_id {
	uint64_t dev, ino, size;
	int64_t mtime_s, mtime_ns, ctime_s, ctime_ns;
};

struct trailer {
	char magic[8];
	uint64_t len;
	uint8_t sha[SHA256_DIGEST_SIZE]; /* of the len bytes before */
};

struct stamp {
	char magic[8];
	struct file_id kernel, cached;
	uint64_t off, len; /* of the payload in the kernel file */
	uint8_t payload_sha[SHA256_DIGEST_SIZE];
	uint8_t sha[SHA256_DIGEST_SIZE]; /* of all of the above */
};

static void sha256(const void *buf, size_t len, uint8_t *digest)
{
	struct sha256_ctx c;

	sha256_init(&c);
	sha256_update(&c, len, buf);
	sha256_digest(&c, SHA256_DIGEST_SIZE, digest);
}

static bool file_id_get(int fd, struct file_id *ret_id)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return false;
	*ret_id = (struct file_id){
		.dev = st.st_dev,
		.ino = st.st_ino,
		.size = st.st_size,
		.mtime_s = st.st_mtim.tv_sec,
		.mtime_ns = st.st_mtim.tv_nsec,
		.ctime_s = st.st_ctim.tv_sec,
		.ctime_ns = st.st_ctim.tv_nsec,
	};
	return true;
}

static char *payload_path(const char *dir, const uint8_t *sha)
{
	char hex[2 * SHA256_DIGEST_SIZE + 1];

	for (int i = 0; i < SHA256_DIGEST_SIZE; i++)
		snprintf(hex + 2 * i, 3, "%02x", sha[i]);
	return str_fmt("%s/vmlinux-%s", dir, hex);
}

static char *stamp_path(const char *dir, const struct file_id *kernel)
{
	return str_fmt("%s/stamp-%llx-%llx", dir, (unsigned long long)kernel->dev,
		       (unsigned long long)kernel->ino);
}

static bool content_matches(int fd, uint64_t len, const uint8_t *sha)
{
	uint8_t got[SHA256_DIGEST_SIZE], buf[32768];
	struct sha256_ctx c;

	sha256_init(&c);
	for (uint64_t off = 0; off < len;) {
		size_t n = len - off < sizeof(buf) ? len - off : sizeof(buf);

		if (fd_pread_full(fd, buf, n, off) != (ssize_t)n)
			return false;
		sha256_update(&c, n, buf);
		off += n;
	}
	sha256_digest(&c, sizeof(got), got);
	return memcmp(got, sha, sizeof(got)) == 0;
}

/* Opens the cached file if it is whole; unless it looks like *known, the content is checked too. */
static int cached_open(const char *path, const struct file_id *known, struct file_id *ret_id,
		       uint64_t *ret_len)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct file_id id;
	struct trailer t;

	if (fd < 0 || !file_id_get(fd, &id) || id.size <= sizeof(t) ||
	    id.size > VMLINUX_MAX + sizeof(t))
		return -1;
	if (fd_pread_full(fd, &t, sizeof(t), id.size - sizeof(t)) != sizeof(t) ||
	    memcmp(t.magic, TRAILER_MAGIC, sizeof(t.magic)) != 0 || t.len != id.size - sizeof(t))
		return -1;
	if (!(known && memcmp(known, &id, sizeof(id)) == 0) && !content_matches(fd, t.len, t.sha))
		return -1;
	*ret_id = id;
	*ret_len = t.len;
	return steal_fd(&fd);
}

static bool stamp_read(const char *dir, const struct payload *p, const struct file_id *kernel,
		       struct stamp *ret_s)
{
	cleanup_free char *path = stamp_path(dir, kernel);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	uint8_t sha[SHA256_DIGEST_SIZE];

	if (fd < 0 || fd_pread_full(fd, ret_s, sizeof(*ret_s), 0) != sizeof(*ret_s))
		return false;
	sha256(ret_s, offsetof(struct stamp, sha), sha);
	return memcmp(ret_s->magic, STAMP_MAGIC, sizeof(ret_s->magic)) == 0 &&
	       memcmp(ret_s->sha, sha, sizeof(sha)) == 0 &&
	       memcmp(&ret_s->kernel, kernel, sizeof(*kernel)) == 0 && ret_s->off == p->off &&
	       ret_s->len == p->len;
}

/*
 * A change after we have looked must give another ctime. The kernel's clock for it ticks every 1
 * to 10 ms; a file system that stores whole seconds only is seen by its zeros.
 */
static bool old_enough(const struct file_id *kernel)
{
	int64_t min_ns = kernel->ctime_ns ? 100000000 : 2000000000;
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (now.tv_sec - kernel->ctime_s) * 1000000000 + now.tv_nsec - kernel->ctime_ns >
	       min_ns;
}

static void stamp_write(const char *dir, const struct payload *p, const struct file_id *kernel,
			const struct file_id *cached, const uint8_t *payload_sha)
{
	struct stamp s = {.magic = STAMP_MAGIC,
			  .kernel = *kernel,
			  .cached = *cached,
			  .off = p->off,
			  .len = p->len};
	cleanup_free char *path = stamp_path(dir, kernel);
	struct err err;

	if (!old_enough(kernel))
		return;
	memcpy(s.payload_sha, payload_sha, sizeof(s.payload_sha));
	sha256(&s, offsetof(struct stamp, sha), s.sha);
	if (file_replace(path, &s, sizeof(s), 0600, &err) < 0)
		log_debug("no kernel cache stamp: %s", err.text);
}

/* Everything that must be on disk before the name is. */
static int fill_tmp(int fd, const void *elf, uint64_t len)
{
	struct trailer t = {.magic = TRAILER_MAGIC, .len = len};
	int r;

	sha256(elf, len, t.sha);
	r = fd_write_full(fd, elf, len);
	if (r == 0)
		r = fd_write_full(fd, &t, sizeof(t));
	if (r == 0 && fdatasync(fd) < 0)
		r = -errno;
	return r;
}

static int cached_write(const char *dir, const char *path, const void *elf, uint64_t len,
			struct file_id *ret_id)
{
	cleanup_free char *tmp = str_fmt("%s/tmp-XXXXXX", dir);
	cleanup_close int fd = mkostemp(tmp, O_CLOEXEC);
	int r;

	if (fd < 0)
		return -errno;
	r = fill_tmp(fd, elf, len);
	if (r == 0 && rename(tmp, path) < 0)
		r = -errno;
	if (r < 0) {
		(void)unlink(tmp);
		return r;
	}
	/* Only now: rename changes the ctime. */
	return file_id_get(fd, ret_id) ? 0 : -EIO;
}

/*
 * Removes temporary files of dead writers, and the oldest file of a kind when there are too many.
 */
static void cache_trim(const char *dir, const char *prefix, unsigned max)
{
	cleanup_closedir DIR *d = opendir(dir);
	char oldest[NAME_MAX + 1] = "";
	time_t oldest_time = 0;
	unsigned num = 0;
	struct dirent *e;

	while (d && (e = readdir(d))) {
		struct stat st;

		if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (str_starts(e->d_name, "tmp-") && st.st_mtime < time(NULL) - STALE_SECONDS)
			(void)unlinkat(dirfd(d), e->d_name, 0);
		if (!str_starts(e->d_name, prefix))
			continue;
		num++;
		if (!oldest[0] || st.st_mtime < oldest_time) {
			snprintf(oldest, sizeof(oldest), "%s", e->d_name);
			oldest_time = st.st_mtime;
		}
	}
	if (num > max)
		(void)unlinkat(dirfd(d), oldest, 0);
}

/*
 * Decompresses into a new memfd, mapped at *ret_map: neither our heap nor a half-written file ever
 * holds it.
 */
static int inflate_payload(const uint8_t *in, size_t in_len, int *ret_fd, void **ret_map,
			   uint64_t *ret_len, struct err *err)
{
	enum compression c = compression_of(in, in_len);
	cleanup_close int fd = -1;
	size_t cap = in_len, len;
	void *map;
	int r;

	if (c != COMPRESSION_NONE) {
		/*
		 * The build appends the length, for gzip it is the format's own
		 * (x86/boot/compressed).
		 */
		cap = get_le32(in + in_len - 4);
		in_len -= c == COMPRESSION_GZIP ? 0 : 4;
	}
	if (cap == 0 || cap > VMLINUX_MAX)
		return err_say(err, ENOEXEC,
			       "its payload (compression: %s) claims to be %zu bytes long "
			       "when decompressed; the file is damaged, get it again",
			       compression_name(c), cap);
	fd = memfd_create("vmlinux", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, cap) < 0)
		return err_set(err, errno, "make room for the decompressed kernel");
	map = mmap(NULL, cap, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return err_set(err, errno, "map %zu bytes for the decompressed kernel", cap);
	r = decompress(c, in, in_len, map, cap, &len, err);
	if (r == 0 && len != cap)
		r = err_say(err, ENOEXEC,
			    "its payload (compression: %s) decompresses to %zu bytes and not the "
			    "%zu it says; the file is damaged, get it again",
			    compression_name(c), len, cap);
	if (r < 0) {
		munmap(map, cap);
		return r;
	}
	*ret_fd = steal_fd(&fd);
	*ret_map = map;
	*ret_len = cap;
	return 0;
}

static int open_by_content(const struct payload *p, const char *dir, const struct file_id *kernel,
			   const uint8_t *in, int *ret_fd, uint64_t *ret_len, struct err *err)
{
	cleanup_free char *path = NULL;
	uint8_t sha[SHA256_DIGEST_SIZE];
	struct file_id cached;
	void *map = NULL;
	int r, fd;

	if (dir) {
		sha256(in, p->len, sha);
		path = payload_path(dir, sha);
		fd = cached_open(path, NULL, &cached, ret_len);
		if (fd >= 0) {
			*ret_fd = fd;
			stamp_write(dir, p, kernel, &cached, sha);
			return 0;
		}
	}
	r = inflate_payload(in, p->len, ret_fd, &map, ret_len, err);
	if (r < 0)
		return r;
	if (dir) {
		r = mkdir(dir, 0700) < 0 && errno != EEXIST ? -errno : 0;
		if (r == 0)
			r = cached_write(dir, path, map, *ret_len, &cached);
		if (r == 0)
			stamp_write(dir, p, kernel, &cached, sha);
		else
			log_warn("the decompressed kernel is not kept in '%s' (%s), so the next "
				 "start decompresses it again",
				 dir, strerror(-r));
		cache_trim(dir, "vmlinux-", CACHE_MAX_KERNELS);
		cache_trim(dir, "stamp-", CACHE_MAX_STAMPS);
	}
	munmap(map, *ret_len);
	return 0;
}

int payload_open(const struct payload *p, const char *cache_dir, int *ret_fd, uint64_t *ret_len,
		 struct err *err)
{
	struct file_id kernel, cached;
	struct stamp s;
	uint8_t *in;
	ssize_t n;
	int r;

	if (p->len < 16 || p->len > PAYLOAD_MAX)
		return err_say(err, ENOEXEC,
			       "its payload has %llu bytes, which no kernel has; the file is "
			       "damaged, get it again",
			       (unsigned long long)p->len);
	if (!file_id_get(p->fd, &kernel))
		return err_say(err, EINVAL, "it is not a regular file; give the kernel's own file");
	if (cache_dir && stamp_read(cache_dir, p, &kernel, &s)) {
		cleanup_free char *path = payload_path(cache_dir, s.payload_sha);
		int fd = cached_open(path, &s.cached, &cached, ret_len);

		if (fd >= 0) {
			*ret_fd = fd;
			return 0;
		}
	}
	in = mmap(NULL, p->len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (in == MAP_FAILED)
		return err_set(err, errno, "make room for the compressed kernel");
	n = fd_pread_full(p->fd, in, p->len, p->off);
	if (n != (ssize_t)p->len)
		r = err_set(err, n < 0 ? -n : EIO, "read the kernel");
	else
		r = open_by_content(p, cache_dir, &kernel, in, ret_fd, ret_len, err);
	munmap(in, p->len);
	return r;
}
