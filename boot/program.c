/* SPDX-License-Identifier: Apache-2.0 */
/* Puts a program and its shared libraries into an initramfs (System V gABI ch. 5; ld.so(8)). */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "boot/initramfs.h"

#define PHDRS_MAX   64u
#define DYNAMIC_MAX 0x10000u
#define STRTAB_MAX  0x100000u

#if defined(__x86_64__)
#define HOST_MACHINE EM_X86_64
#define MULTIARCH    "x86_64-linux-gnu"
#elif defined(__aarch64__)
#define HOST_MACHINE EM_AARCH64
#define MULTIARCH    "aarch64-linux-gnu"
#else
#error "name this architecture's ELF machine and library directory"
#endif

/* Where ld.so looks when nothing else is said. */
static const char *const default_dirs[] = {
	"/lib/" MULTIARCH, "/usr/lib/" MULTIARCH, "/lib64", "/usr/lib64", "/lib", "/usr/lib",
};

#define NUM_DEFAULT_DIRS (sizeof(default_dirs) / sizeof(default_dirs[0]))

/* An object whose needs are to be looked at: where it is here, and where it will be there. */
struct object {
	const char *host, *guest;
};

/* What an ELF file says of its needs. */
struct needs {
	struct strv libs;
	char *interp;  /* NULL: none */
	char *runpath; /* NULL: none */
};

static void needs_done(struct needs *n)
{
	strv_done(&n->libs);
	free(n->interp);
	free(n->runpath);
}

/* len bytes at off as malloc'ed, NUL-terminated memory; NULL when the file does not have them. */
static char *read_at(int fd, uint64_t off, uint64_t len, uint64_t max)
{
	char *p;

	if (len > max || off > INT64_MAX)
		return NULL;
	p = xcalloc(1, len + 1);
	if (fd_pread_full(fd, p, len, off) == (ssize_t)len)
		return p;
	free(p);
	return NULL;
}

/* The file offset of a virtual address. */
static bool vaddr_off(const Elf64_Phdr *ph, unsigned num, uint64_t vaddr, uint64_t *ret_off)
{
	for (unsigned i = 0; i < num; i++) {
		if (ph[i].p_type != PT_LOAD || vaddr < ph[i].p_vaddr ||
		    vaddr - ph[i].p_vaddr >= ph[i].p_filesz)
			continue;
		return !__builtin_add_overflow(ph[i].p_offset, vaddr - ph[i].p_vaddr, ret_off);
	}
	return false;
}

static bool read_dynamic(int fd, const Elf64_Phdr *ph, unsigned num_ph, const Elf64_Phdr *dynamic,
			 struct needs *n)
{
	cleanup_free char *dyn = read_at(fd, dynamic->p_offset, dynamic->p_filesz, DYNAMIC_MAX);
	cleanup_free char *str = NULL;
	uint64_t strtab = 0, strsz = 0, off;
	size_t num = dynamic->p_filesz / sizeof(Elf64_Dyn);
	const Elf64_Dyn *d = (void *)dyn;

	if (!dyn)
		return false;
	for (size_t i = 0; i < num && d[i].d_tag != DT_NULL; i++) {
		if (d[i].d_tag == DT_STRTAB)
			strtab = d[i].d_un.d_ptr;
		else if (d[i].d_tag == DT_STRSZ)
			strsz = d[i].d_un.d_val;
	}
	if (!vaddr_off(ph, num_ph, strtab, &off))
		return false;
	str = read_at(fd, off, strsz, STRTAB_MAX);
	if (!str)
		return false;
	for (size_t i = 0; i < num && d[i].d_tag != DT_NULL; i++) {
		bool path = d[i].d_tag == DT_RUNPATH || d[i].d_tag == DT_RPATH;

		if (!path && d[i].d_tag != DT_NEEDED)
			continue;
		if (d[i].d_un.d_val >= strsz)
			return false;
		if (!path) {
			strv_add(&n->libs, str + d[i].d_un.d_val);
		} else if (!n->runpath || d[i].d_tag == DT_RUNPATH) { /* which wins over RPATH */
			free(n->runpath);
			n->runpath = str_dup(str + d[i].d_un.d_val);
		}
	}
	return true;
}

static bool is_host_elf(const Elf64_Ehdr *eh)
{
	return memcmp(eh->e_ident, ELFMAG, SELFMAG) == 0 && eh->e_ident[EI_CLASS] == ELFCLASS64 &&
	       eh->e_machine == HOST_MACHINE && eh->e_phentsize == sizeof(Elf64_Phdr) &&
	       eh->e_phnum <= PHDRS_MAX;
}

static int needs_read(const char *path, struct needs *ret_n, struct err *err)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	cleanup_free char *phdrs = NULL;
	struct needs n = {0};
	const Elf64_Phdr *ph;
	bool good = true;
	Elf64_Ehdr eh;

	if (fd < 0)
		return err_set(err, errno, "open '%s'", path);
	if (fd_pread_full(fd, &eh, sizeof(eh), 0) != sizeof(eh) || !is_host_elf(&eh))
		return err_say(err, ENOEXEC,
			       "'%s' is not an ELF program for this machine; install it again",
			       path);
	phdrs = read_at(fd, eh.e_phoff, eh.e_phnum * sizeof(*ph), PHDRS_MAX * sizeof(*ph));
	ph = (void *)phdrs;
	for (unsigned i = 0; ph && good && i < eh.e_phnum; i++) {
		if (ph[i].p_type == PT_INTERP && !n.interp) {
			n.interp = read_at(fd, ph[i].p_offset, ph[i].p_filesz, PATH_MAX);
			good = n.interp != NULL;
		} else if (ph[i].p_type == PT_DYNAMIC) {
			good = read_dynamic(fd, ph, eh.e_phnum, &ph[i], &n);
		}
	}
	if (!ph || !good) {
		needs_done(&n);
		return err_say(err, ENOEXEC, "the ELF file '%s' is damaged; install it again",
			       path);
	}
	*ret_n = n;
	return 0;
}

static bool usable(const char *path)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	Elf64_Ehdr eh;

	return fd >= 0 && fd_pread_full(fd, &eh, sizeof(eh), 0) == sizeof(eh) && is_host_elf(&eh);
}

/* A RUNPATH entry with $ORIGIN put in, joined with name. */
static char *join_origin(const char *entry, size_t len, const char *object, const char *name)
{
	const char *slash = strrchr(object, '/');
	int dir_len = slash ? slash - object : 0;

	if (len >= 7 && strncmp(entry, "$ORIGIN", 7) == 0)
		return str_fmt("%.*s%.*s/%s", dir_len, object, (int)len - 7, entry + 7, name);
	if (len >= 9 && strncmp(entry, "${ORIGIN}", 9) == 0)
		return str_fmt("%.*s%.*s/%s", dir_len, object, (int)len - 9, entry + 9, name);
	return str_fmt("%.*s/%s", (int)len, entry, name);
}

/* Takes "//", "." and ".." out, by the letters alone. path is absolute. */
static void normalize(char *path)
{
	char *out = path, *in = path;

	while (*in) {
		size_t n = strcspn(in + 1, "/");

		if (n == 2 && in[1] == '.' && in[2] == '.') {
			while (out > path && *--out != '/')
				;
		} else if (n > 0 && !(n == 1 && in[1] == '.')) {
			memmove(out, in, n + 1);
			out += n + 1;
		}
		in += n + 1;
	}
	*out = 0;
}

/* Finds a library that obj needs; both paths are the caller's to free. */
static bool find_lib(const struct object *obj, const struct needs *n, const char *name,
		     char **ret_host, char **ret_guest)
{
	for (const char *e = n->runpath; e && *e && !strchr(name, '/');) {
		size_t len = strcspn(e, ":");
		char *host = join_origin(e, len, obj->host, name);

		if (host[0] == '/' && usable(host)) {
			*ret_host = host;
			*ret_guest = join_origin(e, len, obj->guest, name);
			return true;
		}
		free(host);
		e += len + (e[len] == ':');
	}
	for (size_t i = 0; i < NUM_DEFAULT_DIRS; i++) {
		char *host =
			name[0] == '/' ? str_dup(name) : str_fmt("%s/%s", default_dirs[i], name);

		if (usable(host)) {
			*ret_host = host;
			*ret_guest = str_dup(host);
			return true;
		}
		free(host);
	}
	return false;
}

/* Two paths an object: here and there. */
static void queue(struct strv *todo, struct cpio *c, const char *host, char *guest)
{
	normalize(guest);
	if (cpio_has(c, guest + 1))
		return;
	for (size_t i = 1; i < todo->num; i += 2)
		if (strcmp(todo->v[i], guest) == 0)
			return;
	strv_add(todo, host);
	strv_add(todo, guest);
}

static int add_object(struct cpio *c, const struct object *obj, struct strv *todo, struct err *err)
{
	struct needs n;
	int r = needs_read(obj->host, &n, err);

	if (r < 0)
		return r;
	r = cpio_add_file(c, obj->guest + 1, 0755, obj->host, err);
	if (r == 0 && n.interp) {
		cleanup_free char *guest = str_dup(n.interp);

		queue(todo, c, n.interp, guest);
	}
	for (size_t i = 0; r == 0 && i < n.libs.num; i++) {
		cleanup_free char *host = NULL, *guest = NULL;

		/* libc's need of the interpreter, which is there by its full path. */
		if (str_starts(n.libs.v[i], "ld-linux"))
			continue;
		if (find_lib(obj, &n, n.libs.v[i], &host, &guest))
			queue(todo, c, host, guest);
		else
			r = err_say(err, ENOENT,
				    "'%s' needs the library '%s', which is not found; install it",
				    obj->host, n.libs.v[i]);
	}
	needs_done(&n);
	return r;
}

int initramfs_add_program(struct cpio *c, const char *host_path, const char *path, struct err *err)
{
	struct strv todo = {0};
	int r = 0;

	strv_add(&todo, host_path);
	strv_addf(&todo, "/%s", path);
	for (size_t i = 0; r == 0 && i < todo.num; i += 2) {
		/* Copies: the array may move while it grows. */
		cleanup_free char *host = str_dup(todo.v[i]), *guest = str_dup(todo.v[i + 1]);
		struct object obj = {.host = host, .guest = guest};

		r = add_object(c, &obj, &todo, err);
	}
	strv_done(&todo);
	return r < 0 ? err_wrap(err, "cannot put '%s' into the initramfs", host_path) : 0;
}
