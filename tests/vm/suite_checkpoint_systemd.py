#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# guest: systemd
"""checkpoint and restore where systemd makes the containers' cgroups."""
import sys

import suite_checkpoint
from guest import CGROUP, command, eventually, main


class Systemd(suite_checkpoint.Checkpoint):
    GLOBAL = ("--systemd-cgroup",)

    def active(self, unit):
        return command("systemctl", "is-active", unit).out.strip()

    def test_scope(self):
        def change(spec):
            spec["linux"]["cgroupsPath"] = "system.slice:dray:" + self.name
            spec["linux"]["resources"] = {"pids": {"limit": 40}, "memory": {"limit": 64 << 20}}
        self.start(change=change)
        unit = f"dray-{self.name}.scope"
        cgroup = CGROUP / "system.slice" / unit
        for _ in range(2):
            self.assertEqual("active", self.active(unit))
            self.checkpoint()
            before = self.number()
            eventually(lambda: self.active(unit) == "inactive", what="the scope's end")
            self.restore()
            self.check_goes_on(before)
            self.assertEqual("TasksMax=40", command("systemctl", "show", "-p", "TasksMax", unit).out.strip())
            self.assertEqual("40", (cgroup / "pids.max").read_text().strip())
            self.assertIn(str(self.state()["pid"]), (cgroup / "cgroup.procs").read_text().split())
        self.good("delete", "--force", self.name)
        self.assertFalse(cgroup.exists())


if __name__ == "__main__":
    sys.exit(main())
