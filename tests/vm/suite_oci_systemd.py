#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# guest: systemd
"""dray-runtime --systemd-cgroup as root: systemd makes the container's cgroup, knows its limits and keeps them."""
import sys

import bundle
from bundle import cgroup_of
from guest import CGROUP, command, main


def show(unit, *names):
    out = command("systemctl", "show", unit, *(f"-p{name}" for name in names)).out
    return dict(line.split("=", 1) for line in out.splitlines())


class Scope(bundle.BundleTestCase):
    flags = ("--systemd-cgroup",)

    def setUp(self):
        super().setUp()
        self.spec["linux"]["resources"] |= {
            "pids": {"limit": 30}, "memory": {"limit": 64 << 20, "reservation": 32 << 20, "swap": 96 << 20},
            "cpu": {"quota": 50000, "period": 100000, "shares": 512, "cpus": "0-1"}, "blockIO": {"weight": 200}}

    def tearDown(self):
        self.call("delete", "-f", "box")
        self.assertEqual("", command("find", CGROUP, "-type", "d", "-name", "*box*").out, "cgroups are left")
        self.assertEqual("", command("systemctl", "list-units", "--all", "--plain", "--no-legend", "*box*").out,
                         "units are left")

    def values(self, cgroup, *files):
        return [(cgroup / file).read_text().strip() for file in files]

    def test_scope_in_the_default_slice(self):
        pid = self.start()
        cgroup = cgroup_of(pid)
        self.assertEqual(CGROUP / "system.slice/dray-box.scope", cgroup)
        self.assertEqual(str(pid), (cgroup / "cgroup.procs").read_text().strip())
        self.assertEqual({"TasksMax": "30", "MemoryMax": str(64 << 20), "MemoryLow": str(32 << 20),
                          "MemorySwapMax": str(32 << 20),
                          "CPUQuotaPerSecUSec": "500ms", "AllowedCPUs": "0-1", "Delegate": "yes",
                          "Slice": "system.slice",
                          "ActiveState": "active", "DevicePolicy": "strict", "TasksAccounting": "yes",
                          "MemoryAccounting": "yes"},
                         show("dray-box.scope", "TasksMax", "MemoryMax", "MemoryLow", "MemorySwapMax",
                              "CPUQuotaPerSecUSec", "AllowedCPUs",
                              "Delegate", "Slice", "ActiveState", "DevicePolicy", "TasksAccounting",
                              "MemoryAccounting"))
        files = ("pids.max", "memory.max", "memory.low", "memory.swap.max", "cpu.max", "cpuset.cpus")
        wanted = ["30", str(64 << 20), str(32 << 20), str(32 << 20), "50000 100000", "0-1"]
        self.assertEqual(wanted, self.values(cgroup, *files))
        self.assertEqual(0, command("systemctl", "daemon-reload").code)
        self.assertEqual(wanted, self.values(cgroup, *files), "after a reload")
        self.assertEqual("512\n", self.succeed("exec", "box", "sh", "-c", "head -c512 /dev/zero | wc -c"))

    def test_slices(self):
        self.spec["linux"]["cgroupsPath"] = "machine-deep.slice:pre:box"
        pid = self.start()
        self.assertEqual(CGROUP / "machine.slice/machine-deep.slice/pre-box.scope", cgroup_of(pid))
        self.assertEqual("machine-deep.slice", show("pre-box.scope", "Slice")["Slice"])

    def test_wrong_path(self):
        self.spec["linux"]["cgroupsPath"] = "/a/path"
        self.write("true")
        self.refuse("slice:prefix:name", "run", "-b", self.bundle, "box")

    def test_exec(self):
        pid = self.start()
        self.succeed_detached("exec", "-d", "box", "sleep", "1000")
        self.assertEqual(2, len((cgroup_of(pid) / "cgroup.procs").read_text().split()))

    def test_update(self):
        cgroup = cgroup_of(self.start())
        self.succeed("update", "--pids-limit", "40", "--memory", "80M", "--memory-swap", "100M", "--cpu-quota", "30000",
                     "--cpu-share", "1024", "--cpuset-cpus", "1", "box")
        self.assertEqual({"TasksMax": "40", "MemoryMax": str(80 << 20), "MemorySwapMax": str(20 << 20),
                          "CPUQuotaPerSecUSec": "300ms",
                          "AllowedCPUs": "1"},
                         show("dray-box.scope", "TasksMax", "MemoryMax", "MemorySwapMax", "CPUQuotaPerSecUSec",
                              "AllowedCPUs"))
        wanted = ["40", str(80 << 20), str(20 << 20), "30000 100000", "1"]
        files = ("pids.max", "memory.max", "memory.swap.max", "cpu.max", "cpuset.cpus")
        self.assertEqual(wanted, self.values(cgroup, *files))
        command("systemctl", "daemon-reload")
        self.assertEqual(wanted, self.values(cgroup, *files))

    def test_pause(self):
        cgroup = cgroup_of(self.start())
        self.succeed("pause", "box")
        self.assertEqual("paused", self.status())
        self.assertIn("frozen 1", (cgroup / "cgroup.events").read_text())
        self.succeed("update", "--pids-limit", "50", "box")
        self.assertEqual("paused", self.status())
        self.succeed("resume", "box")
        self.assertEqual("running", self.status())

    def test_properties_from_annotations(self):
        prefix = "org.systemd.property."
        self.spec["annotations"] = {prefix + "CollectMode": "'inactive-or-failed'", prefix + "TimeoutStopSec": "123",
                                    prefix + "Documentation": "['man:true(1)']", prefix + "RuntimeMaxSec": "1000.5"}
        self.start()
        self.assertEqual({"CollectMode": "inactive-or-failed", "TimeoutStopUSec": "2min 3s",
                          "Documentation": '"man:true(1)"',
                          "RuntimeMaxUSec": "16min 40.500000s"},
                         {key: value.replace("500ms", ".500000s").replace("40s .", "40.") for key, value in
                          show("dray-box.scope", "CollectMode", "TimeoutStopUSec", "Documentation",
                               "RuntimeMaxUSec").items()})

    def test_wrong_properties(self):
        for key, value, pattern in (("CollectMode", "inactive", "value parse error"), ("A1", "true", "name incorrect"),
                                    ("NoSuchThing", "true", "NoSuchThing|PropertyReadOnly|unknown")):
            with self.subTest(key):
                self.spec["annotations"] = {"org.systemd.property." + key: value}
                self.write("true")
                self.refuse(pattern, "run", "-b", self.bundle, "box")
                self.assertEqual("", self.succeed("list", "-q"))

    def test_an_ended_container_leaves_nothing(self):
        self.assertEqual("hello\n", self.output("echo hello"))

    def test_systemd_may_stop_it(self):
        self.start("trap 'exit 0' TERM; while :; do sleep 0.1; done")
        self.assertEqual(0, command("systemctl", "stop", "dray-box.scope").code)
        self.wait_stopped()

    def test_devices(self):
        read = ("mknod /dev/x b 254 0; mknod /tmp/kmsg c 1 11; head -c1 /dev/x 2>&1; head -c1 /tmp/kmsg 2>&1;"
                " echo x > /dev/null && echo ok")
        self.spec["process"]["capabilities"]["effective"] += ["CAP_MKNOD"]
        for kind in ("bounding", "permitted"):
            self.spec["process"]["capabilities"][kind] = self.spec["process"]["capabilities"]["effective"]
        self.start()
        out = self.succeed("exec", "--cap", "CAP_MKNOD", "box", "sh", "-c", read)
        self.assertEqual(2, out.count("not permitted"), out)
        self.assertIn("ok", out)
        command("systemctl", "daemon-reload")
        self.assertEqual(2, self.succeed("exec", "--cap", "CAP_MKNOD", "box", "sh", "-c", read).count("not permitted"))


if __name__ == "__main__":
    sys.exit(main())
