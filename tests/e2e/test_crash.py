#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9 at random moments, Ctrl-C, a full disk: the next command works and nothing leaks past `system prune`."""
import os
import pathlib
import random
import signal
import subprocess
import time

from harness import BASE_IMAGE, DrayTestCase, Registry, eventually, main, require

ROUNDS = int(os.environ.get("DRAY_CRASH_ROUNDS", "20"))


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

    def test_monitor_killed(self):
        identifier = self.ok("run", "-d", BASE_IMAGE, "sleep", "1000").strip()
        pid = self.inspect(identifier, "State.Pid")
        monitor = int(next(line.split()[1] for line in open(f"/proc/{pid}/status") if line.startswith("PPid:")))
        os.kill(monitor, signal.SIGKILL)
        eventually(lambda: self.inspect(identifier, "State.Status") == "exited")
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

    def test_full_disk(self):
        place = self.scratch / "small"
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60m", "none", place], check=True)
        try:
            archive = self.scratch / "base.tar"
            self.ok("save", "-o", archive, BASE_IMAGE)
            base = [self.command()[0], "--root", str(place / "root"), "--state", str(self.scratch / "small-state")]
            full = subprocess.run([*base, "load", "-i", archive], capture_output=True, text=True)
            self.assertNotEqual(0, full.returncode)
            self.assertIn("No space left on device", full.stderr)
            self.assertEqual(1, len(subprocess.run([*base, "images"], capture_output=True, text=True, check=True).stdout.splitlines()))
            subprocess.run([*base, "system", "prune", "-f"], check=True, capture_output=True)
            self.assertEqual([], list((place / "root" / "content" / "ingest").glob("*")))
        finally:
            subprocess.run(["umount", place], check=True)


if __name__ == "__main__":
    main()
