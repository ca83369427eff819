/* SPDX-License-Identifier: Apache-2.0 */
/* guest/session.c: real commands, run by session processes on a socketpair. */
#include "guest/session.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/endian.h"
#include "base/loop.h"
#include "base/str.h"
#include "tests/support/guest_client.h"

#define TTY_ALL   (PROTO_EXEC_TTY_STDIN | PROTO_EXEC_TTY_STDOUT | PROTO_EXEC_TTY_STDERR)
#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})

static struct guest_world world;
static struct guest_client client;

static int setup(void **state)
{
	struct rlimit none = {0};

	(void)setrlimit(RLIMIT_CORE, &none); /* SIGQUIT would leave one */
	guest_world_make(&world);
	return 0;
}

static int teardown(void **state)
{
	guest_world_remove(&world);
	return 0;
}

static struct guest_client *start(uint32_t flags, const char *const *argv)
{
	guest_client_open(&client, &world, 10000);
	guest_client_exec(&client, flags, argv);
	return &client;
}

static struct guest_client *run(uint32_t flags, const char *const *argv)
{
	struct guest_client *c = start(flags, argv);

	guest_client_end(c, PROTO_STDIN);
	guest_client_finish(c);
	return c;
}

static const char *text(const struct guest_client *c, enum proto_stream stream)
{
	return c->out[stream] ? (const char *)c->out[stream] : "";
}

static void argv_arrives_exactly(void **state)
{
	const char *const argv[] = {"/usr/bin/printf", "%s|",       "a b", "",         "'q\"",
				    "$HOME",           "new\nline", "*",   "\xff\x01", NULL};
	struct guest_client *c = run(0, argv);

	assert_string_equal(text(c, PROTO_STDOUT), "a b||'q\"|$HOME|new\nline|*|\xff\x01|");
	assert_true(c->exited && c->ended[PROTO_STDOUT] && c->ended[PROTO_STDERR]);
	assert_int_equal(c->code, 0);
	guest_client_close(c);
}

static void every_exit_status_is_told(void **state)
{
	for (unsigned i = 0; i < 256; i++) {
		char script[32];
		struct guest_client *c;

		snprintf(script, sizeof(script), "exit %u", i);
		c = run(PROTO_EXEC_SHELL, ARGV(script));
		assert_true(c->exited);
		assert_int_equal(c->kind, 0);
		assert_int_equal(c->code, i);
		guest_client_close(c);
	}
}

/*
 * Until exec has been done, so that a signal meets the command itself and no shell on its way to
 * it.
 */
static struct guest_client *start_sleep(uint32_t flags, const char *seconds)
{
	struct guest_client *c = start(flags, ARGV("sleep", seconds));

	while (!c->command)
		assert_true(guest_client_step(c, 10000));
	return c;
}

static void signals_reach_the_command(void **state)
{
	static const int sigs[] = {SIGINT,  SIGTERM, SIGHUP,  SIGQUIT, SIGUSR1,
				   SIGUSR2, SIGKILL, SIGALRM, 34,      64};

	for (size_t i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++) {
		struct guest_client *c = start_sleep(0, "100");

		guest_client_signal(c, sigs[i]);
		guest_client_finish(c);
		assert_true(c->exited);
		assert_int_equal(c->kind, 1);
		assert_int_equal(c->code, sigs[i]);
		guest_client_close(c);
	}
}

static void a_stopped_command_is_told_and_continues(void **state)
{
	for (int tty = 0; tty < 2; tty++) {
		struct guest_client *c = start_sleep(tty ? TTY_ALL : 0, "0.3");

		guest_client_signal(c, SIGTSTP);
		while (!c->stopped)
			assert_true(guest_client_step(c, 10000));
		assert_int_equal(c->stopped, SIGTSTP);
		guest_client_signal(c, SIGCONT);
		guest_client_finish(c);
		assert_true(c->exited);
		assert_int_equal(c->kind, 0);
		guest_client_close(c);
	}
}

static void keys_of_the_terminal_work(void **state)
{
	struct guest_client *c = start_sleep(TTY_ALL, "100");

	guest_client_write(c, PROTO_TTY, "\x1a", 1); /* Ctrl-Z */
	while (!c->stopped)
		assert_true(guest_client_step(c, 10000));
	guest_client_signal(c, SIGCONT);
	guest_client_write(c, PROTO_TTY, "\x03", 1); /* Ctrl-C */
	guest_client_finish(c);
	assert_int_equal(c->kind, 1);
	assert_int_equal(c->code, SIGINT);
	guest_client_close(c);
}

static void each_stream_is_a_terminal_or_not(void **state)
{
	static const uint32_t flag[] = {PROTO_EXEC_TTY_STDIN, PROTO_EXEC_TTY_STDOUT,
					PROTO_EXEC_TTY_STDERR};

	for (unsigned mask = 0; mask < 8; mask++) {
		char want[4] = "";
		uint32_t flags = 0;
		struct guest_client *c;

		for (unsigned i = 0; i < 3; i++) {
			flags |= mask & 1u << i ? flag[i] : 0;
			want[i] = mask & 1u << i ? 't' : 'p';
		}
		c = run(flags, ARGV("sh", "-c",
				    "r=; for i in 0 1 2; do if [ -t $i ]; then r=${r}t; else "
				    "r=${r}p; fi; done; "
				    "echo $r >&1; if [ $r = ppp ]; then ! : </dev/tty; fi"));
		assert_true(c->exited);
		assert_memory_equal(text(c, mask & 2 ? PROTO_TTY : PROTO_STDOUT), want, 3);
		guest_client_close(c);
	}
}

static void the_window_has_its_size(void **state)
{
	struct proto_winsize ws = {.rows = 31, .cols = 97}, again = {.rows = 12, .cols = 34};
	struct proto_request r;
	uint8_t frame[PROTO_SMALL_FRAME];
	struct guest_client *c = &client;

	guest_client_open(c, &world, 300);
	proto_request_begin(&r);
	for (const char *const *a = ARGV(
		     "sh", "-c",
		     "trap 'stty size; exit 0' WINCH; stty size; while :; do sleep 0.05; done");
	     *a; a++)
		proto_request_add_str(&r, PROTO_F_ARG, *a);
	proto_request_add_u32(&r, PROTO_F_FLAGS, TTY_ALL);
	proto_request_add_winsize(&r, &ws);
	guest_client_request(c, &r, PROTO_EXEC);
	guest_client_expect(c, PROTO_TTY, "31 97");
	guest_client_send(c, frame, proto_put_winsize(frame, &again));
	guest_client_finish(c);
	assert_non_null(strstr(text(c, PROTO_TTY), "12 34"));
	guest_client_close(c);
}

static void much_data_comes_back_whole(void **state)
{
	size_t len = 16u << 20;
	uint8_t *data = malloc(len);
	struct guest_client *c = start(0, ARGV("cat"));

	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 2654435761u >> 13);
	assert_true(guest_client_write(c, PROTO_STDIN, data, len));
	guest_client_end(c, PROTO_STDIN);
	guest_client_finish(c);
	assert_int_equal(c->out_len[PROTO_STDOUT], len);
	assert_memory_equal(c->out[PROTO_STDOUT], data, len);
	guest_client_close(c);
	free(data);
}

/* stdin that nobody reads stops at its window, and everything else goes on. */
static void unread_stdin_holds_up_nothing(void **state)
{
	static uint8_t fill[PROTO_WINDOW];
	struct guest_client *c =
		start(0, ARGV("sh", "-c",
			      "exec 2>&1; seq 1 100000; read -r x < /dev/null; sleep 0.2; exit 9"));
	uint8_t ping[PROTO_SMALL_FRAME];

	guest_client_write(c, PROTO_STDIN, fill, sizeof(fill));
	proto_put_header(ping, PROTO_PING, 0, 3);
	memcpy(ping + PROTO_HEADER_LEN, "abc", 3);
	guest_client_send(c, ping, PROTO_HEADER_LEN + 3);
	guest_client_finish(c);
	assert_int_equal(c->pongs, 1);
	assert_int_equal(c->code, 9);
	assert_int_equal(c->out_len[PROTO_STDOUT], 588895);
	guest_client_close(c);
}

/*
 * A command that closes its stdin: the host's bytes are dropped and credited, so it can go on
 * sending.
 */
static void closed_stdin_swallows(void **state)
{
	size_t len = 4u << 20;
	uint8_t *data = calloc(1, len);
	struct guest_client *c = start(0, ARGV("sh", "-c", "exec <&-; sleep 0.5; exit 4"));

	guest_client_write(c, PROTO_STDIN, data, len);
	guest_client_end(c, PROTO_STDIN);
	guest_client_finish(c);
	assert_int_equal(c->code, 4);
	guest_client_close(c);
	free(data);
}

/* Without credit at most a window of output is sent; all of it comes once there is. */
static void output_waits_for_credit(void **state)
{
	struct guest_client *c = start(0, ARGV("sh", "-c", "head -c 1000000 /dev/zero; exit 6"));
	uint8_t frame[PROTO_SMALL_FRAME];

	c->give_credit = false;
	while (guest_client_step(c, 500))
		;
	assert_false(c->over);
	assert_int_equal(c->out_len[PROTO_STDOUT], PROTO_WINDOW);
	guest_client_send(c, frame, proto_put_u32(frame, PROTO_CREDIT, PROTO_STDOUT, 1000000));
	guest_client_finish(c);
	assert_int_equal(c->out_len[PROTO_STDOUT], 1000000);
	assert_int_equal(c->code, 6);
	guest_client_close(c);
}

/* As `yes | head` ends: the client's own reader has gone. */
static void output_that_nobody_reads_ends_the_command(void **state)
{
	struct guest_client *c = start(0, ARGV("yes"));

	guest_client_expect(c, PROTO_STDOUT, "y\ny\n");
	guest_client_end(c, PROTO_STDOUT);
	guest_client_finish(c);
	assert_true(c->exited);
	assert_int_equal(c->kind, 1);
	assert_int_equal(c->code, SIGPIPE);
	guest_client_close(c);
}

static void a_daemon_does_not_hold_the_session(void **state)
{
	int64_t begin = loop_now_ms();
	struct guest_client *c = run(0, ARGV("sh", "-c", "sleep 30 & echo $!; exit 2"));
	pid_t daemon_pid = (pid_t)atoi(text(c, PROTO_STDOUT));

	assert_int_equal(c->code, 2);
	assert_true(loop_now_ms() - begin < 10000);
	assert_true(daemon_pid > 1);
	/* It lives on: the command chose to leave it. */
	assert_int_equal(kill(daemon_pid, 0), 0);
	(void)kill(daemon_pid, SIGKILL);
	guest_client_close(c);
}

static bool gone_within(pid_t pid, int ms)
{
	for (int64_t until = loop_now_ms() + ms; loop_now_ms() < until; usleep(5000))
		if (kill(pid, 0) < 0 && errno == ESRCH)
			return true;
	return false;
}

static void a_lost_client_takes_its_command_along(void **state)
{
	for (int tty = 0; tty < 2; tty++) {
		struct guest_client *c =
			start(tty ? TTY_ALL : 0, ARGV("sh", "-c",
						      "trap 'echo hup >hup; exit' HUP; echo up; "
						      "while :; do sleep 0.05; done"));
		pid_t command;
		struct stat st;

		guest_client_expect(c, tty ? PROTO_TTY : PROTO_STDOUT, "up");
		command = c->command;
		guest_client_close(c);
		assert_true(gone_within(command, 10000));
		assert_int_equal(chdir(world.home), 0);
		assert_int_equal(stat("hup", &st), 0);
		assert_int_equal(unlink("hup"), 0);
		assert_int_equal(chdir("/"), 0);
	}
}

static void what_ignores_the_hangup_is_killed(void **state)
{
	struct guest_client *c = &client;
	pid_t command;

	guest_client_open(c, &world, 100);
	guest_client_exec(c, 0, ARGV("sh", "-c", "trap '' HUP; echo up; sleep 100"));
	guest_client_expect(c, PROTO_STDOUT, "up");
	command = c->command;
	guest_client_close(c);
	assert_true(gone_within(command, 10000));
}

static void the_environment_is_a_logins(void **state)
{
	struct guest_client *c = &client;
	struct proto_request r;
	char *want = str_fmt("%s me me /bin/sh b=c %s\n", world.home, world.home);

	guest_client_open(c, &world, 300);
	proto_request_begin(&r);
	proto_request_add_str(&r, PROTO_F_USER, "me");
	proto_request_add_str(&r, PROTO_F_ARG, "echo $HOME $USER $LOGNAME $SHELL $A $(pwd)");
	proto_request_add_str(&r, PROTO_F_ENV, "A=b=c");
	proto_request_add_u32(&r, PROTO_F_FLAGS, PROTO_EXEC_SHELL);
	guest_client_request(c, &r, PROTO_EXEC);
	guest_client_finish(c);
	assert_string_equal(text(c, PROTO_STDOUT), want);
	guest_client_close(c);
	free(want);
}

static void no_command_is_a_login_shell(void **state)
{
	struct guest_client *c = start(0, NULL);
	const char script[] = "echo $0; exit 11\n";

	guest_client_write(c, PROTO_STDIN, script, strlen(script));
	guest_client_finish(c);
	assert_string_equal(text(c, PROTO_STDOUT), "-sh\n");
	assert_int_equal(c->code, 11);
	guest_client_close(c);
}

struct refusal {
	enum proto_field tag;
	const char *value;
	const char *arg;
	unsigned fault;
	const char *sentence;
};

static void failures_are_explained(void **state)
{
	static const struct refusal cases[] = {
		{PROTO_F_USER, "nosuch", "true", PROTO_FAULT_USER, "no user 'nosuch'"},
		{PROTO_F_CWD, "/nosuch", "true", PROTO_FAULT_CWD, "/nosuch"},
		{PROTO_F_CWD, "~/nosuch", "true", PROTO_FAULT_CWD, "/home/nosuch"},
		{PROTO_F_CWD, "relative", "true", PROTO_FAULT_CWD, "absolute"},
		{PROTO_F_USER, "me", "no-such-command", PROTO_FAULT_NOT_FOUND, "no such command"},
		{PROTO_F_USER, "me", "/no/such", PROTO_FAULT_NOT_FOUND, "/no/such"},
		{PROTO_F_USER, "me", "/etc", PROTO_FAULT_NOT_EXEC, "/etc"},
		{PROTO_F_USER, "me", "/etc/passwd", PROTO_FAULT_NOT_EXEC, "/etc/passwd"},
		{PROTO_F_ENV, "novalue", "true", PROTO_FAULT_LVM, "NAME=value"},
		{PROTO_F_USER, "me", "", PROTO_FAULT_NOT_FOUND, "no such command"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct guest_client *c = &client;
		struct proto_request r;

		guest_client_open(c, &world, 300);
		proto_request_begin(&r);
		proto_request_add_str(&r, cases[i].tag, cases[i].value);
		proto_request_add_str(&r, PROTO_F_ARG, cases[i].arg);
		guest_client_request(c, &r, PROTO_EXEC);
		guest_client_finish(c);
		assert_true(c->failed);
		assert_int_equal(c->fault, cases[i].fault);
		assert_non_null(strstr(c->sentence, cases[i].sentence));
		guest_client_close(c);
	}
}

static void a_missing_directory_may_be_excused(void **state)
{
	struct guest_client *c = &client;
	struct proto_request r;

	guest_client_open(c, &world, 300);
	proto_request_begin(&r);
	proto_request_add_str(&r, PROTO_F_CWD, "/nosuch");
	proto_request_add_str(&r, PROTO_F_ARG, "pwd");
	proto_request_add_u32(&r, PROTO_F_FLAGS, PROTO_EXEC_CWD_OPTIONAL);
	guest_client_request(c, &r, PROTO_EXEC);
	guest_client_finish(c);
	assert_memory_equal(text(c, PROTO_STDOUT), world.home, strlen(world.home));
	guest_client_close(c);
}

static void broken_protocol_ends_the_command(void **state)
{
	struct guest_client *c = start(0, ARGV("sh", "-c", "echo up; sleep 100"));
	uint8_t frame[PROTO_SMALL_FRAME];
	pid_t command;

	guest_client_expect(c, PROTO_STDOUT, "up");
	command = c->command;
	guest_client_send(c, frame, proto_put_u32(frame, PROTO_SIGNAL, 0, 65));
	guest_client_finish(c);
	assert_true(c->failed);
	assert_int_equal(c->err, EPROTO);
	guest_client_close(c);
	assert_true(gone_within(command, 10000));
}

/* More stdin than there is credit for. */
static void the_window_is_enforced(void **state)
{
	static uint8_t fill[PROTO_WINDOW];
	struct guest_client *c = start(0, ARGV("sleep", "100"));

	c->window[PROTO_STDIN] = 10 * PROTO_WINDOW;
	for (int i = 0; i < 3 && !c->over; i++)
		guest_client_write(c, PROTO_STDIN, fill, sizeof(fill));
	guest_client_finish(c);
	assert_true(c->failed);
	guest_client_close(c);
}

static void versions_are_checked(void **state)
{
	uint8_t hello[PROTO_SMALL_FRAME];
	struct guest_client *c = &client;
	size_t len = proto_put_hello(hello);

	guest_client_open(c, &world, 300);
	put_le16(hello + 12, 0);
	guest_client_send(c, hello, len); /* a second HELLO is no request either */
	guest_client_finish(c);
	assert_true(c->failed);
	guest_client_close(c);
}

static void a_guest_without_its_agent_is_not_shut_down(void **state)
{
	struct guest_client *c = &client;
	uint8_t frame[PROTO_SMALL_FRAME];

	guest_client_open(c, &world, 300);
	guest_client_send(c, frame, proto_put_u32(frame, PROTO_SHUTDOWN, 0, 0));
	guest_client_finish(c);
	assert_true(c->failed);
	guest_client_close(c);
}

static void only_an_installer_installs(void **state)
{
	struct guest_client *c = &client;
	struct proto_request r;

	guest_client_open(c, &world, 300);
	proto_request_begin(&r);
	proto_request_add_u64(&r, PROTO_F_SIZE, 1 << 30);
	guest_client_request(c, &r, PROTO_INSTALL);
	guest_client_finish(c);
	assert_true(c->failed);
	assert_int_equal(c->err, EOPNOTSUPP);
	guest_client_close(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(argv_arrives_exactly),
		cmocka_unit_test(every_exit_status_is_told),
		cmocka_unit_test(signals_reach_the_command),
		cmocka_unit_test(a_stopped_command_is_told_and_continues),
		cmocka_unit_test(keys_of_the_terminal_work),
		cmocka_unit_test(each_stream_is_a_terminal_or_not),
		cmocka_unit_test(the_window_has_its_size),
		cmocka_unit_test(much_data_comes_back_whole),
		cmocka_unit_test(unread_stdin_holds_up_nothing),
		cmocka_unit_test(closed_stdin_swallows),
		cmocka_unit_test(output_waits_for_credit),
		cmocka_unit_test(output_that_nobody_reads_ends_the_command),
		cmocka_unit_test(a_daemon_does_not_hold_the_session),
		cmocka_unit_test(a_lost_client_takes_its_command_along),
		cmocka_unit_test(what_ignores_the_hangup_is_killed),
		cmocka_unit_test(the_environment_is_a_logins),
		cmocka_unit_test(no_command_is_a_login_shell),
		cmocka_unit_test(failures_are_explained),
		cmocka_unit_test(a_missing_directory_may_be_excused),
		cmocka_unit_test(broken_protocol_ends_the_command),
		cmocka_unit_test(the_window_is_enforced),
		cmocka_unit_test(versions_are_checked),
		cmocka_unit_test(a_guest_without_its_agent_is_not_shut_down),
		cmocka_unit_test(only_an_installer_installs),
	};

	return cmocka_run_group_tests_name("session", tests, setup, teardown);
}
