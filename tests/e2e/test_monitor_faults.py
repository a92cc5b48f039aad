#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The monitor and the containers of `dray` when something around them fails: stopped, killed, out of resources, in a crowd."""
import os
import pathlib
import resource
import signal
import subprocess
import time

from harness import BASE_IMAGE, DrayTestCase, eventually, main


class Faults(DrayTestCase):
    def monitor_of(self, name):
        pid = self.inspect(name, "State.Pid")
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        return pid, int(next(line.split()[1] for line in status.splitlines() if line.startswith("PPid:")))

    def detached(self, script, name, *words):
        return self.ok("run", "-d", "--name", name, "--network", "none", *words, BASE_IMAGE, "sh", "-c", script).strip()

    def test_a_stopped_monitor_disturbs_nobody_and_catches_up(self):
        self.detached("sleep 0.3; echo last words; exit 3", "box")
        self.detached("while :; do echo beat; sleep 0.01; done", "bystander")
        pid, monitor = self.monitor_of("box")
        os.kill(monitor, signal.SIGSTOP)
        try:
            eventually(lambda: pathlib.Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z")
            began = time.monotonic()
            self.assertIn("bystander", self.ok("ps"))
            self.ok("exec", "bystander", "true")
            self.ok("inspect", "box")
            self.assertLess(time.monotonic() - began, 3)
        finally:
            os.kill(monitor, signal.SIGCONT)
        eventually(lambda: self.inspect("box", "State.Status") == "exited")
        self.assertEqual(3, self.inspect("box", "State.ExitCode"))
        self.assertEqual("last words\n", self.ok("logs", "box"))

    def test_a_killed_monitor_disturbs_nobody(self):
        self.detached("sleep 100", "box")
        self.detached("while :; do echo beat; sleep 0.01; done", "bystander")
        pid, monitor = self.monitor_of("box")
        os.kill(monitor, signal.SIGKILL)
        eventually(lambda: self.inspect("box", "State.Status") == "exited", 1)
        self.assertEqual("running", self.inspect("bystander", "State.Status"))
        self.ok("start", "box")
        self.assertEqual("running", self.inspect("box", "State.Status"))

    def test_the_monitor_ignores_what_would_end_it(self):
        self.detached("sleep 100", "box")
        _, monitor = self.monitor_of("box")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
            os.kill(monitor, number)
        time.sleep(0.05)
        self.assertEqual("running", self.inspect("box", "State.Status"))
        # Anything of the container goes first when memory is short.
        self.assertEqual("-500", pathlib.Path(f"/proc/{monitor}/oom_score_adj").read_text().strip())

    def test_orphans_are_reaped(self):
        self.detached("i=0; while [ $i -lt 300 ]; do (sleep 0.01 &) ; i=$((i+1)); done; sleep 0.5; echo $(grep -s -l 'State:.Z' /proc/[0-9]*/status | wc -l); sleep 100", "box", "--init")
        eventually(lambda: self.ok("logs", "box").strip() != "", 20)
        self.assertEqual("0\n", self.ok("logs", "box"))

    def test_short_lived_containers_lose_nothing(self):
        for i in range(30):
            result = self.dray("run", "--rm", "--network", "none", BASE_IMAGE, "sh", "-c", f"echo {i}; echo {i} >&2; exit {i}")
            self.assertEqual((i, f"{i}\n", f"{i}\n"), (result.code, result.out, result.err))

    def test_exec_storm_and_removal(self):
        """All clients get an answer, and nothing is left."""
        self.detached("sleep 100", "box")
        clients = [subprocess.Popen(self.command("exec", "box", "sleep", "2"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(60)]
        time.sleep(0.3)
        self.ok("rm", "-f", "box")
        for client in clients:
            self.assertNotEqual(None, client.wait(15))

    def test_few_descriptors(self):
        """EMFILE anywhere: an error, and nothing is left (checked after each test)."""
        codes = set()
        for limit in (4, 5, 6, 8, 10, 12, 14, 16, 18, 20, 24, 28, 32, 40, 64):
            result = subprocess.run(self.command("run", "--rm", "--network", "none", BASE_IMAGE, "true"), capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=30,
                                    preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)))
            codes.add(result.returncode)
            self.assertIn(result.returncode, (0, 125), f"{limit}: {result}")
            if result.returncode != 0:
                self.assertRegex(result.stderr, r"\w")
        self.assertIn(0, codes)
        self.assertEqual("ok\n", self.run_in("echo ok"))

    def test_no_more_processes(self):
        """fork and clone fail with EAGAIN: the engine itself is in a full pids cgroup."""
        top = pathlib.Path("/sys/fs/cgroup/pids") if pathlib.Path("/sys/fs/cgroup/pids").exists() else pathlib.Path("/sys/fs/cgroup")
        cgroup = top / "dray-test-pids"
        cgroup.mkdir()
        try:
            if not (cgroup / "pids.max").exists():
                self.skipTest("no pids controller here")
            for limit in (1, 2, 3, 4):
                (cgroup / "pids.max").write_text(str(limit))
                result = subprocess.run(self.command("run", "--rm", "--network", "none", BASE_IMAGE, "true"), capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=30,
                                        preexec_fn=lambda: (cgroup / "cgroup.procs").write_text("0"))
                self.assertIn(result.returncode, (0, 125), f"{limit}: {result}")
                if result.returncode != 0:
                    self.assertRegex(result.stderr, r"(?i)resource temporarily unavailable|process")
        finally:
            eventually(lambda: (cgroup / "cgroup.procs").read_text() == "")
            cgroup.rmdir()

    def test_a_reader_that_vanishes(self):
        """SIGPIPE ends the client, not the container."""
        self.detached("while :; do echo beat; done", "box")
        with subprocess.Popen(self.command("logs", "-f", "box"), stdout=subprocess.PIPE) as client:
            client.stdout.read(1000)
            client.stdout.close()
            self.assertNotEqual(None, client.wait(10))
        self.assertEqual("running", self.inspect("box", "State.Status"))


if __name__ == "__main__":
    main()
