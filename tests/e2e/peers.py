# SPDX-License-Identifier: Apache-2.0
"""Other people's engines, each private to a test file: their storage, sockets and cgroups are in its folder or taken down.

A peer that is not installed or cannot start here has `missing` set to the reason; tests that need it are skipped with it.
"""
import os
import pathlib
import shutil
import signal
import subprocess

from harness import eventually

CGROUPS = pathlib.Path("/sys/fs/cgroup")


def environment(folder):
    """No settings of the caller's: not its credentials, not its contexts. runc is in sbin, which a user's PATH may not have."""
    (folder / "config.json").write_text("{}")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DOCKER_", "CONTAINER_", "BUILDAH_", "STORAGE_"))}
    return {**kept, "PATH": kept.get("PATH", "") + ":/usr/sbin:/sbin", "DOCKER_CONFIG": str(folder),
            "REGISTRY_AUTH_FILE": str(folder / "config.json"), "DOCKER_BUILDKIT": "0", "BUILDAH_ISOLATION": "chroot"}


def mounts_below(folder):
    points = [line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if point.startswith(f"{folder}/")]


def processes_of(folder):
    """Processes that name the folder on their command line: daemons, shims, container monitors."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if f"{folder}/".encode() in command:
                found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found


def cgroups_named(name):
    return {path for path in (CGROUPS / name, *CGROUPS.glob(f"*/{name}")) if path.is_dir()}


class Peer:
    """A program with a folder of its own. `cgroup` is what it makes at the top of the cgroup tree and never removes."""

    programs = ()
    cgroup = None

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir()
        self.environment = environment(self.folder)
        self.cgroups_before = cgroups_named(self.cgroup) if self.cgroup else set()
        self.missing = None
        for program in self.programs:
            if shutil.which(program, path=self.environment["PATH"]) is None:
                self.missing = f"{program} is not installed"
                return
        try:
            self.start()
        except (subprocess.SubprocessError, AssertionError, OSError) as problem:
            detail = getattr(problem, "stderr", None) or str(problem)
            self.missing = f"{type(self).__name__.lower()} cannot start here: {detail.strip()[-500:]}"

    def start(self):
        pass

    def prefix(self):
        raise NotImplementedError

    def call(self, *arguments, **options):
        """Runs the program with these arguments, whatever its exit code."""
        return subprocess.run([*self.prefix(), *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              env=self.environment, timeout=300, **options)

    def ok(self, *arguments, **options):
        done = self.call(*arguments, **options)
        if done.returncode != 0:
            raise subprocess.CalledProcessError(done.returncode, done.args, done.stdout, done.stderr + done.stdout)
        return done.stdout

    def settle(self):
        """What one call left that is no leak of a test: nothing, where a daemon owns the mounts."""

    def unmount(self):
        # The deepest first: overlay mounts stand on the bind mount of their storage folder.
        for point in sorted(mounts_below(self.folder), key=len, reverse=True):
            subprocess.run(["umount", point], check=True)

    def stop(self):
        self.unmount()
        for top in (cgroups_named(self.cgroup) if self.cgroup else set()) - self.cgroups_before:
            for path, _, _ in os.walk(top, topdown=False):
                os.rmdir(path)


class Buildah(Peer):
    programs = ("buildah",)
    driver = "overlay"

    def prefix(self):
        return ["buildah", *self.storage()]

    def storage(self):
        return ["--root", f"{self.folder}/storage", "--runroot", f"{self.folder}/run", "--storage-driver", self.driver]

    def settle(self):
        # The storage folder is mounted on itself by a call, and unmounted again by some.
        self.unmount()

    def start(self):
        if self.call("info").returncode != 0:
            self.stop()
            shutil.rmtree(self.folder / "storage", ignore_errors=True)
            self.driver = "vfs"
            self.ok("info")
        self.settle()


class Podman(Buildah):
    programs = ("podman",)
    cgroup = "libpod_parent"

    def prefix(self):
        # crun refuses v1 hierarchies beside cgroup2 ones; runc, which comes with docker.io, takes both.
        runtime = ["--runtime", "runc"] if shutil.which("runc", path=self.environment["PATH"]) else []
        return ["podman", *self.storage(), *runtime, "--tmpdir", f"{self.folder}/tmp", "--cgroup-manager", "cgroupfs", "--events-backend", "none"]

    def run_flags(self):
        # Its default limits are higher than those that a container around this test may be given.
        return ["run", "--rm", "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"]


class Docker(Peer):
    programs = ("docker", "dockerd", "containerd", "runc")
    cgroup = "docker"

    def prefix(self):
        return ["docker", "-H", f"unix://{self.folder}/socket"]

    def run_flags(self):
        return ["run", "--rm", "--network", "none"]

    def start(self):
        with open(self.folder / "log", "w") as log:
            self.daemon = subprocess.Popen(["dockerd", "--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/exec", "--config-file",
                                            f"{self.folder}/config.json", "--pidfile", f"{self.folder}/pid", "-H", f"unix://{self.folder}/socket",
                                            "--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"],
                                           stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment)
        eventually(lambda: self.daemon.poll() is not None or self.call("version").returncode == 0, 30, "dockerd answers")
        if self.daemon.poll() is not None:
            raise AssertionError((self.folder / "log").read_text())

    def stop(self):
        if hasattr(self, "daemon"):
            self.daemon.terminate()
            try:
                self.daemon.wait(20)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()
            # dockerd ends its containerd itself; if it was killed, that is left to us.
            for pid in processes_of(self.folder):
                os.kill(pid, signal.SIGKILL)
        super().stop()
