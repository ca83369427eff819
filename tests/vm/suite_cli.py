# SPDX-License-Identifier: Apache-2.0
"""The command's contract: arguments, streams, terminals, signals, exit statuses, many at once."""

import hashlib
import json
import os
import signal
import subprocess
import threading
import time

from harness import PATIENCE, Failure, Terminal, case, check, contains, equal, tiny_world

ARGUMENTS = [
    "", " ", "a b", "  two  spaces  ", "'", '"', "it's", 'say "hi"', "$HOME", "${HOME}", "$(id)", "`id`", "\\", "\\n",
    "a\nb", "\n", "\t", "*", "?", "[a]", "~", "#", "!", "&", ";", "|", ">", "<", "(", ")", "{a,b}", "-", "--", "-e",
    "-d", "--help", "=", "a=b", "%s", "ä€\U0001f600", "x" * 5000,
]


def world():
    w = tiny_world("cli")
    w.lvm("start", "tiny")
    return w


@case
def arguments_arrive_unchanged(w):
    r = w.run("tiny", "/bin/sh", "-c", 'for a; do printf "%s\\0" "$a"; done', "sh", *ARGUMENTS)
    equal(r.out.split(b"\0")[:-1], [a.encode() for a in ARGUMENTS], "argv")


@case
def arguments_without_e_arrive_unchanged_too(w):
    r = w.lvm("run", "-d", "tiny", "--", "printf", "<%s>", "a b", "$HOME", "", "c\nd")
    equal(r.out, b"<a b><$HOME><><c\nd>", "argv")


@case
def bytes_that_are_no_text_arrive_unchanged(w):
    odd = bytes(range(1, 256))
    r = w.lvm("run", "-d", "tiny", "-e", "--", "printf", "%s", os.fsdecode(odd))
    equal(r.out, odd, "argv")


@case
def a_command_alone_is_for_the_shell(w):
    equal(w.lvm("run", "-d", "tiny", "echo $((6*7)) | tr 4 5").text, "52\n", "output")
    equal(w.lvm("run", "-d", "tiny", "-e", "echo $((6*7))", status=127).text, "", "output")
    equal(w.lvm("-d", "tiny", "echo no verb").text, "no verb\n", "output")


@case
def every_exit_status_comes_back(w):
    for first in range(0, 256, 64):
        procs = [(c, w.popen("run", "-d", "tiny", "-e", "--", "/bin/sh", "-c", "exit %d" % c))
                 for c in range(first, first + 64)]
        for code, p in procs:
            _, err = p.communicate(timeout=PATIENCE)
            equal(p.returncode, code, "status (%r)" % err)


@case
def not_found_and_not_executable(w):
    contains(w.run("tiny", "no-such-command", status=127).errtext, "no-such-command", "stderr")
    contains(w.run("tiny", "/etc/passwd", status=126).errtext, "/etc/passwd", "stderr")
    w.lvm("run", "-d", "tiny", "no-such-command", status=127)


@case
def death_by_signal_is_128_and_its_number(w):
    # Not SIGQUIT to itself, which busybox's shell ignores.
    for sig in (1, 2, 6, 9, 10, 11, 12, 13, 14, 15):
        w.run("tiny", "/bin/sh", "-c", "kill -%d $$" % sig, status=128 + sig)


@case
def streams_are_apart(w):
    r = w.run("tiny", "/bin/sh", "-c", "echo out; echo err >&2; cat", stdin=b"in\0\xff")
    equal(r.out, b"out\nin\0\xff", "stdout")
    equal(r.err, b"err\n", "stderr")


@case
def end_of_input_reaches_the_command(w):
    equal(w.run("tiny", "wc", "-c", stdin=b"x" * 12345).text.strip(), "12345", "count")
    equal(w.run("tiny", "wc", "-c").text.strip(), "0", "count of /dev/null")


@case
def a_quarter_gigabyte_through_and_back(w):
    size, block = 256 << 20, os.urandom(1 << 20)
    p = w.popen("run", "-d", "tiny", "-e", "--", "cat", stdin=subprocess.PIPE)
    sent, got = hashlib.sha256(), hashlib.sha256()

    def feed():
        for i in range(size // len(block)):
            b = i.to_bytes(8, "little") + block[8:]
            sent.update(b)
            p.stdin.write(b)
        p.stdin.close()

    t = threading.Thread(target=feed)
    t.start()
    count = 0
    while True:
        b = p.stdout.read(1 << 20)
        if not b:
            break
        count += len(b)
        got.update(b)
    t.join()
    equal(p.wait(PATIENCE), 0, "status")
    equal(count, size, "bytes")
    equal(got.hexdigest(), sent.hexdigest(), "sum")


@case
def input_that_nobody_reads_holds_up_nothing(w):
    p = w.popen("run", "-d", "tiny", "-e", "--", "/bin/sh", "-c", "echo hello; sleep 2; echo bye", stdin=subprocess.PIPE)

    def feed():
        try:
            for _ in range(256):
                p.stdin.write(b"y" * (1 << 20))
        except BrokenPipeError:
            pass
        try:
            p.stdin.close()
        except BrokenPipeError:
            pass

    t = threading.Thread(target=feed)
    t.start()
    out = p.stdout.read()
    equal(p.wait(PATIENCE), 0, "status")
    t.join()
    equal(out, b"hello\nbye\n", "output")


@case
def a_reader_that_leaves_ends_the_writer(w):
    p = w.popen("run", "-d", "tiny", "-e", "--", "yes")
    check(len(p.stdout.read(100000)) == 100000, "no output")
    p.stdout.close()
    equal(p.wait(PATIENCE), 128 + signal.SIGPIPE, "status")


@case
def users_and_their_environment(w):
    out = w.lvm("run", "-d", "tiny", "-u", "user", 'id -un; id -u; id -Gn | tr " " "\\n" | wc -l; echo $HOME $USER $LOGNAME; pwd').text.split()
    equal(out[0], "user", "id -un")
    equal(out[1], "1000", "id -u")
    check(int(out[2]) >= 2, "supplementary groups are missing: %s" % out)
    equal(out[3:6], ["/home/user", "user", "user"], "environment")
    equal(out[6], "/home/user", "cwd")
    equal(w.lvm("run", "-d", "tiny", "id -u").text.strip(), "0", "default user")
    w.config("tiny", user="user")
    w.config("tiny", user="")


@case
def working_directory(w):
    equal(w.lvm("run", "-d", "tiny", "--cd", "/etc", "pwd").text, "/etc\n", "cwd")
    equal(w.lvm("run", "-d", "tiny", "-u", "user", "--cd", "~", "pwd").text, "/home/user\n", "cwd")
    w.fails("run", "-d", "tiny", "--cd", "/nowhere", "pwd", saying="/nowhere")
    w.fails("run", "-d", "tiny", "--cd", "relative", "pwd", saying="--cd")


@case
def passed_environment(w):
    r = w.lvm("run", "-d", "tiny", "echo $A-$B-$C", env={"A": "1 2", "B": "$x", "C": "no", "LVM_PASS_ENV": "A:B:UNSET"})
    equal(r.text, "1 2-$x-\n", "environment")


@case
def unknown_user_and_distro(w):
    w.fails("run", "-d", "tiny", "-u", "nobody-here", "true", saying="nobody-here")
    w.fails("run", "-d", "nowhere", "true", saying=["nowhere", "tiny"])
    w.fails("frobnicate", saying=["frobnicate", "lvm --help"])
    w.fails("start", "a/b", saying="a/b")
    w.fails("start", "..", saying="..")


@case
def each_stream_knows_whether_it_is_a_terminal(w):
    probe = 'for i in 0 1 2; do if [ -t $i ]; then printf "$i:tty "; else printf "$i:no "; fi; done'
    equal(w.run("tiny", "/bin/sh", "-c", probe).text, "0:no 1:no 2:no ", "no terminal")
    r, wr = os.pipe()
    t = Terminal(w, "run", "-d", "tiny", "-e", "--", "/bin/sh", "-c", probe, stdout=wr)
    os.close(wr)
    with os.fdopen(r, "rb") as f:
        equal(f.read(), b"0:tty 1:no 2:tty ", "stdout a pipe")
    equal(t.wait(), 0, "status")
    t.close()
    t = Terminal(w, "run", "-d", "tiny", "-e", "--", "/bin/sh", "-c", probe)
    t.expect("0:tty 1:tty 2:tty ")
    equal(t.wait(), 0, "status")
    check(t.restored(), "the terminal is not as it was")
    t.close()


@case
def window_size_and_its_changes(w):
    t = Terminal(w, "run", "-d", "tiny", "-e", "--", "/bin/sh", "-c",
                 'stty size; trap "stty size; exit 0" WINCH; echo ready; while :; do sleep 1; done', rows=31, cols=97)
    t.expect("31 97")
    t.expect("ready")
    t.resize(40, 120)
    os.kill(t.p.pid, signal.SIGWINCH)
    t.expect("40 120")
    equal(t.wait(), 0, "status")
    t.close()


@case
def a_login_shell_on_a_terminal(w):
    t = Terminal(w, "run", "-d", "tiny", "-u", "user")
    t.type("echo shell is $0, tty is $(tty)\n")
    t.expect("shell is -")
    t.expect("/dev/pts/")
    t.type("sh -c 'echo go\"\"ing; exec sleep 1000'\n")
    t.expect("going")
    t.type("\x03")
    t.type("echo survived $((20+3))\n")
    t.expect("survived 23")
    t.type("exit 9\n")
    equal(t.wait(), 9, "status")
    check(t.restored(), "the terminal is not as it was")
    t.close()


@case
def ctrl_c_ends_the_command(w):
    t = Terminal(w, "run", "-d", "tiny", "-e", "--", "/bin/sh", "-c", "echo go; sleep 1000")
    t.expect("go")
    t.type("\x03")
    equal(t.wait(), 130, "status")
    check(t.restored(), "the terminal is not as it was")
    t.close()


@case
def signals_are_passed_on(w):
    for name in ("INT", "TERM", "HUP", "QUIT", "USR1", "USR2"):
        p = w.popen("run", "-d", "tiny", "-e", "--", "/bin/sh", "-c",
                    'trap "echo got %s; exit 5" %s; echo ready; while :; do sleep 0.2; done' % (name, name))
        equal(p.stdout.readline(), b"ready\n", "start")
        p.send_signal(getattr(signal, "SIG" + name))
        out, _ = p.communicate(timeout=PATIENCE)
        equal(out, b"got %s\n" % name.encode(), "signal")
        equal(p.returncode, 5, "status")
    p = w.popen("run", "-d", "tiny", "-e", "--", "/bin/sh", "-c", "echo ready; sleep 1000")
    equal(p.stdout.readline(), b"ready\n", "start")
    p.send_signal(signal.SIGTERM)
    p.communicate(timeout=PATIENCE)
    equal(p.returncode, 143, "status of one that does not catch it")


def state_of(pid):
    with open("/proc/%d/stat" % pid) as f:
        return f.read().rsplit(")", 1)[1].split()[0]


def wait_state(pid, want):
    deadline = time.monotonic() + PATIENCE
    while state_of(pid) != want:
        check(time.monotonic() < deadline, "process never came to state %s" % want)
        time.sleep(0.05)


@case
def stop_and_continue(w):
    p = w.popen("run", "-d", "tiny", "-e", "--", "/bin/sh", "-c", "echo ready; while :; do echo tick; sleep 0.1; done")
    equal(p.stdout.readline(), b"ready\n", "start")
    p.send_signal(signal.SIGTSTP)
    wait_state(p.pid, "T")
    stopped = w.sh("tiny", "grep -l 'State:.*T' /proc/[0-9]*/status 2>/dev/null | wc -l")
    check(int(stopped) >= 1, "nothing is stopped in the guest")
    p.send_signal(signal.SIGCONT)
    os.set_blocking(p.stdout.fileno(), False)
    try:
        while p.stdout.read(65536):
            pass
    except (BlockingIOError, TypeError):
        pass
    os.set_blocking(p.stdout.fileno(), True)
    equal(p.stdout.readline()[-5:], b"tick\n", "it goes on")
    p.send_signal(signal.SIGINT)
    p.communicate(timeout=PATIENCE)
    equal(p.returncode, 130, "status")


@case
def a_client_that_dies_takes_its_command_with_it(w):
    t = Terminal(w, "run", "-d", "tiny", "-e", "--", "/bin/sh", "-c", "echo ready; exec sleep 98765")
    t.expect("ready")
    t.p.kill()
    t.p.wait()
    deadline = time.monotonic() + PATIENCE
    while w.sh("tiny", "pidof sleep >/dev/null && grep -l 98765 /proc/[0-9]*/cmdline 2>/dev/null | grep -v self | wc -l || echo 0") != "0":
        check(time.monotonic() < deadline, "the command lives on")
        time.sleep(0.2)
    while not t.restored():
        check(time.monotonic() < deadline, "the terminal is not as it was")
        time.sleep(0.05)
    t.close()


@case
def two_hundred_at_once(w):
    procs = [w.popen("run", "-d", "tiny", "-e", "--", "/bin/sh", "-c", "echo %d; cat; exit %d" % (i, i % 100),
                     stdin=subprocess.PIPE) for i in range(200)]
    for i, p in enumerate(procs):
        p.stdin.write(b"input %d\n" % i)
        p.stdin.close()
    for i, p in enumerate(procs):
        out = p.stdout.read()
        err = p.stderr.read()
        equal(p.wait(PATIENCE), i % 100, "status of %d (%r)" % (i, err))
        equal(out, b"%d\ninput %d\n" % (i, i), "output of %d" % i)


@case
def list_in_all_forms(w):
    d = json.loads(w.lvm("list", "--json").text)[0]
    equal((d["name"], d["state"]), ("tiny", "running"), "json")
    equal(w.lvm("list", "-q").text, "tiny\n", "quiet")
    equal(w.lvm("list", "-q", "--running").text, "tiny\n", "running")
    contains(w.lvm("list", "-v").text, "running", "verbose")
    contains(w.lvm("list").text, "tiny", "plain")


@case
def logs_show_the_boot(w):
    contains(w.lvm("logs", "tiny").text, "Linux version", "log")


@case
def config_shows_and_changes(w):
    equal(w.lvm("config", "tiny", "memory").text, "256M\n", "one key")
    w.lvm("config", "tiny", "cmdline=quiet x=y", "cpus=2")
    out = w.lvm("config", "tiny").text
    contains(out, "cmdline=quiet x=y\n", "all keys")
    contains(out, "cpus=2\n", "all keys")
    w.fails("config", "tiny", "cpus=99", saying="cpus")
    w.fails("config", "tiny", "color=blue", saying=["color", "memory"])
    w.lvm("config", "tiny", "cmdline=", "cpus=1")


@case
def a_stopped_distro_is_started_by_run(w):
    w.lvm("stop", "tiny")
    equal(w.status("tiny")["state"], "stopped", "state")
    equal(w.lvm("list", "-q", "--running").text, "", "running")
    equal(w.sh("tiny", "echo up"), "up", "output")
    w.lvm("stop", "tiny")
    w.lvm("stop", "tiny")


@case
def two_starts_at_once_are_one(w):
    procs = [w.popen("start", "tiny") for _ in range(4)] + [
        w.popen("run", "-d", "tiny", "-e", "--", "echo", "ran") for _ in range(4)]
    for p in procs:
        out, err = p.communicate(timeout=PATIENCE)
        equal(p.returncode, 0, "status (%r)" % err)
    equal(w.status("tiny")["state"], "running", "state")
    w.vmm_pid("tiny")


@case
def unregister_refuses_what_runs(w):
    w.fails("unregister", "tiny", saying=["running", "lvm stop tiny"])
