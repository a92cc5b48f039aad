#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""dray-runtime and the host around it: network devices that go into the container, and sd_notify out of it."""
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
            done = subprocess.run(self.arguments(*arguments), cwd=self.scratch, stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=40,
                                  env={**os.environ, **environment})
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
        process = subprocess.Popen(self.arguments(*arguments), cwd=self.scratch, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   env={**os.environ, "NOTIFY_SOCKET": str(self.scratch / "host.sock")})
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
        self.addCleanup(lambda: subprocess.run(["ip", "link", "del", "drayt0"], stderr=subprocess.DEVNULL))
        subprocess.run(["ip", "link", "add", "drayt0", "type", "veth", "peer", "name", "drayt1"], check=True)
        subprocess.run(["ip", "address", "add", "198.51.100.7/24", "dev", "drayt0"], check=True)

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
        namespaces = [entry for entry in json.loads((self.scratch / "config.json").read_text())["linux"]["namespaces"] if entry["type"] != "network"]
        self.configure("ip address show dev lo", namespaces=[*namespaces, {"type": "network", "path": f"/proc/{other.pid}/ns/net"}])
        self.assertRegex(self.ok("run", "box"), "<LOOPBACK>")

    def test_loopback_in_a_user_namespace(self):
        mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        namespaces = json.loads((self.scratch / "config.json").read_text())["linux"]["namespaces"]
        for path in (self.scratch, self.scratch / "rootfs"):
            path.chmod(0o755)
        self.configure("ip address show dev lo", namespaces=[*namespaces, {"type": "user"}], uidMappings=mapping, gidMappings=mapping)
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
        mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        namespaces = json.loads((self.scratch / "config.json").read_text())["linux"]["namespaces"]
        for path in (self.scratch, self.scratch / "rootfs"):
            path.chmod(0o755)
        self.configure("ip address show", namespaces=[*namespaces, {"type": "user"}], uidMappings=mapping, gidMappings=mapping,
                       netDevices={"drayt0": {}})
        self.assertIn("198.51.100.7/24", self.ok("run", "box"))

    def test_what_is_refused(self):
        self.make_device()
        namespaces = json.loads((self.scratch / "config.json").read_text())["linux"]["namespaces"]
        shared = [entry for entry in namespaces if entry["type"] != "network"]
        for devices, kept, text in (
                ({"drayt9": {}}, namespaces, "error creating network interfaces: move netDevice drayt9.*link not found for interface drayt9"),
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
            self.assertIn("198.51.100.7/24", subprocess.run(["ip", "address", "show", "dev", "drayt0"], capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
