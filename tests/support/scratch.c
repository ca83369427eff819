/* SPDX-License-Identifier: Apache-2.0 */
/* A directory for one test's files. */
#include "tests/support/scratch.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "tests/support/check.h"

char *scratch_new(void)
{
	const char *tmp = getenv("TMPDIR");
	char *dir = str_fmt("%s/lvm-test-XXXXXX", tmp ? tmp : "/tmp");

	check(mkdtemp(dir));
	return dir;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)remove(path);
	return 0;
}

void scratch_remove(char *dir)
{
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(dir);
}

char *scratch_write(const char *dir, const char *name, const void *buf, size_t len)
{
	char *path = str_fmt("%s/%s", dir, name);
	int fd;

	for (char *p = path + strlen(dir) + 1; (p = strchr(p, '/')); *p++ = '/') {
		*p = 0;
		(void)mkdir(path, 0755);
	}
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	check(fd >= 0);
	check(fd_write_full(fd, buf, len) == 0);
	close(fd);
	return path;
}
