#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""dray-runtime in surroundings that fail it: no listener, no disk, no descriptors, others' cgroups, kill -9."""

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


class Surroundings(OciTestCase):
    def test_console_socket_without_listener(self):
        path = self.scratch / "deaf.sock"
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.bind(str(path))
        config = self.config("sleep 100", process={"terminal": True})
        for target in (path, self.scratch / "missing.sock", self.scratch / "config.json"):
            self.fails(
                "(?i)console|socket",
                "create",
                "--bundle",
                self.bundle(config),
                "--console-socket",
                target,
                self.new_id(),
            )
            self.nothing_left()
        self.refuse(config, "(?i)tty|console")
        self.fails(
            "(?i)tty|console", "create", "--bundle", self.bundle(self.config()), "--console-socket", path, self.new_id()
        )

    def test_pid_file_in_a_missing_folder(self):
        self.fails(
            "nosuch",
            "create",
            "--bundle",
            self.bundle(self.config("sleep 100")),
            "--pid-file",
            "/nosuch/pid",
            self.new_id(),
        )
        self.nothing_left()
        self.fails(
            "nosuch",
            "run",
            "-d",
            "--bundle",
            self.bundle(self.config("sleep 100")),
            "--pid-file",
            "/nosuch/pid",
            self.new_id(),
        )
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
            result = self.runtime(
                "run", "--bundle", self.bundle(self.config(linux={"cgroupsPath": path})), self.new_id()
            )
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
        for resources in (
            {"cpu": {"cpus": "9999"}},
            {"cpu": {"cpus": "x"}},
            {"memory": {"limit": 1 << 30, "swap": 1 << 20}},
            {"cpu": {"quota": 1, "period": 1}},
            {"unified": {"../x": "1"}},
            {"unified": {"nosuch.max": "1"}},
            {"hugepageLimits": [{"pageSize": "3KB", "limit": 1}]},
            {"network": {"priorities": [{"name": "nosuch", "priority": 1}]}},
        ):
            with self.subTest(resources):
                self.refuse(
                    self.config(linux={"resources": resources}),
                    "(?i)cgroup|cpu|memory|unified|hugetlb|hugepage|network|net_prio",
                )

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
            config = self.config(
                "trap 'exit 42' INT; trap 'exit 43' TERM; trap 'exit 44' HUP; echo up; while :; do sleep 0.02; done"
            )
            process = subprocess.Popen(
                self.command("run", "--bundle", self.bundle(config), self.new_id()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
            )
            self.assertEqual(b"up\n", process.stdout.readline())
            process.send_signal(number)
            self.assertEqual(code, process.wait(10))
            process.stdout.close()
            self.nothing_left()


class Faults(OciTestCase):
    def test_few_descriptors(self):
        """EMFILE at each point."""
        bundle = self.bundle(self.config("true", process={"rlimits": []}))
        codes = set()
        for limit in range(4, 200, 7):
            result = self.runtime(
                "run",
                "--bundle",
                bundle,
                self.new_id(),
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)),
            )
            codes.add(result.code)
            self.assertIn(result.code, (0, 1), f"{limit}: {result}")
            self.nothing_left()
        self.assertIn(0, codes, repr(result))

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
                result = self.runtime(
                    "run",
                    "--bundle",
                    self.bundle(self.config()),
                    self.new_id(),
                    preexec_fn=lambda: (cgroup / "cgroup.procs").write_text("0"),
                )
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
        config = self.config(
            "for d in /sys/fs/cgroup /sys/fs/cgroup/*; do [ -e $d/cgroup.procs ] && mkdir -p $d/a/b && (sleep "
            "1000 & echo $! > $d/a/b/cgroup.procs); done 2>/dev/null; echo up > /tmp/up; sleep 100",
            process={"capabilities": {kind: ["CAP_SYS_ADMIN"] for kind in ("bounding", "effective", "permitted")}},
        )
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
            result = self.runtime(
                "run", "--bundle", self.bundle(self.config(f"echo {i}; echo {i} >&2; exit {i}")), self.new_id()
            )
            self.assertEqual((i, f"{i}\n", f"{i}\n"), (result.code, result.out, result.err))
        self.nothing_left()

    def test_exec_storm_and_delete(self):
        name = self.start_detached(self.config("sleep 100"))
        clients = [
            subprocess.Popen(
                self.command("exec", name, "sleep", "1"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for _ in range(40)
        ]
        time.sleep(0.1)
        self.ok("delete", "-f", name)
        for client in clients:
            self.assertIsNotNone(client.wait(10))
        self.nothing_left()


class Killed(OciTestCase):
    """kill -9 at random instants. Then delete -f succeeds, and nothing is left."""

    def killed(self, generator, longest, *words):
        process = subprocess.Popen(
            self.command(*words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
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
        bundle = self.bundle(
            self.config(
                "sleep 100",
                hooks={
                    kind: hook
                    for kind in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart")
                },
            )
        )
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
