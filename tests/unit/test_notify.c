/* SPDX-License-Identifier: Apache-2.0 */
/* guest/notify.c, modules.c and mount.c: the texts they read. */
#include "guest/notify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "guest/modules.h"
#include "guest/mount.h"

static void say(int fd, const char *text)
{
	assert_int_equal(fd_write_full(fd, text, strlen(text)), 0);
}

static void lines_are_understood(void **state)
{
	struct notify n = {0};
	char longest[600];
	int sp[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sp), 0);
	n.fd = sp[0];
	(void)fd_set_nonblock(sp[0], true);
	assert_int_equal(notify_read(&n), NOTIFY_NOTHING);
	say(sp[1], "SHUTDOWN=pow");
	assert_int_equal(notify_read(&n), NOTIFY_NOTHING);
	say(sp[1], "eroff\nSHUTDOWN=reboot\n");
	assert_int_equal(notify_read(&n), NOTIFY_POWEROFF);
	assert_int_equal(notify_read(&n), NOTIFY_REBOOT);
	/* A line that is too long is none, whatever its end looks like. */
	memset(longest, 'x', sizeof(longest));
	assert_int_equal(fd_write_full(sp[1], longest, sizeof(longest)), 0);
	say(sp[1], "SHUTDOWN=reboot\nSHUTDOWN=later\n\nSHUTDOWN=poweroff\n");
	assert_int_equal(notify_read(&n), NOTIFY_POWEROFF);
	close(sp[1]);
	assert_int_equal(notify_read(&n), NOTIFY_EOF);
	notify_close(&n);
}

static void a_line_is_one_line(void **state)
{
	struct notify n = {0};
	char buf[64] = "";
	int sp[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sp), 0);
	n.fd = sp[0];
	notify_send(&n, "ERROR", "two\nlines");
	assert_int_equal(read(sp[1], buf, sizeof(buf) - 1), 16);
	assert_string_equal(buf, "ERROR=two lines\n");
	close(sp[1]);
	notify_finish(&n, 10000);
	notify_close(&n);
	notify_send(&n, "READY", "1"); /* nobody to tell */
}

static void modules_come_in_order(void **state)
{
	const char *pos =
		"# first\nvirtio\n\nvirtio_pci\n../../etc/x\nbad name\n.hidden\nvmw_vsock-1.2";
	char name[64], tiny[8];

	assert_true(modules_next(&pos, name, sizeof(name)));
	assert_string_equal(name, "virtio");
	assert_true(modules_next(&pos, name, sizeof(name)));
	assert_string_equal(name, "virtio_pci");
	assert_true(modules_next(&pos, name, sizeof(name)));
	assert_string_equal(name, "vmw_vsock-1.2");
	assert_false(modules_next(&pos, name, sizeof(name)));
	pos = "much_too_long\nshort\n";
	assert_true(modules_next(&pos, tiny, sizeof(tiny)));
	assert_string_equal(tiny, "short");
}

static void mount_points_are_unescaped(void **state)
{
	char plain[] = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\n";
	char escaped[] = "1 2 3:4 / /a\\040b\\134c\\9 rw\n";
	char cut[] = "1 2 3:4 /", end[] = "1 2 3:4 / /x\\0";

	assert_string_equal(mountinfo_point(plain), "/mnt2");
	assert_string_equal(mountinfo_point(escaped), "/a b\\c\\9");
	assert_null(mountinfo_point(cut));
	assert_string_equal(mountinfo_point(end), "/x\\0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_are_understood),
		cmocka_unit_test(a_line_is_one_line),
		cmocka_unit_test(modules_come_in_order),
		cmocka_unit_test(mount_points_are_unescaped),
	};

	return cmocka_run_group_tests_name("notify", tests, NULL, NULL);
}
