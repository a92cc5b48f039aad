# SPDX-License-Identifier: Apache-2.0
"""Drives dray-runtime with busybox bundles. After each test, nothing of it may be on the machine.

DRAY_OCI_RUNTIME=/path/of/runc runs the same tests with another runtime: a test that all others fail needs a reason.
"""
import copy
import itertools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from harness import BUILD, Result, eventually, main, require, skip_all  # noqa: F401: for the test files

RUNTIME = pathlib.Path(os.environ.get("DRAY_OCI_RUNTIME", BUILD / "dray-runtime"))
CGROUPS = pathlib.Path("/sys/fs/cgroup")
CGROUP_PARENT = f"dray-oci-{os.getpid()}"
NUMBERS = itertools.count()


def is_cgroup2():
    return (CGROUPS / "cgroup.controllers").exists()


def hierarchies():
    return [CGROUPS] if is_cgroup2() else [path for path in CGROUPS.iterdir() if path.is_dir() and not path.is_symlink()]


def cgroups_below(name=CGROUP_PARENT):
    return sorted(str(path) for top in hierarchies() for path in (top / name).rglob("*") if path.is_dir())


def host_mounts():
    return sorted(line.split(" - ")[0].split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines())


def processes_of(folder):
    """Processes named by the folder, or that live on a file system of it."""
    found, needle, ours = {}, str(folder).encode(), os.readlink("/proc/self/ns/mnt")
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            command = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes()
            if needle in command or (os.readlink(f"/proc/{entry}/ns/mnt") != ours and needle in pathlib.Path(f"/proc/{entry}/mountinfo").read_bytes()):
                found[int(entry)] = command.replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
    return found


def make_rootfs(folder):
    for name in ("bin", "dev", "proc", "sys", "tmp", "etc", "run", "root"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(shutil.which("busybox"), folder / "bin" / "busybox")
    for applet in subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True).stdout.split():
        if applet != "busybox":
            (folder / "bin" / applet).symlink_to("busybox")
    (folder / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (folder / "etc" / "group").write_text("root:x:0:\n")
    return folder


class OciTestCase(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            skip_all("needs root")
        if not RUNTIME.exists():
            skip_all(f"{RUNTIME} is not built")
        require("busybox")
        cls.scratch = pathlib.Path(tempfile.mkdtemp(prefix="dray-oci-", dir="/var/tmp"))
        cls.root = cls.scratch / "state"
        cls.root.mkdir()
        cls.rootfs = make_rootfs(cls.scratch / "rootfs")
        subprocess.run([RUNTIME, "spec"], cwd=cls.scratch, check=True)
        cls.template = json.loads((cls.scratch / "config.json").read_text())

    @classmethod
    def tearDownClass(cls):
        cls.sweep()
        for top in hierarchies():
            if (top / CGROUP_PARENT).exists():
                (top / CGROUP_PARENT).rmdir()
        shutil.rmtree(cls.scratch, ignore_errors=True)

    @classmethod
    def sweep(cls):
        """After a test that failed: what it left must not make the next one fail."""
        for pid in processes_of(cls.scratch):
            os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 5
        for path in sorted(cgroups_below(), reverse=True):
            while True:
                try:
                    os.rmdir(path)
                except OSError:
                    if os.path.exists(path) and time.monotonic() < deadline:
                        time.sleep(0.02)
                        continue
                break
        if cls.root.exists():
            for path in cls.root.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)

    def setUp(self):
        self.mounts = host_mounts()
        self.addCleanup(self.sweep)
        self.addCleanup(self.check_leaks)

    def check_leaks(self):
        for identifier in self.ids():
            self.ok("delete", "-f", identifier)
        self.nothing_left()

    def ids(self):
        return sorted(path.name for path in self.root.iterdir() if path.is_dir()) if self.root.exists() else []

    def nothing_left(self):
        """No state directory, cgroup, mount, process."""
        self.assertEqual([], self.ids(), "state directories are left")
        # A process that was killed is gone a moment later.
        deadline = time.monotonic() + 3
        while (processes := processes_of(self.scratch)) and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertEqual({}, processes, "processes are left")
        self.assertEqual([], cgroups_below(), "cgroups are left")
        self.assertEqual(self.mounts, host_mounts(), "mounts are left")

    # -- bundles
    def config(self, script="true", **changes):
        """The template of `spec` that runs a shell script. Changes: process={…}, linux={…}, … are merged in one level deep."""
        config = copy.deepcopy(self.template)
        config["process"].update(terminal=False, args=script if isinstance(script, list) else ["sh", "-c", script])
        config["root"] = {"path": str(self.rootfs), "readonly": False}
        config["linux"]["cgroupsPath"] = f"/{CGROUP_PARENT}/{next(NUMBERS)}"
        for key, value in changes.items():
            if isinstance(value, dict) and isinstance(config.get(key), dict):
                config[key].update(value)
            else:
                config[key] = value
        return config

    def bundle(self, config):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="bundle-", dir=self.scratch))
        (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
        return folder

    def own_rootfs(self, **files):
        """A root file system for one test; made of links, so that only what is added costs."""
        folder = pathlib.Path(tempfile.mkdtemp(prefix="rootfs-", dir=self.scratch))
        subprocess.run(["cp", "-a", "--reflink=auto", f"{self.rootfs}/.", folder], check=True)
        return folder

    def namespaces(self, *without, **paths):
        """Those of the template; `paths`: joined ones."""
        kept = [entry for entry in self.template["linux"]["namespaces"] if entry["type"] not in (*without, *paths)]
        return kept + [{"type": kind, "path": path} if path else {"type": kind} for kind, path in paths.items()]

    # -- the runtime
    @classmethod
    def command(cls, *arguments):
        return [str(RUNTIME), "--root", str(cls.root), *map(str, arguments)]

    @classmethod
    def runtime(cls, *arguments, input=None, timeout=30, **options):
        """stdout and stderr are files: a detached container keeps them open."""
        stdin = {"stdin": subprocess.PIPE} if input is not None else {"stdin": subprocess.DEVNULL}
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            process = subprocess.Popen(cls.command(*arguments), stdout=out, stderr=err, text=True, **stdin, **options)
            try:
                process.communicate(input, timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
            out.seek(0), err.seek(0)
            process.stdout, process.stderr = out.read(), err.read()
            return Result(process)

    def ok(self, *arguments, **options):
        result = self.runtime(*arguments, **options)
        self.assertEqual(0, result.code, f"{' '.join(map(str, arguments))}: {result}")
        return result.out

    def fails(self, pattern, *arguments, code=1, **options):
        result = self.runtime(*arguments, **options)
        self.assertEqual(code, result.code, f"{' '.join(map(str, arguments))}: {result}")
        self.assertRegex(result.err, pattern)
        return result

    def new_id(self):
        return f"c{next(NUMBERS)}"

    def run_config(self, config, *flags, **options):
        """Output of a foreground container."""
        return self.ok("run", *flags, "--bundle", self.bundle(config), self.new_id(), **options)

    def run_script(self, script, **changes):
        return self.run_config(self.config(script, **changes))

    def refuse(self, config, pattern, command="create"):
        """Create and run: an error, and nothing left."""
        result = self.fails(pattern, command, "--bundle", self.bundle(config), self.new_id())
        self.nothing_left()
        return result

    def start_detached(self, config, *flags, **options):
        identifier = self.new_id()
        self.ok("run", "--detach", "--bundle", self.bundle(config), *flags, identifier, **options)
        return identifier

    def state(self, identifier):
        return json.loads(self.ok("state", identifier))

    def wait_for(self, identifier, status, seconds=5):
        eventually(lambda: self.state(identifier)["status"] == status, seconds, f"{identifier} is {status}")
