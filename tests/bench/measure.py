#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""measure.py JOB: boots what the JSON file JOB lists, on this machine's KVM, and writes what it counted to JOB's result.

tests/bench/boot starts it, here or in the emulated host; it needs root, for the kernel's trace events. How it counts:
a histogram trigger on the event kvm_exit counts exits by reason, from before the VMM starts until the guest's first
process asks for a CPUID leaf that no processor has (init.S); that pauses the histogram, in the kernel, so nothing after
it is counted. The VMs run one after the other. Counting runs are not disturbed by anything; memory is sampled in runs of
its own.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time

TRACING = "/sys/kernel/tracing"
EVENTS = TRACING + "/events/kvm"
RUN_LIMIT = 120  # seconds for one boot
SAMPLE_S = 0.05

# Details: event, and the keys of its histogram.
DETAILS = {
    "kvm_pio": "port.hex,rw",
    "kvm_msr": "ecx.hex,write",
    "kvm_cpuid": "function.hex",
    "kvm_page_fault": "fault_address.buckets=2097152",
    "kvm_mmio": "gpa.hex,type",
}


def put(path, text):
    with open(path, "w") as f:
        f.write(text)


def get(path):
    with open(path) as f:
        return f.read()


class Trace:
    """The kernel's counters for one boot at a time."""

    def __init__(self, mark, details):
        self.mark = "function == %d" % mark
        self.keys = {"kvm_exit": "exit_reason"}
        self.keys.update({event: DETAILS[event] for event in ("kvm_msr", "kvm_page_fault")})
        if details:
            self.keys.update(DETAILS)
        if not os.path.isdir(EVENTS):
            subprocess.run(["mount", "-t", "tracefs", "tracefs", TRACING], check=False)
        if not os.path.isdir(EVENTS):
            sys.exit("measure.py: the kernel has no KVM trace events; is the kvm module loaded, and is this root?")
        self.clock = re.search(r"\[(\w+)\]", get(TRACING + "/trace_clock")).group(1)
        put(TRACING + "/trace_clock", "mono")

    def done(self):
        put(TRACING + "/trace_clock", self.clock)

    def pauses(self):
        return ["disable_hist:kvm:%s if %s" % (event, self.mark) for event in self.keys]

    def start(self):
        put(TRACING + "/trace", "")
        for event, keys in self.keys.items():
            put("%s/%s/trigger" % (EVENTS, event), "hist:keys=%s:size=4096" % keys)
        for pause in self.pauses():
            put(EVENTS + "/kvm_cpuid/trigger", pause)
        put(EVENTS + "/kvm_cpuid/filter", self.mark)
        put(EVENTS + "/kvm_cpuid/enable", "1")

    def stop(self):
        put(EVENTS + "/kvm_cpuid/enable", "0")
        put(EVENTS + "/kvm_cpuid/filter", "0")
        for pause in self.pauses():
            put(EVENTS + "/kvm_cpuid/trigger", "!" + pause)
        for event, keys in self.keys.items():
            put("%s/%s/trigger" % (EVENTS, event), "!hist:keys=%s:size=4096" % keys)

    def counts(self, event):
        found = re.findall(r"^\{ (.*?) \} hitcount: *(\d+)", get("%s/%s/hist" % (EVENTS, event)), re.M)
        return {re.sub(r"\s+", " ", key): int(n) for key, n in found}

    def mark_time(self):
        """When the guest made its mark, on the monotonic clock; None: it did not."""
        found = re.search(r"\s(\d+\.\d+): kvm_cpuid:", get(TRACING + "/trace"))
        return float(found.group(1)) if found else None


def reason_names():
    """Exit reasons' names, as the kernel prints them for this processor's kind of virtualisation."""
    lists = get(EVENTS + "/kvm_exit/format").split("__print_symbolic(REC->exit_reason")[1:]
    svm = re.search(r"^flags\s*:.*\bsvm\b", get("/proc/cpuinfo"), re.M) is not None
    names = lists[1 if svm and len(lists) > 1 else 0]
    names = names.split('})')[0] + '}'
    return {int(n, 0): name for n, name in re.findall(r'\{ *(\w+), *"([^"]*)" *\}', names)}


def wait(p, poll=None):
    """Waits for the VMM, and ends it if it does not end; poll is called again and again while it runs."""
    deadline = time.monotonic() + RUN_LIMIT
    try:
        while True:
            try:
                return p.wait(SAMPLE_S if poll else max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                if time.monotonic() > deadline:
                    return None
            if poll:
                poll()
    finally:
        if p.poll() is None:
            p.kill()
            p.wait()


def launch(cmd, log):
    return subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)


def run_counted(cmd, trace, log):
    trace.start()
    try:
        began = time.clock_gettime(time.CLOCK_MONOTONIC)
        status = wait(launch(cmd, log))
        ended = time.clock_gettime(time.CLOCK_MONOTONIC)
        exits = {int(k.split(": ")[1]): n for k, n in trace.counts("kvm_exit").items()}
        details = {e: trace.counts(e) for e in trace.keys if e != "kvm_exit"}
        mark = trace.mark_time()
    finally:
        trace.stop()
    return {"status": status, "exits": exits, "details": details, "to_mark_s": mark and mark - began,
            "to_end_s": ended - began}


def private_kib(pid, guest_bytes):
    """Private memory (all, and its anonymous part) of every mapping but the guest's RAM, which is told by its size."""
    total = anonymous = 0
    in_ram = False
    for line in get("/proc/%d/smaps" % pid).splitlines():
        head = re.match(r"([0-9a-f]+)-([0-9a-f]+) .{4} ", line)
        if head:
            in_ram = int(head.group(2), 16) - int(head.group(1), 16) == guest_bytes
        elif not in_ram:
            field, value = line.split(":", 1)
            if field in ("Private_Clean", "Private_Dirty"):
                total += int(value.split()[0])
            elif field == "Anonymous":
                anonymous += int(value.split()[0])
    return total, anonymous


def run_sampled(cmd, guest_bytes, log):
    peak = [0, 0]
    num = 0
    p = launch(cmd, log)

    def poll():
        nonlocal num
        try:
            now = private_kib(p.pid, guest_bytes)
        except (OSError, ValueError):
            return
        num += 1
        peak[0] = max(peak[0], now[0])
        peak[1] = max(peak[1], now[1])

    status = wait(p, poll)
    return {"status": status, "private_kib": peak[0], "anonymous_kib": peak[1], "samples": num}


def say(text):
    print("  %s" % text.replace("\t", ", "), file=sys.stderr, flush=True)


def measure(job, trace):
    began = time.monotonic()
    work = job["work"]
    results = []
    for path in job["files"]:
        shutil.copy(path, work)
    with open(os.path.join(work, "disk"), "w") as f:
        f.truncate(64 << 20)
    os.makedirs(os.path.join(work, "cache"))
    with open(os.path.join(work, "log"), "w") as log:
        for vm in job["vms"]:
            # The first boot of lvm finds no decompressed kernel in its cache.
            memory = [run_sampled(vm["hold"], job["guest_bytes"], log) for _ in range(vm["sampled"])]
            results.append({"name": vm["name"], "memory": memory, "runs": []})
            say("%s: memory" % vm["name"])
        # In turns, so that what else the machine does meets all of them alike.
        for i in range(job["runs"]):
            for vm, result in zip(job["vms"], results):
                if i == 0 or time.monotonic() - began < job["enough_s"]:
                    result["runs"].append(run_counted(vm["command"], trace, log))
            say("round %d of %d" % (i + 1, job["runs"]))
    return {"vms": results, "reasons": reason_names(), "host": os.uname().release,
            "log": get(os.path.join(work, "log"))[-2000:]}


def main():
    with open(sys.argv[1]) as f:
        job = json.load(f)
    trace = Trace(job["mark"], job["details"])
    os.makedirs(job["work"])
    try:
        result = measure(job, trace)
    finally:
        trace.done()
        shutil.rmtree(job["work"])
    with open(job["result"], "w") as f:
        json.dump(result, f)


if __name__ == "__main__":
    main()
