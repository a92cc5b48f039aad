# SPDX-License-Identifier: Apache-2.0
"""One virtual machine: a qemu process, its disks and three serial ports that are files of the host.

ttyS0 is the kernel's console, ttyS1 the suite's output, ttyS2 its results, a line each:
    exit N    the suite has ended
    reset     cut the power and boot the same disk again, with the next phase's number
Everything is polled: a suite has one writer and takes seconds. The machine is ended by SIGKILL, which is what a power
failure is to the guest: what it had not flushed to the disk is lost.
"""
import os
import pathlib
import subprocess
import time

PROBE_SECONDS = 8


def probe_kvm(kernel, remembered):
    """Whether a kernel boots under KVM. An existing /dev/kvm proves nothing where virtual machines are nested badly:
    there a guest may spin for ever in its first instructions. So boot one without a disk; it panics, and qemu ends."""
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    if remembered.exists() and remembered.read_text().split()[:1] == [boot]:
        return remembered.read_text().split()[1] == "kvm"
    works = False
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        process = subprocess.Popen(
            ["qemu-system-x86_64", "-M", "q35", *accelerator(True), "-nodefaults", "-no-user-config", "-display", "none",
             "-m", "256", "-kernel", kernel, "-append", "panic=-1", "-no-reboot"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            works = process.wait(PROBE_SECONDS) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    remembered.write_text(f"{boot} {'kvm' if works else 'tcg'}\n")
    return works


def accelerator(kvm):
    # arch-capabilities is a register that a nested host lets nobody set.
    if kvm:
        return ["-accel", "kvm", "-cpu", "host,-arch-capabilities"]
    return ["-accel", "tcg,thread=multi", "-cpu", "max"]


class Machine:
    def __init__(self, folder, kernel, initramfs, disk, payload, kvm):
        self.folder = folder
        self.console = folder / "console.log"
        self.output = folder / "output.log"
        self.results = folder / "results"
        self.command = [
            "qemu-system-x86_64", "-M", "q35", *accelerator(kvm), "-smp", "2", "-m", "1024", "-nodefaults",
            "-no-user-config", "-display", "none", "-no-reboot", "-kernel", str(kernel), "-initrd", str(initramfs),
            "-drive", f"file={disk},format=raw,if=virtio,cache=writeback,discard=unmap",
            "-drive", f"file={payload},format=raw,if=virtio,readonly=on"]
        for name, path in (("console", self.console), ("output", self.output), ("results", self.results)):
            self.command += ["-chardev", f"file,id={name},path={path},append=on", "-serial", f"chardev:{name}"]

    def boot(self, suite, phase, deadline, relay):
        """Runs one boot of a suite. Returns the last result line, "timeout", or "qemu ended"."""
        append = f"console=ttyS0 quiet panic=-1 cgroup_no_v1=all systemd.unified_cgroup_hierarchy=1 " \
                 f"dray.suite={suite} dray.phase={phase}"
        seen = self.results.stat().st_size if self.results.exists() else 0
        shown = self.output.stat().st_size if self.output.exists() else 0
        with open(self.folder / "qemu.log", "ab") as log:
            process = subprocess.Popen([*self.command, "-append", append], stdin=subprocess.DEVNULL, stdout=log,
                                       stderr=log)
        try:
            while True:
                ended = process.poll() is not None
                if self.output.exists():
                    with open(self.output, "rb") as output:
                        output.seek(shown)
                        chunk = output.read()
                        shown += len(chunk)
                    relay(chunk.replace(b"\r", b"").decode(errors="replace"))
                if self.results.exists():
                    lines = self.results.read_bytes()[seen:].replace(b"\r", b"").decode(errors="replace").split("\n")
                    if len(lines) > 1:
                        return lines[0]
                if ended:
                    return "qemu ended"
                if time.monotonic() > deadline:
                    return "timeout"
                time.sleep(0.02)
        finally:
            process.kill()
            process.wait()
