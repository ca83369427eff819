# SPDX-License-Identifier: Apache-2.0
"""Bad input: one clear sentence, status 125, nothing lost."""

import os
import shutil
import struct
import subprocess
import time

from harness import PATIENCE, Skip, case, check, contains, equal, fixture, scratch, tiny_world


def world():
    return tiny_world("badinput")


def scratch_file(name, data):
    path = os.path.join(scratch(), name)
    with open(path, "wb") as f:
        f.write(data)
    return path


def kernel_bytes():
    with open(fixture("KERNEL", "debian-cloud-6.1"), "rb") as f:
        return bytearray(f.read())


@case
def files_that_are_no_kernels(w):
    good = kernel_bytes()
    no64 = bytearray(good)
    struct.pack_into("<H", no64, 0x236, struct.unpack_from("<H", no64, 0x236)[0] & ~1)
    offset = (good[0x1f1] + 1) * 512 + struct.unpack_from("<I", good, 0x248)[0]
    unknown = bytearray(good)
    unknown[offset:offset + 6] = b"NOSUCH"
    damaged = bytearray(good)
    damaged[offset + 100000:offset + 100100] = b"\xaa" * 100
    for name, data, saying in (
            ("text", b"not a kernel\n" * 1000, "neither a bzImage nor an ELF"), ("empty", b"", "empty"),
            ("short", good[:100], "neither a bzImage nor an ELF"), ("truncated", good[:len(good) // 2], "truncated"),
            ("no64", no64, "64"), ("unknown", unknown, "compress"), ("damaged", damaged, "damaged")):
        path = scratch_file("kernel-" + name, bytes(data))
        w.fails("kernel", "add", path, "--name", "bad", saying=[path, saying] if saying in (
            "64", "compress") else path)
        os.unlink(path)
    w.fails("kernel", "add", "/no/such/kernel", saying="/no/such/kernel")
    w.fails("kernel", "add", fixture("KERNEL", "debian-cloud-6.1"), "--modules", "/no/such/modules", "--name", "bad",
            saying="/no/such/modules")
    check("bad" not in w.lvm("kernel", "list").text, "a bad kernel was kept")


@case
def a_kernel_damaged_in_the_store(w):
    x = w.copy("damaged")
    name = os.listdir(os.path.join(x.home, "kernels"))[0]
    path = os.path.join(x.home, "kernels", name, "kernel")
    os.truncate(path, os.path.getsize(path) // 2)
    shutil.rmtree(os.path.join(x.home, "cache"))
    x.fails("start", "tiny", saying="kernel")
    os.truncate(path, 0)
    x.fails("start", "tiny", saying="kernel")
    x.destroy()


@case
def memory_that_does_not_fit(w):
    w.config("tiny", memory="64M", cmdline="")
    initrd = scratch_file("huge.cpio", b"\0" * (80 << 20))
    vmm = os.path.join(os.path.dirname(w.program), "..", "libexec", "lvm", "lvm-vmm")
    r = subprocess.run([vmm, "--memory", "64M", "--kernel", fixture("KERNEL", "debian-cloud-6.1"), "--initrd", initrd],
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE)
    equal(r.returncode, 125, "status: " + r.stdout)
    contains(r.stdout, "memory", "the sentence")
    w.config("tiny", memory="256M")
    os.unlink(initrd)
    r = subprocess.run([vmm, "--memory", "9000T", "--kernel", fixture("KERNEL", "debian-cloud-6.1")],
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE)
    equal(r.returncode, 125, "status: " + r.stdout)
    contains(r.stdout, "memory", "the sentence")


@case
def a_disk_that_is_gone_short_or_something_else(w):
    x = w.copy("disks")
    disk = x.distro_file("tiny", "root.ext4")
    os.rename(disk, disk + ".away")
    x.fails("start", "tiny", saying=["root.ext4", "lvm unregister tiny"])
    scratch_disk = bytearray(1 << 20)
    with open(disk, "wb") as f:
        f.write(scratch_disk)
    x.fails("start", "tiny", saying="ext4")
    with open(disk, "wb") as f:
        f.write(b"x" * 1000)
    x.fails("start", "tiny", saying="root.ext4")
    os.unlink(disk)
    shutil.copyfile(disk + ".away", disk)
    os.truncate(disk, 20 << 20)
    x.fails("start", "tiny", saying="truncated")
    os.unlink(disk)
    os.rename(disk + ".away", disk)
    equal(x.sh("tiny", "echo fine"), "fine", "with its own disk again")
    x.destroy()


@case
def archives_that_are_none(w):
    with open(fixture("ROOTFS", "tiny"), "rb") as f:
        good = f.read()
    before = os.listdir(os.path.join(w.home, "distros"))
    for name, data in (("text", b"no archive\n" * 5000), ("zeros", b"\0" * 100000), ("truncated", good[:len(good) // 2]),
                       ("damaged", good[:200000] + b"\xaa" * 1000 + good[201000:])):
        path = scratch_file("archive-" + name + ".tar.gz", data)
        r = w.fails("install", path, "--name", "bad", "--size", "128M", saying=["bad", path], timeout=1200)
        contains(r.errtext, "archive", "the sentence about " + name)
        os.unlink(path)
    path = scratch_file("empty.tar", b"")
    w.fails("install", path, saying="empty")
    w.fails("install", "/no/such/archive.tar", saying="/no/such/archive.tar")
    w.fails("install", "/etc", saying="directory")
    w.fails("install", "-", saying="--name")
    w.fails("install", fixture("ROOTFS", "tiny"), "--name", "../evil", saying="../evil")
    w.fails("install", fixture("ROOTFS", "tiny"), "--name", "tiny", saying=["tiny", "already"])
    w.fails("install", fixture("ROOTFS", "tiny"), "--size", "1x", saying="--size")
    equal(sorted(os.listdir(os.path.join(w.home, "distros"))), sorted(before), "what is left")


@case
def the_distros_disk_is_full_during_install(w):
    import io
    import tarfile
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as t:
        m = tarfile.TarInfo("big")
        m.size = 60 << 20
        t.addfile(m, io.BytesIO(os.urandom(m.size)))
    w.fails("install", "-", "--name", "full", "--size", "32M", stdin=out.getvalue(),
            saying=["disk is full", "larger --size"], timeout=1200)
    check(w.status("full") is None, "something is left")


@case
def the_hosts_disk_is_full_during_install(w):
    x = w.copy("hostfull")
    script = ("mount -t tmpfs -o size=1500k none %s/distros && exec %s install %s --name big --size 128M"
              % (x.home, x.program, fixture("ROOTFS", "tiny")))
    r = subprocess.run(["unshare", "-Urm", "sh", "-c", script], env=x.env, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, text=True, timeout=1200)
    if "unshare" in r.stderr:
        raise Skip("user namespaces are not allowed here")
    equal(r.returncode, 125, "status: " + r.stderr)
    contains(r.stderr, "full", "the sentence")
    x.destroy()


@case
def without_kvm(w):
    script = "mount -t tmpfs none /dev && touch /dev/null && exec %s start tiny" % w.program
    r = subprocess.run(["unshare", "-Urm", "sh", "-c", script], env=w.env, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
    if "unshare" in r.stderr:
        raise Skip("user namespaces are not allowed here")
    equal(r.returncode, 125, "status: " + r.stderr)
    contains(r.stderr, "/dev/kvm", "the sentence")
    script = "touch %s/nokvm && mount --bind %s/nokvm /dev/kvm && exec %s doctor" % (w.runtime, w.runtime, w.program)
    r = subprocess.run(["unshare", "-Urm", "sh", "-c", script], env=w.env, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
    equal(r.returncode, 1, "status of doctor: " + r.stderr)
    contains(r.stdout, "/dev/kvm", "doctor")


@case
def a_guest_that_panics(w):
    w.config("tiny", cmdline="rdinit=/nothing root=/dev/nothing")
    began = time.monotonic()
    r = w.fails("start", "tiny", saying="tiny")
    contains(r.errtext, "panic", "the end of the log")
    check(time.monotonic() - began < PATIENCE / 2, "it was noticed only by the deadline")
    equal(w.status("tiny")["state"], "stopped", "state")
    w.config("tiny", cmdline="")


@case
def a_guest_that_never_answers(w):
    w.config("tiny", cmdline="rdinit=/nothing root=/dev/nothing panic=0", boot_timeout=15)
    r = w.fails("start", "tiny", saying=["15 seconds", "boot_timeout"])
    contains(r.errtext, "Kernel panic", "the end of the boot log")
    equal(w.status("tiny")["state"], "stopped", "state")
    w.config("tiny", cmdline="", boot_timeout=int(PATIENCE))


@case
def an_init_that_is_missing(w):
    w.config("tiny", systemd="true")
    r = w.lvm("start", "tiny", status=None)
    # busybox brings a /sbin/init of its own: taken away, the sentence must name it.
    if r.status == 0:
        w.config("tiny", systemd="false")
        w.lvm("stop", "tiny")
        w.sh("tiny", "mv /sbin/init /sbin/init.away 2>/dev/null; rm -f /init /etc/init /bin/init; true")
        w.lvm("stop", "tiny")
        w.config("tiny", systemd="true")
    w.fails("start", "tiny", saying="init")
    w.config("tiny", systemd="false")
    equal(w.sh("tiny", "mv /sbin/init.away /sbin/init 2>/dev/null; echo fine"), "fine", "without systemd")
    w.lvm("stop", "tiny")


@case
def a_root_with_nothing_in_it(w):
    import io
    import tarfile
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as t:
        m = tarfile.TarInfo("readme")
        m.size = 2
        t.addfile(m, io.BytesIO(b"x\n"))
    w.lvm("install", "-", "--name", "bare", "--size", "64M", stdin=out.getvalue(), timeout=1200)
    w.config("bare", memory="256M", cpus=1, boot_timeout=int(PATIENCE))
    r = w.lvm("run", "-d", "bare", "true", status=None)
    check(r.status in (125, 126, 127), "status %d" % r.status)
    check(r.errtext.startswith("lvm: "), "no sentence: %r" % r.errtext)
    w.lvm("stop", "bare", "--force")
    w.lvm("unregister", "bare")


@case
def settings_that_are_damaged(w):
    path = w.distro_file("tiny", "settings")
    with open(path) as f:
        before = f.read()
    with open(path, "a") as f:
        f.write("memory is plenty\n")
    w.fails("start", "tiny", saying=["settings", "memory is plenty"])
    with open(path, "w") as f:
        f.write(before)


@case
def no_such_kernel_or_default(w):
    w.fails("config", "tiny", "kernel=none-such", saying="none-such")
    w.fails("kernel", "default", "none-such", saying="none-such")
    w.fails("kernel", "remove", "none-such", saying="none-such")
    w.fails("kernel", "frobnicate", saying="frobnicate")


@case
def parts_of_lvm_that_are_missing(w):
    libexec = os.path.join(os.path.dirname(w.program), "..", "libexec", "lvm")
    os.rename(libexec, libexec + ".away")
    try:
        w.fails("start", "tiny", saying="lvm-guest")
    finally:
        os.rename(libexec + ".away", libexec)
