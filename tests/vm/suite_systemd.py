#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# guest: systemd
"""A host as most users have it: systemd owns the cgroup tree, dray is one of its guests."""
import os
import sys

from guest import CGROUP, IMAGE, GuestTestCase, build_image, command, dray, eventually, main


PATH = os.environ["PATH"]


class Systemd(GuestTestCase):
    def tearDown(self):
        for identifier in dray("ps", "-aq").out.split():
            dray("rm", "-f", identifier)

    def test_1_boots(self):
        self.assertEqual("systemd", open("/proc/1/comm").read().strip())
        eventually(lambda: command("systemctl", "is-active", "multi-user.target").out.strip() == "active",
                   what="multi-user.target")
        failed = command("systemctl", "list-units", "--failed", "--plain", "--no-legend").out
        self.assertEqual("", failed)
        print(f"    {open('/proc/uptime').read().split()[0]} s after power on")

    def test_2_build(self):
        build_image()

    def test_3_run(self):
        self.assertEqual("hello\n", self.ok("run", "--rm", IMAGE, "echo", "hello"))

    def test_limits_reach_the_container(self):
        identifier = self.ok("run", "-d", "-m", "64m", "--pids-limit", "20", "--cpus", "0.5", IMAGE, "sleep",
                             "1000").strip()
        cgroup = CGROUP / open(f"/proc/{self.inspect(identifier, '.State.Pid')}/cgroup").read().strip().split("::/")[1]
        print(f"    {cgroup}")
        self.assertIn(identifier, str(cgroup))
        for file, value in (("memory.max", str(64 << 20)), ("pids.max", "20"), ("cpu.max", "50000 100000")):
            self.assertEqual(value, (cgroup / file).read_text().strip(), file)
        # systemd re-applies its own tree at a reload; what is dray's must stay as it is.
        self.assertEqual(0, command("systemctl", "daemon-reload").code)
        self.assertEqual(0, command("systemctl", "restart", "dbus.service").code)
        for file, value in (("memory.max", str(64 << 20)), ("pids.max", "20"), ("cpu.max", "50000 100000")):
            self.assertEqual(value, (cgroup / file).read_text().strip(), f"{file} after a reload")
        self.assertTrue((CGROUP / "system.slice").is_dir())

    def test_a_container_outlives_the_service_that_started_it(self):
        result = command("systemd-run", "--wait", "--collect", "--unit=starter", f"--setenv=PATH={PATH}",
                         "--property=TimeoutStopSec=3", "/payload/bin/dray", "run", "-d", "--name", "outlives",
                         "--network", "none", IMAGE, "sleep", "1000")
        self.assertEqual(0, result.code, repr(result))
        self.assertEqual("running", self.inspect("outlives", ".State.Status"))
        self.assertEqual("alive\n", self.ok("exec", "outlives", "echo", "alive"))

    def test_a_container_as_a_unit(self):
        # `dray run` in the foreground as a service: stopping the unit stops the container.
        result = command("systemd-run", "--unit=app", f"--setenv=PATH={PATH}", "/payload/bin/dray", "run",
                         "--rm", "--name", "app", "--network", "none", IMAGE, "sh", "-c",
                         "trap 'exit 0' TERM; while :; do sleep 0.1; done")
        self.assertEqual(0, result.code, repr(result))
        eventually(lambda: dray("inspect", "-f", "{{.State.Status}}", "app").out.strip() == "running",
                   what="the unit's container")
        self.assertEqual(0, command("systemctl", "stop", "app.service").code)
        eventually(lambda: self.ok("ps", "-aq") == "", what="the container ends with its unit")


if __name__ == "__main__":
    sys.exit(main())
