# SPDX-License-Identifier: Apache-2.0
"""A real Debian: as it comes, and with its own init as PID 1."""

from harness import PATIENCE, Skip, Terminal, case, check, contains, equal, new_world


def world():
    w = new_world("systemd")
    try:
        w.add_kernel("tuned", default=True)
    except Skip:
        w.add_kernel("debian-cloud-6.1", default=True)
    w.install("debian", "debian", size="4G", cpus=1, memory="1G", boot_timeout=int(PATIENCE))
    return w


@case
def debian_runs_without_its_init(w):
    contains(w.run("debian", "cat", "/etc/os-release").text, "Debian", "os-release")
    contains(w.run("debian", "uname", "-a").text, "Linux debian", "uname")
    check(w.sh("debian", "cat /proc/1/comm") != "systemd", "systemd is PID 1")
    equal(w.sh("debian", "dpkg -l bash | tail -n 1 | cut -c1-2"), "ii", "dpkg")


@case
def a_bash_login_shell_on_a_terminal(w):
    t = Terminal(w, "run", "-d", "debian")
    t.type("shopt -q login_shell && echo is-$((1))-login; stty size\n")
    t.expect("is-1-login")
    t.expect("24 80")
    t.type("sleep 500 &\n")
    t.expect("[1]")
    # Ctrl-Z only when the job has the terminal: before, it would be the shell's and take the typed line away.
    t.type("sh -c 'echo go\"\"ing; exec sleep 600'\n")
    t.expect("going")
    t.type("\x1a")
    t.expect("Stopped")
    t.type("jobs\n")
    t.expect("Running")
    t.type("kill -9 %1 %2; wait; exit 3\n")
    equal(t.wait(), 3, "status")
    check(t.restored(), "the terminal is not as it was")
    t.close()


@case
def stop_is_clean(w):
    w.lvm("stop", "debian")


@case
def systemd_reaches_running_or_degraded(w):
    w.config("debian", systemd="true")
    w.lvm("start", "debian")
    r = w.lvm("run", "-d", "debian", "-e", "--", "systemctl", "is-system-running", "--wait", status=None)
    contains(["running", "degraded"], r.text.strip(), "state (%s; %s)" % (
        r.errtext, w.lvm("run", "-d", "debian", "systemctl list-units --failed; systemctl list-jobs", status=None).text))
    equal(w.sh("debian", "cat /proc/1/comm"), "systemd", "PID 1")
    equal(w.sh("debian", "hostname"), "debian", "host name")


@case
def sessions_work_beside_systemd(w):
    w.run("debian", "/bin/sh", "-c", "exit 42", status=42)
    contains(w.sh("debian", "systemctl is-active systemd-journald"), "active", "journald")
    w.sh("debian", "systemctl daemon-reexec; systemctl restart systemd-journald")
    equal(w.sh("debian", "echo still here"), "still here", "output")


@case
def stop_shuts_systemd_down(w):
    w.lvm("stop", "debian")
    log = w.lvm("logs", "debian").text
    check("Kernel panic" not in log, "the guest panicked: " + log[-500:])


@case
def poweroff_inside_ends_the_vm(w):
    import time
    w.lvm("start", "debian")
    w.lvm("run", "-d", "debian", "systemctl poweroff", status=None)
    deadline = time.monotonic() + PATIENCE
    while w.status("debian")["state"] != "stopped":
        check(time.monotonic() < deadline, "the VM runs on")
        time.sleep(0.5)
