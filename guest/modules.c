/* SPDX-License-Identifier: Apache-2.0 */
/* finit_module(2) over lib/modules/order. */
#include "guest/modules.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/str.h"
#include "guest/etc.h"

#define MAX_ORDER (64 * 1024)
#define MAX_NAME  64

static bool name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '-' || c == '.';
}

bool modules_next(const char **pos, char *name, size_t max)
{
	const char *p = *pos;

	while (*p) {
		size_t len = strcspn(p, "\n"), n = 0;
		const char *line = p;

		p += len + (p[len] ? 1 : 0);
		while (n < len && name_char(line[n]))
			n++;
		if (n == 0 || n < len || n >= max || line[0] == '.')
			continue;
		memcpy(name, line, n);
		name[n] = 0;
		*pos = p;
		return true;
	}
	*pos = p;
	return false;
}

static void load(const char *directory, const char *name)
{
	cleanup_free char *path = str_fmt("%s/%s.ko", directory, name);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		log_warn("cannot open module %s: %s", path, strerror(errno));
		return;
	}
	/* EEXIST: built in or loaded. ENODEV: hardware that this VM does not have. */
	if (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST && errno != ENODEV)
		log_warn("cannot load module %s: %s", name, strerror(errno));
}

void modules_load(const char *directory)
{
	cleanup_free char *order = NULL;
	const char *pos;
	char name[MAX_NAME];
	size_t len;

	if (etc_read(directory, "order", MAX_ORDER, &order, &len) < 0)
		return; /* a kernel with everything built in */
	pos = order;
	while (modules_next(&pos, name, sizeof(name)))
		load(directory, name);
}
