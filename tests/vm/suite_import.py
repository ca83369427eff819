# SPDX-License-Identifier: Apache-2.0
"""Import keeps everything: an archive with every type of file and attribute, compared inside and on the disk itself."""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import subprocess
import tarfile

from harness import case, check, contains, equal, fixture, new_world, scratch

# Linux VFS_CAP_REVISION_2, effective, CAP_NET_BIND_SERVICE (10) and CAP_NET_RAW (13) permitted.
CAPABILITY = bytes.fromhex("01000002" "00240000" "00000000" "00000000" "00000000")
ACL_TEXT = "user::rw-,user:1234:r--,group::r--,mask::r--,other::---"
HOLE = 3 << 20


def base_entries():
    """The members of the tiny root: what makes the result a distro that boots."""
    with tarfile.open(fixture("ROOTFS", "tiny")) as t:
        for m in t.getmembers():
            yield m, t.extractfile(m).read() if m.isreg() else None


def member(name, type=tarfile.REGTYPE, mode=0o644, uid=0, gid=0, mtime=1234567890, link="", dev=None, pax=None, size=0):
    m = tarfile.TarInfo(name)
    m.type, m.mode, m.uid, m.gid, m.mtime, m.linkname, m.size = type, mode, uid, gid, mtime, link, size
    if dev:
        m.devmajor, m.devminor = dev
    m.pax_headers = pax or {}
    return m


LONG = "n" * 255
DEEP = "/".join(["d" * 60] * 6)
NON_UTF8 = os.fsdecode(b"latin-\xe4\xff-name")


def tree():
    """(TarInfo, bytes) of the tree /t."""
    text = b"some text\n"
    big = os.urandom(300000)
    yield member("t", tarfile.DIRTYPE, 0o755), None
    yield member("t/file", size=len(text)), text
    yield member("t/big", mode=0o600, uid=1000, gid=1000, size=len(big)), big
    yield member("t/empty", mode=0o000), b""
    yield member("t/setuid", mode=0o4755, uid=1000, gid=50, size=4), b"suid"
    yield member("t/setgid", mode=0o2711, size=4), b"sgid"
    yield member("t/sticky", tarfile.DIRTYPE, 0o1777), None
    yield member("t/setgid-dir", tarfile.DIRTYPE, 0o2775, gid=100), None
    yield member("t/large-ids", uid=3000000000, gid=4000000000, size=1), b"x"
    yield member("t/symlink", tarfile.SYMTYPE, 0o777, uid=7, link="file"), None
    yield member("t/dangling", tarfile.SYMTYPE, 0o777, link="/no/where/\n" + "x" * 500), None
    yield member("t/hard", tarfile.LNKTYPE, link="t/file"), None
    yield member("t/hard-symlink", tarfile.LNKTYPE, link="t/symlink"), None
    yield member("t/fifo", tarfile.FIFOTYPE, 0o640), None
    yield member("t/char", tarfile.CHRTYPE, 0o666, dev=(1, 7)), None
    yield member("t/block", tarfile.BLKTYPE, 0o660, dev=(259, 300)), None
    yield member("t/old", mtime=1, size=1), b"x"
    yield member("t/nanoseconds", pax={"mtime": "1500000000.123456789"}, size=1), b"x"
    yield member("t/future", pax={"mtime": "5000000000"}, mtime=5000000000, size=1), b"x"
    yield member("t/capable", mode=0o755, size=2,
                 pax={"SCHILY.xattr.security.capability": CAPABILITY.decode("utf-8", "surrogateescape")}), b"hi"
    yield member("t/xattrs", size=1, pax={"SCHILY.xattr.user.note": "a note", "SCHILY.xattr.user.empty": "",
                                          "SCHILY.xattr.trusted.t": "root's"}), b"x"
    yield member("t/acl", mode=0o640, size=1, pax={"SCHILY.acl.access": ACL_TEXT}), b"x"
    yield member("t/acl-dir", tarfile.DIRTYPE, 0o750,
                 pax={"SCHILY.acl.default": "user::rwx,user:1234:r-x,group::r-x,mask::r-x,other::---"}), None
    for odd in (LONG, NON_UTF8, "new\nline", " space ", "-dash", "quote'\"", "back\\slash", "*?[", "\u00e4\u20ac", "tab\t"):
        yield member("t/" + odd, size=3), b"odd"
    yield member("t/" + DEEP, tarfile.DIRTYPE, 0o755), None
    yield member("t/" + DEEP + "/leaf", size=4), b"leaf"
    # A hole between two blocks, in pax format 1.0: the map is the first block of the data.
    real = b"A" * 4096 + b"\0" * HOLE + b"B" * 4096
    sparse = ("2\n0\n4096\n%d\n4096\n" % (4096 + HOLE)).encode().ljust(512, b"\0") + b"A" * 4096 + b"B" * 4096
    yield member("t/GNUSparseFile.0/sparse", size=len(sparse), pax={
        "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "t/sparse",
        "GNU.sparse.realsize": str(len(real))}), sparse


def archive(entries):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape") as t:
        for m, data in entries:
            t.addfile(m, io.BytesIO(data) if data is not None else None)
    return out.getvalue()


def world():
    w = new_world("import")
    try:
        w.add_kernel("tuned", default=True)
    except Exception:
        w.add_kernel("debian-cloud-6.1", default=True)
    w.entries = list(tree())
    w.tar = archive(list(base_entries()) + w.entries)
    path = os.path.join(scratch(), "everything.tar")
    with open(path, "wb") as f:
        f.write(w.tar)
    w.archive = path
    w.lvm("install", path, "--name", "full", "--size", "512M", timeout=1200)
    w.config("full", cpus=1, memory="256M", boot_timeout=300)
    return w


def stat_of(w, name):
    """Octal mode, owner, group, size, mtime with nanoseconds, hex major, hex minor, type, links, blocks of 512."""
    r = w.run("full", "stat", "-c", "%a|%u|%g|%s|%y|%t|%T|%F|%h|%b", "--", "/" + name)
    return r.text.rstrip("\n").split("|")


TYPES = {tarfile.REGTYPE: "regular", tarfile.DIRTYPE: "directory", tarfile.SYMTYPE: "symbolic link",
         tarfile.FIFOTYPE: "fifo", tarfile.CHRTYPE: "character special file", tarfile.BLKTYPE: "block special file"}


@case
def every_entry_is_as_it_was(w):
    for m, data in w.entries:
        name = m.pax_headers.get("GNU.sparse.name", m.name)
        if m.type == tarfile.LNKTYPE:
            continue
        mode, uid, gid, size, mtime, major, minor, kind, links, blocks = stat_of(w, name)
        what = repr(name)
        contains(kind, TYPES[m.type], what + " type")
        if m.type != tarfile.SYMTYPE:
            equal(int(mode, 8), m.mode, what + " mode")
        equal((int(uid), int(gid)), (m.uid, m.gid), what + " owner")
        if m.type in (tarfile.CHRTYPE, tarfile.BLKTYPE):
            equal((int(major, 16), int(minor, 16)), (m.devmajor, m.devminor), what + " device")
        if m.isreg() and name != "t/sparse":
            equal(int(size), len(data), what + " size")
    for m, data in w.entries:
        if m.type == tarfile.SYMTYPE:
            equal(w.run("full", "readlink", "-n", "/" + m.name).out, os.fsencode(m.linkname), m.name)


@case
def contents_are_as_they_were(w):
    names = [m.name for m, d in w.entries if m.isreg() and "GNU.sparse.name" not in m.pax_headers]
    out = w.run("full", "sha256sum", "-b", "--", *["/" + n for n in names]).out
    sums = [line.split()[0].lstrip(b"\\").decode() for line in out.splitlines() if len(line.split()) >= 1 and len(
        line.split()[0].lstrip(b"\\")) == 64]
    wanted = [hashlib.sha256(d).hexdigest() for m, d in w.entries if m.isreg() and "GNU.sparse.name" not in m.pax_headers]
    equal(sorted(sums), sorted(wanted), "sums")


@case
def times_are_kept_to_the_nanosecond(w):
    contains(stat_of(w, "t/nanoseconds")[4], "2017-07-14 02:40:00.123456789", "mtime")
    contains(stat_of(w, "t/old")[4], "1970-01-01 00:00:01", "mtime")
    contains(stat_of(w, "t/future")[4], "2128-06-11 08:53:20", "mtime")
    contains(stat_of(w, "t/sticky")[4], "2009-02-13 23:31:30", "mtime of a directory")
    contains(stat_of(w, "t")[4], "2009-02-13 23:31:30", "mtime of a directory with files in it")
    contains(stat_of(w, "t/symlink")[4], "2009-02-13 23:31:30", "mtime of a symbolic link")


@case
def hard_links_are_one_file(w):
    a, b = (w.run("full", "stat", "-c", "%i %h", n).text for n in ("/t/file", "/t/hard"))
    equal(a, b, "inode")
    check(a.endswith(" 2\n"), "links: " + a)
    equal(w.run("full", "readlink", "-n", "/t/hard-symlink").text, "file", "hard link to a symbolic link")


@case
def holes_stay_holes(w):
    st = stat_of(w, "t/sparse")
    equal(int(st[3]), HOLE + 8192, "size")
    check(int(st[9]) * 512 < 200000, "%s blocks are allocated" % st[9])
    want = hashlib.sha256(b"A" * 4096 + b"\0" * HOLE + b"B" * 4096).hexdigest()
    contains(w.run("full", "sha256sum", "/t/sparse").text, want, "sum")


def debugfs(w, command):
    r = subprocess.run(["debugfs", "-R", command, w.distro_file("full", "root.ext4")], stdout=subprocess.PIPE,
                       stderr=subprocess.DEVNULL, env=dict(os.environ, PATH="/usr/sbin:/sbin:/usr/bin:/bin"))
    return r.stdout


def attribute(w, path, name):
    out = os.path.join(scratch(), "attribute")
    debugfs(w, "ea_get -f %s %s %s" % (out, path, name))
    if not os.path.exists(out):
        return None
    with open(out, "rb") as f:
        value = f.read()
    os.unlink(out)
    return value


@case
def extended_attributes_acls_and_capabilities(w):
    w.lvm("stop", "full")
    equal(attribute(w, "/t/capable", "security.capability"), CAPABILITY, "security.capability")
    equal(attribute(w, "/t/xattrs", "user.note"), b"a note", "user.note")
    equal(attribute(w, "/t/xattrs", "trusted.t"), b"root's", "trusted.t")
    contains(debugfs(w, "ea_list /t/xattrs"), b"user.empty", "attributes")
    acl = attribute(w, "/t/acl", "system.posix_acl_access")
    check(acl and b"\xd2\x04\0\0" in acl, "the ACL lacks user 1234: %r" % acl)
    check(b"posix_acl_default" in debugfs(w, "ea_list /t/acl-dir"), "no default ACL")


@case
def the_disk_is_sparse_and_clean(w):
    disk = w.distro_file("full", "root.ext4")
    st = os.stat(disk)
    equal(st.st_size, 512 << 20, "size")
    check(st.st_blocks * 512 < 200 << 20, "%d MiB are allocated" % (st.st_blocks >> 11))
    r = subprocess.run(["e2fsck", "-fn", disk], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                       env=dict(os.environ, PATH="/usr/sbin:/sbin:/usr/bin:/bin"))
    equal(r.returncode, 0, "e2fsck: " + r.stdout)


@case
def every_compression_and_stdin(w):
    small = archive(base_entries())
    forms = {"gz": gzip.compress(small, 1), "xz": lzma.compress(small, preset=0), "bz2": bz2.compress(small, 1),
             "zst": subprocess.run(["zstd", "-q", "-1", "-c"], input=small, stdout=subprocess.PIPE, check=True).stdout}
    for form, data in forms.items():
        path = os.path.join(scratch(), "small.tar." + form)
        with open(path, "wb") as f:
            f.write(data)
        w.lvm("install", path, "--size", "128M", timeout=1200)
        check(w.status("small"), "the name is not from the archive's")
        w.lvm("unregister", "small")
        os.unlink(path)
    path = os.path.join(scratch(), "store.wsl")
    with open(path, "wb") as f:
        f.write(forms["gz"])
    w.lvm("install", path, "--size", "128M", timeout=1200)
    w.config("store", memory="256M", cpus=1, boot_timeout=300)
    equal(w.sh("store", "echo up"), "up", "a .wsl")
    w.lvm("stop", "store")
    w.lvm("install", "-", "--name", "piped", "--size", "128M", stdin=small, timeout=1200)
    check(w.status("piped"), "no distro from stdin")


@case
def entries_cannot_leave_the_new_root(w):
    evil = [(member("../../escape", size=4), b"evil"), (member("/absolute", size=4), b"fine"),
            (member("link", tarfile.SYMTYPE, link="/proc"), None), (member("link/escape", size=4), b"evil"),
            (member("up", tarfile.SYMTYPE, link="../../.."), None), (member("up/escape2", size=4), b"evil"),
            (member("hard-out", tarfile.LNKTYPE, link="../../etc/shadow"), None)]
    r = w.lvm("install", "-", "--name", "evil", "--size", "128M", stdin=archive(list(base_entries()) + evil),
              status=None, timeout=1200)
    check(r.status in (0, 125), "status %d" % r.status)
    if r.status == 0:
        w.config("evil", memory="256M", cpus=1, boot_timeout=300)
        equal(w.sh("evil", "echo up"), "up", "output")
        w.lvm("stop", "evil")
        w.lvm("unregister", "evil")
