# SPDX-License-Identifier: Apache-2.0
"""What the VM suites stand on: an lvm of one's own, cases, and a line of result for each.

A suite is a file suite_NAME.py with functions marked @case; each takes a Vm world (class World) and raises to fail.
Suites run where KVM works, as an ordinary user; tests/vm/run sees to that and gives the paths by the environment:
LVM_TEST_BUILD (the build directory) and LVM_TEST_KERNEL_<NAME>, LVM_TEST_MODULES_<NAME>, LVM_TEST_ROOTFS_<NAME>.
"""

import fcntl
import json
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import traceback

# Emulated guests are 10 to 50 times slower; a test waits for events, and this long for one that never comes.
PATIENCE = float(os.environ.get("LVM_TEST_PATIENCE", 300))


class Skip(Exception):
    """The case cannot be shown here; the text says why."""


class Failure(Exception):
    pass


def check(condition, text):
    if not condition:
        raise Failure(text)


def equal(got, want, what):
    check(got == want, "%s: got %r, want %r" % (what, short(got), short(want)))


def contains(text, part, what):
    check(part in text, "%s: %r is not in %r" % (what, part, short(text)))


def short(v):
    s = v if isinstance(v, (str, bytes)) else repr(v)
    return s if len(s) < 1200 else s[:600] + (b" ... " if isinstance(s, bytes) else " ... ") + s[-600:]


def fixture(kind, name):
    """A kernel, its modules or a root file system by its name, or Skip."""
    path = os.environ.get("LVM_TEST_%s_%s" % (kind, name.upper().replace("-", "_").replace(".", "_")))
    if not path:
        raise Skip("no %s %s was made available" % (kind.lower(), name))
    return path


class Result:
    def __init__(self, args, status, out, err, seconds):
        self.args, self.status, self.out, self.err, self.seconds = args, status, out, err, seconds

    @property
    def text(self):
        return self.out.decode("utf-8", "replace")

    @property
    def errtext(self):
        return self.err.decode("utf-8", "replace")


class World:
    """One LVM_HOME with what is in it, and the lvm command on it."""

    def __init__(self, home, runtime, program):
        self.home, self.runtime, self.program = home, runtime, program
        self.env = dict(os.environ, LVM_HOME=home, LVM_RUNTIME_DIR=runtime)
        self.env.pop("LVM_LIBEXEC", None)

    def popen(self, *args, **kw):
        kw.setdefault("stdin", subprocess.DEVNULL)
        kw.setdefault("stdout", subprocess.PIPE)
        kw.setdefault("stderr", subprocess.PIPE)
        env = dict(self.env, **kw.pop("env", {}))
        return subprocess.Popen([self.program] + list(args), env=env, **kw)

    def lvm(self, *args, status=0, stdin=None, timeout=None, env=None, cwd=None):
        """Runs lvm. status None: any; else it must be this."""
        began = time.monotonic()
        p = self.popen(*args, stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
                       env=env or {}, cwd=cwd)
        try:
            out, err = p.communicate(stdin, timeout or PATIENCE)
        except subprocess.TimeoutExpired:
            p.kill()
            out, err = p.communicate()
            raise Failure("lvm %s did not end within %g s; stdout %r, stderr %r; console: %s"
                          % (" ".join(map(str, args)), timeout or PATIENCE, short(out), short(err), self.consoles()))
        r = Result(args, p.returncode, out, err, time.monotonic() - began)
        if status is not None and r.status != status:
            raise Failure("lvm %s: status %d, want %d; stdout %r, stderr %r"
                          % (short(" ".join(map(repr, args))), r.status, status, short(r.text), short(r.errtext)))
        return r

    def run(self, distro, *argv, **kw):
        """A command in the distro, argv exact."""
        return self.lvm("run", "-d", distro, "-e", "--", *argv, **kw)

    def sh(self, distro, script, **kw):
        """A script by the distro's /bin/sh as root; its stdout, stripped."""
        return self.lvm("run", "-d", distro, "-u", "root", "-e", "--", "/bin/sh", "-c", script, **kw).text.strip()

    def fails(self, *args, saying, **kw):
        """lvm must refuse: status 125 and one sentence that has each of the parts."""
        r = self.lvm(*args, status=125, **kw)
        for part in [saying] if isinstance(saying, str) else saying:
            contains(r.errtext, part, "the sentence")
        last = r.errtext.strip().splitlines()[-1]
        check(last.startswith("lvm: "), "the last line is not lvm's sentence: %r" % last)
        return r

    def status(self, name):
        for d in json.loads(self.lvm("list", "--json").text):
            if d["name"] == name:
                return d
        return None

    def vmm_pid(self, name):
        pid = (self.status(name) or {}).get("pid", 0)
        check(pid > 1, "%s has no VMM" % name)
        return pid

    def distro_file(self, name, file):
        return os.path.join(self.home, "distros", name, file)

    def consoles(self):
        """The ends of the console logs there are, for a failure's report."""
        text = ""
        base = os.path.join(self.home, "distros")
        for name in sorted(os.listdir(base)) if os.path.isdir(base) else []:
            try:
                with open(os.path.join(base, name, "console.log"), "rb") as f:
                    text += "\n[%s]\n%s" % (name, f.read()[-3000:].decode("utf-8", "replace"))
            except OSError:
                pass
        return text

    def add_kernel(self, name, default=False):
        args = ["kernel", "add", fixture("KERNEL", name), "--name", name]
        modules = os.environ.get("LVM_TEST_MODULES_%s" % name.upper().replace("-", "_").replace(".", "_"))
        if modules:
            args += ["--modules", modules]
        self.lvm(*args)
        if default:
            self.lvm("kernel", "default", name)

    def install(self, rootfs, name, size="1G", **settings):
        self.lvm("install", fixture("ROOTFS", rootfs), "--name", name, "--size", size, timeout=1200)
        self.config(name, **settings)

    def config(self, name, **settings):
        if settings:
            self.lvm("config", name, *["%s=%s" % kv for kv in settings.items()])

    def copy(self, name):
        """A new world with this one's kernels and distros, which must be stopped."""
        w = new_world(name, self.program)
        shutil.rmtree(w.home, ignore_errors=True)
        subprocess.run(["cp", "-a", "--sparse=always", self.home, w.home], check=True)
        return w

    def stop_all(self):
        self.lvm("stop", "--all", "--force", status=None)

    def destroy(self):
        self.stop_all()
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.rmtree(self.runtime, ignore_errors=True)


class Terminal:
    """A process on a terminal of its own: what a person at the keyboard sees and does."""

    def __init__(self, world, *args, rows=24, cols=80, stdout=None):
        self.master, slave = pty.openpty()
        self.resize(rows, cols)
        self.before = termios.tcgetattr(slave)
        self.seen = b""

        def session():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.p = subprocess.Popen([world.program] + list(args), stdin=slave,
                                  stdout=slave if stdout is None else stdout, stderr=slave,
                                  env=dict(world.env, TERM="xterm"), preexec_fn=session)
        self.slave = slave  # kept, so that the settings can be read after its end

    def resize(self, rows, cols):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode() if isinstance(text, str) else text)

    def expect(self, what, timeout=None):
        """Waits until the output has `what`; returns what came up to and with it, and forgets that."""
        what = what.encode() if isinstance(what, str) else what
        deadline = time.monotonic() + (timeout or PATIENCE)
        while what not in self.seen:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.master], [], [], left)[0]:
                raise Failure("the terminal never showed %r; it shows %r" % (what, short(self.seen)))
            self.seen += os.read(self.master, 65536)
        end = self.seen.index(what) + len(what)
        got, self.seen = self.seen[:end], self.seen[end:]
        return got.decode("utf-8", "replace")

    def wait(self, timeout=None):
        deadline = time.monotonic() + (timeout or PATIENCE)
        while self.p.poll() is None:
            if time.monotonic() > deadline:
                raise Failure("the command on the terminal did not end; it shows %r" % short(self.seen))
            if select.select([self.master], [], [], 0.05)[0]:
                self.seen += os.read(self.master, 65536)
        return self.p.returncode

    def restored(self):
        return termios.tcgetattr(self.slave) == self.before

    def close(self):
        if self.p.poll() is None:
            self.p.kill()
            self.p.wait()
        os.close(self.master)
        os.close(self.slave)


_scratch = None


def scratch():
    """A directory for this run, on a fast file system, removed at the end."""
    global _scratch
    if not _scratch:
        _scratch = tempfile.mkdtemp(prefix="lvm-vm-test.")
    return _scratch


def new_world(name, program=None):
    home = os.path.join(scratch(), name)
    runtime = os.path.join(scratch(), name + ".run")
    os.makedirs(runtime, mode=0o700, exist_ok=True)
    os.chmod(runtime, 0o700)
    return World(home, runtime, program or install_program())


def install_program():
    """lvm laid out as `meson install` would, off the slow shared tree."""
    base = os.path.join(scratch(), "prefix")
    program = os.path.join(base, "bin", "lvm")
    if not os.path.exists(program):
        build = os.environ["LVM_TEST_BUILD"]
        os.makedirs(os.path.join(base, "bin"))
        os.makedirs(os.path.join(base, "libexec", "lvm"))
        shutil.copy2(os.path.join(build, "tools", "lvm", "lvm"), program)
        shutil.copy2(os.path.join(build, "vmm", "lvm-vmm"), os.path.join(base, "libexec", "lvm"))
        shutil.copy2(os.path.join(build, "guest", "lvm-guest"), os.path.join(base, "libexec", "lvm"))
    return program


_template = None


def tiny_world(name):
    """A world with the fastest kernel there is and a small stopped distro `tiny`."""
    global _template
    if not _template:
        w = new_world("template")
        try:
            w.add_kernel("tuned", default=True)
        except Skip:
            w.add_kernel("debian-cloud-6.1", default=True)
        w.install("tiny", "tiny", size="512M", cpus=1, memory="256M", boot_timeout=int(PATIENCE))
        _template = w
    return _template.copy(name)


def case(fn):
    """Marks a function of a suite as a test case."""
    fn.is_case = True
    return fn


def report(kind, suite, name, seconds, text=""):
    line = "%s %s/%s (%.1f s)" % (kind, suite, name, seconds)
    print(line + (": " + text if text else ""), flush=True)


def run_suite(module, suite, patterns):
    """All cases of a suite in one world, in the order they are written. True when none failed."""
    names = [n for n, f in vars(module).items() if getattr(f, "is_case", False)]
    names = [n for n in names if not patterns or any(p in n for p in patterns)]
    began, good, world = time.monotonic(), True, None
    try:
        world = module.world()
    except Skip as e:
        for n in names:
            report("skip", suite, n, 0, str(e))
        return True
    except Exception as e:
        report("fail", suite, "set-up", time.monotonic() - began, describe(e))
        return False
    for n in names:
        began = time.monotonic()
        try:
            getattr(module, n)(world)
            report("pass", suite, n, time.monotonic() - began)
        except Skip as e:
            report("skip", suite, n, time.monotonic() - began, str(e))
        except Exception as e:
            good = False
            report("fail", suite, n, time.monotonic() - began, describe(e))
    world.destroy()
    return good


def describe(e):
    if isinstance(e, Failure):
        return str(e).replace("\n", "\n    ")
    return "".join(traceback.format_exception(type(e), e, e.__traceback__)).strip().replace("\n", "\n    ")


def main(argv):
    """suite NAME... [-k PART]...: runs the suites in this directory; PART picks cases by a part of their name."""
    import importlib
    patterns, suites = [], []
    it = iter(argv[1:])
    for a in it:
        if a == "-k":
            patterns.append(next(it))
        else:
            suites.append(a)
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    good = True
    try:
        for s in suites:
            good &= run_suite(importlib.import_module("suite_" + s), s, patterns)
    finally:
        if _scratch:
            shutil.rmtree(_scratch, ignore_errors=True)
    return 0 if good else 1
