#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# guest: small
"""dray-runtime's state on a disk, not in a tmpfs: what it says of its containers after a power cut."""
import json
import os
import pathlib
import sys

import bundle
from guest import PHASE, cut_power, eventually, main

STATE = "/var/lib/dray-runtime-on-disk"


class Before(bundle.BundleTestCase):
    flags = ("--root", STATE)

    def setUp(self):
        super().setUp()
        self._cleanups.clear()  # bundle and containers are for the next boot

    def test_containers(self):
        self.write("exec sleep 1000")
        for name in ("running", "paused"):
            self.spec["linux"]["cgroupsPath"] = "/" + name
            self.write()
            self.succeed_detached("run", "-d", "-b", self.bundle, name)
        self.succeed("pause", "paused")
        self.spec["linux"]["cgroupsPath"] = "/created"
        self.write()
        self.succeed_detached("create", "-b", self.bundle, "created")
        self.assertEqual(["created", "paused", "running"],
                         [c["status"] for c in json.loads(self.succeed("list", "-f", "json"))])
        # The kernel gives a process of the next boot the same pid and, seen in ticks after it, perhaps the same start.
        file = pathlib.Path(STATE) / "running/state.json"
        state = json.loads(file.read_text())
        stat = pathlib.Path("/proc/1/stat").read_text().rsplit(")", 1)[1].split()
        file.write_text(json.dumps(state | {"pid": 1, "startTicks": int(stat[19])}))
        os.sync()
        self.spec["linux"]["cgroupsPath"] = "/unflushed"
        self.write()
        self.succeed_detached("run", "-d", "-b", self.bundle, "unflushed")


class After(bundle.BundleTestCase):
    flags = ("--root", STATE)

    def setUp(self):
        pass

    def test_1_all_are_stopped(self):
        listed = {c["id"]: c for c in json.loads(self.succeed("list", "-f", "json"))}
        for name in ("created", "paused", "running"):
            self.assertEqual(("stopped", 0), (listed[name]["status"], listed[name]["pid"]), name)
            self.assertEqual("stopped", json.loads(self.succeed("state", name))["status"])

    def test_2_nothing_can_be_done_to_them(self):
        self.refuse("not running", "kill", "running", "KILL")
        self.refuse("stopped", "exec", "running", "true")
        self.refuse("stopped", "start", "created")
        self.refuse("not running|stopped|paused", "resume", "paused")

    def test_3_they_can_be_deleted(self):
        self.succeed("delete", "created")
        self.succeed("delete", "paused")
        self.succeed("delete", "-f", "running")
        self.assertTrue(pathlib.Path("/proc/1").exists())

    def test_4_what_was_not_yet_on_the_disk(self):
        left = self.succeed("list", "-q")
        print(f"    left of the unflushed one: {left.split()} {os.listdir(STATE)}")
        self.succeed("delete", "-f", "unflushed")
        self.assertEqual([], os.listdir(STATE))

    def test_5_their_names_are_free(self):
        rootfs = next(pathlib.Path("/root").glob("bundle*"))
        self.succeed_detached("run", "-d", "-b", rootfs, "running")
        eventually(lambda: json.loads(self.succeed("state", "running"))["status"] == "running")
        self.succeed("delete", "-f", "running")


if __name__ == "__main__":
    if PHASE == 1:
        main(Before) or cut_power()
    sys.exit(main(After) if PHASE == 2 else 1)
