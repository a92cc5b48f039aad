#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9 at random moments, Ctrl-C: the next command works and nothing leaks past `system prune`."""
import io
import os
import pathlib
import random
import signal
import subprocess
import tarfile
import time

from fake_registry import FakeRegistry, Image, digest
from harness import BASE_IMAGE, DrayTestCase, Registry, eventually, main, require

ROUNDS = int(os.environ.get("DRAY_CRASH_ROUNDS", "12"))


def tar_of(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def command_line(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


class KilledAtRandom(DrayTestCase):
    def rounds(self, command, longest, check):
        """Kills `command` ROUNDS times at random moments of its normal duration; `check` must pass after each."""
        generator = random.Random(os.environ.get("DRAY_CRASH_SEED", "1"))
        for _ in range(ROUNDS):
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(generator.random() * longest)
            process.kill()
            process.wait()
            check()

    def settle(self):
        """Whatever the killed processes left goes with prune, down to the last folder."""
        for identifier in self.ok("ps", "-aq").split():
            self.dray("rm", "-f", "-v", identifier)
        eventually(lambda: self.dray("system", "prune", "-f").code == 0, 20)
        self.assertEqual([], list((self.root / "content" / "ingest").glob("*")) if (self.root / "content" / "ingest").exists() else [])
        self.assertEqual([], [path for path in (self.root / "snapshots").glob("*/upper")])
        self.assertEqual([], list((self.root / "tmp").glob("*")) if (self.root / "tmp").exists() else [])
        self.assertEqual([], list((self.root / "containers").glob("*")) if (self.root / "containers").exists() else [])

    def test_run(self):
        self.rounds(self.command("run", "--rm", BASE_IMAGE, "true"), 0.06, lambda: self.assertEqual("ok\n", self.run_in("echo ok")))
        self.settle()

    def test_build(self):
        folder = self.context({"Dockerfile": "FROM debian:bookworm\nRUN echo $RANDOM > /a; head -c 3000000 /dev/urandom > /b\nCOPY . /c\nRUN sleep 0.1; echo > /d\n",
                               **{f"f{i}": "x" * 1000 for i in range(200)}})
        self.rounds(self.command("build", "--no-cache", "-t", "crash", folder), 0.8, lambda: self.assertEqual("ok\n", self.run_in("echo ok")))
        self.ok("build", "-t", "crash", folder)
        self.assertEqual("x" * 1000, self.ok("run", "--rm", "--network", "none", "crash", "cat", "/c/f7"))
        self.ok("rmi", "crash")
        self.settle()

    def test_build_killed_in_a_step(self):
        """One prune takes the dead step's snapshot and the layers beneath it, which only that kept."""
        folder = self.context({"Dockerfile": f"FROM {BASE_IMAGE}\nRUN echo below > /below\nRUN touch /begun; sleep 1000\n"})
        process = subprocess.Popen(self.command("build", "--progress=plain", folder), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            eventually(lambda: list((self.root / "snapshots").glob("*/upper/begun")), 60)
        finally:
            process.kill()
            process.wait()
        eventually(lambda: self.dray("system", "prune", "-f").code == 0, 20)
        self.assertNotIn("Nothing refers to", self.ok("system", "check"))

    def test_pull(self):
        require("docker-registry")
        registry = Registry(self.scratch)
        self.addCleanup(registry.stop)
        name = f"{registry.address}/base:1"
        self.ok("tag", BASE_IMAGE, name)
        self.ok("push", name)
        other = ["--root", str(self.scratch / "other"), "--state", str(self.scratch / "other-state")]
        base = [self.command()[0], *other]
        def check():
            self.assertEqual(0, subprocess.run([*base, "images"], capture_output=True).returncode)
        self.rounds([*base, "pull", name], 1.5, check)
        subprocess.run([*base, "pull", "-q", name], check=True, capture_output=True)
        done = subprocess.run([*base, "run", "--rm", "--network", "none", name, "echo", "whole"], capture_output=True, text=True)
        self.assertEqual("whole\n", done.stdout, done.stderr)
        self.ok("rmi", name)
        self.settle()

    def monitor_of(self, identifier):
        """PIDs of a container's first process and of its monitor."""
        pid = self.inspect(identifier, "State.Pid")
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        return pid, int(next(line.split()[1] for line in status.splitlines() if line.startswith("PPid:")))

    def test_monitor_killed(self):
        identifier = self.ok("run", "-d", BASE_IMAGE, "sleep", "1000").strip()
        pid, monitor = self.monitor_of(identifier)
        os.kill(monitor, signal.SIGKILL)
        eventually(lambda: self.inspect(identifier, "State.Status") == "exited")
        self.ok("rm", "-f", identifier)
        eventually(lambda: not pathlib.Path(f"/proc/{pid}").exists())

    def test_monitor_killed_and_container_removed(self):
        """No command has looked at the container between its monitor's death and its removal."""
        identifier = self.ok("run", "-d", BASE_IMAGE, "sleep", "1000").strip()
        pid, monitor = self.monitor_of(identifier)
        os.kill(monitor, signal.SIGKILL)
        eventually(lambda: not command_line(monitor))
        self.ok("rm", "-f", identifier)
        eventually(lambda: not pathlib.Path(f"/proc/{pid}").exists())


class Interrupted(DrayTestCase):
    def test_ctrl_c_during_run(self):
        process = subprocess.Popen(self.command("run", "--rm", "--network", "none", BASE_IMAGE, "sh", "-c", "echo up; exec sleep 100"), stdout=subprocess.PIPE,
                                   stdin=subprocess.DEVNULL, text=True)
        self.assertEqual("up\n", process.stdout.readline())
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        # PID 1 ignores SIGINT unless it handles it, in docker as well: a second kind of signal ends it.
        for identifier in self.ok("ps", "-q").split():
            self.ok("kill", identifier)
        process.wait(10)
        process.stdout.close()
        eventually(lambda: self.ok("ps", "-aq") == "")

    def interrupt(self, *command, when):
        """Ctrl-C: SIGINT to the whole group of the process, as a terminal sends it. Returns the exit code."""
        process = subprocess.Popen(self.command(*command), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            when()
            os.killpg(process.pid, signal.SIGINT)
            return process.wait(15)
        finally:
            process.kill()
            process.wait()

    def test_ctrl_c_during_run_of_an_init(self):
        """A process that is not PID 1 dies of it; the exit code is the shell's 128 + 2."""
        running = lambda: eventually(lambda: "up" in self.dray("logs", "inited").out)
        self.assertEqual(130, self.interrupt("run", "--init", "--name", "inited", "--network", "none", BASE_IMAGE, "sh", "-c", "echo up; exec sleep 100", when=running))
        self.assertEqual(("exited", 130), (self.inspect("inited", "State.Status"), self.inspect("inited", "State.ExitCode")))

    def test_ctrl_c_during_pull(self):
        image = Image(tar_of({"file": os.urandom(300000)}))
        blobs = {digest(image.config): (image.config, len(image.config)), digest(image.layer): (image.layer[:100000], len(image.layer))}
        before = self.ok("images", "-a")
        for command in (("pull",), ("run", "--rm", "--network", "none")):
            registry = FakeRegistry(blobs, image.manifest, stalls=True)
            self.addCleanup(registry.stop)
            self.assertEqual(130, self.interrupt(*command, f"{registry.address}/slow:1", when=lambda: self.wait_for_a_part(registry, image)), command)
            self.assertEqual(before, self.ok("images", "-a"))
            self.assertEqual([self.partial(image)], self.work_folders())  # for the next pull
        blobs[digest(image.layer)] = (image.layer, len(image.layer))
        whole = FakeRegistry(blobs, image.manifest)
        self.addCleanup(whole.stop)
        self.ok("pull", f"{whole.address}/slow:1")
        self.assertEqual([], self.work_folders())

    def test_ctrl_c_during_build(self):
        """While a step runs, and while its base is pulled."""
        folder = self.context({"Dockerfile": f"FROM {BASE_IMAGE}\nRUN echo begun; sleep 100.0625\n"})  # like nobody else's
        running = lambda: eventually(lambda: any(b"sleep\x00100.0625" in command_line(pid) for pid in os.listdir("/proc") if pid.isdigit()))
        self.assertEqual(130, self.interrupt("build", "-t", "never", folder, when=running))
        image = Image(tar_of({"file": os.urandom(300000)}))
        registry = FakeRegistry({digest(image.config): (image.config, len(image.config)), digest(image.layer): (image.layer[:100000], len(image.layer))},
                                image.manifest, stalls=True)
        self.addCleanup(registry.stop)
        (folder / "Dockerfile").write_text(f"FROM {registry.address}/slow:1\nCOPY Dockerfile /\n")
        self.assertEqual(130, self.interrupt("build", "-t", "never", folder, when=lambda: self.wait_for_a_part(registry, image)))
        self.assertNotIn("never", self.ok("images"))
        self.assertEqual([self.partial(image)], self.work_folders())
        self.ok("system", "prune", "-f")
        self.assertEqual([], self.work_folders())
        (folder / "Dockerfile").write_text(f"FROM {BASE_IMAGE}\nRUN echo begun\n")
        self.ok("build", "-t", "after", folder)
        self.ok("rmi", "after")

    def wait_for_a_part(self, registry, image):
        """The registry sends no more, and what it sent has arrived."""
        self.assertTrue(registry.stalled.wait(20))
        eventually(lambda: os.path.exists(self.partial(image)) and os.stat(self.partial(image)).st_size)

    def partial(self, image):
        """Where a layer that did not come whole is kept."""
        return str(self.root / "content" / "ingest" / f"partial-{digest(image.layer).replace(':', '-')}")

    def work_folders(self):
        folders = (self.root / "content" / "ingest", self.root / "tmp")
        return [str(path) for folder in folders if folder.exists() for path in folder.iterdir()]


if __name__ == "__main__":
    main()
