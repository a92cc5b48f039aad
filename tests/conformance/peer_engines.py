# SPDX-License-Identifier: Apache-2.0
"""podman, docker and containerd's ctr with a runtime of choice, each with storage, sockets and daemons of its own.

All of it happens in namespaces that end with the run (tests/bench/sandbox.py), so a daemon can't outlive it.
"""
import io
import json
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import tarfile
import time

CGROUPS = pathlib.Path("/sys/fs/cgroup")
IMAGE = "docker.io/library/smoke:latest"
# What differs from run to run.
VARYING = [(re.compile(pattern), with_) for pattern, with_ in (
    (r"\b[0-9a-f]{64}\b", "<id>"), (r"\b[0-9a-f]{12}\b", "<id>"), (r"\r", "<cr>"),
    (r"OCI runtime exec failed: .*", "OCI runtime exec failed"), (r"/(var/)?tmp/dray-bench-\w+", "<scratch>"),
    (r"/run/dray-peers/[\w.-]+", "<scratch>"))]


class NotHere(Exception):
    pass


class Unusable(Exception):
    """A step of a case that must work failed."""


def image_archive(path, root_tar):
    """A docker-save archive of the root file system in `root_tar`, which all engines can load."""
    layer = pathlib.Path(root_tar).read_bytes()
    config = json.dumps({
        "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
        "config": {"Env": ["PATH=/bin:/usr/bin:/sbin"], "Cmd": ["sh"]}, "history": [{"created_by": "smoke"}]}).encode()
    name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = json.dumps([{"Config": name, "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(path, "w") as tar:
        for member, data in ((name, config), ("layer.tar", layer), ("manifest.json", manifest)):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


class Step:
    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr


class Engine:
    """One engine with one runtime. Each step's exit code and output go into the transcript that is compared."""

    name = ""

    def __init__(self, runtime, scratch):
        self.runtime, self.scratch = runtime, scratch
        self.transcript = []

    def call(self, *arguments, stdin=None, timeout=60):
        argv = [*self.prefix(), *map(str, arguments)]
        try:
            return Step(subprocess.run(argv, input=stdin, stdin=subprocess.DEVNULL if stdin is None else None,
                                       capture_output=True, text=True, errors="replace", timeout=timeout))
        except subprocess.TimeoutExpired:
            raise Unusable(f"no end within {timeout} s: {' '.join(map(str, arguments))}") from None

    def note(self, what, text):
        for pattern, instead in VARYING:
            what, text = pattern.sub(instead, what), pattern.sub(instead, text)
        what = what.replace(str(self.runtime.program), "<runtime>").replace(self.runtime.label, "<runtime>")
        self.transcript.append(f"{what[:200]}: {text.strip()}")

    def show(self, *arguments, stdin=None, only=None, sort=False):
        """A step whose exit code and standard output (of which only what matches `only`) are compared."""
        done = self.call(*arguments, stdin=stdin)
        lines = done.out.split("\n")
        if only:
            lines = [line for line in lines if re.search(only, line)]
        self.note(" ".join(map(str, arguments)), "\n".join([f"exit code {done.code}", *(sorted(lines) if sort else lines)]))
        self.last_error = done.err
        return done

    def must(self, *arguments, stdin=None):
        """A step that has to work; only that is compared."""
        done = self.call(*arguments, stdin=stdin)
        if done.code != 0:
            raise Unusable(f"{' '.join(map(str, arguments))}: exit code {done.code}: {(done.err or done.out).strip()[-400:]}")
        return done.out.strip()

    def eventually(self, what, condition, seconds=10):
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise Unusable(f"not within {seconds} s: {what}")
            time.sleep(0.05)

    def clean(self):
        raise NotImplementedError

    def prefix(self):
        raise NotImplementedError

    def stop(self):
        pass


class Podman(Engine):
    name = "podman"

    def __init__(self, runtime, scratch):
        super().__init__(runtime, scratch)
        if shutil.which("podman") is None:
            raise NotHere("not installed")
        self.must("load", "-i", scratch / "image.tar")

    def prefix(self):
        folder = self.scratch / f"podman-{self.runtime.label}"
        return ["podman", "--root", folder / "root", "--runroot", f"/run/dray-peers/{self.runtime.label}", "--tmpdir",
                f"/run/dray-peers/{self.runtime.label}-tmp", "--storage-driver", "overlay", "--cgroup-manager", "cgroupfs",
                "--events-backend", "file", "--runtime", self.runtime.program]

    def run_flags(self):
        # podman's own init program is a package of its own.
        return ["--init-path", shutil.which("tini") or shutil.which("docker-init") or "/usr/libexec/podman/catatonit"]

    def clean(self):
        self.call("rm", "-f", "-t", "0", "-a")
        self.call("volume", "prune", "-f")


class Daemon(Engine):
    """An engine with a daemon, which all runtimes share."""

    running = None

    def start(self, argv, ready):
        with open(self.scratch / f"{self.name}.log", "w") as log:
            daemon = subprocess.Popen([*map(str, argv)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        type(self).running = daemon
        deadline = time.monotonic() + 30
        while not ready():
            if daemon.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise NotHere("does not start: " + (self.scratch / f"{self.name}.log").read_text()[-300:])
            time.sleep(0.1)

    def stop(self):
        daemon, type(self).running = type(self).running, None
        if daemon is not None:
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


class Docker(Daemon):
    name = "docker"
    all_runtimes = ()

    def __init__(self, runtime, scratch):
        super().__init__(runtime, scratch)
        if shutil.which("docker") is None or shutil.which("dockerd") is None:
            raise NotHere("not installed")
        if Docker.running is None:
            (scratch / "daemon.json").write_text("{}")
            added = [f"--add-runtime={other.label}={other.program}" for other in Docker.all_runtimes]
            self.start(["dockerd", "--config-file", scratch / "daemon.json", "--data-root", scratch / "docker", "--exec-root",
                        "/run/dray-docker", "--pidfile", "/run/dray-docker.pid", "-H", "unix:///run/dray-docker.sock",
                        "--storage-driver", "overlay2", "--bridge=none", "--iptables=false", "--ip6tables=false", *added],
                       lambda: self.call("version").code == 0)
            self.must("load", "-i", scratch / "image.tar")

    def prefix(self):
        return ["docker", "-H", "unix:///run/dray-docker.sock"]

    def run_flags(self):
        return ["--runtime", self.runtime.label]

    def clean(self):
        left = self.call("ps", "-aq").out.split()
        if left:
            self.call("rm", "-f", *left)


class Ctr(Daemon):
    name = "ctr"

    def __init__(self, runtime, scratch):
        super().__init__(runtime, scratch)
        if shutil.which("ctr") is None or shutil.which("containerd") is None:
            raise NotHere("not installed")
        if Ctr.running is None:
            (scratch / "containerd.toml").write_text(
                'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
            self.start(["containerd", "--config", scratch / "containerd.toml", "--root", scratch / "containerd", "--state",
                        "/run/dray-containerd", "--address", "/run/dray-containerd.sock"], lambda: self.call("version").code == 0)
            self.must("image", "import", scratch / "image.tar")

    def prefix(self):
        return ["ctr", "--address", "/run/dray-containerd.sock", "--namespace", "peers"]

    def run_flags(self):
        return ["--runtime", "io.containerd.runc.v2", "--runc-binary", self.runtime.program]

    def clean(self):
        for task in self.call("task", "ls", "-q").out.split():
            self.call("task", "delete", "--force", task)
        for container in self.call("container", "ls", "-q").out.split():
            self.call("container", "delete", container)
        for snapshot in self.call("snapshot", "ls").out.split("\n")[1:]:
            if snapshot and snapshot.split()[-1] == "Active":
                self.call("snapshot", "rm", snapshot.split()[0])


def left_behind(before):
    """What a case left after the engine removed its containers: new cgroups with a container's name, monitors, mounts."""
    cgroups = {path for path, _, _ in os.walk(CGROUPS)}
    monitors = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "comm").read_text().strip() in ("conmon", "containerd-shim", "init", "sleep", "sh"):
                    monitors.append((entry / "comm").read_text().strip())
            except OSError:
                pass
    # Engines mount their stores' folders at the first use; a container's mounts have its id in their paths.
    mounts = len([line for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
                  if re.search(r"[0-9a-f]{64}|/peers/", line)])
    now = (cgroups, sorted(monitors), mounts)
    if before is None:
        return now
    found = [f"cgroup {path}" for path in sorted(cgroups - before[0]) 
             if re.search(r"[0-9a-f]{64}|/peers/", path) and "/unified/" not in path and not path.endswith("/conmon")]
    if now[1] != before[1]:
        found.append(f"processes {now[1]} (before: {before[1]})")
    if mounts > before[2]:
        found.append(f"{mounts - before[2]} mount(s)")
    return found
