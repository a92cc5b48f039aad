#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bad input, wrong states, full disks, kill -9: a clear error from dray-runtime, runc's exit code, nothing left behind."""
import json
import os
import pathlib
import random
import resource
import signal
import socket
import subprocess
import time

from oci_harness import CGROUP_PARENT, OciTestCase, cgroups_below, eventually, hierarchies, main, processes_of

ROUNDS = int(os.environ.get("DRAY_CRASH_ROUNDS", "50"))


class BadConfig(OciTestCase):
    def refuse_text(self, text, pattern):
        self.fails(pattern, "create", "--bundle", self.bundle(text), self.new_id())
        self.assertEqual([], self.ids())

    def test_no_json(self):
        good = json.dumps(self.config())
        for text in ("", "{", "[]", "null", "7", '"text"', good[:-1], good + "}", "\0" * 100, "[" * 100_000, '{"a":' * 100_000, "{'process': 1}", good.replace(":", ": NaN,", 1)):
            self.refuse_text(text, "(?i)json|object|config|ociVersion|specified|null")
        self.nothing_left()

    def test_wrong_types(self):
        for path, value in (("process", "sh"), ("process", []), ("process.args", "sh"), ("process.args", [1]), ("process.args", []), ("process.args", [None]), ("process.cwd", 1), ("process.cwd", "tmp"), ("process.cwd", ""),
                            ("process.env", {}), ("process.user", 0), ("process.user.uid", "0"), ("process.user.uid", -1), ("process.user.uid", 4294967296), ("process.user.uid", 1.5), ("process.user.additionalGids", 3),
                            ("process.rlimits", [{"type": "RLIMIT_NOSUCH", "soft": 1, "hard": 1}]), ("process.rlimits", [{"type": "RLIMIT_NOFILE", "soft": 2, "hard": 1}]), ("process.rlimits", [{"type": "RLIMIT_NOFILE", "soft": -1, "hard": 1}]),
                            ("process.oomScoreAdj", 2000), ("process.terminal", "yes"), ("process.capabilities", []), ("root", "rootfs"), ("root.path", 5), ("root.path", ""), ("root.readonly", 1), ("hostname", 5), ("mounts", {}),
                            ("mounts", ["x"]), ("mounts", [{"type": "tmpfs", "source": "x"}]), ("mounts", [{"destination": "/x", "type": "bind", "source": "/nosuch", "options": ["bind"]}]),
                            ("mounts", [{"destination": "/x", "type": "nosuchfs", "source": "x"}]), ("mounts", [{"destination": "/x", "type": "tmpfs", "source": "x", "options": "ro"}]), ("linux", []), ("linux.namespaces", {}),
                            ("linux.namespaces", [{"type": "nosuch"}]), ("linux.namespaces", [{"type": "pid"}, {"type": "pid"}]), ("linux.namespaces", [{"path": "/proc/self/ns/net"}]), ("linux.namespaces", ["pid"]),
                            ("linux.resources.pids", {"limit": "many"}), ("linux.resources.memory", {"limit": "1G"}), ("linux.rootfsPropagation", "nosuch"), ("linux.maskedPaths", "x"), ("linux.sysctl", []), ("linux.cgroupsPath", 5),
                            ("linux.devices", [{"path": "relative", "type": "c", "major": 1, "minor": 3}]), ("linux.devices", [{"path": "/dev/x", "type": "z", "major": 1, "minor": 3}]), ("hooks", []), ("hooks", {"prestart": {}}),
                            ("hooks", {"prestart": [{}]}), ("hooks", {"prestart": [{"path": "/bin/true", "timeout": -1}]}), ("annotations", []), ("annotations", {"a": 1}), ("ociVersion", 1), ("ociVersion", "0.1"), ("ociVersion", "nonsense")):
            with self.subTest(path=path, value=value):
                config = self.config()
                *parents, last = path.split(".")
                place = config
                for name in parents:
                    place = place.setdefault(name, {})
                place[last] = value
                words = {"type": "namespace|type|namespaces"}.get(last, last)
                self.refuse_text(json.dumps(config), f"(?i){words}|{path.split('.')[0]}|{path.split('.')[-1].rstrip('s')}")
        self.nothing_left()

    def test_config_is_no_file(self):
        folder = self.bundle("{}")
        (folder / "config.json").unlink()
        self.fails("config.json", "create", "--bundle", folder, self.new_id())
        (folder / "config.json").mkdir()
        self.fails("(?i)config.json|directory", "create", "--bundle", folder, self.new_id())
        self.fails("nosuch", "create", "--bundle", "/nosuch", self.new_id())
        self.nothing_left()

    def test_bad_roots(self):
        file = self.scratch / "a-file"
        file.touch()
        for path in ("/nosuch", str(file), "nosuch", str(self.scratch / "loop")):
            if path.endswith("loop") and not os.path.lexists(path):
                os.symlink("loop", path)
            self.refuse(self.config(root={"path": path}), "(?i)root|such|directory|symbolic")

    def test_relative_paths(self):
        """Of root and of a bind's source: relative to the bundle, wherever the caller is."""
        config = self.config("cat /vol/file", root={"path": "rootfs"})
        config["mounts"].append({"destination": "/vol", "type": "bind", "source": "data", "options": ["rbind"]})
        folder = self.bundle(config)
        (folder / "rootfs").symlink_to(self.own_rootfs())
        (folder / "data").mkdir()
        (folder / "data" / "file").write_text("beside")
        self.assertEqual("beside", self.ok("run", "--bundle", folder.name, self.new_id(), cwd=folder.parent))
        self.assertEqual("beside", self.ok("run", self.new_id(), cwd=folder))

    def test_a_command_that_cannot_run(self):
        for args, pattern in ((["nosuch"], r'exec: \\"nosuch\\": executable file not found in \$PATH'), (["/etc/passwd"], "permission denied"), (["/nosuch/x"], "no such file"), ([""], "")):
            for verb in ("run", "create"):
                name = self.new_id()
                result = self.runtime(verb, "--bundle", self.bundle(self.config(args)), name)
                if verb == "create" and result.code == 0:  # found out later, then
                    result = self.runtime("start", name)
                    self.ok("delete", "-f", name)
                self.assertEqual(1, result.code, repr(result))
                self.assertRegex(result.err, pattern)
                self.nothing_left()

    def test_ids(self):
        bundle = self.bundle(self.config())
        for name in ("..", ".", "a/b", "/a", "", "a b", "a\nb", "ä", "x" * 2000, "a*", "../../etc", "-" if False else "a\\b"):
            for words in (("create", "--bundle", bundle, name), ("state", name), ("start", name), ("kill", name, "9"), ("delete", "-f", name) if name else ("delete", name)):
                result = self.runtime(*words)
                self.assertEqual(1, result.code, f"{words}: {result}")
                self.assertRegex(result.err, "(?i)invalid|empty|id")
        self.nothing_left()
        for name in ("a", "a.b", "_", "A-1+x", "..."):
            self.ok("run", "--bundle", self.bundle(self.config()), name)

    def test_words(self):
        for words, code in ((("nosuch",), 3), (("--nosuch",), 1), (("create", "--nosuch", "x"), 1), (("create",), 1), (("create", "a", "b"), 1), (("start",), 1), (("kill", "x", "NOSIGNAL"), 1), (("exec", "x"), 255), (("list", "-f", "yaml"), 1),
                            (("--log-format", "xml", "list"), 1), (("run", "--preserve-fds", "-1", "x"), 1), (("run", "--preserve-fds", "x", "y"), 1)):
            result = self.runtime(*words)
            self.assertEqual(code, result.code, f"{words}: {result}")
            self.assertNotEqual("", result.err + result.out, words)

    def test_the_log_has_the_error(self):
        log = self.scratch / "log.json"
        result = self.runtime("--log", log, "--log-format", "json", "create", "--bundle", "/nosuch", "x")
        self.assertEqual(1, result.code)
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        self.assertEqual("error", lines[-1]["level"])
        self.assertIn("/nosuch", lines[-1]["msg"])
        self.assertIn("/nosuch", result.err)


class WrongState(OciTestCase):
    def test_no_such_container(self):
        for words in (("state",), ("start",), ("kill",), ("delete",), ("pause",), ("resume",), ("ps",), ("events", "--stats"), ("update", "--pids-limit", "5")):
            self.fails("does not exist", *words, "nosuch")
        self.fails("does not exist", "exec", "nosuch", "true", code=255)
        self.ok("delete", "-f", "nosuch")

    def test_created(self):
        name = self.new_id()
        bundle = self.bundle(self.config("sleep 100"))
        self.ok("create", "--bundle", bundle, name)
        self.fails("already exists", "create", "--bundle", bundle, name)
        self.assertEqual("created", self.state(name)["status"])
        self.ok("start", name)
        self.fails("already running", "start", name)
        self.fails("already exists|not empty", "run", "--bundle", bundle, name)
        self.assertEqual("running", self.state(name)["status"])
        self.ok("exec", name, "true")

    def test_running(self):
        name = self.start_detached(self.config("sleep 100"))
        self.fails("not stopped|running", "delete", name)
        self.assertEqual("running", self.state(name)["status"])
        self.fails("not paused", "resume", name)
        self.ok("pause", name)
        self.fails("(?i)running|paused", "start", name)
        self.fails("paused", "exec", name, "true", code=255)
        self.fails("(?i)not stopped|paused", "delete", name)
        self.ok("resume", name)

    def test_stopped(self):
        name = self.start_detached(self.config("true"))
        self.wait_for(name, "stopped")
        self.fails("not running", "kill", name, "TERM")
        self.fails("stopped", "exec", name, "true", code=255)
        self.fails("stopped", "start", name)
        self.fails("not running", "pause", name)
        self.fails("not paused|not running", "resume", name)
        self.fails("not running", "update", "--pids-limit", "5", name)
        self.ok("delete", name)

    def test_the_first_process_ends_before_start(self):
        name = self.new_id()
        self.ok("create", "--bundle", self.bundle(self.config("sleep 100")), name)
        os.kill(self.state(name)["pid"], signal.SIGKILL)
        self.wait_for(name, "stopped")
        self.fails("stopped", "start", name)
        self.ok("delete", name)
        self.nothing_left()

    def test_two_creates_at_once(self):
        for _ in range(5):
            name = self.new_id()
            bundle = self.bundle(self.config("sleep 100"))
            processes = [subprocess.Popen(self.command("create", "--bundle", bundle, name), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(4)]
            codes = sorted(process.wait(20) for process in processes)
            self.assertEqual([0, 1, 1, 1], codes)
            self.ok("start", name)
            self.assertEqual("running", self.state(name)["status"])
            self.ok("delete", "-f", name)
            self.nothing_left()

    def test_many_deletes_at_once(self):
        for _ in range(5):
            name = self.start_detached(self.config("sleep 100"))
            processes = [subprocess.Popen(self.command("delete", "-f", name), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(4)]
            answers = [process.communicate(timeout=20)[1] for process in processes]
            self.assertEqual([0] * 4, [process.returncode for process in processes], answers)
            self.nothing_left()

    def test_a_container_that_ends_while_it_is_deleted(self):
        for i in range(20):
            name = self.start_detached(self.config(f"usleep {i * 500}"))
            self.ok("delete", "-f", name)
        self.nothing_left()

    def test_damaged_state(self):
        """Not ours to understand: an error for each command, and delete -f removes it."""
        for text in ("", "{", "{}", "[]", '{"id": 5}'):
            name = self.start_detached(self.config("true"))
            self.wait_for(name, "stopped")
            cgroup = json.loads((self.root / name / "config.json").read_text())["linux"]["cgroupsPath"]
            (self.root / name / "state.json").write_text(text)
            if self.runtime("state", name).code == 0:
                self.fail(f"{text!r} is taken for a state")
            self.ok("list", "-q")
            self.ok("delete", "-f", name)
            for top in hierarchies():
                if os.path.isdir(f"{top}{cgroup}"):
                    os.rmdir(f"{top}{cgroup}")
            self.nothing_left()


class Surroundings(OciTestCase):
    def test_console_socket_without_listener(self):
        path = self.scratch / "deaf.sock"
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.bind(str(path))
        config = self.config("sleep 100", process={"terminal": True})
        for target in (path, self.scratch / "missing.sock", self.scratch / "config.json"):
            self.fails("(?i)console|socket", "create", "--bundle", self.bundle(config), "--console-socket", target, self.new_id())
            self.nothing_left()
        self.refuse(config, "(?i)tty|console")
        self.fails("(?i)tty|console", "create", "--bundle", self.bundle(self.config()), "--console-socket", path, self.new_id())

    def test_pid_file_in_a_missing_folder(self):
        self.fails("nosuch", "create", "--bundle", self.bundle(self.config("sleep 100")), "--pid-file", "/nosuch/pid", self.new_id())
        self.nothing_left()
        self.fails("nosuch", "run", "-d", "--bundle", self.bundle(self.config("sleep 100")), "--pid-file", "/nosuch/pid", self.new_id())
        self.nothing_left()

    def test_cgroup_of_others(self):
        """A cgroup with processes is not ours: they survive the failing create, and so does the cgroup."""
        config = self.config()
        tops = [pathlib.Path(f"{top}{config['linux']['cgroupsPath']}") for top in hierarchies()]
        with subprocess.Popen(["sleep", "100"]) as foreign:
            try:
                for top in tops:
                    top.mkdir(parents=True)
                    for name in ("cpuset.cpus", "cpuset.mems"):  # v1: empty ones take no process
                        for folder in (top.parent, top):
                            if (folder / name).exists() and not (folder / name).read_text().strip():
                                (folder / name).write_text((folder.parent / name).read_text())
                    (top / "cgroup.procs").write_text(str(foreign.pid))
                for verb in ("create", "run"):
                    self.fails("(?i)not empty", verb, "--bundle", self.bundle(config), self.new_id())
                    self.assertIsNone(foreign.poll())
                    self.assertEqual([], self.ids())
                for top in tops:
                    self.assertEqual(f"{foreign.pid}\n", (top / "cgroup.procs").read_text())
            finally:
                foreign.kill()
                foreign.wait()
                for top in tops:
                    eventually(lambda: not top.exists() or (top / "cgroup.procs").read_text() == "")
                    if top.exists():
                        top.rmdir()

    def test_cgroups_path_cannot_escape(self):
        for path in ("/../../x", "../x", "/a/../../x", f"/{CGROUP_PARENT}/../{CGROUP_PARENT}-out"):
            result = self.runtime("run", "--bundle", self.bundle(self.config(linux={"cgroupsPath": path})), self.new_id())
            self.assertIn(result.code, (0, 1))
            for top in hierarchies():
                for name in ("x", "../x", f"{CGROUP_PARENT}-out"):
                    self.assertFalse((top / name).exists(), f"{path} made {top / name}")
            self.nothing_left()

    def test_full_cgroup_tree(self):
        for top in hierarchies():
            parent = top / CGROUP_PARENT
            parent.mkdir(exist_ok=True)
            limit = parent / "cgroup.max.descendants"
            if limit.exists():
                break
        else:
            self.skipTest("no hierarchy here limits its descendants (cgroup v1 only)")
        limit.write_text("0")
        try:
            self.refuse(self.config(), "(?i)cgroup")
            self.refuse(self.config(), "(?i)cgroup", "run")
        finally:
            limit.write_text("max")
        self.assertEqual("ok\n", self.run_script("echo ok"))

    def test_limits_the_kernel_refuses(self):
        for resources in ({"cpu": {"cpus": "9999"}}, {"cpu": {"cpus": "x"}}, {"memory": {"limit": 1 << 30, "swap": 1 << 20}}, {"cpu": {"quota": 1, "period": 1}}, {"unified": {"../x": "1"}}, {"unified": {"nosuch.max": "1"}},
                          {"hugepageLimits": [{"pageSize": "3KB", "limit": 1}]}, {"network": {"priorities": [{"name": "nosuch", "priority": 1}]}}):
            with self.subTest(resources):
                self.refuse(self.config(linux={"resources": resources}), "(?i)cgroup|cpu|memory|unified|hugetlb|hugepage|network|net_prio")

    def test_full_disk(self):
        """--root on a full tmpfs: create fails, what is there can still be listed and deleted."""
        folder = self.scratch / "small"
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "dray-test", folder], check=True)
        elsewhere, type(self).root = self.root, folder
        try:
            first = self.start_detached(self.config("sleep 100"))
            try:
                with open(folder / "filler", "wb") as filler:
                    for size in (4096, 1):
                        while True:
                            filler.write(b"x" * size)
                            filler.flush()
            except OSError:
                pass
            before = sorted(os.listdir(folder))
            self.fails("(?i)no space left", "create", "--bundle", self.bundle(self.config("sleep 100")), self.new_id())
            self.assertEqual(before, sorted(os.listdir(folder)))
            self.assertEqual(f"{first}\n", self.ok("list", "-q"))
            self.ok("exec", first, "true")
            self.ok("delete", "-f", first)
            self.nothing_left_but("filler")
        finally:
            type(self).root = elsewhere
            subprocess.run(["umount", "-l", folder], check=True)
        self.nothing_left()

    def nothing_left_but(self, name):
        self.assertEqual([name], [entry for entry in os.listdir(self.root) if not entry.startswith("seccomp-")])
        self.assertEqual({}, processes_of(self.scratch))

    def test_interrupt(self):
        """Signals of a foreground run reach the container; it decides, and nothing is left."""
        for number, code in ((signal.SIGINT, 42), (signal.SIGTERM, 43), (signal.SIGHUP, 44)):
            config = self.config("trap 'exit 42' INT; trap 'exit 43' TERM; trap 'exit 44' HUP; echo up; while :; do sleep 0.02; done")
            process = subprocess.Popen(self.command("run", "--bundle", self.bundle(config), self.new_id()), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
            self.assertEqual(b"up\n", process.stdout.readline())
            process.send_signal(number)
            self.assertEqual(code, process.wait(10))
            process.stdout.close()
            self.nothing_left()


class Faults(OciTestCase):
    def test_few_descriptors(self):
        """EMFILE at each point."""
        bundle = self.bundle(self.config("true"))
        codes = set()
        for limit in range(4, 60, 3):
            result = self.runtime("run", "--bundle", bundle, self.new_id(), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)))
            codes.add(result.code)
            self.assertIn(result.code, (0, 1), f"{limit}: {result}")
            self.nothing_left()
        self.assertIn(0, codes)

    def test_no_more_processes(self):
        """EAGAIN of fork and clone: the runtime itself is in a full pids cgroup."""
        for top in hierarchies():
            cgroup = top / f"{CGROUP_PARENT}-pids"
            cgroup.mkdir()
            if (cgroup / "pids.max").exists():
                break
            cgroup.rmdir()
        else:
            self.skipTest("no pids controller here")
        try:
            for limit in (1, 2, 3, 4):
                (cgroup / "pids.max").write_text(str(limit))
                result = self.runtime("run", "--bundle", self.bundle(self.config()), self.new_id(), preexec_fn=lambda: (cgroup / "cgroup.procs").write_text("0"))
                self.assertIn(result.code, (0, 1), f"{limit}: {result}")
                self.nothing_left()
        finally:
            eventually(lambda: (cgroup / "cgroup.procs").read_text() == "")
            cgroup.rmdir()

    def test_a_process_of_the_host_stays_inside(self):
        """A working directory in the container keeps its mounts busy; delete does not mind."""
        name = self.start_detached(self.config("mkdir -p /dev/shm/x; sleep 100"))
        folder = f"/proc/{self.state(name)['pid']}/root/dev/shm"
        eventually(lambda: os.path.isdir(f"{folder}/x"))
        with subprocess.Popen(["sleep", "100"], cwd=folder) as visitor:
            self.ok("delete", "-f", name)
            self.nothing_left()
            self.assertIsNone(visitor.poll())
            visitor.kill()

    def test_cgroups_made_inside(self):
        """Processes that hide in cgroups below the container's."""
        config = self.config("for d in /sys/fs/cgroup /sys/fs/cgroup/*; do [ -e $d/cgroup.procs ] && mkdir -p $d/a/b && (sleep 1000 & echo $! > $d/a/b/cgroup.procs); done 2>/dev/null; echo up > /tmp/up; sleep 100",
                             process={"capabilities": {kind: ["CAP_SYS_ADMIN"] for kind in ("bounding", "effective", "permitted")}})
        for mount in config["mounts"]:
            if mount["type"] == "cgroup":
                mount["options"].remove("ro")
        name = self.start_detached(config)
        eventually((self.rootfs / "tmp" / "up").exists)
        self.assertTrue(any(path.endswith("/a/b") for path in cgroups_below()))
        self.ok("pause", name)
        self.ok("delete", "-f", name)
        self.nothing_left()
        (self.rootfs / "tmp" / "up").unlink()

    def test_a_stale_and_a_frozen_cgroup(self):
        """An empty one that a crash has left is used and removed; a frozen one is refused and stays."""
        config = self.config("echo ok")
        for top in hierarchies():
            pathlib.Path(f"{top}{config['linux']['cgroupsPath']}").mkdir(parents=True)
        self.assertEqual("ok\n", self.run_config(config))
        self.nothing_left()
        for top in hierarchies():
            cgroup = pathlib.Path(f"{top}{config['linux']['cgroupsPath']}")
            cgroup.mkdir()
            for switch, word in ((cgroup / "freezer.state", "FROZEN"), (cgroup / "cgroup.freeze", "1")):
                if switch.exists() and (word != "1" or len(hierarchies()) == 1):
                    switch.write_text(word)
        self.fails("frozen", "create", "--bundle", self.bundle(config), self.new_id())
        self.assertEqual([], self.ids())
        for top in hierarchies():
            os.rmdir(f"{top}{config['linux']['cgroupsPath']}")

    def test_short_lived_containers_lose_nothing(self):
        for i in range(40):
            result = self.runtime("run", "--bundle", self.bundle(self.config(f"echo {i}; echo {i} >&2; exit {i}")), self.new_id())
            self.assertEqual((i, f"{i}\n", f"{i}\n"), (result.code, result.out, result.err))
        self.nothing_left()

    def test_exec_storm_and_delete(self):
        name = self.start_detached(self.config("sleep 100"))
        clients = [subprocess.Popen(self.command("exec", name, "sleep", "1"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(40)]
        time.sleep(0.1)
        self.ok("delete", "-f", name)
        for client in clients:
            self.assertIsNotNone(client.wait(10))
        self.nothing_left()


class Killed(OciTestCase):
    """kill -9 at random instants. Then delete -f succeeds, and nothing is left."""

    def killed(self, generator, longest, *words):
        process = subprocess.Popen(self.command(*words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(generator.random() * longest)
        process.kill()
        process.wait()

    def rounds(self, part):
        return random.Random(os.environ.get("DRAY_CRASH_SEED", "1")), range(max(1, ROUNDS * part // 100))

    def finish(self, name):
        self.runtime("list")
        self.ok("delete", "-f", name)
        self.nothing_left()

    def test_create_and_run(self):
        generator, rounds = self.rounds(50)
        bundle = self.bundle(self.config("sleep 100"))
        for i in rounds:
            name = self.new_id()
            self.killed(generator, 0.04, *(("create",) if i % 2 else ("run", "-d")), "--bundle", bundle, name)
            self.finish(name)

    def test_create_with_hooks(self):
        generator, rounds = self.rounds(14)
        hook = [{"path": "/bin/sleep", "args": ["sleep", "0.005"]}]
        bundle = self.bundle(self.config("sleep 100", hooks={kind: hook for kind in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart")}))
        for _ in rounds:
            name = self.new_id()
            self.killed(generator, 0.08, "run", "-d", "--bundle", bundle, name)
            self.finish(name)

    def test_start(self):
        generator, rounds = self.rounds(16)
        for _ in rounds:
            name = self.new_id()
            self.ok("create", "--bundle", self.bundle(self.config("sleep 100")), name)
            self.killed(generator, 0.008, "start", name)
            self.assertIn(self.state(name)["status"], ("created", "running"))
            self.finish(name)

    def test_delete(self):
        generator, rounds = self.rounds(20)
        for _ in rounds:
            name = self.start_detached(self.config("sleep 100"))
            self.killed(generator, 0.03, "delete", "-f", name)
            self.finish(name)


if __name__ == "__main__":
    main()
