#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# guest: systemd
"""What an ordinary user gets, in a login session's environment with a cgroup of their own and subordinate ids."""
import os
import sys

from bundle import MANAGER, UID, as_user
from guest import GuestTestCase, eventually, main


class Session(GuestTestCase):
    """The guest is what it claims to be; else nothing below means anything."""

    def test_user_manager(self):
        eventually(lambda: as_user("true").code == 0, what="the user's manager")
        self.assertEqual(f"{UID}\n", as_user("id", "-u").out)

    def test_delegated_controllers(self):
        eventually(lambda: as_user("true").code == 0, what="the user's manager")
        self.assertLessEqual({"cpuset", "cpu", "io", "memory", "pids"}, set((MANAGER / "cgroup.controllers").read_text().split()))
        self.assertEqual(UID, MANAGER.stat().st_uid)
        self.assertEqual(0, as_user("sh", "-c", "mkdir /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/below").code)

    def test_subordinate_ids(self):
        result = as_user("unshare", "--user", "--map-root-user", "--map-auto", "cat", "/proc/self/uid_map")
        # util-linux before 2.39 takes the last id away.
        self.assertEqual([["0", "1000"], ["1", "100000"]], [line.split()[:2] for line in result.out.splitlines()], repr(result))


class Engine(GuestTestCase):
    def test_run(self):
        """Works, or says in one line what to do; leaves nothing half made."""
        before = sorted(os.listdir("/var/lib")), sorted(os.listdir("/run"))
        result = as_user("dray", "run", "--rm", "busybox", "true")
        if result.code == 0:
            return
        self.assertEqual(125, result.code, repr(result))
        self.assertRegex(result.err, r"(?i)root")
        self.assertEqual(before, (sorted(os.listdir("/var/lib")), sorted(os.listdir("/run"))))

    def test_other_verbs(self):
        for words in (("ps",), ("images",), ("build", ".")):
            with self.subTest(words):
                result = as_user("dray", *words)
                if result.code != 0:
                    self.assertRegex(result.err, r"(?i)root")

    def test_no_root_needed(self):
        self.assertEqual(0, as_user("dray", "version").code)
        self.assertEqual(0, as_user("dray", "--help").code)


if __name__ == "__main__":
    sys.exit(main())
