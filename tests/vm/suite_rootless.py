#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# guest: systemd
"""What an ordinary user gets, in a login session's environment with a cgroup of their own and subordinate ids."""
import json
import os
import pathlib
import shutil
import sys
import unittest

from guest import CGROUP, GuestTestCase, command, eventually, main

USER, UID = "tester", 1000
RUNTIME = shutil.which("dray-runtime")
SESSION = {"HOME": f"/home/{USER}", "USER": USER, "LOGNAME": USER, "PATH": os.environ["PATH"], "LANG": "C.UTF-8",
           "XDG_RUNTIME_DIR": f"/run/user/{UID}", "DBUS_SESSION_BUS_ADDRESS": f"unix:path=/run/user/{UID}/bus"}
DELEGATED = CGROUP / f"user.slice/user-{UID}.slice/user@{UID}.service"


def as_user(*words, **options):
    """Below the user's own manager, in a scope: the only place whose cgroup they may write."""
    scope = ["systemd-run", "--user", "--scope", "--quiet", "--collect", "-p", "Delegate=yes"]
    return command(*scope, *words, env=SESSION, user=UID, group=UID, extra_groups=[], cwd=SESSION["HOME"], **options)


class Session(GuestTestCase):
    """The guest is what it claims to be; else nothing below means anything."""

    def test_user_manager(self):
        eventually(lambda: as_user("true").code == 0, what="the user's manager")
        self.assertEqual(f"{UID}\n", as_user("id", "-u").out)

    def test_delegated_controllers(self):
        eventually(lambda: as_user("true").code == 0, what="the user's manager")
        self.assertLessEqual({"cpuset", "cpu", "io", "memory", "pids"}, set((DELEGATED / "cgroup.controllers").read_text().split()))
        self.assertEqual(UID, DELEGATED.stat().st_uid)
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


@unittest.skipIf(RUNTIME is None, "dray-runtime is not built")
class Bundle(GuestTestCase):
    """dray-runtime with a bundle whose user namespace maps only the caller, as `runc spec --rootless` writes it."""

    def setUp(self):
        self.bundle = pathlib.Path(SESSION["HOME"]) / "bundle"
        (self.bundle / "rootfs/bin").mkdir(parents=True)
        shutil.copy("/bin/busybox", self.bundle / "rootfs/bin/busybox")
        for name in ("proc", "sys", "dev", "tmp"):
            (self.bundle / "rootfs" / name).mkdir()
        for path in [self.bundle, *self.bundle.rglob("*")]:
            os.chown(path, UID, UID)
        self.addCleanup(shutil.rmtree, self.bundle)

    def write_spec(self, script, **linux):
        spec = {
            "ociVersion": "1.0.2",
            "process": {"user": {"uid": 0, "gid": 0}, "args": ["/bin/busybox", "sh", "-c", script], "env": ["PATH=/bin"],
                        "cwd": "/", "noNewPrivileges": True},
            "root": {"path": "rootfs"},
            "hostname": "rootless",
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            ],
            "linux": {
                "uidMappings": [{"containerID": 0, "hostID": UID, "size": 1}],
                "gidMappings": [{"containerID": 0, "hostID": UID, "size": 1}],
                "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "user", "network", "cgroup")],
                **linux,
            },
        }
        (self.bundle / "config.json").write_text(json.dumps(spec))

    def run_bundle(self, script, **linux):
        self.write_spec(script, **linux)
        result = as_user(RUNTIME, "--root", f"/run/user/{UID}/dray-runtime", "run", "-b", self.bundle, "job")
        self.assertEqual("", as_user(RUNTIME, "--root", f"/run/user/{UID}/dray-runtime", "list", "-q").out)
        return result

    def test_single_id(self):
        result = self.run_bundle("/bin/busybox id -u; /bin/busybox hostname; /bin/busybox touch /tmp/made")
        self.assertEqual((0, "0\nrootless\n"), (result.code, result.out), repr(result))
        self.assertEqual(UID, (self.bundle / "rootfs/tmp/made").stat().st_uid)

    def test_exit_code(self):
        self.assertEqual(7, self.run_bundle("exit 7").code)

    def test_subordinate_ids(self):
        mappings = [{"containerID": 0, "hostID": UID, "size": 1}, {"containerID": 1, "hostID": 100000, "size": 65536}]
        result = self.run_bundle("/bin/busybox touch /tmp/made && /bin/busybox chown 5:5 /tmp/made", uidMappings=mappings, gidMappings=mappings)
        self.assertEqual(0, result.code, repr(result))
        self.assertEqual(100004, (self.bundle / "rootfs/tmp/made").stat().st_uid)

    def test_ids_of_somebody_else(self):
        mappings = [{"containerID": 0, "hostID": UID, "size": 1}, {"containerID": 1, "hostID": 200000, "size": 10}]
        result = self.run_bundle("true", uidMappings=mappings, gidMappings=mappings)
        self.assertNotEqual(0, result.code)
        self.assertTrue(result.err.strip())

    def test_limit_in_the_delegated_cgroup(self):
        result = self.run_bundle("/bin/busybox true; exit 3", resources={"pids": {"limit": 30}})
        # It may refuse (with the reason), it may not ignore the limit silently.
        if result.code != 3:
            self.assertRegex(result.err, "(?i)cgroup|pids")


if __name__ == "__main__":
    sys.exit(main())
