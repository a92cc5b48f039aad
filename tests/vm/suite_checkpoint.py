#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# guest: criu
"""dray-runtime's checkpoint and restore, by Debian's CRIU. The kernel of this suite's guest has what CRIU needs, where
that of the host may lack it. runc does the first step as well: if that fails, it is CRIU that can't here."""
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading

from guest import CGROUP, GuestTestCase, command, eventually, main

COUNT = "n=0; while :; do n=$((n+1)); echo $n > /count; sleep 0.1; done"
ECHO = "while read line; do echo \"got $line\"; done; exit 7"
APPLETS = ("sh", "sleep", "echo", "cat", "ls", "tty", "stty", "mount", "true", "kill", "hostname")


class Pipes:
    """Three pipes for a container's standard descriptors."""

    def __init__(self):
        (self.stdin, self.input), (self.output, self.stdout), (self.errors, self.stderr) = os.pipe(), os.pipe(), os.pipe()

    def options(self):
        return {"stdin": self.stdin, "stdout": self.stdout, "stderr": self.stderr}

    def finish(self):
        """Ends the input, returns all output."""
        for number in (self.input, self.stdin, self.stdout, self.stderr):
            os.close(number)
        texts = []
        for number in (self.output, self.errors):
            with os.fdopen(number) as file:
                texts.append(file.read())
        return texts


class Checkpoint(GuestTestCase):
    RUNTIME = "dray-runtime"
    GLOBAL = ()  # flags of the runtime

    def setUp(self):
        self.bundle = pathlib.Path(tempfile.mkdtemp(dir="/var/tmp"))
        self.addCleanup(shutil.rmtree, self.bundle)
        rootfs = self.bundle / "rootfs"
        for name in ("bin", "proc", "sys", "dev", "tmp"):
            (rootfs / name).mkdir(parents=True)
        shutil.copy("/bin/busybox", rootfs / "bin/busybox")
        for name in APPLETS:
            (rootfs / "bin" / name).symlink_to("busybox")
        self.images = self.bundle / "images"
        self.work = self.bundle / "work"
        self.count = rootfs / "count"
        self.name = f"c{os.getpid()}"
        self.addCleanup(self.check_nothing_left)
        self.addCleanup(self.runtime, "delete", "--force", self.name)

    def check_nothing_left(self):
        self.assertEqual([], [line for line in pathlib.Path("/proc/mounts").read_text().splitlines() if str(self.bundle) in line or "criu-root" in line])
        self.assertEqual([], sorted(CGROUP.glob(f"**/{self.name}")))
        self.assertFalse(pathlib.Path("/run", self.RUNTIME, self.name).exists())

    def runtime(self, *words, **options):
        return command(self.RUNTIME, *self.GLOBAL, *words, cwd=self.bundle, **options)

    def good(self, *words, **options):
        result = self.runtime(*words, **options)
        log = self.work / ("restore.log" if words[0] == "restore" else "dump.log")
        tail = log.read_text(errors="replace")[-1500:] if result.code and log.exists() else ""
        self.assertEqual(0, result.code, f"{' '.join(map(str, words))}: {result}\n{tail}")
        return result.out

    def detached(self, *words, pipes=None, **options):
        """A container's standard descriptors must not be ours, which are not pipes."""
        process = subprocess.run([self.RUNTIME, *self.GLOBAL, *map(str, words)], cwd=self.bundle, timeout=120, **(pipes.options() if pipes else
                                 {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}), **options)
        log = self.work / ("restore.log" if words[0] == "restore" else "dump.log")
        tail = log.read_text(errors="replace")[-3000:] if process.returncode and log.exists() else ""
        self.assertEqual(0, process.returncode, f"{' '.join(map(str, words))}\n{tail}")

    def write_spec(self, script, change=lambda spec: None):
        (self.bundle / "config.json").unlink(missing_ok=True)
        self.good("spec")
        path = self.bundle / "config.json"
        spec = json.loads(path.read_text())
        spec["process"].update(args=["sh", "-c", script], terminal=False)
        spec["root"]["readonly"] = False
        change(spec)
        path.write_text(json.dumps(spec))

    def start(self, script=COUNT, change=lambda spec: None, **options):
        self.write_spec(script, change)
        self.detached("run", "-d", self.name, **options)
        if script == COUNT:
            eventually(lambda: self.number() > 2, what="the container counts")

    def number(self):
        try:
            return int(self.count.read_text() or 0)
        except (FileNotFoundError, ValueError):
            return 0

    def state(self):
        return json.loads(self.good("state", self.name))

    def checkpoint(self, *words):
        return self.good("checkpoint", "--image-path", self.images, "--work-path", self.work, *words, self.name)

    def restore(self, *words, **options):
        self.detached("restore", "-d", "--image-path", self.images, "--work-path", self.work, *words, self.name, **options)

    def check_goes_on(self, before):
        """Counts on from where it was."""
        self.assertGreater(before, 2)
        eventually(lambda: self.number() > before + 2, what=f"counting goes on from {before}")
        self.assertEqual("running", self.state()["status"])


class Restored(Checkpoint):
    def test_a_counter_goes_on(self):
        self.start()
        for _ in range(2):
            self.checkpoint()
            self.assertNotEqual(0, self.runtime("state", self.name).code)
            before = self.number()
            self.assertEqual([], sorted(CGROUP.glob(f"**/{self.name}")))
            self.restore("--pid-file", "pid")
            self.assertEqual(self.state()["pid"], int((self.bundle / "pid").read_text()))
            self.check_goes_on(before)

    def test_leave_running(self):
        self.start()
        pid = self.state()["pid"]
        self.checkpoint("--leave-running")
        self.assertEqual(pid, self.state()["pid"])
        self.check_goes_on(self.number())
        self.good("delete", "--force", self.name)
        self.restore()
        self.assertEqual("running", self.state()["status"])
        eventually(lambda: self.number() > 4, what="the restored one counts")

    def test_pipes(self):
        pipes = Pipes()
        self.start(ECHO, pipes=pipes)
        self.checkpoint()
        self.assertEqual(3, len(json.loads((self.images / "descriptors.json").read_text())))
        for number in (pipes.input, pipes.output, pipes.errors):
            os.close(number)
        pipes = Pipes()
        self.restore(pipes=pipes)
        os.write(pipes.input, b"ping\n")
        self.assertEqual(["got ping\n", ""], pipes.finish())
        eventually(lambda: self.state()["status"] == "stopped", what="its end")

    def test_bind_mount(self):
        (self.bundle / "data").mkdir()
        (self.bundle / "more").mkdir()
        (self.bundle / "rootfs/real").mkdir()
        (self.bundle / "rootfs/link").symlink_to("/real")
        self.start("n=0; while :; do n=$((n+1)); echo $n > /data/count; echo $n > /count; sleep 0.1; done",
                   lambda spec: spec["mounts"].extend(
                       {"type": "bind", "source": source, "destination": target, "options": ["rbind", "rw"]}
                       for source, target in (("data", "/data"), ("more", "/data/for/nested"), ("more", "/link"))))
        eventually(lambda: self.number() > 2, what="the container counts")
        self.checkpoint()
        before = self.number()
        shutil.rmtree(self.bundle / "data/for")
        (self.bundle / "more/file").write_text("seen")
        self.restore()
        self.check_goes_on(before)
        self.assertGreater(int((self.bundle / "data/count").read_text()), before)
        self.assertEqual("seenseen", self.good("exec", self.name, "cat", "/data/for/nested/file", "/real/file"))

    def test_cgroup(self):
        def change(spec):
            spec["linux"]["cgroupsPath"] = "/outer/" + self.name
            spec["linux"]["resources"] = {"pids": {"limit": 40}, "memory": {"limit": 64 << 20}}
        self.start(change=change)
        self.checkpoint()
        before = self.number()
        self.assertFalse((CGROUP / "outer" / self.name).exists())
        self.restore()
        self.check_goes_on(before)
        cgroup = CGROUP / "outer" / self.name
        self.assertEqual("40", (cgroup / "pids.max").read_text().strip())
        self.assertIn(str(self.state()["pid"]), (cgroup / "cgroup.procs").read_text().split())

    def test_another_cgroup(self):
        self.start(change=lambda spec: spec["linux"].update(cgroupsPath="/one/" + self.name))
        self.checkpoint("--manage-cgroups-mode", "ignore")
        before = self.number()
        spec = json.loads((self.bundle / "config.json").read_text())
        spec["linux"]["cgroupsPath"] = "/other/" + self.name
        (self.bundle / "config.json").write_text(json.dumps(spec))
        self.restore("--manage-cgroups-mode", "ignore")
        self.check_goes_on(before)
        self.assertFalse((CGROUP / "one" / self.name).exists())
        self.assertIn(str(self.state()["pid"]), (CGROUP / "other" / self.name / "cgroup.procs").read_text().split())

    def test_pre_dump(self):
        self.start()
        parent = self.bundle / "parent"
        self.good("checkpoint", "--pre-dump", "--image-path", parent, "--work-path", self.work, self.name)
        self.check_goes_on(self.number())
        self.checkpoint("--parent-path", "../parent")
        self.assertTrue((self.images / "parent").is_symlink())
        before = self.number()
        self.restore()
        self.check_goes_on(before)

    def test_network_namespace_of_the_callers(self):
        self.assertEqual(0, command("ip", "netns", "add", self.name).code)
        self.addCleanup(command, "ip", "netns", "delete", self.name)
        path = pathlib.Path("/run/netns", self.name)

        def change(spec):
            next(entry for entry in spec["linux"]["namespaces"] if entry["type"] == "network")["path"] = str(path)
        self.start(change=change)
        self.checkpoint()
        before = self.number()
        self.restore()
        self.check_goes_on(before)
        self.assertEqual(path.stat().st_ino, os.stat(f"/proc/{self.state()['pid']}/ns/net").st_ino)

    def test_configuration_of_a_container(self):
        config = self.bundle / "criu.conf"
        config.write_text("log-file=other.log")
        self.start(change=lambda spec: spec.update(annotations={"org.criu.config": str(config)}))
        self.checkpoint()
        self.assertEqual(["other.log"], [path.name for path in self.work.glob("*.log")])

    def test_lazy_pages(self):
        if command("criu", "check", "--feature", "uffd-noncoop").code != 0:
            self.skipTest("no userfaultfd")
        self.start()
        ready, told = os.pipe()
        dump = subprocess.Popen(["dray-runtime", "checkpoint", "--lazy-pages", "--page-server", "127.0.0.1:27277", "--status-fd", str(told),
                                 "--manage-cgroups-mode", "ignore", "--image-path", self.images, "--work-path", self.work, self.name],
                                cwd=self.bundle, pass_fds=[told])
        os.close(told)
        self.assertEqual(b"\0", os.read(ready, 1))
        self.assertEqual(b"", os.read(ready, 1))
        os.close(ready)
        before = self.number()
        daemon = subprocess.Popen(["criu", "lazy-pages", "--page-server", "--address", "127.0.0.1", "--port", "27277", "-D", self.images],
                                  cwd=self.bundle)
        other = self.name + "-lazy"
        self.addCleanup(self.runtime, "delete", "--force", other)
        self.detached("restore", "-d", "--lazy-pages", "--manage-cgroups-mode", "ignore", "--image-path", self.images, "--work-path", self.images, other)
        self.assertEqual((0, 0), (dump.wait(60), daemon.wait(60)))
        eventually(lambda: self.number() > before + 2, what="counting goes on")
        self.assertNotEqual(0, self.runtime("state", self.name).code)

    def test_mount_below_the_root_file_system(self):
        """Of the host's: restoring leaves it there."""
        place = self.bundle / "rootfs/tmp"
        self.assertEqual(0, command("mount", "-t", "tmpfs", "kept", place).code)
        self.addCleanup(command, "umount", place)
        mounts = pathlib.Path("/proc/mounts")
        before = mounts.read_text()
        self.write_spec(COUNT)
        result = self.runtime("restore", "-d", "--image-path", self.bundle, self.name)
        self.assertNotEqual(0, result.code)
        self.assertEqual(before, mounts.read_text())

    def test_user_namespace(self):
        def change(spec):
            spec["linux"]["namespaces"].append({"type": "user"})
            spec["linux"]["uidMappings"] = spec["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        self.bundle.chmod(0o755)
        for path in (self.bundle / "rootfs", *(self.bundle / "rootfs").rglob("*")):
            os.lchown(path, 100000, 100000)
        self.images.mkdir(mode=0o755)  # CRIU looks into it as the container's root, too
        self.start(change=change)
        self.checkpoint()
        before = self.number()
        self.restore()
        self.check_goes_on(before)
        self.assertEqual(["0", "100000", "65536"], self.good("exec", self.name, "cat", "/proc/self/uid_map").split())

    def test_exec_and_kill(self):
        self.start()
        child = self.good("exec", self.name, "sh", "-c", "sleep 1000 </dev/null >/dev/null 2>&1 & echo $!").strip()
        self.checkpoint()
        self.restore()
        self.assertEqual("ok\n", self.good("exec", self.name, "sh", "-c", f"ls -d /proc/{child} >/dev/null && echo ok"))
        self.good("pause", self.name)
        self.assertEqual("paused", self.state()["status"])
        self.good("resume", self.name)
        self.good("kill", self.name, "KILL")
        eventually(lambda: self.state()["status"] == "stopped", what="its end")
        self.good("delete", self.name)

    def test_foreground(self):
        pipes = Pipes()
        self.start(ECHO, pipes=pipes)
        self.checkpoint()
        pipes = Pipes()
        restored = subprocess.Popen([self.RUNTIME, "restore", "--image-path", self.images, "--work-path", self.work, self.name],
                                    cwd=self.bundle, **pipes.options())
        os.write(pipes.input, b"ping\n")
        self.assertEqual(["got ping\n", ""], pipes.finish())
        self.assertEqual(7, restored.wait(30))
        self.assertNotEqual(0, self.runtime("state", self.name).code)

    def test_foreground_signal(self):
        self.start()
        self.checkpoint()
        before = self.number()
        restored = subprocess.Popen([self.RUNTIME, "restore", "--image-path", self.images, "--work-path", self.work, self.name],
                                    cwd=self.bundle, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(lambda: self.number() > before + 2, what="it counts")
        self.good("kill", self.name, "KILL")
        self.assertEqual(137, restored.wait(30))

    def test_hooks(self):
        def change(spec):
            hook = [{"path": "/bin/sh", "args": ["sh", "-c", f"cat >> {self.bundle}/hooks"]}]
            spec["hooks"] = {"prestart": hook, "createRuntime": hook, "poststop": hook}
        self.start(change=change)
        self.checkpoint()
        (self.bundle / "hooks").unlink()
        self.restore()
        text = (self.bundle / "hooks").read_text()
        states = [json.loads(part + "}") for part in text.replace("}{", "}\n{").split("}\n")[:-1]] or [text]
        self.assertEqual(2, text.count("ociVersion"), states)
        self.assertEqual(2, text.count(f"\"pid\":{self.state()['pid']}"), text)


class Terminal(Checkpoint):
    def receive(self, *words):
        """Runs a command that sends a terminal to a socket; returns the terminal."""
        path = str(self.bundle / "console.sock")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            listener.settimeout(60)
            found = []

            def take():
                with listener.accept()[0] as connection:
                    found.append(socket.recv_fds(connection, 100, 1)[1][0])
            thread = threading.Thread(target=take)
            thread.start()
            self.detached(words[0], "-d", "--console-socket", path, *words[1:])
            thread.join()
        os.unlink(path)
        return found[0]

    def expect(self, terminal, text):
        seen = b""
        while text not in seen:
            chunk = os.read(terminal, 1000)
            if not chunk:
                break
            seen += chunk
        self.assertIn(text, seen)

    def test_terminal(self):
        self.write_spec("stty -echo; while read line; do echo \"got $line\"; done", lambda spec: spec["process"].update(terminal=True))
        first = self.receive("run", self.name)
        os.write(first, b"one\n")
        self.expect(first, b"got one")
        self.checkpoint()
        os.close(first)
        second = self.receive("restore", "--image-path", self.images, "--work-path", self.work, self.name)
        os.write(second, b"two\n")
        self.expect(second, b"got two")
        self.good("kill", self.name, "KILL")
        os.close(second)

    def test_foreground(self):
        self.write_spec("stty -echo; read line; echo \"got $line\"; exit 5", lambda spec: spec["process"].update(terminal=True))
        first = self.receive("run", self.name)
        self.checkpoint()
        os.close(first)
        terminal, ours = os.openpty()
        restored = subprocess.Popen([self.RUNTIME, "restore", "--image-path", self.images, "--work-path", self.work, self.name],
                                    cwd=self.bundle, stdin=ours, stdout=ours, stderr=ours)
        os.write(terminal, b"typed\n")
        self.expect(terminal, b"got typed")
        self.assertEqual(5, restored.wait(30))
        os.close(ours)
        os.close(terminal)

    def test_no_socket(self):
        self.write_spec("while read line; do :; done", lambda spec: spec["process"].update(terminal=True))
        terminal = self.receive("run", self.name)
        self.checkpoint()
        os.close(terminal)
        result = self.runtime("restore", "-d", "--image-path", self.images, self.name)
        self.assertNotEqual(0, result.code)
        self.assertIn("console socket", result.err)


class Failing(Checkpoint):
    def test_parent_path(self):
        self.start()
        for path in (self.bundle / "parent", "./parent"):
            result = self.runtime("checkpoint", "--parent-path", path, "--image-path", self.images, self.name)
            self.assertNotEqual(0, result.code)
            self.assertIn("--parent-path", result.err)
        self.assertEqual("running", self.state()["status"])

    def test_options(self):
        self.start()
        for words in (("--manage-cgroups-mode", "none"), ("--empty-ns", "pid"), ("--page-server", "here"), ("--status-fd", "77", "--lazy-pages")):
            with self.subTest(words):
                result = self.runtime("checkpoint", *words, "--image-path", self.images, self.name)
                self.assertNotEqual(0, result.code)
                self.assertTrue(result.err.strip())
        self.assertEqual("running", self.state()["status"])

    def test_log_of_a_failed_dump(self):
        """A file outside of the container that is not a standard descriptor can't be saved."""
        self.write_spec(COUNT)
        with open(self.bundle / "outside", "w") as file:
            self.detached("run", "-d", "--preserve-fds", file.fileno() - 2, self.name, pass_fds=[file.fileno()])
        eventually(lambda: self.number() > 2, what="the container counts")
        result = self.runtime("checkpoint", "--image-path", self.images, "--work-path", self.work, self.name)
        self.assertNotEqual(0, result.code)
        self.assertIn("criu failed", result.err)
        self.assertIn("Error", result.err)
        self.assertIn("Error", (self.work / "dump.log").read_text(errors="replace"))
        self.check_goes_on(self.number())

    def test_restore_of_damaged_images(self):
        self.start()
        self.checkpoint()
        next(self.images.glob("core-*.img")).write_bytes(b"\0" * 50)
        result = self.runtime("restore", "-d", "--image-path", self.images, "--work-path", self.work, self.name)
        self.assertNotEqual(0, result.code)
        self.assertIn("criu failed", result.err)
        self.assertTrue((self.work / "restore.log").exists())
        self.check_nothing_left()

    def test_failing_hook(self):
        self.start()
        self.checkpoint()
        spec = json.loads((self.bundle / "config.json").read_text())
        spec["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "echo no >&2; exit 3"]}]}
        (self.bundle / "config.json").write_text(json.dumps(spec))
        result = self.runtime("restore", "-d", "--image-path", self.images, "--work-path", self.work, self.name)
        self.assertNotEqual(0, result.code)
        self.assertIn("error running createRuntime hook #0: exit status 3", result.err)
        self.check_nothing_left()

    def test_killed_restore(self):
        """What it leaves, `delete --force` removes."""
        self.start()
        self.checkpoint()
        spec = json.loads((self.bundle / "config.json").read_text())
        spec["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", f"echo > {self.bundle}/hook; exec sleep 30"]}]}
        (self.bundle / "config.json").write_text(json.dumps(spec))
        restore = subprocess.Popen([self.RUNTIME, "restore", "-d", "--image-path", self.images, self.name], cwd=self.bundle,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually((self.bundle / "hook").exists, 60, "the hook runs")
        self.assertEqual("creating", self.state()["status"])
        restore.kill()
        restore.wait()
        self.assertIn("criu-root", pathlib.Path("/proc/mounts").read_text())
        self.good("delete", "--force", self.name)
        self.check_nothing_left()
        eventually(lambda: command("pgrep", "-x", "criu").out == "", what="CRIU's end")

    def test_nothing_to_restore(self):
        self.write_spec(COUNT)
        result = self.runtime("restore", "-d", "--image-path", self.images, self.name)
        self.assertNotEqual(0, result.code)
        self.assertIn(str(self.images), result.err)
        self.check_nothing_left()

    def test_status(self):
        self.write_spec(COUNT)
        self.detached("create", self.name)
        result = self.runtime("checkpoint", "--image-path", self.images, self.name)
        self.assertNotEqual(0, result.code)
        self.assertIn("cannot be checkpointed in created state", result.err)

    def test_without_criu(self):
        self.start()
        result = self.runtime("checkpoint", "--image-path", self.images, self.name, env={"PATH": "/payload/bin"})
        self.assertNotEqual(0, result.code)
        self.assertIn("install the package criu", result.err)


class Reference(Checkpoint):
    """What runc of the same Debian does."""
    RUNTIME = "runc"

    def test_runc(self):
        pipes = Pipes()
        self.start(ECHO, pipes=pipes)
        self.checkpoint()
        pipes = Pipes()
        self.restore(pipes=pipes)
        os.write(pipes.input, b"ping\n")
        self.assertEqual(["got ping\n", ""], pipes.finish())

    def test_dray_runtime_restores_images_of_runc(self):
        pipes = Pipes()
        self.start(ECHO, pipes=pipes)
        self.checkpoint()
        pipes = Pipes()
        self.RUNTIME = "dray-runtime"
        self.restore(pipes=pipes)
        os.write(pipes.input, b"ping\n")
        self.assertEqual(["got ping\n", ""], pipes.finish())
        self.good("delete", "--force", self.name)


if __name__ == "__main__":
    print(command("criu", "check").err, flush=True)
    command("mount", "--make-rshared", "/")  # as systemd does
    sys.exit(main())
