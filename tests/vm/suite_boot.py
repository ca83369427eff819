# SPDX-License-Identifier: Apache-2.0
"""Unmodified kernels boot to a session: Debian's and the tuned one, with few and many CPUs, little and much memory."""

import re

from harness import PATIENCE, Skip, case, check, contains, equal, new_world

KERNELS = ["debian-cloud-6.1", "debian-6.1", "debian-6.12", "tuned", "tuned-vmlinux"]


def world():
    w = new_world("boot")
    w.kernels = set()
    add(w, "debian-cloud-6.1")
    w.lvm("kernel", "default", "debian-cloud-6.1")
    w.install("tiny", "tiny", size="512M", boot_timeout=int(PATIENCE))
    return w


def add(w, kernel):
    if kernel not in w.kernels:
        w.add_kernel(kernel)
        w.kernels.add(kernel)


def boot(w, kernel, cpus, memory):
    add(w, kernel)
    w.config("tiny", kernel=kernel, cpus=cpus, memory="%dM" % memory)
    try:
        w.lvm("start", "tiny")
        out = w.sh("tiny", "uname -r; nproc; grep MemTotal /proc/meminfo; cat /proc/sys/kernel/hostname; "
                           "mount | grep ' / '; cat /sys/devices/system/clocksource/clocksource0/current_clocksource")
        release, n, total, host, root, clock = out.splitlines()
        equal(int(n), cpus, "CPUs")
        have = int(re.search(r"(\d+) kB", total).group(1)) >> 10
        check(memory * 0.6 - 40 < have <= memory, "memory: %d MiB of %d" % (have, memory))
        equal(host, "tiny", "host name")
        contains(root, "ext4 (rw", "root")
        equal(clock, "kvm-clock", "clock source")
        if kernel.startswith("debian"):
            contains(release, kernel.split("-")[-1], "release")
        w.lvm("stop", "tiny")
    except Exception:
        w.stop_all()
        raise


def make(kernel, cpus, memory):
    def fn(w):
        boot(w, kernel, cpus, memory)
    fn.is_case = True
    return fn


for _k in KERNELS:
    for _c in (1, 2, 4):
        globals()["%s_with_%d_cpus" % (_k.replace("-", "_").replace(".", "_"), _c)] = make(_k, _c, 512)
for _k in ("debian-cloud-6.1", "tuned"):
    for _m in (128, 3072, 4096):
        globals()["%s_with_%d_MiB" % (_k.replace("-", "_").replace(".", "_"), _m)] = make(_k, 1, _m)


@case
def reboot_and_poweroff_from_inside_are_told_apart(w):
    w.config("tiny", kernel="debian-cloud-6.1", cpus=1, memory="256M")
    w.lvm("start", "tiny")
    before = w.sh("tiny", "cat /proc/sys/kernel/random/boot_id")
    w.lvm("run", "-d", "tiny", "-e", "--", "poweroff", status=None)
    wait_until(lambda: not w.status("tiny")["state"] == "running", "the guest's poweroff to end the VM")
    wait_until(lambda: w.status("tiny")["state"] == "stopped", "the VM's end")
    after = w.sh("tiny", "cat /proc/sys/kernel/random/boot_id")
    check(before != after, "it was not booted anew")
    w.lvm("stop", "tiny")


def wait_until(what, text):
    import time
    deadline = time.monotonic() + PATIENCE
    while not what():
        check(time.monotonic() < deadline, "waited in vain for " + text)
        time.sleep(0.2)


@case
def timings_are_told(w):
    r = w.lvm("start", "tiny", "--timings")
    contains(r.text, "guest answered", "timings")
    contains(w.lvm("start", "tiny", "--timings").text, "running already", "second start")
    w.lvm("stop", "tiny")


@case
def a_guest_reads_random_numbers_and_has_its_devices(w):
    w.lvm("start", "tiny")
    equal(w.sh("tiny", "head -c 65536 /dev/hwrng | wc -c"), "65536", "bytes of /dev/hwrng")
    contains(w.sh("tiny", "cat /sys/block/vda/serial"), "root", "serial of the disk")
    equal(w.sh("tiny", "cat /sys/block/vda/queue/write_cache"), "write back", "write cache")
    check(int(w.sh("tiny", "cat /sys/block/vda/queue/discard_max_bytes")) > 0, "no discard")
    w.lvm("stop", "tiny")


@case
def discard_gives_space_back(w):
    disk = w.distro_file("tiny", "root.ext4")
    import os
    w.sh("tiny", "head -c 20000000 /dev/urandom >/big && sync")
    full = os.stat(disk).st_blocks
    w.sh("tiny", "rm /big && sync && fstrim / || (mount -o remount,discard /; true)")
    w.lvm("stop", "tiny")
    empty = os.stat(disk).st_blocks
    check(full - empty > 15000000 // 512, "%d blocks before, %d after" % (full, empty))
