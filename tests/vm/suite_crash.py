# SPDX-License-Identifier: Apache-2.0
"""Nothing is lost: a VMM killed in the middle of writes, orderly stops, and commands that meet each other."""

import os
import random
import select
import shutil
import signal
import subprocess
import threading
import time

from harness import PATIENCE, case, check, contains, equal, fixture, tiny_world

KILLS = 20

# Writes a file, fsyncs it, says so; meanwhile another loop keeps the disk busy with what nobody waits for.
WRITER = r"""
mkdir -p /data
( i=0; while :; do head -c 40000 /dev/urandom >/data/noise.$((i % 7)); rm -f /data/noise.$(((i + 3) % 7)); i=$((i + 1)); sleep 0.05; done ) &
i=0
while :; do
    f=/data/ROUND.$i
    head -c $(( (i * 7919) % 30000 + 1 )) /dev/urandom | dd of=$f conv=fsync 2>/dev/null && echo $f $(sha1sum <$f)
    i=$((i + 1))
done
"""


def world():
    return tiny_world("crash")


def fsck(disk, *options):
    return subprocess.run(["e2fsck", *options, disk], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env=dict(os.environ, PATH="/usr/sbin:/sbin:/usr/bin:/bin"))


def needs_recovery(disk):
    r = subprocess.run(["dumpe2fs", "-h", disk], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                       env=dict(os.environ, PATH="/usr/sbin:/sbin:/usr/bin:/bin"))
    check("Filesystem features" in r.stdout, "dumpe2fs cannot read the disk")
    return "needs_recovery" in r.stdout


def next_line(p):
    check(select.select([p.stdout], [], [], PATIENCE)[0], "the writer says nothing")
    return p.stdout.readline()


def write_until_killed(w, round, lines):
    p = w.popen("run", "-d", "tiny", "-e", "--", "/bin/sh", "-c", WRITER.replace("ROUND", "r%d" % round), bufsize=0)
    promised = [next_line(p) for _ in range(lines)]
    check(all(x.endswith(b"\n") for x in promised), "the writer ended early: %r" % promised)
    os.kill(w.vmm_pid("tiny"), signal.SIGKILL)
    rest = p.stdout.read()
    p.communicate()
    equal(p.returncode, 125, "status of the command whose VM was killed")
    # What arrived whole was promised too.
    return b"".join(promised) + rest[:rest.rfind(b"\n") + 1]


@case
def killed_twenty_times_in_the_middle_of_writes(w):
    disk, rng, promised = w.distro_file("tiny", "root.ext4"), random.Random(1), b""
    replayed = 0
    for i in range(KILLS):
        w.lvm("start", "tiny")
        promised += write_until_killed(w, i, rng.randrange(1, 8))
        copy = disk + ".copy"
        subprocess.run(["cp", "--sparse=always", disk, copy], check=True)
        replayed += needs_recovery(copy)
        check(fsck(copy, "-E", "journal_only", "-y").returncode in (0, 1), "the journal does not replay")
        r = fsck(copy, "-fn")
        os.unlink(copy)
        equal(r.returncode, 0, "e2fsck after kill %d: %s" % (i, r.stdout))
        if i % 5 == 4:
            check_promises(w, promised)
    check(replayed > KILLS / 2, "only %d of %d kills left a journal to replay" % (replayed, KILLS))
    check_promises(w, promised)
    w.lvm("stop", "tiny")
    r = fsck(disk, "-fn")
    equal(r.returncode, 0, "e2fsck at the end: %s" % r.stdout)


def check_promises(w, promised):
    """Every file whose fsync was told is there, with its bytes; the guest's own kernel has replayed the journal."""
    got = w.lvm("run", "-d", "tiny", "-e", "--", "/bin/sh", "-c",
                "while read f sum dash; do echo $f $(sha1sum <$f); done", stdin=promised).out
    equal(got, promised, "fsynced files")


@case
def stop_never_needs_a_replay(w):
    disk = w.distro_file("tiny", "root.ext4")
    for i in range(4):
        p = w.popen("run", "-d", "tiny", "-e", "--", "/bin/sh", "-c", WRITER.replace("ROUND", "s%d" % i), bufsize=0)
        check(next_line(p), "the writer ended early")
        w.lvm("stop", "tiny")
        p.communicate(timeout=PATIENCE)
        check(not needs_recovery(disk), "the journal needs a replay after stop")
        r = fsck(disk, "-fn")
        equal(r.returncode, 0, "e2fsck: %s" % r.stdout)


@case
def sigterm_to_the_vmm_is_an_orderly_end(w):
    w.lvm("start", "tiny")
    os.kill(w.vmm_pid("tiny"), signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while w.status("tiny")["state"] != "stopped":
        check(time.monotonic() < deadline, "the VM did not end")
        time.sleep(0.1)
    check(not needs_recovery(w.distro_file("tiny", "root.ext4")), "the journal needs a replay")


@case
def start_after_a_kill_needs_no_help(w):
    w.lvm("start", "tiny")
    os.kill(w.vmm_pid("tiny"), signal.SIGKILL)
    equal(w.sh("tiny", "echo back"), "back", "output")
    w.lvm("stop", "tiny")


@case
def a_second_vmm_on_the_same_disk_is_refused(w):
    w.lvm("start", "tiny")
    disk = w.distro_file("tiny", "root.ext4")
    vmm = os.path.join(os.path.dirname(w.program), "..", "libexec", "lvm", "lvm-vmm")
    kernel = os.path.join(w.home, "kernels", os.listdir(os.path.join(w.home, "kernels"))[0], "kernel")
    r = subprocess.run([vmm, "--name", "thief", "--memory", "128M", "--kernel", kernel, "--disk", "path=" + disk],
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE)
    equal(r.returncode, 125, "status: %s" % r.stdout)
    contains(r.stdout, "root.ext4", "the sentence")
    contains(r.stdout, "use", "the sentence")
    w.lvm("stop", "tiny")


@case
def install_and_unregister_at_once_do_not_collide(w):
    archive = fixture("ROOTFS", "tiny")
    install = w.popen("install", archive, "--name", "meet", "--size", "256M")
    tries, removed = 0, False
    while install.poll() is None or tries == 0:
        tries += 1
        r = w.lvm("unregister", "meet", status=None)
        removed |= r.status == 0
        time.sleep(0.5)
    out, err = install.communicate()
    equal(install.returncode, 0, "install: %r" % err)
    there = w.status("meet")
    if there and not removed:
        equal(w.sh("meet", "echo good"), "good", "output")
        w.lvm("stop", "meet")
        w.lvm("unregister", "meet")
    check(w.status("meet") is None, "it is still there")
    equal([n for n in os.listdir(os.path.join(w.home, "distros")) if "meet" in n], [], "left over")


@case
def two_installs_of_one_name_are_one(w):
    archive = fixture("ROOTFS", "tiny")
    procs = [w.popen("install", archive, "--name", "twin", "--size", "256M") for _ in range(2)]
    results = [(p.communicate(timeout=1200)[1], p.returncode) for p in procs]
    equal(sorted(r for _, r in results), [0, 125], "statuses (%r)" % results)
    check(any(b"already" in e for e, _ in results), "no sentence: %r" % results)
    w.lvm("unregister", "twin")


@case
def an_interrupted_install_leaves_nothing(w):
    before = sorted(os.listdir(os.path.join(w.home, "distros")))
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        # What SIGKILL leaves of the sockets must not look like this round's.
        shutil.rmtree(os.path.join(w.runtime, "cut"), ignore_errors=True)
        r, wr = os.pipe()
        p = w.popen("install", "-", "--name", "cut", "--size", "256M", stdin=r)
        os.close(r)
        with open(fixture("ROOTFS", "tiny"), "rb") as f:
            os.write(wr, f.read(50000))
        deadline = time.monotonic() + PATIENCE
        while not os.path.exists(os.path.join(w.runtime, "cut", "vsock")):
            check(time.monotonic() < deadline and p.poll() is None, "the installer did not come up")
            time.sleep(0.1)
        p.send_signal(sig)
        out, err = p.communicate(timeout=PATIENCE)
        check(p.returncode == (-9 if sig == signal.SIGKILL else 125), "status %d, %r" % (p.returncode, err))
        os.close(wr)
        while w.lvm("list", "-q").text.split() and sorted(os.listdir(os.path.join(w.home, "distros"))) != before:
            check(time.monotonic() < deadline, "left over: %s" % os.listdir(os.path.join(w.home, "distros")))
            time.sleep(0.2)
