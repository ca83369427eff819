/* SPDX-License-Identifier: Apache-2.0 */
/* A uevent is only a reason to look again, so lost and forged ones do no harm. */
#include "guest/uevent.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/netlink.h>

int uevent_open(void)
{
	struct sockaddr_nl addr = {.nl_family = AF_NETLINK, .nl_groups = 1};
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
			NETLINK_KOBJECT_UEVENT);

	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	return fd;
}

int uevent_wait(int fd, int timeout_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char drop[512];

	if (poll(&p, 1, timeout_ms) <= 0)
		return 0;
	/* ENOBUFS: some were lost, which is as good a reason to look. */
	while (recv(fd, drop, sizeof(drop), 0) >= 0 || errno == ENOBUFS)
		;
	return 1;
}
