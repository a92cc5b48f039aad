#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""dray-runtime does what a config.json and runc's command line say."""

import ctypes
import fcntl
import json
import os
import pathlib
import signal
import socket
import subprocess
import termios
import time

from harness import Terminal
from oci_harness import OciTestCase, eventually, is_cgroup2, main


class LifeCycle(OciTestCase):
    def test_from_create_to_delete(self):
        marker = pathlib.Path(self.rootfs, "tmp", "started")
        config = self.config(
            "touch /tmp/started; trap 'exit 7' TERM; while :; do sleep 0.05; done", annotations={"a.b/c": "d"}
        )
        bundle, name = self.bundle(config), self.new_id()
        pid_file = self.scratch / "pid"
        self.ok("create", "--bundle", bundle, "--pid-file", pid_file, name)
        state = self.state(name)
        self.assertEqual("created", state["status"])
        self.assertEqual(int(pid_file.read_text()), state["pid"])
        self.assertEqual((name, str(bundle), {"a.b/c": "d"}), (state["id"], state["bundle"], state["annotations"]))
        self.assertFalse(marker.exists())
        self.assertEqual(f"{name}\n", self.ok("list", "-q"))
        self.assertEqual(
            [(name, "created")], [(entry["id"], entry["status"]) for entry in json.loads(self.ok("list", "-f", "json"))]
        )
        self.assertRegex(self.ok("list"), rf"(?m)^{name} +{state['pid']} +created +{bundle} ")
        self.ok("start", name)
        eventually(marker.exists)
        self.assertEqual("running", self.state(name)["status"])
        self.assertEqual("7\n", self.ok("exec", name, "sh", "-c", "echo 7"))
        self.assertIn(state["pid"], json.loads(self.ok("ps", "-f", "json", name)))
        self.assertIn(str(state["pid"]), self.ok("ps", name, "-e"))
        self.ok("kill", name, "TERM")
        self.wait_for(name, "stopped")
        self.assertIn(self.state(name)["pid"], (0, None))
        self.ok("delete", name)
        self.fails("does not exist", "state", name)
        marker.unlink()

    def test_config_is_read_once(self):
        """runtime-spec: changes of config.json after create have no effect."""
        bundle, name = self.bundle(self.config("echo old > /tmp/which")), self.new_id()
        self.ok("create", "--bundle", bundle, name)
        (bundle / "config.json").write_text(json.dumps(self.config("echo new > /tmp/which")))
        self.ok("start", name)
        self.wait_for(name, "stopped")
        self.assertEqual("old\n", (self.rootfs / "tmp" / "which").read_text())
        (self.rootfs / "tmp" / "which").unlink()

    def test_run_passes_exit_codes_and_streams(self):
        bundle = self.bundle(self.config("cat; echo error >&2; exit 42"))
        result = self.runtime("run", "--bundle", bundle, self.new_id(), input="through")
        self.assertEqual((42, "through", "error\n"), (result.code, result.out, result.err))
        killed = self.config(
            "kill -9 $$", linux={"namespaces": self.namespaces("pid")}
        )  # the first of a pid namespace could not
        self.assertEqual(128 + 9, self.runtime("run", "--bundle", self.bundle(killed), self.new_id()).code)
        self.nothing_left()

    def test_run_keep(self):
        name = self.new_id()
        self.ok("run", "--keep", "--bundle", self.bundle(self.config()), name)
        self.assertEqual("stopped", self.state(name)["status"])
        self.ok("delete", name)

    def test_exec(self):
        name = self.start_detached(self.config("sleep 100"))
        self.assertEqual(3, self.runtime("exec", name, "sh", "-c", "exit 3").code)
        self.assertEqual(255, self.runtime("exec", name, "nosuch").code)
        self.assertEqual(
            "12:34 5 /tmp x\n",
            self.ok(
                "exec",
                "-u",
                "12:34",
                "-g",
                "5",
                "--cwd",
                "/tmp",
                "-e",
                "V=x",
                name,
                "sh",
                "-c",
                "echo $(id -u):$(id -g) $(id -G | tr ' ' '\\n' | grep 5) $PWD $V",
            ),
        )
        self.assertIn(
            f"{1 << 19 | 0x20000420:016x}"[-4:],
            self.ok("exec", "--cap", "CAP_SYS_PTRACE", name, "grep", "CapEff", "/proc/self/status"),
        )
        process = self.scratch / "process.json"
        process.write_text(
            json.dumps(
                {
                    "args": ["sh", "-c", "echo $A; id -u"],
                    "cwd": "/",
                    "env": ["A=b", "PATH=/bin"],
                    "user": {"uid": 9, "gid": 9},
                }
            )
        )
        self.assertEqual("b\n9\n", self.ok("exec", "-p", process, name))
        pid_file = self.scratch / "exec.pid"
        self.ok("exec", "-d", "--pid-file", pid_file, name, "sleep", "77")
        self.assertEqual(b"sleep\x0077\0", pathlib.Path(f"/proc/{pid_file.read_text()}/cmdline").read_bytes())
        self.assertEqual(3, len(json.loads(self.ok("ps", "-f", "json", name))) + 1)

    def test_exec_descriptors(self):
        name = self.start_detached(self.config("sleep 100"))
        reader, writer = os.pipe()
        os.dup2(writer, 40)
        self.assertEqual("0\n1\n2\n3\n", self.ok("exec", name, "ls", "/proc/self/fd", pass_fds=(40,)))
        for fd in (reader, writer, 40):
            os.close(fd)

    def test_exec_tty(self):
        name = self.start_detached(self.config("sleep 100"))
        terminal = Terminal(
            self.command("exec", "-t", name, "sh", "-c", "tty; stty size; read line; echo got $line; exit 5"),
            rows=33,
            columns=99,
        )
        terminal.expect(r"/dev/pts/0\r\n33 99\r\n")
        terminal.send("word\n")
        terminal.expect("got word")
        self.assertEqual(5, terminal.wait())

    def test_run_tty(self):
        config = self.config("tty; stty size; read line; echo got $line", process={"terminal": True})
        terminal = Terminal(self.command("run", "--bundle", self.bundle(config), self.new_id()), rows=33, columns=99)
        terminal.expect(r"/dev/(pts/0|console)\r\n33 99\r\n")
        terminal.send("word\n")
        terminal.expect("got word")
        self.assertEqual(0, terminal.wait())

    def test_console_socket(self):
        config = self.config("tty; read line; echo got $line; sleep 100", process={"terminal": True})
        path = self.scratch / "console.sock"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            name = self.new_id()
            self.ok("create", "--bundle", self.bundle(config), "--console-socket", path, name)
            with listener.accept()[0] as connection:
                _, descriptors, _, _ = socket.recv_fds(connection, 4096, 4)
        self.assertEqual(1, len(descriptors))
        self.ok("start", name)
        os.write(descriptors[0], b"word\n")
        text = b""
        deadline = time.monotonic() + 5
        while b"got word" not in text and time.monotonic() < deadline:
            text += os.read(descriptors[0], 1024)
        self.assertIn(b"got word", text)
        os.close(descriptors[0])

    def test_pidfd_socket(self):
        path = self.scratch / "pidfd.sock"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            name = self.start_detached(self.config("sleep 100"), "--pidfd-socket", path)
            with listener.accept()[0] as connection:
                _, descriptors, _, _ = socket.recv_fds(connection, 4096, 4)
        signal.pidfd_send_signal(descriptors[0], signal.SIGKILL)
        os.close(descriptors[0])
        self.wait_for(name, "stopped")

    def test_preserve_fds(self):
        file = self.scratch / "preserved"
        file.write_text("through a descriptor")
        script = (
            "import os,sys; os.dup2(os.open(sys.argv[1], 0), 3); os.set_inheritable(3, True); "
            "os.execv(sys.argv[2], sys.argv[2:])"
        )

        def run(*flags, script_inside="cat <&3; ls /proc/self/fd"):
            command = self.command("run", *flags, "--bundle", self.bundle(self.config(script_inside)), self.new_id())
            return subprocess.run(
                ["python3", "-c", script, file, *command], capture_output=True, text=True, stdin=subprocess.DEVNULL
            ).stdout

        self.assertEqual("through a descriptor0\n1\n2\n3\n4\n", run("--preserve-fds", "1"))
        self.assertEqual("0\n1\n2\n3\n", run(script_inside="ls /proc/self/fd"))

    def test_descriptors_of_ours_are_not_preserved(self):
        """What the caller has not passed: behind the numbers are the runtime's own descriptors, the host's /proc among them."""
        bundle = self.bundle(self.config("ls /proc/self/fd"))
        log = self.scratch / "own.log"
        self.fails("preserved-fd 3", "--log", log, "run", "--preserve-fds", "9", "--bundle", bundle, self.new_id())
        self.fails("preserved-fd 3", "run", "--bundle", bundle, self.new_id(), env=dict(os.environ, LISTEN_FDS="9"))
        # Of somebody else's service.
        self.assertEqual("0\n1\n2\n3\n", self.ok("run", "--bundle", bundle, self.new_id(), env=dict(os.environ, LISTEN_FDS="9", LISTEN_PID="1")))
        self.nothing_left()

    def test_closed_streams(self):
        """The container gets /dev/null, not what the runtime opened meanwhile."""
        bundle = self.bundle(self.config("for i in 0 1 2; do readlink /proc/self/fd/$i; done > /tmp/streams"))
        command = self.command("--log", self.scratch / "own.log", "run", "--bundle", bundle, self.new_id())
        subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command], check=True, timeout=30)
        self.assertEqual("/dev/null\n" * 1, "".join(sorted(set((self.rootfs / "tmp" / "streams").read_text().replace("/tmp/streams", "/dev/null").splitlines(True)))))

    def test_more_than_a_terminal_holds(self):
        """In both directions at once: neither side may wait for the other."""
        config = self.config("stty raw -echo; echo ready; exec head -c 1000000", process={"terminal": True})
        command = self.command("run", "--bundle", self.bundle(config), self.new_id())
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            self.assertEqual(b"ready", process.stdout.readline().strip())
            output, _ = process.communicate(b"x" * 1_000_000, timeout=60)
        self.assertEqual(1_000_000, output.count(b"x"))

    def test_signals_get_through_while_nobody_reads(self):
        """The output is blocked: that is no reason to keep a signal from the container."""
        got = self.rootfs / "tmp" / "got"
        got.unlink(missing_ok=True)
        config = self.config(
            "trap 'touch /tmp/got; kill $!; exit 5' TERM; yes & wait", process={"terminal": True}
        )
        command = self.command("run", "--bundle", self.bundle(config), self.new_id())
        ours, theirs = socket.socketpair()
        for reader, writer in (os.pipe(), (ours.detach(), theirs.detach())):
            got.unlink(missing_ok=True)
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=writer)
            self.addCleanup(process.wait)
            self.addCleanup(process.kill)
            os.close(writer)
            with open(reader, "rb") as output:
                size = -1
                while size != (now := self.unread(output)) or now == 0:
                    size = now
                    time.sleep(0.3)  # until nothing more goes in
                process.send_signal(signal.SIGTERM)
                eventually(got.exists, 5, "the container got the signal")
                self.assertIn(b"y\ny\ny", output.read().replace(b"\r", b""))
            self.assertEqual(5, process.wait(10))

    @staticmethod
    def unread(stream):
        return int.from_bytes(fcntl.ioctl(stream, termios.FIONREAD, b"0000"), "little")

    def test_a_blocked_end_can_be_cut_short(self):
        config = self.config("head -c 70000 /dev/zero", process={"terminal": True})  # more than a pipe holds
        name = self.new_id()
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        command = self.command("run", "--keep", "--bundle", self.bundle(config), name)
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=writer)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        os.close(writer)
        eventually(lambda: name in self.ids(), 5, "the container is there")
        self.wait_for(name, "stopped")
        self.assertIsNone(process.poll())
        process.send_signal(signal.SIGTERM)
        self.assertEqual(0, process.wait(5))

    def test_two_starts_at_once(self):
        log = self.scratch / "poststart.log"
        hook = {"path": "/bin/sh", "args": ["sh", "-c", f"echo x >> {log}"]}
        for round in range(10):
            log.write_text("")
            name = self.new_id()
            self.ok("create", "--bundle", self.bundle(self.config("sleep 100", hooks={"poststart": [hook]})), name)
            starts = [subprocess.Popen(self.command("start", name), stderr=subprocess.DEVNULL) for _ in range(4)]
            self.assertEqual([0, 1, 1, 1], sorted(start.wait(20) for start in starts))
            self.assertEqual("x\n", log.read_text())
            self.ok("delete", "-f", name)

    def test_a_killed_start_leaves_a_running_container(self):
        name = self.start_detached(self.config("sleep 100"))
        os.mkfifo(self.root / name / "exec.fifo")  # what it did not come to remove
        self.assertEqual("running", self.state(name)["status"])
        self.fails("already running", "start", name)
        self.fails("not stopped", "delete", name)

    def test_exec_does_not_see_the_keys_of_the_caller(self):
        add_key, keyctl = (248, 250) if os.uname().machine == "x86_64" else (217, 219)
        system = ctypes.CDLL(None, use_errno=True).syscall

        def hold_a_key():
            system(keyctl, 1, None)  # KEYCTL_JOIN_SESSION_KEYRING
            key = system(add_key, b"user", b"dray-secret", b"x", 1, -3)  # KEY_SPEC_SESSION_KEYRING
            system(keyctl, 5, key, 0x3F000000)  # KEYCTL_SETPERM: for its possessors only

        seen = subprocess.run(["cat", "/proc/keys"], preexec_fn=hold_a_key, capture_output=True, text=True).stdout
        if "dray-secret" not in seen:
            self.skipTest("no keyrings here")
        config = self.config("sleep 100", linux={"maskedPaths": []})
        name = self.start_detached(config)
        command = self.command("exec", name, "cat", "/proc/keys")
        inside = subprocess.run(command, preexec_fn=hold_a_key, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.assertEqual(0, inside.returncode, inside.stderr)
        self.assertNotIn("dray-secret", inside.stdout)

    def test_pause_and_resume(self):
        name = self.start_detached(self.config("while :; do echo x >> /tmp/beat; sleep 0.01; done"))
        beat = self.rootfs / "tmp" / "beat"
        eventually(beat.exists)
        self.ok("pause", name)
        self.assertEqual("paused", self.state(name)["status"])
        size = beat.stat().st_size
        time.sleep(0.1)
        self.assertEqual(size, beat.stat().st_size)
        self.fails("paused", "exec", name, "true", code=255)
        self.ok("resume", name)
        self.assertEqual("running", self.state(name)["status"])
        eventually(lambda: beat.stat().st_size > size)
        self.fails("not paused", "resume", name)
        self.ok("pause", name)
        self.ok("delete", "-f", name)
        beat.unlink()
        self.nothing_left()

    def test_update_and_events(self):
        name = self.start_detached(
            self.config("sleep 100", linux={"resources": {"memory": {"limit": 64 << 20}, "pids": {"limit": 20}}})
        )

        def limits():
            stats = json.loads(self.ok("events", "--stats", name))
            self.assertEqual(("stats", name), (stats["type"], stats["id"]))
            return stats["data"]["memory"]["usage"]["limit"], stats["data"]["pids"]["limit"]

        self.assertEqual((64 << 20, 20), limits())
        self.ok(
            "update",
            "--memory",
            "48M",
            "--memory-swap",
            "-1" if not is_cgroup2() else "64M",
            "--pids-limit",
            "30",
            name,
        )
        self.assertEqual((48 << 20, 30), limits())
        self.ok("update", "-r", "-", name, input=json.dumps({"pids": {"limit": 40}}))
        self.assertEqual((48 << 20, 40), limits())
        self.fails("valid JSON", "update", "-r", "-", name, input="{not json")
        self.assertEqual((48 << 20, 40), limits())
        with subprocess.Popen(
            self.command("events", "--interval", "20ms", name), stdout=subprocess.PIPE, text=True
        ) as follower:
            self.assertEqual(2, len([json.loads(follower.stdout.readline())["data"]["cpu"] for _ in range(2)]))
            self.ok("kill", name, "KILL")
            self.assertEqual(0, follower.wait(5))

    def test_kill_all_of_a_shared_pid_namespace(self):
        config = self.config("sleep 1234 & sleep 1235 & exec sleep 1236", linux={"namespaces": self.namespaces("pid")})
        config["mounts"] = [mount for mount in config["mounts"] if mount["destination"] != "/proc"] + [
            {"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"]}
        ]
        name = self.start_detached(config)
        eventually(lambda: len(json.loads(self.ok("ps", "-f", "json", name))) == 3)
        self.ok("kill", name, "KILL")
        self.wait_for(name, "stopped")
        eventually(lambda: json.loads(self.ok("ps", "-f", "json", name)) == [])
        self.ok("delete", name)

    def test_spec_and_features(self):
        features = json.loads(self.ok("features"))
        self.assertIn("seccomp", features["linux"])
        self.assertLessEqual(
            {"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"},
            set(features["hooks"]),
        )
        self.fails("exists", "spec", cwd=self.scratch)
        self.assertEqual("ok\n", self.run_script("echo ok"))

if __name__ == "__main__":
    main()
