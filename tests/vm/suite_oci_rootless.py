#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# guest: systemd
"""dray-runtime for an ordinary user: with cgroups of their own by systemd's delegation, and without any."""
import os
import pathlib
import stat
import subprocess
import sys
import time

import bundle
from bundle import MANAGER, SESSION, UID, as_user, cgroup_of
from guest import CGROUP, command, eventually, main

STATE = pathlib.Path(SESSION["XDG_RUNTIME_DIR"]) / "dray-runtime"
ROOT_SUB = [{"containerID": 0, "hostID": UID, "size": 1}, {"containerID": 1, "hostID": 100000, "size": 65535}]


class Rootless(bundle.BundleTestCase):
    rootless = True
    delegated = True

    def setUp(self):
        eventually(lambda: as_user("true").code == 0, what="the user's manager")
        super().setUp()

    def call(self, *words, **options):
        return as_user(bundle.RUNTIME, *self.flags, *words, delegated=self.delegated, **options)

    def words(self, *words):
        scope = ["systemd-run", "--user", "--scope", "--quiet", "--collect", "-p",
                 "Delegate=yes"] if self.delegated else []
        return [*scope, *super().words(*words)]

    def identity(self):
        return {"env": SESSION, "user": UID, "group": UID, "extra_groups": [], "cwd": SESSION["HOME"]}

    def tearDown(self):
        self.call("delete", "-f", "box")
        self.assertEqual("", self.call("list", "-q").out)
        self.assertEqual("", command("find", CGROUP, "-type", "d", "-name", "*box*").out, "cgroups are left")


class Anywhere(Rootless):
    """What needs no cgroup."""
    delegated = False

    def test_as_spec_writes_it(self):
        out = self.output("id -u; hostname; touch /tmp/made; cat /proc/self/uid_map; cat /proc/self/setgroups")
        self.assertEqual(["0", "runc", "0", "1000", "1", "deny"], out.split())
        self.assertEqual(UID, (self.bundle / "rootfs/tmp/made").stat().st_uid)

    def test_as_spec_writes_it_with_a_terminal(self):
        self.spec["process"]["terminal"] = True
        out = self.output("tty; test -t 0 && echo terminal; stat -c %u $(tty)")
        self.assertEqual(["/dev/pts/0", "terminal", "0"], out.split())

    def test_exit_code(self):
        self.write("exit 7")
        self.assertEqual(7, self.call("run", "-b", self.bundle, "box").code)

    def test_life(self):
        self.write("echo begun > /tmp/begun; exec sleep 1000")
        self.succeed_detached("create", "-b", self.bundle, "box")
        self.assertEqual("created", self.status())
        self.assertEqual("tester", self.state()["owner"])
        self.assertEqual((UID, 0o711), (STATE.stat().st_uid, stat.S_IMODE(STATE.stat().st_mode) & 0o777))
        self.assertTrue((STATE / "box").is_dir())
        self.assertFalse((self.bundle / "rootfs/tmp/begun").exists())
        self.succeed("start", "box")
        eventually((self.bundle / "rootfs/tmp/begun").exists)
        self.assertEqual("running", self.status())
        self.assertEqual("0\n", self.succeed("exec", "box", "id", "-u"))
        self.assertEqual("terminal\n", self.succeed("exec", "-t", "box", "sh", "-c",
                                                    "test -t 1 && echo terminal").replace("\r", ""))
        self.assertEqual(3, self.call("exec", "box", "sh", "-c", "exit 3").code)
        self.assertEqual("", command("dray-runtime", "list", "-q").out, "root's are others")
        self.succeed("kill", "box", "KILL")
        self.wait_stopped()
        self.succeed("delete", "box")

    def test_delete_force(self):
        pid = self.start()
        self.succeed("delete", "-f", "box")
        self.assertFalse(os.path.exists(f"/proc/{pid}"))

    def test_devices_are_the_host_s(self):
        out = self.output("for d in null zero full random urandom tty; do stat -c '%n %t:%T' /dev/$d; done;"
                          " echo x > /dev/null;"
                          " head -c3 /dev/zero | wc -c")
        self.assertIn("/dev/null 1:3\n", out)
        self.assertTrue(out.endswith("3\n"), out)

    def test_several_ranges(self):
        self.spec["linux"]["uidMappings"] = self.spec["linux"]["gidMappings"] = ROOT_SUB
        self.spec["process"]["capabilities"]["effective"] += ["CAP_CHOWN", "CAP_SETUID", "CAP_SETGID"]
        for kind in ("bounding", "permitted"):
            self.spec["process"]["capabilities"][kind] = self.spec["process"]["capabilities"]["effective"]
        self.output("touch /tmp/made && chown 5:6 /tmp/made")
        made = (self.bundle / "rootfs/tmp/made").stat()
        self.assertEqual((100004, 100005), (made.st_uid, made.st_gid))

    def test_another_user_of_several_ranges(self):
        self.spec["linux"]["uidMappings"] = self.spec["linux"]["gidMappings"] = ROOT_SUB
        self.spec["process"]["user"] = {"uid": 5, "gid": 6, "additionalGids": [7, 8]}
        pid = self.start("id > /tmp/id; exec sleep 1000")
        self.assertEqual(100004, os.stat(f"/proc/{pid}").st_uid)
        written = eventually(lambda: (self.bundle / "rootfs/tmp/id").read_text())
        self.assertRegex(written, "^uid=5 gid=6 groups=(6,)?7,8\n$")
        self.assertEqual(written, self.succeed("exec", "box", "id"))
        self.succeed("kill", "box", "KILL")
        self.wait_stopped()

    def test_ids_of_somebody_else(self):
        self.spec["linux"]["uidMappings"] = [ROOT_SUB[0], {"containerID": 1, "hostID": 200000, "size": 10}]
        self.write("true")
        self.refuse("newuidmap failed: .*not allowed", "run", "-b", self.bundle, "box")

    def test_a_user_namespace_is_needed(self):
        self.spec["linux"]["namespaces"] = [n for n in self.spec["linux"]["namespaces"] if n["type"] != "user"]
        self.spec["linux"]["uidMappings"] = self.spec["linux"]["gidMappings"] = []
        self.write("true")
        self.refuse("requires user namespaces", "run", "-b", self.bundle, "box")

    def test_without_permission_no_cgroup(self):
        pid = self.start()
        self.assertNotIn("box", str(cgroup_of(pid)))
        self.assertEqual("running", self.status())

    def test_without_permission_no_limits(self):
        self.spec["linux"]["resources"] = {"pids": {"limit": 30}}
        self.write("true")
        self.refuse("rootless needs no limits \\+ no cgrouppath when no permission is granted for"
                    " cgroups.*permission denied",
                    "run", "-b", self.bundle, "box")

    def test_without_permission_no_path(self):
        self.spec["linux"]["cgroupsPath"] = "/elsewhere/box"
        self.write("true")
        self.refuse("unable to apply cgroup configuration.*permission denied", "run", "-b", self.bundle, "box")

    def test_shared_pids_are_warned_about(self):
        self.spec["linux"]["namespaces"] = [n for n in self.spec["linux"]["namespaces"] if n["type"] != "pid"]
        self.spec["mounts"] = [m if m["destination"] != "/proc" else
                               {"destination": "/proc", "type": "bind", "source": "/proc",
                                "options": ["rbind"]} for m in self.spec["mounts"]]
        self.write("true")
        result = self.call("run", "-b", self.bundle, "box")
        self.assertEqual(0, result.code, repr(result))
        self.assertIn("strongly discouraged", result.err)

    def test_oom_score(self):
        self.spec["process"]["oomScoreAdj"] = 500
        self.assertEqual("500\n", self.output("cat /proc/self/oom_score_adj"))
        self.spec["process"]["oomScoreAdj"] = -500  # may not: it goes without
        self.assertEqual("0\n", self.output("cat /proc/self/oom_score_adj"))

    def test_oom_score_of_exec(self):
        self.spec["process"]["oomScoreAdj"] = 400
        self.start()
        self.assertEqual("400\n", self.succeed("exec", "box", "cat", "/proc/self/oom_score_adj"))

    def test_limits_of_the_process(self):
        self.spec["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]
        self.assertEqual("100\n200\n", self.output("ulimit -Sn; ulimit -Hn"))
        self.spec["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 1 << 30}]
        self.write("true")
        self.refuse("(?i)rlimit|limit", "run", "-b", self.bundle, "box")

    def test_seccomp(self):
        self.spec["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7}]}
        self.assertIn("Argument list too long", self.output("mkdir /tmp/x 2>&1; true"))
        self.spec["process"]["noNewPrivileges"] = False
        self.assertIn("Argument list too long", self.output("mkdir /tmp/y 2>&1; true"))

    def test_binds_keep_locked_options(self):
        self.spec["mounts"].append({"destination": "/host", "type": "bind", "source": "/run", "options": ["bind",
                                                                                                          "ro"]})
        self.write("true")
        self.refuse("mount", "run", "-b", self.bundle, "box")  # what is mounted below it would come to light
        self.spec["mounts"][-1]["options"] = ["rbind", "ro"]
        out = self.output("grep ' /host ' /proc/mounts; touch /host/x 2>&1; true")
        self.assertRegex(out, r" ro,nosuid,nodev")
        self.assertIn("Read-only", out)

    def test_cgroup_mount_in_a_namespace(self):
        self.spec["mounts"] = [m for m in self.spec["mounts"] if m["destination"] != "/sys/fs/cgroup"]
        self.spec["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                                    "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]})
        out = self.output("cat /proc/self/cgroup; grep ' /sys/fs/cgroup ' /proc/mounts | tail -1; ls /sys/fs/cgroup;"
                          " mkdir /sys/fs/cgroup/x 2>&1; true")
        self.assertIn("0::/\n", out)
        self.assertIn("cgroup2 ro,nosuid,nodev,noexec", out)
        self.assertIn("cgroup.procs", out)
        self.assertIn("Read-only", out)

    def test_cgroup_mount_without_namespace(self):
        self.spec["linux"]["namespaces"] = [n for n in self.spec["linux"]["namespaces"] if n["type"] != "cgroup"]
        out = self.output("grep ' /sys/fs/cgroup ' /proc/mounts | tail -1; ls /sys/fs/cgroup;"
                          " mkdir /sys/fs/cgroup/x 2>&1; true")
        self.assertIn("cgroup2 ro,nosuid,nodev,noexec", out)
        self.assertIn("user.slice", out)
        self.assertIn("Read-only", out)

    def test_network_namespace(self):
        self.spec["linux"]["namespaces"].append({"type": "network"})
        self.spec["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
        self.assertEqual("lo:\n1\n",
                         self.output("tail -n +3 /proc/net/dev | cut -d' ' -f4-5 | tr -d ' ';"
                                     " cat /proc/sys/net/ipv4/ip_forward"))

    def test_hooks(self):
        self.spec["hooks"] = {kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"cat > {self.bundle}/{kind}"]}]
                              for kind in ("createRuntime", "createContainer", "poststart", "poststop")}
        self.output("true")
        for kind in self.spec["hooks"]:
            self.assertIn('"id":"box"', (self.bundle / kind).read_text(), kind)
            self.assertEqual(UID, (self.bundle / kind).stat().st_uid)

    def test_console_socket(self):
        self.spec["process"]["terminal"] = True
        self.write("true")
        self.refuse("console socket", "create", "-b", self.bundle, "box")

    def test_other_users_cannot(self):
        self.start()
        result = command("dray-runtime", "--root", STATE, "list", "-q", user=65534, group=65534, extra_groups=[])
        self.assertNotEqual(0, result.code)

    def test_nothing_is_left_of_a_failure(self):
        self.spec["process"]["args"] = ["/no/such/program"]
        self.write()
        self.refuse("no such file", "run", "-b", self.bundle, "box")
        self.assertEqual([], os.listdir(STATE))

    def test_overlay_made_in_a_user_namespace(self):
        rootfs = self.bundle / "rootfs"
        rootfs.rename(self.bundle / "lower")
        for name in ("rootfs", "upper", "work"):
            (self.bundle / name).mkdir()
            os.chown(self.bundle / name, UID, UID)
        self.spec["linux"]["uidMappings"] = self.spec["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 0,
                                                                                  "size": 1}]
        self.write("cat /etc/name; id -u; echo new > /etc/new; rm /etc/name; ls /etc")
        name = self.bundle / "lower/etc/name"
        name.write_text("below\n")
        os.chown(name, UID, UID)
        mount = (f"mount -t overlay -o userxattr,lowerdir={self.bundle}/lower,upperdir={self.bundle}/upper,"
                 f"workdir={self.bundle}/work"
                 f" overlay {rootfs} && exec dray-runtime run -b {self.bundle} box")
        result = as_user("unshare", "-Urm", "sh", "-c", mount, delegated=False)
        self.assertEqual((0, "below\n0\nnew\n"), (result.code, result.out), repr(result))
        self.assertEqual("new\n", (self.bundle / "upper/etc/new").read_text())
        self.assertEqual(UID, (self.bundle / "upper/etc/new").stat().st_uid)
        self.assertTrue(name.exists())


class Given(Rootless):
    """In a cgroup of a subtree that root has given away, without systemd; the container's gets its place beside."""
    top = CGROUP / "given"

    def setUp(self):
        (self.top / "caller").mkdir(parents=True)
        self.addCleanup(self.top.rmdir)
        self.addCleanup((self.top / "caller").rmdir)
        for path in (self.top, self.top / "caller"):
            for name in ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
                os.chown(path / name, UID, UID)
        super().setUp()

    def words(self, *words):
        enter = (f"echo 0 > {self.top}/caller/cgroup.procs "
                 f"&& exec setpriv --reuid {UID} --regid {UID} --clear-groups \"$@\"")
        return ["sh", "-c", enter, "sh", *map(str, [bundle.RUNTIME, *words])]

    def identity(self):
        return {"env": SESSION, "cwd": SESSION["HOME"]}

    def call(self, *words, **options):
        return command(*self.words(*words), **self.identity(), **options)

    def test_beside_the_caller(self):
        pid = self.start()
        self.assertEqual(self.top / "box", cgroup_of(pid))
        self.succeed("delete", "-f", "box")
        self.assertFalse((self.top / "box").exists())

    def test_path_below(self):
        self.spec["linux"]["cgroupsPath"] = "deep/er/box"
        self.assertEqual(self.top / "deep/er/box", cgroup_of(self.start()))
        self.succeed("delete", "-f", "box")
        (self.top / "deep/er").rmdir()
        (self.top / "deep").rmdir()

    def test_limits(self):
        self.spec["linux"]["resources"] = {"pids": {"limit": 30}, "memory": {"limit": 64 << 20},
                                           "cpu": {"quota": 50000, "period": 100000, "cpus": "0"}}
        cgroup = cgroup_of(self.start())
        for file, value in (("pids.max", "30"), ("memory.max", str(64 << 20)), ("cpu.max", "50000 100000"),
                            ("cpuset.cpus", "0")):
            self.assertEqual(value, (cgroup / file).read_text().strip(), file)
        self.succeed("update", "--pids-limit", "40", "--memory", "80M", "box")
        self.assertEqual(("40", str(80 << 20)), ((cgroup / "pids.max").read_text().strip(),
                                                 (cgroup / "memory.max").read_text().strip()))


class Delegated(Rootless):
    """In a scope of the user's own manager."""

    def test_the_cgroup_is_below_the_manager_s(self):
        pid = self.start()
        cgroup = cgroup_of(pid)
        self.assertEqual("box", cgroup.name)
        self.assertTrue(str(cgroup).startswith(str(MANAGER)), cgroup)
        self.assertEqual(str(pid), (cgroup / "cgroup.procs").read_text().strip())
        self.succeed("delete", "-f", "box")
        self.assertFalse(cgroup.exists())

    def test_pause_and_exec(self):
        pid = self.start()
        self.succeed("pause", "box")
        self.assertEqual("paused", self.status())
        self.refuse("paused container", "exec", "box", "true")
        self.succeed("resume", "box")
        self.assertEqual("0::/\n", self.succeed("exec", "box", "cat", "/proc/self/cgroup"))
        self.succeed_detached("exec", "-d", "box", "sleep", "1000")
        self.assertEqual(2, len((cgroup_of(pid) / "cgroup.procs").read_text().split()))

    def test_a_subtree_of_the_user(self):
        """A cgroup that root has given away, without systemd."""
        given = MANAGER / "given"
        given.mkdir()
        self.addCleanup(given.rmdir)
        for path in (given, given / "cgroup.procs", given / "cgroup.subtree_control", given / "cgroup.threads"):
            os.chown(path, UID, UID)
        self.spec["linux"]["cgroupsPath"] = "/" + str((given / "box").relative_to("/sys/fs/cgroup"))
        self.spec["linux"]["resources"] = {"pids": {"limit": 30}}
        pid = self.start()
        self.assertEqual(given / "box", cgroup_of(pid))
        self.assertEqual("30\n", (given / "box/pids.max").read_text())
        self.succeed("delete", "-f", "box")

    def test_events(self):
        self.spec["linux"]["resources"] = {"memory": {"limit": 64 << 20}}
        self.start()
        self.assertIn('"limit":67108864', self.succeed("events", "--stats", "box"))

    def test_ps(self):
        pid = self.start()
        self.assertEqual(f"[{pid}]\n", self.succeed("ps", "-f", "json", "box"))


class UserSystemd(Rootless):
    """The user's own systemd makes the cgroup."""
    flags = ("--systemd-cgroup",)
    delegated = False

    def show(self, unit, *names):
        out = as_user("systemctl", "--user", "show", unit, *(f"-p{name}" for name in names), delegated=False).out
        return dict(line.split("=", 1) for line in out.splitlines())

    def test_scope(self):
        self.spec["linux"]["resources"] = {"pids": {"limit": 30}, "memory": {"limit": 64 << 20},
                                           "cpu": {"quota": 50000, "period": 100000, "shares": 512}}
        pid = self.start()
        cgroup = cgroup_of(pid)
        self.assertEqual(MANAGER / "user.slice/dray-box.scope", cgroup)
        shown = self.show("dray-box.scope", "TasksMax", "MemoryMax", "CPUQuotaPerSecUSec", "ActiveState", "Slice",
                          "Delegate")
        self.assertEqual({"TasksMax": "30", "MemoryMax": str(64 << 20), "CPUQuotaPerSecUSec": "500ms",
                          "ActiveState": "active",
                          "Slice": "user.slice", "Delegate": "yes"}, shown)
        self.assertEqual("30\n", (cgroup / "pids.max").read_text())
        # We are in no cgroup of the user's; systemd moves it.
        self.assertEqual("0::/\n", self.succeed("exec", "box", "cat", "/proc/self/cgroup"))
        self.succeed("update", "--pids-limit", "40", "box")
        self.assertEqual("40", self.show("dray-box.scope", "TasksMax")["TasksMax"])
        self.assertEqual("40\n", (cgroup / "pids.max").read_text())
        self.succeed("pause", "box")
        self.succeed("resume", "box")
        self.succeed("delete", "-f", "box")
        self.assertFalse(cgroup.exists())
        eventually(lambda: self.show("dray-box.scope", "LoadState")["LoadState"] == "not-found",
                   what="the scope is gone")

    def test_a_slice_of_the_user(self):
        self.spec["linux"]["cgroupsPath"] = "app-mine.slice:dray:box"
        self.assertEqual(MANAGER / "app.slice/app-mine.slice/dray-box.scope", cgroup_of(self.start()))

    def test_in_a_user_namespace(self):
        """As podman calls a runtime."""
        self.spec["linux"]["uidMappings"] = self.spec["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 0,
                                                                                  "size": 1}]
        self.write("cat /proc/self/cgroup; id -u")
        result = as_user("unshare", "-Urm", "dray-runtime", "--systemd-cgroup", "run", "-b", self.bundle, "box",
                         delegated=False)
        self.assertEqual((0, "0::/\n0\n"), (result.code, result.out), repr(result))


if __name__ == "__main__":
    sys.exit(main())
