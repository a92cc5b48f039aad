#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Attacks on dray-runtime by hostile root file systems and configurations, by their published names.

Each ends with a clear error or harmless success; the canary is untouched, nothing is left.
"""

import ctypes
import json
import os
import pathlib
import shutil
import subprocess
import threading
import time
import unittest

from canary import CanaryMixin, digest
from harness import BUILD, Terminal
from oci_harness import RUNTIME, OciTestCase, eventually, host_mounts, main

LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, RENAME_EXCHANGE = -100, 2


class Attack(CanaryMixin, OciTestCase):
    CANARY_FILES = ("file", "ptmx")

    def rootfs_with(self, **links):
        """A root file system in which these names are symlinks."""
        folder = self.own_rootfs()
        for name, target in links.items():
            path = folder / name.replace("__", "/")
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(target)
        return folder

    def harmless(self, config, verb="run"):
        """Whether it fails or not: no crash, nothing left. The canary is compared after each test."""
        result = self.runtime(verb, "--bundle", self.bundle(config), self.new_id())
        self.assertIn(result.code, (0, 1), repr(result))
        if verb == "run":
            self.nothing_left()
        return result


class Links(Attack):
    def test_cve_2019_19921_proc_sys_dev_are_symlinks(self):
        """And the two of 2023, which brought it back."""
        for name in ("proc", "sys", "dev"):
            for target in (self.canary, "/tmp", "../../../../../../.." + str(self.canary), "tmp"):
                config = self.config(root={"path": str(self.rootfs_with(**{name: target}))})
                self.refuse(config, "(?i)ordinary directory|not a directory|symlink|symbolic", "run")

    def test_cve_2026_41579_dev_is_a_symlink_and_nothing_is_mounted_there(self):
        for target in (self.canary, "../../../../../../.." + str(self.canary)):
            config = self.config(root={"path": str(self.rootfs_with(dev=target))})
            config["mounts"] = [mount for mount in config["mounts"] if mount["destination"] == "/proc"]
            self.harmless(config)
            # With a directory of that name inside, the links and nodes go there.
            rootfs = self.rootfs_with(dev=target)
            (rootfs / str(self.canary)[1:]).mkdir(parents=True)
            config["root"]["path"] = str(rootfs)
            self.harmless(config)
        self.assertEqual(["file", "ptmx"], sorted(os.listdir(self.canary)))

    def test_targets_are_symlinks(self):
        source = self.scratch / "source"
        source.mkdir(exist_ok=True)
        (source / "file").touch()
        links = {
            "absolute": str(self.canary),
            "relative": "../../../../../.." + str(self.canary),
            "hop": "absolute",
            "file_link": f"{self.canary}/made",
            "magic": "/proc/self/root",
            "fd": "/proc/self/fd/5",
            "cwd": "/proc/self/cwd",
        }
        for name in links:
            for below in ("", "/below"):
                rootfs = self.rootfs_with(**links)
                for kind, origin, options in (
                    ("bind", source, ["rbind"]),
                    ("bind", source / "file", ["bind"]),
                    ("tmpfs", "tmpfs", []),
                    ("tmpfs", "tmpfs", ["tmpcopyup"]),
                ):
                    config = self.config(root={"path": str(rootfs)})
                    config["mounts"].append(
                        {"destination": f"/{name}{below}", "type": kind, "source": str(origin), "options": options}
                    )
                    self.harmless(config)

    def test_cyclic_links(self):
        rootfs = self.rootfs_with(a="b", b="/a", deep="deep/deep")
        for destination in ("/a", "/b/x", "/deep", "/deep/x"):
            config = self.config(root={"path": str(rootfs)})
            config["mounts"].append({"destination": destination, "type": "tmpfs", "source": "tmpfs"})
            self.refuse(config, "(?i)too many levels|symbolic", "run")

    def test_relative_and_dotted_destinations(self):
        for destination in (
            f"../../../../../..{self.canary}/x",
            f"/../../../../..{self.canary}/x",
            "tmp/../../../../x",
            "/tmp/./x//y/",
        ):
            config = self.config(root={"path": str(self.own_rootfs())})
            config["mounts"].append({"destination": destination, "type": "tmpfs", "source": "tmpfs"})
            self.harmless(config)

    def test_devices_and_console_are_symlinks(self):
        """CVE-2025-52565, and device nodes that would be made elsewhere."""
        for name in ("console", "null", "ptmx", "made", "fd", "stdin"):
            rootfs = self.rootfs_with(**{f"dev__{name}": f"{self.canary}/file"})
            config = self.config(process={"terminal": True}, root={"path": str(rootfs)})
            config["mounts"] = [mount for mount in config["mounts"] if mount["destination"] in ("/proc", "/dev/pts")]
            config["linux"]["devices"] = [{"path": "/dev/made", "type": "c", "major": 1, "minor": 5}]
            terminal = Terminal(self.command("run", "--bundle", self.bundle(config), self.new_id()))
            self.assertIn(terminal.wait(), (0, 1))
            self.nothing_left()

    def test_cve_2025_31133_dev_null_is_a_symlink(self):
        """A masked file must be covered by the real /dev/null."""
        pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text()
        for target in ("/proc/sys/kernel/core_pattern", f"{self.canary}/file", "/etc/passwd"):
            rootfs = self.rootfs_with(dev__null=target)
            (rootfs / "secret").write_text("secret")
            config = self.config(
                "cat /secret; stat -c %t:%T /secret; echo x > /secret; true",
                root={"path": str(rootfs)},
                linux={"maskedPaths": ["/secret"]},
            )
            config["mounts"] = [mount for mount in config["mounts"] if mount["destination"] == "/proc"]
            result = self.harmless(config)
            self.assertEqual("1:3\n" if result.code == 0 else "", result.out)
        self.assertEqual(pattern, pathlib.Path("/proc/sys/kernel/core_pattern").read_text())

    def test_masked_paths_are_symlinks(self):
        rootfs = self.rootfs_with(hidden=self.canary, hidden_file=f"{self.canary}/file")
        self.harmless(
            self.config(
                root={"path": str(rootfs)},
                linux={
                    "maskedPaths": ["/hidden", "/hidden_file", "/hidden/file"],
                    "readonlyPaths": ["/hidden", "/hidden_file"],
                },
            )
        )

    def test_cve_2019_16884_mounts_over_proc(self):
        rootfs = self.rootfs_with(p="/proc/self/attr", q="/proc/sys", r="/proc")
        for destination in (
            "/proc/self/attr",
            "/proc/sys/net",
            "//proc/./sys",
            "/p",
            "/q/net",
            "/r/sys",
            "/proc/../proc/sys",
        ):
            for kind, options in (("bind", ["rbind"]), ("tmpfs", [])):
                config = self.config(root={"path": str(rootfs)}, linux={"sysctl": {"net.ipv4.ip_forward": "1"}})
                config["mounts"].append(
                    {"destination": destination, "type": kind, "source": str(self.canary), "options": options}
                )
                self.refuse(config, "(?i)proc", "run")
        config = self.config(root={"path": str(rootfs)})
        config["mounts"][0] = {"destination": "/proc", "type": "bind", "source": str(self.canary), "options": ["rbind"]}
        self.refuse(config, "(?i)proc", "run")

    def test_cve_2025_52881_sysctls_go_to_the_namespace(self):
        """Whatever the image has at /proc/sys: the value is written to the container's network, nothing else."""
        rootfs = self.own_rootfs()
        (rootfs / "proc" / "sys").mkdir()
        (rootfs / "proc" / "sys" / "net").symlink_to(self.canary)
        before = pathlib.Path("/proc/sys/net/ipv4/ip_forward").read_text()
        config = self.config(
            "cat /proc/sys/net/ipv4/ip_forward",
            root={"path": str(rootfs)},
            linux={"sysctl": {"net.ipv4.ip_forward": "1"}},
        )
        self.assertEqual("1\n", self.run_config(config))
        config["mounts"] = []  # no procfs in the container at all
        config["process"]["args"] = ["true"]
        config["linux"]["maskedPaths"] = config["linux"]["readonlyPaths"] = []
        self.harmless(config)
        self.assertEqual(before, pathlib.Path("/proc/sys/net/ipv4/ip_forward").read_text())


class Races(Attack):
    def test_cve_2021_30465_and_2024_45310_the_target_is_swapped(self):
        """While the target of a mount is made, another container swaps its parent for a link to the host."""
        volume = self.scratch / "volume"
        shutil.rmtree(volume, ignore_errors=True)
        (volume / "dir").mkdir(parents=True)
        up = "../" * 10
        (volume / "link").symlink_to(f"{up}{str(self.canary)[1:]}")
        stop = threading.Event()
        one, two = os.fsencode(volume / "dir"), os.fsencode(volume / "link")

        def swap():
            while not stop.is_set():
                LIBC.renameat2(AT_FDCWD, one, AT_FDCWD, two, RENAME_EXCHANGE)

        racer = threading.Thread(target=swap, daemon=True)
        racer.start()
        try:
            rootfs = self.own_rootfs()
            for i in range(int(os.environ.get("DRAY_RACE_ROUNDS", "60"))):
                config = self.config("true", root={"path": str(rootfs)})
                config["mounts"] += [
                    {"destination": "/vol", "type": "bind", "source": str(volume), "options": ["rbind"]},
                    {"destination": f"/vol/dir/made{i % 3}/x", "type": "tmpfs", "source": "tmpfs"},
                    {
                        "destination": f"/vol/dir/file{i % 3}",
                        "type": "bind",
                        "source": str(self.scratch / "config.json"),
                        "options": ["bind"],
                    },
                ]
                result = self.runtime("run", "--bundle", self.bundle(config), self.new_id())
                self.assertIn(result.code, (0, 1), repr(result))
                self.assertEqual(["file", "ptmx"], sorted(os.listdir(self.canary)), f"round {i}")
                self.assertEqual(self.mounts, host_mounts())
        finally:
            stop.set()
            racer.join()
        self.nothing_left()


class Descriptors(Attack):
    def test_cve_2024_21626_working_directory_through_a_descriptor(self):
        secret = pathlib.Path("/etc/hostname").read_text().strip() or "\0"
        rootfs = self.rootfs_with(a="/proc/self/fd/7", b="/proc/self/cwd")
        spare = [os.open("/", os.O_RDONLY | os.O_DIRECTORY) for _ in range(5)]
        try:
            for cwd in (
                *(f"/proc/self/fd/{number}" for number in (*range(3, 16), 32, 64)),
                "/a",
                "/b",
                "/proc/1/fd/5",
                "/proc/thread-self/fd/8",
            ):
                config = self.config(
                    "pwd; cat ../../../../../etc/hostname", root={"path": str(rootfs)}, process={"cwd": cwd}
                )
                result = self.runtime("run", "--bundle", self.bundle(config), self.new_id(), pass_fds=spare)
                self.assertNotIn(secret, result.out, cwd)
                self.assertNotIn("unreachable", result.out)
            name = self.start_detached(self.config("sleep 100", root={"path": str(rootfs)}))
            for cwd in (*(f"/proc/self/fd/{number}" for number in (*range(3, 16), 32, 64)), "/a", "/b"):
                result = self.runtime(
                    "exec", "--cwd", cwd, name, "sh", "-c", "pwd; cat ../../../../../etc/hostname", pass_fds=spare
                )
                self.assertNotIn(secret, result.out, cwd)
                self.assertNotIn("unreachable", result.out)
        finally:
            for fd in spare:
                os.close(fd)

    def test_no_descriptor_leaks(self):
        spare = [os.dup2(os.open("/etc", os.O_RDONLY), number) for number in range(50, 90)]
        try:
            for terminal in (False, True):
                config = self.config("ls /proc/self/fd; ls /proc/1/fd", process={"terminal": terminal})
                if terminal:
                    seen = Terminal(self.command("run", "--bundle", self.bundle(config), self.new_id()))
                    self.assertEqual(0, seen.wait())
                    lines = seen.output.decode().split()
                else:
                    lines = self.run_config(config, pass_fds=spare).split()
                # 3 is ls reading the directory; 10 is where busybox's shell keeps the terminal.
                self.assertLessEqual(set(lines), {"0", "1", "2", "3", "10"} if terminal else {"0", "1", "2", "3"})
        finally:
            for fd in range(50, 90):
                os.close(fd)

    def overwrite_the_runtime(self, *capabilities):
        """What a container gets hold of, and may write to, while others exec in it. Run with a copy of the runtime."""
        folder = self.scratch / "programs"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for program in (RUNTIME, BUILD / "dray-init"):
            shutil.copy(program, folder)
        programs = [folder / RUNTIME.name, folder / "dray-init"]
        before = [digest(program) for program in programs]
        rootfs = self.own_rootfs()
        # A command that is the runtime itself, if the runtime can be found by /proc/self/exe.
        (rootfs / "bin" / "trap").write_text("#!/proc/self/exe\n")
        (rootfs / "bin" / "trap").chmod(0o755)
        hunter = """
            own=$(stat -L -c %d:%i /bin/busybox); touch /tmp/up
            hold() {
              seen=$(stat -L -c %d:%i /proc/self/fd/9); [ "$seen" = $own ] && return
              for i in 1 2 3 4 5 6 7 8; do echo evil >> /proc/$$/fd/9 && break; usleep 10000; done
            }
            while :; do for p in /proc/[0-9]*; do hold 9< $p/exe; done; done 2> /dev/null
        """
        sets = {kind: ["CAP_DAC_OVERRIDE", *capabilities] for kind in ("bounding", "effective", "permitted")}
        config = self.config(hunter, root={"path": str(rootfs)}, process={"capabilities": sets})
        name = self.start_detached(config)
        eventually((rootfs / "tmp" / "up").exists)
        for _ in range(40):
            for command in ("trap", "true"):
                subprocess.run([programs[0], "--root", self.root, "exec", name, command], capture_output=True)
        time.sleep(0.1)
        self.ok("delete", "-f", name)
        return before == [digest(program) for program in programs]

    def test_cve_2019_5736_the_runtime_cannot_be_overwritten(self):
        self.assertTrue(self.overwrite_the_runtime("CAP_SYS_ADMIN", "CAP_DAC_READ_SEARCH"))

    def test_cve_2019_5736_with_the_right_to_look_into_processes(self):
        self.assertTrue(self.overwrite_the_runtime("CAP_SYS_PTRACE"))


class Rights(Attack):
    def test_cve_2022_29162_no_inheritable_capabilities(self):
        name = self.start_detached(self.config("sleep 100"))
        for words in ((), ("-u", "1000"), ("--cap", "CAP_NET_RAW"), ("-u", "1000", "--cap", "CAP_NET_RAW")):
            fields = dict(
                line.split(":\t")
                for line in self.ok("exec", *words, name, "grep", "^Cap", "/proc/self/status").splitlines()
            )
            self.assertEqual(("0" * 16, "0" * 16), (fields["CapInh"], fields["CapAmb"]), words)
            if "1000" in words:
                self.assertEqual("0" * 16, fields["CapEff"])

    def test_cve_2026_30892_exec_user_is_a_number_in_range(self):
        name = self.start_detached(self.config("sleep 100"))
        for text, expected in (("1", "1:0"), ("1:2", "1:2"), ("0", "0:0"), ("2147483647", "2147483647:0")):
            self.assertEqual(expected, self.ok("exec", "-u", text, name, "sh", "-c", "echo $(id -u):$(id -g)").strip())
        for text in (
            "0x1",
            "-1",
            "4294967295",
            "4294967296",
            "2147483648",
            "1abc",
            "root",
            "1:",
            ":",
            ":2",
            " 1",
            "1:2:3",
            "18446744073709551616",
            "1:-1",
            "1:root",
        ):
            result = self.runtime("exec", "-u", text, name, "id")
            self.assertEqual(255, result.code, f"{text!r}: {result}")
            self.assertNotIn("uid=", result.out)

    def test_groups_of_the_caller_are_not_inherited(self):
        """CVE-2022-36109, CVE-2023-25173."""

        def groups():
            os.setgroups([0, 4242, 4243])

        self.assertEqual("0", self.run_config(self.config("id -G"), preexec_fn=groups).strip())
        name = self.start_detached(
            self.config("sleep 100", process={"user": {"uid": 5, "gid": 6, "additionalGids": [7]}}), preexec_fn=groups
        )
        self.assertEqual({"6", "7"}, set(self.ok("exec", name, "id", "-G", preexec_fn=groups).split()))

    def test_hostile_passwd(self):
        """CVE-2024-9676, CVE-2026-47262, and variables that come out of a home directory."""
        for make in (
            lambda path: os.mkfifo(path),
            lambda path: path.symlink_to("/proc/kmsg"),
            lambda path: path.symlink_to("../../../../../.." + str(self.canary / "file")),
            lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 2 << 30),
            lambda path: path.write_bytes(b"\0" * 1000),
            lambda path: path.write_text("x" * 1_000_000),
            lambda path: path.mkdir(),
        ):
            rootfs = self.own_rootfs()
            (rootfs / "etc" / "passwd").unlink()
            make(rootfs / "etc" / "passwd")
            config = self.config("env", root={"path": str(rootfs)})
            began = time.monotonic()
            out = self.run_config(config, timeout=5)
            self.assertLess(time.monotonic() - began, 3)
            self.assertIn("HOME=/\n", out)
            self.assertEqual(1, out.count("HOME="))
        rootfs = self.own_rootfs()
        (rootfs / "etc" / "passwd").write_text("root:x:0:0:root:/root\\nLD_PRELOAD=/x=y:/bin/sh\n")
        out = self.run_config(self.config("env", root={"path": str(rootfs)}))
        self.assertNotRegex(out, "(?m)^LD_PRELOAD")

    def test_devices_of_the_host(self):
        """mknod is allowed by its capability, opening what was made is not, before and after an update."""
        major, minor = divmod(os.stat("/dev/zero").st_rdev, 256)
        caps = {
            kind: ["CAP_MKNOD", "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"] for kind in ("bounding", "effective", "permitted")
        }
        config = self.config("sleep 100", process={"capabilities": caps})
        name = self.start_detached(config)
        probe = "rm -f /dev/b /dev/m; mknod /dev/b b 254 0 && mknod /dev/m c 1 1; (: < /dev/b) 2>&1; (: < /dev/m) 2>&1"
        for _ in range(2):
            out = self.ok("exec", name, "sh", "-c", probe + "; true")
            self.assertEqual(2, out.count("peration not permitted"), out)
            self.ok("update", "--pids-limit", "99", name)

    def test_read_only_paths_hold_with_privileges(self):
        caps = {kind: ["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"] for kind in ("bounding", "effective", "permitted")}
        out = self.run_script(
            "for p in /proc/sysrq-trigger /proc/sys/kernel/core_pattern /proc/self/root/proc/sysrq-trigger "
            "/proc/1/root/proc/sysrq-trigger; do (echo x > $p) 2>/dev/null && echo written $p; done; true",
            process={"capabilities": caps},
        )
        self.assertEqual("", out)

    def test_cve_2022_0492_release_agent(self):
        out = self.run_script(
            "mkdir /tmp/c; mount -t cgroup -o memory none /tmp/c 2>&1; for f in /sys/fs/cgroup/*/release_agent "
            "/sys/fs/cgroup/release_agent; do (echo x > $f) 2>/dev/null && echo written; done; (mkdir "
            "/sys/fs/cgroup/memory/x || mkdir /sys/fs/cgroup/x) 2>&1; rmdir /tmp/c"
        )
        self.assertNotIn("written", out)
        self.assertRegex(out, "(?i)permission denied|not permitted")
        self.assertIn("Read-only file system", out)


class Identity(Attack):
    def test_a_recycled_process_number(self):
        """The state names a process by number and start time: another process of that number is not ours."""
        name = self.start_detached(self.config("true"))
        self.wait_for(name, "stopped")
        with subprocess.Popen(["sleep", "100"]) as innocent:
            try:
                path = self.root / name / "state.json"
                state = json.loads(path.read_text())
                number = next(key for key in ("pid", "init_process_pid") if key in state)
                state[number] = innocent.pid
                path.write_text(json.dumps(state))
                self.assertEqual("stopped", self.state(name)["status"])
                self.fails("not running", "kill", name, "KILL")
                self.fails("stopped", "exec", name, "true", code=255)
                self.ok("delete", "-f", name)
                self.assertIsNone(innocent.poll())
            finally:
                innocent.kill()

    def test_the_state_is_for_root_only(self):
        name = self.start_detached(self.config("sleep 100"))
        for path in (self.root / name).rglob("*"):
            self.assertEqual(0, path.stat().st_mode & 0o022, path)
            if path.is_file():
                self.assertEqual(0, path.stat().st_mode & 0o077, path)

    def test_a_state_directory_that_is_a_symlink(self):
        (self.root / "linked").symlink_to(self.canary)
        try:
            self.fails("does not exist", "state", "linked")
            self.runtime("delete", "-f", "linked")
            self.fails("exists", "create", "--bundle", self.bundle(self.config()), "linked")
        finally:
            (self.root / "linked").unlink(missing_ok=True)

    def test_a_state_root_of_others(self):
        """Whoever writes it decides what is killed and removed."""
        name = self.start_detached(self.config("sleep 100"))
        create = ("create", "--bundle", self.bundle(self.config()), self.new_id())
        commands = (("state", name), ("kill", name), ("list",), ("delete", "-f", name), create)
        was = self.root.stat()
        for owner, mode, words in ((65534, 0o755, "another user"), (0, 0o777, "others"), (0, 0o775, "others")):
            os.chown(self.root, owner, 0)
            self.root.chmod(mode)
            try:
                for command in commands:
                    self.fails(words, *command)
            finally:
                os.chown(self.root, was.st_uid, was.st_gid)
                self.root.chmod(was.st_mode & 0o7777)
        self.root.chmod(0o1777)
        try:
            self.assertEqual("running", self.state(name)["status"])
            os.chown(self.root / name, 65534, 0)
            self.fails("another user", "delete", "-f", name)
        finally:
            os.chown(self.root / name, 0, 0)
            self.root.chmod(was.st_mode & 0o7777)
        self.assertEqual("running", self.state(name)["status"])

    def test_words_that_would_write_to_a_terminal(self):
        escape = "\x1b]52;c;ZXZpbA==\x07"
        result = self.runtime("create", "--bundle", f"/no{escape}such", "x")
        self.assertNotIn("\x1b", result.err)
        result = self.runtime("run", "--bundle", self.bundle(self.config([f"/no{escape}such"])), self.new_id())
        self.assertNotIn("\x1b", result.err)


if __name__ == "__main__":
    main()
