#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""dray-runtime and the host around it: network devices and shares of the cache for a container, sd_notify out of it."""
import array
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading
import unittest

from harness import BUILD, eventually, main, require, skip_all

RUNTIME = BUILD / "dray-runtime"


class Host:
    """systemd's end of $NOTIFY_SOCKET. Descriptors are closed as they come, which is the answer to a barrier."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(15)
        self.messages = []
        self.thread = threading.Thread(target=self.receive)
        self.thread.start()

    def receive(self):
        while not self.messages or self.messages[-1] != "BARRIER=1":
            try:
                text, control, _, _ = self.socket.recvmsg(4096, 1024)
            except OSError:
                return
            for _, _, data in control:
                for descriptor in array.array("i", data):
                    os.close(descriptor)
            self.messages.append(text.decode().rstrip("\n"))
            if self.messages[-1] == "stop":
                return

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            try:
                end.sendto(b"stop", self.socket.getsockname())
            except OSError:
                pass
        self.thread.join()
        self.socket.close()


class OnTheHost(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            skip_all("needs root")
        if not RUNTIME.exists():
            skip_all(f"{RUNTIME} is not built")
        require("busybox", "python3")

    def setUp(self):
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="dray-oci-host-", dir="/var/tmp"))
        self.addCleanup(shutil.rmtree, self.scratch)
        rootfs = self.scratch / "rootfs"
        for name in ("bin", "dev", "proc", "sys", "run", "tmp"):
            (rootfs / name).mkdir(parents=True)
        shutil.copy(shutil.which("busybox"), rootfs / "bin" / "busybox")
        for applet in ("sh", "ip", "sleep", "cat", "echo", "ls", "nc", "touch", "mount", "grep"):
            (rootfs / "bin" / applet).symlink_to("busybox")
        subprocess.run([RUNTIME, "spec"], cwd=self.scratch, check=True)
        self.addCleanup(lambda: self.runtime("delete", "-f", "box"))

    def configure(self, script, **linux):
        config = json.loads((self.scratch / "config.json").read_text())
        config["process"].update(terminal=False, args=["sh", "-c", script])
        config["root"]["readonly"] = False
        config["process"]["capabilities"] = {kind: ["CAP_NET_ADMIN"] for kind in ("bounding", "effective", "permitted")}
        config["linux"].update(linux)
        (self.scratch / "config.json").write_text(json.dumps(config))

    def arguments(self, *arguments):
        return [str(RUNTIME), "--root", str(self.scratch / "state"), *arguments]

    def runtime(self, *arguments, **environment):
        with tempfile.TemporaryFile("w+") as out:
            done = subprocess.run(self.arguments(*arguments), cwd=self.scratch, stdin=subprocess.DEVNULL, stdout=out,
                                  stderr=out, timeout=40, env={**os.environ, **environment})
            out.seek(0)
            done.output = out.read()
        return done

    def ok(self, *arguments, **environment):
        done = self.runtime(*arguments, **environment)
        self.assertEqual(0, done.returncode, done.output)
        return done.output


class Notify(OnTheHost):
    # busybox has no client for datagrams of AF_UNIX: the test speaks for the container, through its root.
    WAITING = "touch /tmp/up; while ! [ -e /tmp/end ]; do sleep 0.05; done"

    def speak(self, text):
        eventually((self.scratch / "rootfs/tmp/up").exists)
        pid = json.loads(self.ok("state", "box"))["pid"]
        environment = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        self.assertIn(b"NOTIFY_SOCKET=/run/notify/notify.sock", environment)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(text, f"/proc/{pid}/root/run/notify/notify.sock")
        return pid

    def end(self):
        (self.scratch / "rootfs/tmp/end").touch()

    def listen(self):
        host = Host(self.scratch / "host.sock")
        self.addCleanup(host.close)
        return host

    def start_process(self, *arguments):
        environment = {**os.environ, "NOTIFY_SOCKET": str(self.scratch / "host.sock")}
        process = subprocess.Popen(self.arguments(*arguments), cwd=self.scratch, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, env=environment)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def test_start_waits_until_the_container_is_ready(self):
        host = self.listen()
        self.configure("mount | grep ' /run/notify ' >/tmp/seen; " + self.WAITING)
        self.ok("create", "box", NOTIFY_SOCKET=str(self.scratch / "host.sock"))
        start = self.start_process("start", "box")
        pid = self.speak(b"STATUS=soon\n")
        with self.assertRaises(subprocess.TimeoutExpired):
            start.wait(0.3)
        self.speak(b"STATUS=there\nREADY=1\n")
        self.assertEqual(0, start.wait(10))
        self.assertEqual(["READY=1", f"MAINPID={pid}", "BARRIER=1"], host.messages)
        self.assertEqual("running", json.loads(self.ok("state", "box"))["status"])
        self.assertRegex((self.scratch / "rootfs/tmp/seen").read_text(), r"\(ro,nosuid,nodev,noexec[,)]")
        self.end()

    def test_detached_run(self):
        host = self.listen()
        self.configure(self.WAITING)
        run = self.start_process("run", "-d", "box")
        pid = self.speak(b"READY=1")
        self.assertEqual(0, run.wait(10))
        self.assertEqual(["READY=1", f"MAINPID={pid}", "BARRIER=1"], host.messages)
        self.end()

    def test_run_in_the_foreground_is_the_main_process(self):
        host = self.listen()
        self.configure(self.WAITING)
        run = self.start_process("run", "box")
        self.speak(b"READY=1")
        eventually(lambda: host.messages == ["READY=1", f"MAINPID={run.pid}", "BARRIER=1"])
        self.assertIsNone(run.poll())
        self.end()
        self.assertEqual(0, run.wait(10))

    def test_a_container_that_ends_without_a_word(self):
        host = self.listen()
        self.configure("exit 3")
        self.ok("create", "box", NOTIFY_SOCKET=str(self.scratch / "host.sock"))
        self.ok("start", "box", NOTIFY_SOCKET=str(self.scratch / "host.sock"))
        self.assertEqual([], host.messages)
        self.assertEqual(3, self.runtime("run", "other", NOTIFY_SOCKET=str(self.scratch / "host.sock")).returncode)

    def test_started_without_the_variable(self):
        self.configure("ls -d /run/notify >/tmp/seen; echo ${NOTIFY_SOCKET:-none} >>/tmp/seen; touch /tmp/up")
        self.ok("create", "box", NOTIFY_SOCKET="")
        self.ok("start", "box", NOTIFY_SOCKET=str(self.scratch / "host.sock"))
        eventually((self.scratch / "rootfs/tmp/up").exists)
        self.assertEqual("none\n", (self.scratch / "rootfs/tmp/seen").read_text())


class Devices(OnTheHost):
    def make_device(self):
        require("ip")
        # By the end that stays here: the other one goes with the container's namespace, which ends in its own time.
        self.addCleanup(lambda: eventually(lambda: not os.path.exists("/sys/class/net/drayt0")))
        self.addCleanup(lambda: subprocess.run(["ip", "link", "del", "drayt1"], stderr=subprocess.DEVNULL))
        subprocess.run(["ip", "link", "add", "drayt0", "type", "veth", "peer", "name", "drayt1"], check=True)
        subprocess.run(["ip", "address", "add", "198.51.100.7/24", "dev", "drayt0"], check=True)

    def namespaces(self):
        return json.loads((self.scratch / "config.json").read_text())["linux"]["namespaces"]

    def user_namespace(self):
        for path in (self.scratch, self.scratch / "rootfs"):
            path.chmod(0o755)
        mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        return {"namespaces": [*self.namespaces(), {"type": "user"}], "uidMappings": mapping, "gidMappings": mapping}

    def test_loopback_is_up(self):
        self.configure("ip address show dev lo")
        output = self.ok("run", "box")
        self.assertRegex(output, "<LOOPBACK,UP,LOWER_UP>")
        self.assertIn("127.0.0.1/8", output)

    def test_loopback_of_a_joined_namespace_is_not_touched(self):
        other = subprocess.Popen(["unshare", "--net", "sleep", "60"])
        self.addCleanup(other.wait)
        self.addCleanup(other.kill)
        eventually(lambda: os.readlink(f"/proc/{other.pid}/ns/net") != os.readlink("/proc/self/ns/net"))
        namespaces = [entry for entry in self.namespaces() if entry["type"] != "network"]
        joined = {"type": "network", "path": f"/proc/{other.pid}/ns/net"}
        self.configure("ip address show dev lo", namespaces=[*namespaces, joined])
        self.assertRegex(self.ok("run", "box"), "<LOOPBACK>")

    def test_loopback_in_a_user_namespace(self):
        self.configure("ip address show dev lo", **self.user_namespace())
        self.assertRegex(self.ok("run", "box"), "<LOOPBACK,UP,LOWER_UP>")

    def test_a_device_with_a_new_name(self):
        self.make_device()
        self.configure("ip address show", netDevices={"drayt0": {"name": "eth7"}})
        output = self.ok("run", "box")
        self.assertRegex(output, "eth7@")
        self.assertIn("198.51.100.7/24", output)
        self.assertNotIn("drayt0", output)

    def test_a_device_in_a_user_namespace(self):
        self.make_device()
        self.configure("ip address show", netDevices={"drayt0": {}}, **self.user_namespace())
        self.assertIn("198.51.100.7/24", self.ok("run", "box"))

    def test_what_is_refused(self):
        self.make_device()
        namespaces = self.namespaces()
        shared = [entry for entry in namespaces if entry["type"] != "network"]
        for devices, kept, text in (
                ({"drayt9": {}}, namespaces,
                 "error creating network interfaces: move netDevice drayt9.*link not found for interface drayt9"),
                ({"drayt0": {"name": "lo"}}, namespaces, "move netDevice drayt0.*file exists"),
                ({"drayt0": {"name": "a/b"}}, namespaces, "invalid network device name"),
                ({"..": {}}, namespaces, "invalid network device name"),
                ({"drayt0": {}}, shared, "unable to move network devices without a NET namespace")):
            self.configure("true", netDevices=devices, namespaces=kept)
            done = self.runtime("create", "box")
            self.assertEqual(1, done.returncode)
            self.assertRegex(done.output, text)
            self.assertFalse((self.scratch / "state" / "box").exists())
            # Still there, with all that it has.
            shown = subprocess.run(["ip", "address", "show", "dev", "drayt0"], capture_output=True, text=True)
            self.assertIn("198.51.100.7/24", shown.stdout)


class Resctrl(OnTheHost):
    """Without such a processor: a folder that /proc/self/mountinfo, of the runtime alone, shows as a resctrl mount."""

    def setUp(self):
        super().setUp()
        self.resctrl = self.scratch / "resctrl"
        for name, text in (("info/L3/cbm_mask", "fff"), ("info/L3/min_cbm_bits", "1"), ("info/L3/num_closids", "16"),
                           ("schemata", "L3:0=fff"), ("info/L3_MON/mon_features", "llc_occupancy")):
            (self.resctrl / name).parent.mkdir(parents=True, exist_ok=True)
            (self.resctrl / name).write_text(text + "\n")
        self.mountinfo = self.scratch / "mountinfo"
        script = f"echo x > {self.mountinfo} && mount --bind {self.mountinfo} /proc/$$/mountinfo"
        probe = subprocess.run(["unshare", "--mount", "sh", "-c", script])
        if probe.returncode != 0:
            self.skipTest("the kernel allows no mount on /proc/PID/mountinfo")

    def arguments(self, *arguments):
        script = (f"cat /proc/self/mountinfo > {self.mountinfo}; "
                  f"echo '999 1 0:99 / {self.resctrl} rw - resctrl resctrl rw' >> {self.mountinfo}; "
                  f"mount --bind {self.mountinfo} /proc/$$/mountinfo && exec \"$@\"")
        return ["unshare", "--mount", "sh", "-c", script, "sh", *super().arguments(*arguments)]

    def forget_files(self, group):
        """The kernel's go with their folder."""
        for path in sorted(group.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()

    def test_a_group_of_its_own(self):
        self.configure("sleep 60", intelRdt={"l3CacheSchema": "L3:0=f"})
        self.ok("create", "box")
        self.ok("start", "box")
        pid = json.loads(self.ok("state", "box"))["pid"]
        group = self.resctrl / "box"
        self.assertEqual("L3:0=f\n", (group / "schemata").read_text())
        self.assertEqual(str(pid), (group / "tasks").read_text())
        self.ok("exec", "box", "sh", "-c", "exit 0")
        self.assertNotEqual(str(pid), (group / "tasks").read_text())
        domain = group / "mon_data" / "mon_L3_00"
        domain.mkdir(parents=True)
        (domain / "llc_occupancy").write_text("4096\n")
        shown = json.loads(self.ok("events", "--stats", "box"))["data"]["intel_rdt"]
        self.assertEqual({"cbm_mask": "fff", "min_cbm_bits": 1, "num_closids": 16}, shown["l3_cache_info"])
        self.assertEqual(("L3:0=fff", "L3:0=f"), (shown["l3_cache_schema_root"], shown["l3_cache_schema"]))
        self.assertEqual([{"llc_occupancy": 4096}], shown["cmt_stats"])
        self.ok("update", "--l3-cache-schema", "L3:0=3", "box")
        self.assertEqual("L3:0=3\n", (group / "schemata").read_text())
        refused = self.runtime("update", "--mem-bw-schema", "MB:0=20", "box")
        self.assertRegex(refused.output, "memory bandwidth schema is not enabled")
        self.forget_files(group)
        self.ok("delete", "-f", "box")
        self.assertFalse(group.exists())

    def test_what_fails_leaves_no_group(self):
        self.configure("true", intelRdt={"enableMonitoring": True})  # the kernel would have made mon_groups
        done = self.runtime("create", "box")
        self.assertEqual(1, done.returncode)
        self.assertRegex(done.output, "unable to apply Intel RDT configuration")
        self.assertFalse((self.resctrl / "box").exists())
        self.configure("true", intelRdt={"closID": "missing"})
        self.assertRegex(self.runtime("create", "box").output, "clos dir not accessible")
        self.assertFalse((self.scratch / "state" / "box").exists())


if __name__ == "__main__":
    main()
