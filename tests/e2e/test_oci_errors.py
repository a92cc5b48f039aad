#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bad input and wrong states: a clear error from dray-runtime, runc's exit code, nothing left behind."""

import json
import os
import signal
import subprocess

from oci_harness import OciTestCase, hierarchies, main


class BadConfig(OciTestCase):
    def refuse_text(self, text, pattern):
        self.fails(pattern, "create", "--bundle", self.bundle(text), self.new_id())
        self.assertEqual([], self.ids())

    def test_no_json(self):
        good = json.dumps(self.config())
        for text in (
            "",
            "{",
            "[]",
            "null",
            "7",
            '"text"',
            good[:-1],
            good + "}",
            "\0" * 100,
            "[" * 100_000,
            '{"a":' * 100_000,
            "{'process': 1}",
            good.replace(":", ": NaN,", 1),
        ):
            self.refuse_text(text, "(?i)json|object|config|ociVersion|specified|null")
        self.nothing_left()

    def test_wrong_types(self):
        for path, value in (
            ("process", "sh"),
            ("process", []),
            ("process.args", "sh"),
            ("process.args", [1]),
            ("process.args", []),
            ("process.args", [None]),
            ("process.cwd", 1),
            ("process.cwd", "tmp"),
            ("process.cwd", ""),
            ("process.env", {}),
            ("process.user", 0),
            ("process.user.uid", "0"),
            ("process.user.uid", -1),
            ("process.user.uid", 4294967296),
            ("process.user.uid", 1.5),
            ("process.user.additionalGids", 3),
            ("process.rlimits", [{"type": "RLIMIT_NOSUCH", "soft": 1, "hard": 1}]),
            ("process.rlimits", [{"type": "RLIMIT_NOFILE", "soft": 2, "hard": 1}]),
            ("process.rlimits", [{"type": "RLIMIT_NOFILE", "soft": -1, "hard": 1}]),
            ("process.oomScoreAdj", 2000),
            ("process.terminal", "yes"),
            ("process.capabilities", []),
            ("root", "rootfs"),
            ("root.path", 5),
            ("root.path", ""),
            ("root.readonly", 1),
            ("hostname", 5),
            ("mounts", {}),
            ("mounts", ["x"]),
            ("mounts", [{"type": "tmpfs", "source": "x"}]),
            ("mounts", [{"destination": "/x", "type": "bind", "source": "/nosuch", "options": ["bind"]}]),
            ("mounts", [{"destination": "/x", "type": "nosuchfs", "source": "x"}]),
            ("mounts", [{"destination": "/x", "type": "tmpfs", "source": "x", "options": "ro"}]),
            ("linux", []),
            ("linux.namespaces", {}),
            ("linux.namespaces", [{"type": "nosuch"}]),
            ("linux.namespaces", [{"type": "pid"}, {"type": "pid"}]),
            ("linux.namespaces", [{"path": "/proc/self/ns/net"}]),
            ("linux.namespaces", ["pid"]),
            ("linux.resources.pids", {"limit": "many"}),
            ("linux.resources.memory", {"limit": "1G"}),
            ("linux.rootfsPropagation", "nosuch"),
            ("linux.maskedPaths", "x"),
            ("linux.sysctl", []),
            ("linux.cgroupsPath", 5),
            ("linux.cgroupsPath", "/"),
            ("linux.devices", [{"path": "relative", "type": "c", "major": 1, "minor": 3}]),
            ("linux.devices", [{"path": "/dev/x", "type": "z", "major": 1, "minor": 3}]),
            ("hooks", []),
            ("hooks", {"prestart": {}}),
            ("hooks", {"prestart": [{}]}),
            ("hooks", {"prestart": [{"path": "/bin/true", "timeout": -1}]}),
            ("annotations", []),
            ("annotations", {"a": 1}),
            ("ociVersion", 1),
            ("ociVersion", "0.1"),
            ("ociVersion", "nonsense"),
        ):
            with self.subTest(path=path, value=value):
                config = self.config()
                *parents, last = path.split(".")
                place = config
                for name in parents:
                    place = place.setdefault(name, {})
                place[last] = value
                words = {"type": "namespace|type|namespaces"}.get(last, last)
                self.refuse_text(
                    json.dumps(config), f"(?i){words}|{path.split('.')[0]}|{path.split('.')[-1].rstrip('s')}"
                )
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
        for args, pattern in (
            (["nosuch"], r'exec: \\"nosuch\\": executable file not found in \$PATH'),
            (["/etc/passwd"], "permission denied"),
            (["/nosuch/x"], "no such file"),
            ([""], "level=error"),
        ):
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
        for name in (
            "..",
            ".",
            "a/b",
            "/a",
            "",
            "a b",
            "a\nb",
            "ä",
            "x" * 2000,
            "a*",
            "../../etc",
            "-" if False else "a\\b",
        ):
            for words in (
                ("create", "--bundle", bundle, name),
                ("state", name),
                ("start", name),
                ("kill", name, "9"),
                ("delete", "-f", name) if name else ("delete", name),
            ):
                result = self.runtime(*words)
                self.assertEqual(1, result.code, f"{words}: {result}")
                self.assertRegex(result.err, "(?i)invalid|empty|id")
        self.nothing_left()
        for name in ("a", "a.b", "_", "A-1+x", "..."):
            self.ok("run", "--bundle", self.bundle(self.config()), name)

    def test_words(self):
        for words, code in (
            (("nosuch",), 3),
            (("--nosuch",), 1),
            (("create", "--nosuch", "x"), 1),
            (("create",), 1),
            (("create", "a", "b"), 1),
            (("start",), 1),
            (("kill", "x", "NOSIGNAL"), 1),
            (("exec", "x"), 255),
            (("list", "-f", "yaml"), 1),
            (("--log-format", "xml", "list"), 1),
            (("run", "--preserve-fds", "-1", "x"), 1),
            (("run", "--preserve-fds", "x", "y"), 1),
        ):
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
        for words in (
            ("state",),
            ("start",),
            ("kill",),
            ("delete",),
            ("pause",),
            ("resume",),
            ("ps",),
            ("events", "--stats"),
            ("update", "--pids-limit", "5"),
        ):
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
            processes = [
                subprocess.Popen(
                    self.command("create", "--bundle", bundle, name),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
                for _ in range(4)
            ]
            codes = sorted(process.wait(20) for process in processes)
            self.assertEqual([0, 1, 1, 1], codes)
            self.ok("start", name)
            self.assertEqual("running", self.state(name)["status"])
            self.ok("delete", "-f", name)
            self.nothing_left()

    def test_many_deletes_at_once(self):
        for _ in range(5):
            name = self.start_detached(self.config("sleep 100"))
            processes = [
                subprocess.Popen(
                    self.command("delete", "-f", name),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                )
                for _ in range(4)
            ]
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


if __name__ == "__main__":
    main()
