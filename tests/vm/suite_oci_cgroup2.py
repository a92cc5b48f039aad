#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# guest: small
"""dray-runtime as root on a host with nothing but cgroup v2, and all of its controllers."""
import json
import os
import subprocess
import sys

import bundle
from bundle import cgroup_of
from guest import CGROUP, command, eventually, main

DISK = os.stat("/dev/vda").st_rdev
DEVICE = {"major": os.major(DISK), "minor": os.minor(DISK)}
READ_WRITE_CGROUP = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                     "options": ["nosuid", "noexec", "nodev", "relatime", "rw"]}


class Cgroup2(bundle.BundleTestCase):
    def tearDown(self):
        self.call("delete", "-f", "box")
        self.assertEqual("", command("find", CGROUP, "-type", "d", "-name", "*box*").out, "cgroups are left")

    def value(self, cgroup, file):
        return (cgroup / file).read_text().strip()

    def check(self, cgroup, **wanted):
        for file, value in wanted.items():
            file = file.replace("__", ".")
            self.assertEqual(value, self.value(cgroup, file), file)

    def capable(self, *names):
        for kind in ("bounding", "effective", "permitted"):
            self.spec["process"]["capabilities"][kind] += names

    def mount_cgroup(self, mount):
        self.spec["mounts"] = [m for m in self.spec["mounts"] if m["destination"] != "/sys/fs/cgroup"] + [mount]

    def own_ids(self):
        self.spec["linux"]["namespaces"].append({"type": "user"})
        for kind in ("uidMappings", "gidMappings"):
            self.spec["linux"][kind] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        command("chown", "-R", "100000:100000", self.bundle)
        self.bundle.parent.chmod(0o711)

    def test_limits_of_every_controller(self):
        self.spec["linux"]["resources"] |= {
            "pids": {"limit": 30},
            "memory": {"limit": 64 << 20, "reservation": 32 << 20, "swap": 96 << 20},
            "cpu": {"quota": 50000, "period": 100000, "burst": 10000, "shares": 1024, "cpus": "1", "mems": "0"},
            "blockIO": {"throttleReadBpsDevice": [DEVICE | {"rate": 1 << 20}],
                        "throttleWriteIOPSDevice": [DEVICE | {"rate": 500}]},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]}
        cgroup = cgroup_of(self.start())
        self.assertEqual(CGROUP / "box", cgroup)
        self.check(cgroup, pids__max="30", memory__max=str(64 << 20), memory__low=str(32 << 20),
                   cpu__max="50000 100000", cpuset__cpus="1",
                   cpuset__mems="0")
        self.check(cgroup, **{"memory.swap.max": str(32 << 20), "cpu.max.burst": "10000",
                              "hugetlb.2MB.max": str(4 << 20)})
        self.assertIn(self.value(cgroup, "cpu.weight"), ("39", "100"))
        self.assertEqual(f"{DEVICE['major']}:{DEVICE['minor']} rbps=1048576 wbps=max riops=max wiops=500",
                         self.value(cgroup, "io.max"))

    def test_update_of_all(self):
        cgroup = cgroup_of(self.start())
        self.succeed("update", "--pids-limit", "40", "--memory", "80M", "--memory-swap", "100M",
                     "--memory-reservation", "40M", "--cpu-quota",
                     "30000", "--cpu-period", "50000", "--cpu-share", "2", "--cpuset-cpus", "0", "--cpuset-mems", "0",
                     "box")
        wanted = {"pids.max": "40", "memory.max": str(80 << 20), "memory.swap.max": str(20 << 20),
                  "memory.low": str(40 << 20),
                  "cpu.max": "30000 50000", "cpu.weight": "1", "cpuset.cpus": "0", "cpuset.mems": "0"}
        self.check(cgroup, **wanted)
        self.succeed("update", "--cpu-quota", "20000", "--pids-limit", "-1", "box")
        self.check(cgroup, **(wanted | {"cpu.max": "20000 50000", "pids.max": "max"}))
        self.succeed("update", "--memory", "-1", "box")
        self.check(cgroup, **{"memory.max": "max", "memory.swap.max": "max"})
        self.succeed("update", "--cpu-idle", "1", "box")
        self.check(cgroup, **{"cpu.idle": "1"})

    def test_unified(self):
        self.spec["linux"]["resources"]["unified"] = {
            "memory.high": str(50 << 20), "memory.min": "1048576", "pids.max": "25", "cpu.max": "40000 90000",
            "io.max": f"{DEVICE['major']}:{DEVICE['minor']} rbps=2097152", "cgroup.max.depth": "5"}
        cgroup = cgroup_of(self.start())
        self.check(cgroup, **{"memory.high": str(50 << 20), "memory.min": "1048576", "pids.max": "25",
                              "cpu.max": "40000 90000",
                              "cgroup.max.depth": "5"})
        self.assertIn("rbps=2097152", self.value(cgroup, "io.max"))

    def test_unified_with_mistakes(self):
        for file, pattern in (("memory", "CONTROLLER"), ("../pids.max", "slash"), ("nothing.max", "not available"),
                              ("pids.nothing", "pids.nothing")):
            with self.subTest(file):
                self.spec["linux"]["resources"]["unified"] = {file: "1"}
                self.write("true")
                self.refuse(pattern, "run", "-b", self.bundle, "box")
                self.assertFalse((CGROUP / "box").exists())

    def test_what_only_version_1_has(self):
        self.spec["linux"]["resources"]["memory"] = {"swappiness": 10}
        self.write("true")
        self.refuse("swappiness", "run", "-b", self.bundle, "box")

    def test_devices(self):
        self.spec["linux"]["resources"]["devices"] += [{"allow": True, "type": "b", "access": "r", **DEVICE}]
        self.capable("CAP_MKNOD")
        # The runtime's own rules let it make any node.
        script = (f"cd /tmp; mknod disk b {DEVICE['major']} {DEVICE['minor']} 2>&1; mknod kmsg c 1 11;"
                  f" mknod zero c 1 5; mknod other b 253 1;"
                  "for f in disk kmsg zero other; do head -c4 $f 2>&1 | wc -c; done; head -c1 kmsg 2>&1;"
                  " head -c1 other 2>&1; true")
        out = self.output(script)
        self.assertTrue(out.startswith("4\n"), out)
        self.assertIn("kmsg: Operation not permitted", out)
        self.assertIn("other: Operation not permitted", out)

    def test_device_rules(self):
        self.spec["linux"]["resources"]["devices"] += [{"allow": True, "type": "b", "access": "rwm", **DEVICE},
                                                          {"allow": False, "type": "b", "access": "w", **DEVICE}]
        self.capable("CAP_MKNOD")
        out = self.output(f"cd /tmp; mknod disk b {DEVICE['major']} {DEVICE['minor']}; head -c512 disk | wc -c;"
                          f" (echo x > disk) 2>&1;"
                          " head -c2 /dev/zero | wc -c; echo x > /dev/null && echo null")
        self.assertEqual(["512", "sh: can't create disk: Operation not permitted", "2", "null"],
                         out.splitlines())

    def test_device_rules_survive_an_update(self):
        self.start()
        self.succeed("update", "--pids-limit", "50", "box")
        out = self.succeed("exec", "--cap", "CAP_MKNOD", "box", "sh", "-c",
                           "mknod /tmp/kmsg c 1 11; head -c1 /tmp/kmsg 2>&1; echo x > /dev/null && echo ok")
        self.assertEqual(["head: /tmp/kmsg: Operation not permitted", "ok"], out.splitlines())

    def test_statistics(self):
        self.spec["linux"]["resources"]["pids"] = {"limit": 30}
        self.spec["linux"]["resources"]["memory"] = {"limit": 64 << 20}
        self.start()
        event = json.loads(self.succeed("events", "--stats", "box"))
        self.assertEqual(("stats", "box"), (event["type"], event["id"]))
        data = event["data"]
        self.assertEqual({"current": 1, "limit": 30}, data["pids"])
        self.assertEqual(64 << 20, data["memory"]["usage"]["limit"])
        self.assertGreater(data["memory"]["usage"]["usage"], 0)
        self.assertGreater(data["cpu"]["usage"]["total"], 0)
        self.assertIn("hugetlb", data)
        self.assertLessEqual({"anon", "file"}, set(data["memory"]["raw"]))

    def test_out_of_memory_is_told(self):
        self.spec["linux"]["resources"]["memory"] = {"limit": 32 << 20, "swap": 32 << 20}
        self.start("sleep 3; x=0123456789abcdef; while :; do x=$x$x; done")
        events = subprocess.run([bundle.RUNTIME, "events", "--interval", "1s", "box"], stdin=subprocess.DEVNULL,
                                capture_output=True, text=True, timeout=60)
        self.assertEqual(0, events.returncode, events.stderr)
        self.assertIn('{"type":"oom","id":"box"}', events.stdout)

    def test_freeze(self):
        cgroup = cgroup_of(self.start("while :; do :; done"))
        self.succeed("pause", "box")
        self.assertIn("frozen 1", self.value(cgroup, "cgroup.events"))
        self.assertEqual("paused", self.status())
        self.refuse("paused", "exec", "box", "true")
        self.succeed("update", "--pids-limit", "50", "box")
        self.assertEqual("paused", self.status())
        self.succeed("resume", "box")
        self.assertIn("frozen 0", self.value(cgroup, "cgroup.events"))
        self.succeed("pause", "box")
        self.succeed("delete", "-f", "box")

    def test_cgroup_namespace(self):
        out = self.output("cat /proc/self/cgroup; grep ' /sys/fs/cgroup ' /proc/mounts; cat /sys/fs/cgroup/pids.max;"
                          " mkdir /sys/fs/cgroup/x 2>&1; true")
        self.assertTrue(out.startswith("0::/\n"), out)
        self.assertIn("cgroup2 ro,nosuid,nodev,noexec,relatime", out)
        self.assertIn("max\n", out)
        self.assertIn("Read-only", out)

    def test_no_cgroup_namespace(self):
        self.spec["linux"]["namespaces"] = [n for n in self.spec["linux"]["namespaces"] if n["type"] != "cgroup"]
        self.assertTrue(self.output("cat /proc/self/cgroup; ls /sys/fs/cgroup").startswith("0::/box\n"))

    def test_a_writable_cgroup_mount(self):
        self.mount_cgroup(READ_WRITE_CGROUP)
        self.assertEqual("ok\n", self.output("mkdir /sys/fs/cgroup/below && rmdir /sys/fs/cgroup/below && echo ok"))
        cgroup = cgroup_of(self.start())
        self.assertEqual(0, cgroup.stat().st_uid, "without user namespace it stays the host's")

    def test_delegation(self):
        self.own_ids()
        self.mount_cgroup(READ_WRITE_CGROUP)
        cgroup = cgroup_of(self.start("cd /sys/fs/cgroup && mkdir inner && echo 1 > inner/cgroup.procs "
                                      "&& echo +pids > cgroup.subtree_control && touch /tmp/done;"
                                      " exec sleep 1000"))
        top = CGROUP / "box"
        eventually((self.bundle / "rootfs/tmp/done").exists)
        self.assertEqual(100000, top.stat().st_uid)
        for name in ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
            self.assertEqual(100000, (top / name).stat().st_uid, name)
        for name in ("pids.max", "memory.max", "cgroup.freeze"):
            self.assertEqual(0, (top / name).stat().st_uid, name)
        self.assertIn("inner", str(cgroup_of(self.state()["pid"])), cgroup)

    def test_delegation_to_another_user(self):
        self.own_ids()
        self.mount_cgroup(READ_WRITE_CGROUP)
        self.spec["process"]["user"] = {"uid": 7, "gid": 7}
        self.start()
        self.assertEqual(100007, (CGROUP / "box").stat().st_uid)

    def test_no_delegation(self):
        self.own_ids()
        self.start()
        self.assertEqual(0, (CGROUP / "box").stat().st_uid, "the mount is read-only")
        self.succeed("delete", "-f", "box")
        self.mount_cgroup(READ_WRITE_CGROUP)
        self.spec["linux"]["namespaces"] = [n for n in self.spec["linux"]["namespaces"] if n["type"] != "cgroup"]
        self.start()
        self.assertEqual(0, (CGROUP / "box").stat().st_uid, "no namespace of its own")

    def test_path(self):
        self.spec["linux"]["cgroupsPath"] = "/some/where/box"
        self.assertEqual(CGROUP / "some/where/box", cgroup_of(self.start()))
        self.succeed("delete", "-f", "box")
        (CGROUP / "some/where").rmdir()
        (CGROUP / "some").rmdir()

    def test_relative_path(self):
        caller = CGROUP / "callers/own"
        caller.mkdir(parents=True)
        self.addCleanup(caller.parent.rmdir)
        self.addCleanup(caller.rmdir)
        for path, wanted in ((None, "callers/box"), ("x-box", "callers/x-box"), ("/box", "box")):
            with self.subTest(path):
                if path:
                    self.spec["linux"]["cgroupsPath"] = path
                self.write("sleep 1000")
                result = command("sh", "-c",
                                 f"echo 0 > {caller}/cgroup.procs;"
                                 f" dray-runtime run -d -b {self.bundle} box >/dev/null 2>/tmp/err")
                self.assertEqual(0, result.code, open("/tmp/err").read())
                self.assertEqual(CGROUP / wanted, cgroup_of(self.state()["pid"]))
                self.succeed("delete", "-f", "box")  # from another cgroup
                self.assertFalse((CGROUP / wanted).exists())

    def test_a_busy_cgroup(self):
        busy = CGROUP / "busy"
        busy.mkdir()
        self.addCleanup(busy.rmdir)
        process = subprocess.Popen(["sleep", "1000"])
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        (busy / "cgroup.procs").write_text(str(process.pid))
        self.spec["linux"]["cgroupsPath"] = "/busy"
        self.write("true")
        self.refuse("container's cgroup is not empty", "run", "-b", self.bundle, "box")
        process.kill()
        process.wait()
        busy.rmdir()
        busy.mkdir()

    def test_kill_all(self):
        self.spec["linux"]["namespaces"] = [n for n in self.spec["linux"]["namespaces"] if n["type"] != "pid"]
        cgroup = cgroup_of(self.start("for i in 1 2 3; do setsid sleep 1000 & done; exec sleep 1000"))
        eventually(lambda: len(self.value(cgroup, "cgroup.procs").split()) == 4)
        self.succeed("kill", "box", "KILL")
        eventually(lambda: self.value(cgroup, "cgroup.procs") == "")

    def test_keep(self):
        self.write("exit 0")
        self.succeed("run", "--keep", "-b", self.bundle, "box")
        self.assertEqual("stopped", self.status())
        self.assertEqual("max", self.value(CGROUP / "box", "pids.max"))


if __name__ == "__main__":
    sys.exit(main())
