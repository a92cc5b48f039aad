#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# guest: small
"""Limits on cgroup v2: what dray was told is in the container's cgroup, and the kernel enforces it."""
import os
import sys

from guest import CGROUP, IMAGE, GuestTestCase, build_image, command, dray, eventually, main


class Limits(GuestTestCase):
    @classmethod
    def setUpClass(cls):
        build_image()

    def tearDown(self):
        for identifier in dray("ps", "-aq").out.split():
            dray("rm", "-f", identifier)
        left = [path.name for path in (CGROUP / "dray").iterdir() if path.is_dir()] if (CGROUP / "dray").exists() else []
        self.assertEqual([], left, "cgroups are left")

    def start(self, *flags, script="exec sleep 1000"):
        identifier = self.ok("run", "-d", "--network", "none", *flags, IMAGE, "sh", "-c", script).strip()
        return identifier, CGROUP / "dray" / identifier

    def value(self, cgroup, file):
        return (cgroup / file).read_text().strip()

    def test_only_version_2(self):
        mounts = open("/proc/mounts").read()
        self.assertIn(" cgroup2 ", mounts)
        self.assertNotIn(" cgroup ", mounts)

    def test_all_controllers_reach_the_container(self):
        _, cgroup = self.start()
        wanted = {"cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"}
        there = set((CGROUP / "cgroup.controllers").read_text().split())
        self.assertEqual(wanted & there, wanted & set(self.value(cgroup, "cgroup.controllers").split()))
        self.assertLessEqual({"cpuset", "cpu", "io", "memory", "pids"}, there)

    def test_the_processes_are_in_the_cgroup(self):
        identifier, cgroup = self.start()
        self.assertEqual(self.inspect(identifier, ".State.Pid"), self.value(cgroup, "cgroup.procs"))
        self.ok("exec", "-d", identifier, "sleep", "500")
        eventually(lambda: len(self.value(cgroup, "cgroup.procs").split()) == 2, what="exec's process in the cgroup")
        # The monitor must survive what kills the container.
        monitors = command("pgrep", "-f", "dray-monitor").out.split()
        self.assertFalse(set(monitors) & set(self.value(cgroup, "cgroup.procs").split()))

    def test_memory(self):
        _, cgroup = self.start("-m", "64m")
        self.assertEqual(str(64 << 20), self.value(cgroup, "memory.max"))
        # Docker: swap as much again.
        self.assertEqual(str(64 << 20), self.value(cgroup, "memory.swap.max"))

    def test_cpus(self):
        _, cgroup = self.start("--cpus", "0.5")
        self.assertEqual("50000 100000", self.value(cgroup, "cpu.max"))

    def test_pids(self):
        identifier, cgroup = self.start("--pids-limit", "20")
        self.assertEqual("20", self.value(cgroup, "pids.max"))
        result = dray("exec", identifier, "sh", "-c", "for i in $(seq 40); do sleep 100 & done; echo all")
        self.assertRegex(result.out + result.err, "(?i)fork")
        self.assertLessEqual(int(self.value(cgroup, "pids.current")), 20)
        self.assertIn("max ", self.value(cgroup, "pids.events"))
        self.assertNotEqual("max 0", self.value(cgroup, "pids.events"))

    def test_no_limits(self):
        _, cgroup = self.start()
        self.assertEqual(("max", "max"), (self.value(cgroup, "memory.max"), self.value(cgroup, "pids.max")))
        self.assertEqual("100", self.value(cgroup, "cpu.weight"))

    def test_cpuset(self):
        self.need_flag("--cpuset-cpus")
        identifier, cgroup = self.start("--cpuset-cpus", "1")
        self.assertEqual("1", self.value(cgroup, "cpuset.cpus"))
        self.assertEqual("1", self.ok("exec", identifier, "sh", "-c", "grep Cpus_allowed_list /proc/self/status").split()[1])
        self.assertNotEqual(0, dray("run", "--rm", "--cpuset-cpus", "77", IMAGE, "true").code)

    def test_cpu_shares(self):
        flag = "--cpu-shares"
        self.need_flag(flag)
        # Docker's and runc's table for v2: 1024 shares are the weight 100 since runc 1.3.2, were 39 before.
        _, cgroup = self.start(flag, "1024")
        self.assertIn(self.value(cgroup, "cpu.weight"), ("39", "100"))
        _, cgroup = self.start(flag, "2")
        self.assertEqual("1", self.value(cgroup, "cpu.weight"))

    def test_memory_reservation(self):
        self.need_flag("--memory-reservation")
        _, cgroup = self.start("--memory-reservation", "32m")
        self.assertEqual(str(32 << 20), self.value(cgroup, "memory.low"))

    def test_oom_kill_is_reported(self):
        result = dray("run", "--name", "greedy", "--network", "none", "-m", "32m", IMAGE, "sh", "-c",
                      "x=0123456789abcdef; while :; do x=$x$x; done")
        self.assertEqual(137, result.code, repr(result))
        self.assertEqual("true", self.inspect("greedy", ".State.OOMKilled"))
        self.assertEqual("137", self.inspect("greedy", ".State.ExitCode"))

    def test_a_plain_kill_is_no_oom(self):
        identifier, _ = self.start("-m", "32m")
        self.ok("kill", identifier)
        self.ok("wait", identifier)
        self.assertEqual("false", self.inspect(identifier, ".State.OOMKilled"))

    def test_an_oom_kill_of_a_child_spares_the_container(self):
        identifier, cgroup = self.start("-m", "32m", script="while :; do sleep 1; done")
        result = dray("exec", identifier, "sh", "-c", "x=0123456789abcdef; while :; do x=$x$x; done")
        self.assertEqual(137, result.code, repr(result))
        self.assertRegex(self.value(cgroup, "memory.events"), r"oom_kill [1-9]")
        self.assertEqual("running", self.inspect(identifier, ".State.Status"))

    def test_devices_by_ebpf(self):
        # /dev/kmsg: no rule allows it. The file can be made (Docker's default, too) but not opened.
        self.assertIn("not permitted", self.run_in("mkdir -p /tmp; mknod /tmp/kmsg c 1 11 && head -c1 /tmp/kmsg 2>&1; true"))
        self.assertIn("not permitted", self.run_in("mkdir -p /tmp; mknod /tmp/disk b 254 0 && head -c1 /tmp/disk 2>&1; true"))
        self.assertEqual("4\n", self.run_in("mkdir -p /tmp; mknod /tmp/zero c 1 5 && head -c4 /tmp/zero | wc -c"))
        self.assertEqual("ok\n", self.run_in("for d in null zero full random urandom tty; do [ -c /dev/$d ] || echo $d; done;"
                                             " head -c1 /dev/urandom >/dev/null && echo x > /dev/null && echo ok"))

    def test_device_flag(self):
        number = os.stat("/dev/vda").st_rdev
        read = "head -c 512 /dev/vda | wc -c; echo x > /dev/vda"
        result = dray("run", "--rm", "--network", "none", "--device", "/dev/vda:/dev/vda:r", IMAGE, "sh", "-c", read)
        self.assertEqual("512\n", result.out, f"{os.major(number)}:{os.minor(number)} {result}")
        self.assertIn("not permitted", result.err)

    def test_privileged_sees_all_devices(self):
        self.assertEqual("512\n", self.run_in("head -c 512 /dev/vda | wc -c", "--privileged"))

    def test_cgroup_namespace_and_mount(self):
        self.assertEqual("0::/\n", self.run_in("cat /proc/self/cgroup"))
        out = self.run_in("grep ' /sys/fs/cgroup ' /proc/mounts; mkdir /sys/fs/cgroup/x 2>&1;"
                          " (echo 1 > /sys/fs/cgroup/pids.max) 2>&1; true")
        self.assertIn("cgroup2 ro,", out)
        self.assertEqual(2, out.count("Read-only file system"), out)
        self.assertEqual(str(64 << 20) + "\n", self.run_in("cat /sys/fs/cgroup/memory.max", "-m", "64m"))

    def test_kill_ends_every_process(self):
        identifier, cgroup = self.start(script="for i in 1 2 3 4 5; do setsid sleep 1000 & done; exec sleep 1000")
        eventually(lambda: len(self.value(cgroup, "cgroup.procs").split()) == 6)
        self.ok("rm", "-f", identifier)
        self.assertFalse(cgroup.exists())

    def test_a_stale_cgroup_is_replaced(self):
        identifier = self.ok("create", "--network", "none", "--pids-limit", "50", IMAGE, "sleep", "100").strip()
        stale = CGROUP / "dray" / identifier
        (stale / "below").mkdir(parents=True)
        (stale / "pids.max").write_text("3")
        self.ok("start", identifier)
        self.assertEqual("50", self.value(stale, "pids.max"))
        self.assertFalse((stale / "below").exists())

    def test_build_steps_leave_no_cgroup(self):
        build_image()  # tearDown looks

    def test_pause(self):
        self.need_command("pause")
        identifier, cgroup = self.start()
        self.ok("pause", identifier)
        self.assertIn("frozen 1", self.value(cgroup, "cgroup.events"))
        self.assertEqual("paused", self.inspect(identifier, ".State.Status"))
        self.ok("unpause", identifier)
        self.assertIn("frozen 0", self.value(cgroup, "cgroup.events"))

    def test_stats(self):
        self.need_command("stats")
        identifier, _ = self.start("-m", "64m")
        self.assertIn("64MiB", self.ok("stats", "--no-stream", identifier))

    def test_update(self):
        self.need_command("update")
        identifier, cgroup = self.start("-m", "64m", "--pids-limit", "20")
        self.ok("update", "--pids-limit", "30", identifier)
        self.assertEqual("30", self.value(cgroup, "pids.max"))


if __name__ == "__main__":
    sys.exit(main())
