#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# guest: small
"""The power fails while containers run. Boot 1 prepares and flushes the disk; boot 2 looks at what is left and then
cuts the power again in the middle of unflushed work; boot 3 looks whether the store still serves."""
import os
import pathlib
import subprocess
import sys
import time
import urllib.request

from guest import CGROUP, IMAGE, PHASE, GuestTestCase, build_image, context, cut_power, dray, eventually, has_flag, main

ROOT, STATE = pathlib.Path("/var/lib/dray"), pathlib.Path("/run/dray")
WEB = "mkdir -p /www; echo \"boot $(cat /data/boots)\" > /www/index.html; exec httpd -f -p 80 -h /www"


def page():
    def answer():
        try:
            return urllib.request.urlopen("http://127.0.0.1:8080/", timeout=2).read().decode()
        except OSError:
            return None
    return eventually(answer, what="an answer of the published port")


def start_a_build():
    """A build that the power cut finds in its RUN step."""
    folder = context()
    (folder / "Dockerfile").write_text((folder / "Dockerfile").read_text() + "RUN echo half > /half; sleep 600\n")
    process = subprocess.Popen(["dray", "build", "-t", "half", str(folder)], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    builds = STATE / "builds"
    eventually(lambda: builds.is_dir() and any(builds.iterdir()), what="the build's RUN step")
    return process


class Before(GuestTestCase):
    def test_prepare(self):
        build_image()
        self.ok("volume", "create", "data")
        self.ok("run", "--rm", "--network", "none", "-v", "data:/data", IMAGE, "sh", "-c", "echo 1 > /data/boots")
        self.ok("run", "-d", "--name", "web", "-p", "8080:80", "-v", "data:/data", IMAGE, "sh", "-c", WEB)
        self.ok("run", "-d", "--name", "plain", "--network", "none", "-m", "64m", IMAGE, "sh", "-c",
                "echo kept >> /kept; exec sleep 10000")
        self.ok("run", "-d", "--rm", "--name", "gone", IMAGE, "sleep", "10000")
        self.ok("create", "--name", "never", "--network", "none", IMAGE, "true")
        self.assertEqual(3, dray("run", "--name", "done", "--network", "none", IMAGE, "sh", "-c", "exit 3").code)
        if has_flag("--restart"):
            for policy in ("no", "always", "unless-stopped", "on-failure"):
                self.ok("run", "-d", "--name", f"restart-{policy}", "--network", "none", "--restart", policy, IMAGE,
                        "sleep", "10000")
            self.ok("run", "-d", "--name", "restart-stopped", "--network", "none", "--restart", "unless-stopped", IMAGE,
                    "sleep", "10000")
            self.ok("stop", "-t", "0", "restart-stopped")
        self.assertEqual("boot 1\n", page())
        start_a_build()
        os.sync()


class After(GuestTestCase):
    def test_1_nothing_runs_and_nothing_lies(self):
        self.assertFalse(STATE.exists(), "the state directory is on a tmpfs")
        started = time.monotonic()
        names = self.ok("ps", "--format", "{{.Names}}").split()
        self.assertFalse({"web", "plain", "gone", "never", "done"} & set(names), "shown as running")
        self.assertLess(time.monotonic() - started, 20)
        for name, status, code in (("web", "exited", 137), ("plain", "exited", 137), ("never", "created", 0),
                                   ("done", "exited", 3)):
            with self.subTest(name):
                self.assertEqual(status, self.inspect(name, ".State.Status"))
                self.assertEqual(str(code), self.inspect(name, ".State.ExitCode"))
                self.assertEqual("false", self.inspect(name, ".State.Running"))
                self.assertEqual("0", self.inspect(name, ".State.Pid"))
        self.assertIn("Exited (137)", self.ok("ps", "-a", "--filter", "name=plain", "--format", "{{.Status}}"))

    def test_2_the_time_of_the_end_is_set(self):
        # Docker notes the moment when it found the container dead.
        self.assertRegex(self.inspect("plain", ".State.FinishedAt"), r"^20\d\d-")

    def test_3_a_container_with_rm_is_gone(self):
        # Docker's daemon removes it when it starts; dray's next command that lists containers does.
        self.assertNotIn("gone", self.ok("ps", "-a", "--format", "{{.Names}}").split())

    def test_4_verbs_on_a_container_that_the_power_cut_ended(self):
        self.assertEqual("137\n", self.ok("wait", "plain", timeout=20))
        self.fails(1, "(?i)not running", "kill", "plain")
        self.fails(1, "(?i)not running", "exec", "plain", "true")
        self.ok("stop", "plain")
        self.ok("logs", "plain")

    def test_5_it_starts_again_with_its_files_limits_and_port(self):
        self.ok("start", "plain")
        self.assertEqual("kept\nkept\n", eventually(lambda: self.ok("exec", "plain", "cat", "/kept")))
        identifier = self.inspect("plain", ".Id")
        self.assertEqual(str(64 << 20), (CGROUP / "dray" / identifier / "memory.max").read_text().strip())
        self.ok("run", "--rm", "--network", "none", "-v", "data:/data", IMAGE, "sh", "-c", "echo 2 > /data/boots")
        self.ok("start", "web")
        self.assertEqual("boot 2\n", page())
        self.ok("rm", "-f", "web")

    def test_6_restart_policies(self):
        self.need_flag("--restart")
        # No daemon: what docs/restart-policies.md has the host's init system call at boot.
        names = set(self.ok("system", "start-containers").split())
        self.assertEqual({"restart-always", "restart-unless-stopped"}, names)
        self.assertEqual("", self.ok("system", "start-containers"), "they run")
        running = set(self.ok("ps", "--format", "{{.Names}}").split())
        self.assertLessEqual(names, running)
        self.assertFalse({"restart-no", "restart-on-failure", "restart-stopped"} & running)
        self.assertIn("Exited (137)", self.ok("ps", "-a", "--filter", "name=restart-on-failure", "--format", "{{.Status}}"))
        self.ok("rm", "-f", *names)

    def test_7_what_the_killed_build_left_is_pruned(self):
        self.ok("system", "prune", "-f")
        self.assertEqual("plain\n", self.ok("ps", "-a", "--format", "{{.Names}}"))
        active = [path for path in (ROOT / "snapshots").iterdir() if (path / "upper").exists()]
        self.assertEqual(1, len(active), active)
        ingest = ROOT / "content" / "ingest"
        self.assertEqual([], list(ingest.iterdir()) if ingest.exists() else [])
        self.ok("rm", "-f", "plain")
        build_image()


class Unflushed(GuestTestCase):
    """The last work before the second cut: no sync, so the disk has an arbitrary part of it."""

    def test_work(self):
        for number in range(3):
            self.ok("run", "-d", "--name", f"late{number}", "--network", "none", IMAGE, "sleep", "10000")
        self.ok("run", "--name", "ended", "--network", "none", IMAGE, "sh", "-c", "echo x > /x")
        folder = context()
        (folder / "Dockerfile").write_text((folder / "Dockerfile").read_text() + "RUN echo late > /late\n")
        self.ok("build", "-t", "late", folder)
        start_a_build()


class AfterUnflushed(GuestTestCase):
    def test_1_the_list_works(self):
        self.ok("ps", "-a")
        self.ok("images")
        self.ok("volume", "ls")

    def test_2_an_image_is_whole_or_not_there(self):
        images = self.ok("images", "--format", "{{.Repository}}").split()
        self.assertIn(IMAGE, images, "it was there at the first cut")
        if "late" in images:
            self.assertEqual("late\n", self.ok("run", "--rm", "--network", "none", "late", "cat", "/late"))
        self.assertEqual("fine\n", self.ok("run", "--rm", "--network", "none", IMAGE, "echo", "fine"))

    def test_3_each_container_starts_or_says_why_and_can_be_removed(self):
        for name in self.ok("ps", "-a", "--format", "{{.Names}}").split():
            with self.subTest(name):
                result = dray("start", name)
                print(f"    start {name}: exit code {result.code} {result.err.strip()}")
                if result.code != 0:
                    self.assertTrue(result.err.strip())
                self.ok("rm", "-f", name)
        self.assertEqual("", self.ok("ps", "-aq"))

    def test_4_prune_and_build_again(self):
        self.ok("system", "prune", "-f")
        self.assertEqual([], [path for path in (ROOT / "snapshots").iterdir() if (path / "upper").exists()])
        build_image()
        folder = context()
        (folder / "Dockerfile").write_text((folder / "Dockerfile").read_text() + "RUN echo late > /late\n")
        self.ok("build", "-t", "late", folder)
        self.assertEqual("late\n", self.ok("run", "--rm", "--network", "none", "late", "cat", "/late"))


if __name__ == "__main__":
    if PHASE == 1:
        code = main(Before)
        code or cut_power()
    elif PHASE == 2:
        code = main(After)
        # What boot 3 shows does not depend on what boot 2 found.
        pathlib.Path("/var/tmp/after").write_text(str(code))
        os.sync()
        code = main(Unflushed)
        code or cut_power()
    else:
        code = main(AfterUnflushed) or int(pathlib.Path("/var/tmp/after").read_text())
    sys.exit(code)
