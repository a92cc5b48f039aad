#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""dray-runtime does what a config.json and runc's command line say."""
import ctypes
import fcntl
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import threading
import time

from harness import Terminal
from oci_harness import OciTestCase, eventually, is_cgroup2, main


class LifeCycle(OciTestCase):
    def test_from_create_to_delete(self):
        marker = pathlib.Path(self.rootfs, "tmp", "started")
        config = self.config("touch /tmp/started; trap 'exit 7' TERM; while :; do sleep 0.05; done", annotations={"a.b/c": "d"})
        bundle, name = self.bundle(config), self.new_id()
        pid_file = self.scratch / "pid"
        self.ok("create", "--bundle", bundle, "--pid-file", pid_file, name)
        state = self.state(name)
        self.assertEqual("created", state["status"])
        self.assertEqual(int(pid_file.read_text()), state["pid"])
        self.assertEqual((name, str(bundle), {"a.b/c": "d"}), (state["id"], state["bundle"], state["annotations"]))
        self.assertFalse(marker.exists())
        self.assertEqual(f"{name}\n", self.ok("list", "-q"))
        self.assertEqual([(name, "created")], [(entry["id"], entry["status"]) for entry in json.loads(self.ok("list", "-f", "json"))])
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
        killed = self.config("kill -9 $$", linux={"namespaces": self.namespaces("pid")})  # the first of a pid namespace could not
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
        self.assertEqual("12:34 5 /tmp x\n", self.ok("exec", "-u", "12:34", "-g", "5", "--cwd", "/tmp", "-e", "V=x", name, "sh", "-c",
                                                       "echo $(id -u):$(id -g) $(id -G | tr ' ' '\\n' | grep 5) $PWD $V"))
        self.assertIn(f"{1 << 19 | 0x20000420:016x}"[-4:], self.ok("exec", "--cap", "CAP_SYS_PTRACE", name, "grep", "CapEff", "/proc/self/status"))
        process = self.scratch / "process.json"
        process.write_text(json.dumps({"args": ["sh", "-c", "echo $A; id -u"], "cwd": "/", "env": ["A=b", "PATH=/bin"], "user": {"uid": 9, "gid": 9}}))
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
        terminal = Terminal(self.command("exec", "-t", name, "sh", "-c", "tty; stty size; read line; echo got $line; exit 5"), rows=33, columns=99)
        terminal.expect(r"/dev/pts/0\r\n33 99\r\n")
        terminal.send("word\n")
        terminal.expect("got word")
        self.assertEqual(5, terminal.wait())

    def test_run_tty(self):
        config = self.config("stty size; read line; echo got $line", process={"terminal": True})
        config["process"]["args"] = ["sh", "-c", "tty; read line; echo got $line"]
        terminal = Terminal(self.command("run", "--bundle", self.bundle(config), self.new_id()))
        terminal.expect(r"/dev/(pts/0|console)\r\n")
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
        script = "import os,sys; os.dup2(os.open(sys.argv[1], 0), 3); os.set_inheritable(3, True); os.execv(sys.argv[2], sys.argv[2:])"
        def run(*flags, script_inside="cat <&3; ls /proc/self/fd"):
            command = self.command("run", *flags, "--bundle", self.bundle(self.config(script_inside)), self.new_id())
            return subprocess.run(["python3", "-c", script, file, *command], capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
        self.assertEqual("through a descriptor0\n1\n2\n3\n4\n", run("--preserve-fds", "1"))
        self.assertEqual("0\n1\n2\n3\n", run(script_inside="ls /proc/self/fd"))

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
        name = self.start_detached(self.config("sleep 100", linux={"resources": {"memory": {"limit": 64 << 20}, "pids": {"limit": 20}}}))
        def limits():
            stats = json.loads(self.ok("events", "--stats", name))
            self.assertEqual(("stats", name), (stats["type"], stats["id"]))
            return stats["data"]["memory"]["usage"]["limit"], stats["data"]["pids"]["limit"]
        self.assertEqual((64 << 20, 20), limits())
        self.ok("update", "--memory", "48M", "--memory-swap", "-1" if not is_cgroup2() else "64M", "--pids-limit", "30", name)
        self.assertEqual((48 << 20, 30), limits())
        self.ok("update", "-r", "-", name, input=json.dumps({"pids": {"limit": 40}}))
        self.assertEqual((48 << 20, 40), limits())
        self.fails("valid JSON", "update", "-r", "-", name, input="{not json")
        self.assertEqual((48 << 20, 40), limits())
        with subprocess.Popen(self.command("events", "--interval", "20ms", name), stdout=subprocess.PIPE, text=True) as follower:
            self.assertEqual(2, len([json.loads(follower.stdout.readline())["data"]["cpu"] for _ in range(2)]))
            self.ok("kill", name, "KILL")
            self.assertEqual(0, follower.wait(5))

    def test_kill_all_of_a_shared_pid_namespace(self):
        config = self.config("sleep 1234 & sleep 1235 & exec sleep 1236", linux={"namespaces": self.namespaces("pid")})
        config["mounts"] = [mount for mount in config["mounts"] if mount["destination"] != "/proc"] + [{"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"]}]
        name = self.start_detached(config)
        eventually(lambda: len(json.loads(self.ok("ps", "-f", "json", name))) == 3)
        self.ok("kill", name, "KILL")
        self.wait_for(name, "stopped")
        eventually(lambda: json.loads(self.ok("ps", "-f", "json", name)) == [])
        self.ok("delete", name)

    def test_spec_and_features(self):
        features = json.loads(self.ok("features"))
        self.assertIn("seccomp", features["linux"])
        self.assertLessEqual({"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"}, set(features["hooks"]))
        self.fails("exists", "spec", cwd=self.scratch)
        self.assertEqual("ok\n", self.run_script("echo ok"))


class Hooks(OciTestCase):
    def record(self, log, name):
        """A hook that writes its name, where it runs and the state it got."""
        return {"path": "/bin/sh", "args": ["sh", "-c", f'echo "{name} $(readlink /proc/self/ns/mnt) $(cat | tr -d "\\n") $PWD $LD_PRELOAD-$OWN" >> {log}'],
                "env": ["PATH=/bin:/usr/bin:/sbin", f"OWN={name}"]}

    def test_all_six(self):
        log = self.scratch / "hooks.log"
        rootfs = self.own_rootfs()
        inside = f"/{log.relative_to('/')}"
        (rootfs / log.parent.relative_to("/")).mkdir(parents=True)
        kinds = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
        config = self.config("sleep 100", root={"path": str(rootfs)}, hooks={kind: [self.record(log, kind)] for kind in kinds})
        # The environment of the container (CVE-2025-23266) is not that of its hooks.
        config["process"]["env"].append("LD_PRELOAD=/evil.so")
        config["mounts"].append({"destination": inside, "type": "bind", "source": str(log), "options": ["bind"]})
        log.touch()
        bundle, name = self.bundle(config), self.new_id()
        self.ok("create", "--bundle", bundle, name)
        self.ok("start", name)
        self.ok("delete", "-f", name)
        host = os.readlink("/proc/self/ns/mnt")
        seen = {}
        for line in log.read_text().splitlines():
            kind, namespace, rest = line.split(" ", 2)
            document, end = json.JSONDecoder().raw_decode(rest)
            seen[kind] = (namespace == host, document, rest[end:])
        self.assertEqual(list(kinds), list(seen))
        self.assertEqual([True, True, False, False, True, True], [seen[kind][0] for kind in kinds])
        self.assertEqual(["creating", "creating", "creating", "created", "running", "stopped"], [seen[kind][1]["status"] for kind in kinds])
        for kind in kinds:
            document = seen[kind][1]
            self.assertEqual((name, str(bundle)), (document["id"], document["bundle"]), kind)
            self.assertTrue(seen[kind][2].endswith(f" -{kind}"), f"{kind}: {seen[kind][2]}")
            if kind != "poststop":
                self.assertGreater(document["pid"], 0)

    def test_a_hook_that_fails_stops_the_container(self):
        for kind in ("prestart", "createRuntime", "createContainer"):
            self.refuse(self.config(hooks={kind: [{"path": "/bin/sh", "args": ["sh", "-c", "echo broken >&2; exit 3"]}]}), rf"{kind} hook #0: exit status 3.*broken")
        for kind in ("startContainer", "poststart"):
            config = self.config("sleep 100", hooks={kind: [{"path": "/bin/sh", "args": ["sh", "-c", "echo broken >&2; exit 3"]}]})
            self.fails(rf"{kind} hook #0: exit status 3.*broken", "run", "-d", "--bundle", self.bundle(config), self.new_id())
            for name in self.ids():
                self.assertEqual("stopped", self.state(name)["status"])
                self.ok("delete", name)
            self.nothing_left()

    def test_a_failing_poststop_hook_is_a_warning(self):
        marker = self.scratch / "second"
        config = self.config(hooks={"poststop": [{"path": "/bin/false"}, {"path": "/bin/sh", "args": ["sh", "-c", f"touch {marker}"]}]})
        result = self.runtime("run", "--bundle", self.bundle(config), self.new_id())
        self.assertEqual(0, result.code)
        self.assertRegex(result.err, "level=warning.*poststop hook #0")
        self.assertTrue(marker.exists())
        self.nothing_left()

    def test_a_hanging_hook_is_ended(self):
        for kind in ("prestart", "createRuntime", "createContainer"):
            began = time.monotonic()
            self.refuse(self.config(hooks={kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"sleep 50 # {self.scratch}"], "timeout": 1}]}), "timeout")
            self.assertLess(time.monotonic() - began, 4)
        config = self.config("sleep 100", hooks={"startContainer": [{"path": "/bin/sleep", "args": ["sleep", "50"], "timeout": 1}]})
        self.fails("timeout", "run", "-d", "--bundle", self.bundle(config), self.new_id())

    def test_a_hook_that_cannot_be_started(self):
        self.refuse(self.config(hooks={"prestart": [{"path": "/nosuch"}]}), "prestart hook #0.*/nosuch")
        self.refuse(self.config(hooks={"prestart": [{"path": "relative"}]}), "relative|absolute")


class Namespaces(OciTestCase):
    MAPS = [{"containerID": 0, "hostID": 100000, "size": 65536}]

    def user_namespace(self, script, **changes):
        config = self.config(script, **changes)
        rootfs = self.own_rootfs()
        subprocess.run(["chown", "-Rh", "100000:100000", rootfs], check=True)
        self.scratch.chmod(0o755), rootfs.chmod(0o755)
        config["root"]["path"] = str(rootfs)
        config["linux"].update(namespaces=self.namespaces() + [{"type": "user"}], uidMappings=self.MAPS, gidMappings=self.MAPS)
        return config

    def test_user_namespace(self):
        config = self.user_namespace("cat /proc/self/uid_map; id -u; echo x > /made; stat -c %u /made; cat /proc/self/setgroups")
        lines = self.run_config(config).split("\n")
        self.assertEqual(["0", "100000", "65536"], lines[0].split())
        self.assertEqual(["0", "0", "allow", ""], lines[1:])
        self.assertEqual(100000, os.stat(pathlib.Path(config["root"]["path"], "made")).st_uid)

    def test_exec_joins_the_user_namespace(self):
        name = self.start_detached(self.user_namespace("sleep 100"))
        self.assertEqual(["0", "100000", "65536"], self.ok("exec", name, "cat", "/proc/self/uid_map").split())

    def test_bad_mappings(self):
        overlap = [{"containerID": 0, "hostID": 1000, "size": 10}, {"containerID": 5, "hostID": 5000, "size": 10}]
        for maps in (overlap, [{"containerID": 0, "hostID": 1000, "size": 0}], [{"containerID": 0, "hostID": 4294967295, "size": 10}]):
            config = self.user_namespace("true")
            config["linux"].update(uidMappings=maps, gidMappings=maps)
            self.refuse(config, "(?i)map")
        config = self.user_namespace("true")
        del config["linux"]["uidMappings"]
        self.refuse(config, "(?i)map")
        # 341 lines are more than the kernel takes of 340; and see CVE-2021-43784.
        many = [{"containerID": i * 2, "hostID": 100000 + i * 2, "size": 1} for i in range(5000)]
        config = self.user_namespace("true")
        config["linux"].update(uidMappings=many, gidMappings=many)
        self.refuse(config, "(?i)map")

    def test_joined_namespaces(self):
        first = self.start_detached(self.config("hostname inside; sleep 100", process={"capabilities": {"bounding": ["CAP_SYS_ADMIN"], "effective": ["CAP_SYS_ADMIN"], "permitted": ["CAP_SYS_ADMIN"]}}))
        pid = self.state(first)["pid"]
        kinds = {"ipc": "ipc", "network": "net", "uts": "uts", "pid": "pid"}
        config = self.config("for k in ipc net uts pid; do readlink /proc/self/ns/$k; done; ps | grep -c 'sleep 10[0]'")
        config["linux"]["namespaces"] = self.namespaces(**{kind: f"/proc/{pid}/ns/{name}" for kind, name in kinds.items()})
        del config["hostname"]
        lines = self.run_config(config).split()
        self.assertEqual([os.readlink(f"/proc/{pid}/ns/{name}") for name in kinds.values()], lines[:4])
        self.assertEqual("1", lines[4])

    def test_a_joined_namespace_of_another_kind(self):
        for path in ("/proc/self/ns/ipc", "/nosuch", "/etc/hostname", str(self.scratch)):
            config = self.config()
            config["linux"]["namespaces"] = self.namespaces(network=path)
            self.refuse(config, "(?i)namespace|net")

    def test_time_namespace(self):
        if not os.path.exists("/proc/self/ns/time"):
            self.skipTest("no time namespaces")
        config = self.config("cat /proc/self/timens_offsets; cut -d. -f1 /proc/uptime")
        config["linux"].update(namespaces=self.namespaces() + [{"type": "time"}], timeOffsets={"monotonic": {"secs": 7881, "nanosecs": 2718281}, "boottime": {"secs": 1337000, "nanosecs": 3141519}})
        lines = self.run_config(config).split("\n")
        self.assertEqual(["monotonic", "7881", "2718281"], lines[0].split())
        self.assertEqual(["boottime", "1337000", "3141519"], lines[1].split())
        self.assertGreater(int(lines[2]), 1337000)
        config["linux"]["namespaces"] = self.namespaces()
        self.refuse(config, "(?i)time")


class Mounts(OciTestCase):
    def source(self, **files):
        folder = self.scratch / f"source-{self.new_id()}"
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
        return folder

    def with_mount(self, script, destination, *options, source=None, kind="bind", **changes):
        config = self.config(script, **changes)
        config["mounts"].append({"destination": destination, "type": kind, "source": str(source or kind), "options": list(options)})
        return config

    def test_rootfs_propagation(self):
        for word, pattern in (("rslave", "master:"), ("rprivate", None), ("rshared", "shared:"), ("unbindable", "unbindable")):
            line = self.run_script("grep ' / / ' /proc/self/mountinfo || grep ' / rw' /proc/self/mountinfo", linux={"rootfsPropagation": word}).split(" - ")[0]
            if pattern and (pattern != "master:" or " shared:" in pathlib.Path("/proc/self/mountinfo").read_text()):
                self.assertIn(pattern, line, word)
            elif not pattern:
                self.assertNotRegex(line, "shared:|master:|unbindable", word)

    def test_tmpcopyup(self):
        rootfs = self.own_rootfs()
        (rootfs / "data").mkdir(mode=0o750)
        (rootfs / "data" / "file").write_text("copied")
        (rootfs / "data" / "link").symlink_to("/etc/passwd")
        config = self.with_mount("stat -c %a /data; cat /data/file; readlink /data/link; echo changed > /data/file; grep -c ' /data ' /proc/self/mounts", "/data", "tmpcopyup", kind="tmpfs", root={"path": str(rootfs)})
        self.assertEqual("750\ncopied/etc/passwd\n1\n", self.run_config(config))
        self.assertEqual("copied", (rootfs / "data" / "file").read_text())

    def test_recursively_read_only(self):
        source = self.source()
        (source / "below").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "dray-test", source / "below"], check=True)
        try:
            script = "echo x > /vol/below/file && echo written; true"
            self.assertEqual("written\n", self.run_config(self.with_mount(script, "/vol", "rbind", "ro", source=source)))
            self.assertEqual("", self.run_config(self.with_mount(script, "/vol", "rbind", "rro", source=source)))
        finally:
            subprocess.run(["umount", source / "below"], check=True)

    def test_idmapped_mount(self):
        source = self.source(file="mine")
        os.chown(source / "file", 1000, 1000)
        config = self.with_mount("stat -c %u:%g /vol/file; cat /vol/file", "/vol", "rbind", source=source)
        config["mounts"][-1].update(uidMappings=[{"containerID": 1000, "hostID": 5000, "size": 1}], gidMappings=[{"containerID": 1000, "hostID": 6000, "size": 1}])
        result = self.runtime("run", "--bundle", self.bundle(config), self.new_id())
        if result.code != 0 and re.search("(?i)not supported|invalid argument", result.err):
            self.skipTest(result.err)
        self.assertEqual("5000:6000\nmine", result.out)

    def test_files_and_missing_targets(self):
        """Targets are made, a file for a file; in the root file system of the container only."""
        rootfs = self.own_rootfs()
        source = self.source(file="content")
        config = self.with_mount("cat /a/b/c; ls /d/e", "/a/b/c", "bind", source=source / "file", root={"path": str(rootfs)})
        config["mounts"].append({"destination": "/d/e", "type": "bind", "source": str(source), "options": ["rbind", "ro"]})
        self.assertEqual("contentfile\n", self.run_config(config))

    def test_symlinks_inside_the_root_are_followed(self):
        """The regression trap of every fix against links."""
        rootfs = self.own_rootfs()
        (rootfs / "var").mkdir()
        (rootfs / "var" / "run").symlink_to("/run")
        (rootfs / "relative").symlink_to("../../../run")
        source = self.source(file="content")
        for destination in ("/var/run/here", "/relative/here"):
            self.assertEqual("content", self.run_config(self.with_mount("cat /run/here/file", destination, "bind", source=source, root={"path": str(rootfs)})))

    def test_masked_and_read_only_paths(self):
        script = "cat /proc/kcore; ls -A /sys/firmware; (echo x > /proc/sysrq-trigger) 2>/dev/null && echo written; (: > /nosuch/x) 2>/dev/null; ls -A /masked; echo done"
        rootfs = self.own_rootfs()
        (rootfs / "masked").mkdir()
        (rootfs / "masked" / "secret").touch()
        paths = self.template["linux"]["maskedPaths"]
        self.assertEqual("done\n", self.run_script(script, root={"path": str(rootfs)}, linux={"maskedPaths": paths + ["/masked", "/masked", "/not/there"]}))

    def test_read_only_root(self):
        self.assertEqual("", self.run_script("echo x > /file && echo written; true", root={"path": str(self.rootfs), "readonly": True}))


class Process(OciTestCase):
    def test_rlimits(self):
        limits = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 18446744073709551615}]
        self.assertEqual("100 200 0 unlimited\n", self.run_script("echo $(ulimit -Sn) $(ulimit -Hn) $(ulimit -Sc) $(ulimit -Hc)", process={"rlimits": limits}))

    def test_scheduler_and_io_priority(self):
        name = self.start_detached(self.config("sleep 100", process={"scheduler": {"policy": "SCHED_BATCH", "nice": 5}, "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 0}}))
        pid = self.state(name)["pid"]
        self.assertEqual((os.SCHED_BATCH, 5), (os.sched_getscheduler(pid), os.getpriority(os.PRIO_PROCESS, pid)))
        self.assertEqual("idle\n", self.ok("exec", name, "ionice", "-p", "1").split(":")[0].rstrip() + "\n")
        self.ok("delete", "-f", name)
        self.refuse(self.config(process={"scheduler": {"policy": "SCHED_NOSUCH"}}), "SCHED_NOSUCH")
        self.refuse(self.config(process={"ioPriority": {"class": "IOPRIO_CLASS_RT", "priority": 9}}), "ioPriority|priority")

    def test_numbers_of_the_process(self):
        config = self.config("umask; cat /proc/self/oom_score_adj; uname -m; cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax; id -G; hostname",
                             process={"oomScoreAdj": 321, "user": {"uid": 0, "gid": 0, "umask": 0o27, "additionalGids": [7, 8]}}, hostname="name",
                             linux={"personality": {"domain": "LINUX32"}, "sysctl": {"net.ipv4.ip_forward": "1", "kernel.msgmax": "9999"}})
        # Some kernels know no 32-bit programs; then the domain changes nothing that can be seen.
        machine = subprocess.run(["setarch", "i686", "uname", "-m"], capture_output=True, text=True).stdout.strip()
        self.assertEqual(["0027", "321", machine, "1", "9999", "0", "7", "8", "name"], self.run_config(config).split())

    def test_sysctls_of_the_host_are_refused(self):
        before = pathlib.Path("/proc/sys/kernel/core_pattern").read_text()
        for name in ("kernel.core_pattern", "vm.swappiness", "fs.file-max", "kernel/core_pattern", "net/../kernel/core_pattern", "net.ipv4....kernel.core_pattern"):
            self.refuse(self.config(linux={"sysctl": {name: "x"}}), "(?i)sysctl")
        for kind, name in (("network", "net.ipv4.ip_forward"), ("ipc", "kernel.msgmax"), ("uts", "kernel.domainname")):
            config = self.config(linux={"namespaces": self.namespaces(kind), "sysctl": {name: "1"}})
            if kind == "uts":
                del config["hostname"]
            self.refuse(config, "(?i)sysctl")
        self.assertEqual(before, pathlib.Path("/proc/sys/kernel/core_pattern").read_text())

    def test_memory_policy(self):
        config = self.config("cat /proc/self/numa_maps", linux={"memoryPolicy": {"mode": "MPOL_INTERLEAVE", "nodes": "0"}})
        if not os.path.exists("/proc/self/numa_maps"):
            self.skipTest("a kernel without NUMA")
        self.assertIn("interleave:0", self.run_config(config))
        self.refuse(self.config(linux={"memoryPolicy": {"mode": "MPOL_NOSUCH", "nodes": "0"}}), "MPOL_NOSUCH")

    def test_capabilities(self):
        sets = {kind: ["CAP_CHOWN", "CAP_NOSUCH"] for kind in ("bounding", "effective", "permitted")}
        result = self.runtime("run", "--bundle", self.bundle(self.config("grep Cap /proc/self/status", process={"capabilities": sets})), self.new_id())
        self.assertEqual(["0" * 16, "0" * 15 + "1", "0" * 15 + "1", "0" * 15 + "1", "0" * 16], result.out.split()[1::2])
        self.assertIn("CAP_NOSUCH", result.err)  # "SHOULD log a warning", as runc

    def test_device_and_its_rule(self):
        config = self.config("head -c 2 /dev/made | wc -c; stat -c %a /dev/made; (: < /dev/other) 2>/dev/null && echo opened; true")
        config["linux"]["devices"] = [{"path": "/dev/made", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 0, "gid": 0}, {"path": "/dev/other", "type": "c", "major": 1, "minor": 11}]
        config["linux"]["resources"]["devices"].append({"allow": True, "type": "c", "major": 1, "minor": 5, "access": "rwm"})
        self.assertEqual("2\n640\n", self.run_config(config))


class Seccomp(OciTestCase):
    def profile(self, **more):
        return {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], **more}

    def with_profile(self, script, **more):
        return self.config(script, linux={"seccomp": self.profile(**more)})

    def test_errno(self):
        config = self.with_profile("mkdir /tmp/x 2>&1; true", syscalls=[{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}])
        self.assertIn("No space left", self.run_config(config))

    def test_an_unknown_name_is_ignored_and_an_unknown_action_is_not(self):
        config = self.with_profile("mkdir /tmp/x 2>&1; true", syscalls=[{"names": ["nosuch_call", "mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}])
        self.assertIn("No space left", self.run_config(config))
        rule = {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}
        for changes in ({"syscalls": [{**rule, "action": "SCMP_ACT_NOSUCH"}]}, {"defaultAction": "SCMP_ACT_NOSUCH"}, {"architectures": ["SCMP_ARCH_NOSUCH"]}, {"flags": ["SECCOMP_FILTER_FLAG_NOSUCH"]},
                        {"syscalls": [{**rule, "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_NOSUCH"}]}]}, {"syscalls": [{**rule, "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}]}):
            self.refuse(self.with_profile("true", **changes), "(?i)seccomp|SCMP_")

    def test_notify(self):
        """A listener answers mkdir with an errno of its own."""
        path = self.scratch / "seccomp.sock"
        got = {}
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()

            def serve():
                with listener.accept()[0] as connection:
                    data, descriptors, _, _ = socket.recv_fds(connection, 65536, 4)
                got["state"] = json.loads(data)
                while True:
                    request = bytearray(80)  # struct seccomp_notif
                    try:
                        fcntl.ioctl(descriptors[0], 0xC0502100, request)
                    except OSError:
                        break  # the last process has ended
                    identifier, pid = struct.unpack_from("QI", request)
                    got["pid"] = pid
                    fcntl.ioctl(descriptors[0], 0xC0182101, bytearray(struct.pack("Qqii", identifier, 0, -28, 0)))
                    break
                os.close(descriptors[0])
            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            config = self.with_profile("mkdir /tmp/x 2>&1; true", listenerPath=str(path), listenerMetadata="words", syscalls=[{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}])
            self.assertIn("No space left", self.run_config(config))
            thread.join(5)
        self.assertEqual(("words", ["seccompFd"], "creating"), (got["state"]["metadata"], got["state"]["fds"], got["state"]["state"]["status"]))
        self.assertGreater(got["pid"], 0)
        # Nobody listens any more; or nobody is named.
        self.refuse(self.with_profile("true", listenerPath=str(path), syscalls=[{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]), "(?i)seccomp")
        self.refuse(self.with_profile("true", syscalls=[{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]), "(?i)listener")
        self.refuse(self.with_profile("true", listenerPath=str(path), syscalls=[{"names": ["write"], "action": "SCMP_ACT_NOTIFY"}]), "(?i)write")


if __name__ == "__main__":
    main()
