# SPDX-License-Identifier: Apache-2.0
"""The engines under test behind one interface, each with a store of its own in the scratch folder."""
import json
import os
import re
import shutil
import subprocess
import time

from measure import Failed
from sandbox import own_file_system

BASE_IMAGE = "debian:bookworm"


def end(daemon):
    daemon.terminate()
    try:
        daemon.wait(20)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


class Engine:
    """A program that speaks docker's command line."""

    name = ""
    plain_http = ()  # flags of push and pull for a registry without TLS on loopback

    def __init__(self, runner, scratch):
        self.runner, self.scratch = runner, scratch / self.name
        self.own_disk = own_file_system(self.scratch)
        self.has_base = False

    def command(self, *arguments):
        raise NotImplementedError

    def run(self, *arguments):
        return self.runner.run(self.command(*arguments))

    def build(self, folder, *flags):
        return self.command("build", *flags, folder)

    def version(self):
        raise NotImplementedError

    def load_base(self, archive):
        if not self.has_base:
            self.run("load", "-i", archive)
            self.has_base = True

    def forget_everything(self):
        """Removes every image, layer and cache record."""
        self.has_base = False

    def stop(self):
        pass


class Dray(Engine):
    name = "dray"

    def __init__(self, runner, scratch, program):
        super().__init__(runner, scratch)
        self.program = program

    def command(self, *arguments):
        return [self.program, "--root", self.scratch / "root", "--state", "/run/dray-bench", *arguments]

    def version(self):
        return self.run("version").split("\n")[0].removeprefix("Dray version ")

    def forget_everything(self):
        super().forget_everything()
        self.run("system", "prune", "-a", "-f")


class Podman(Engine):
    name = "podman"
    plain_http = ("--tls-verify=false",)

    def __init__(self, runner, scratch):
        super().__init__(runner, scratch)
        if shutil.which("podman") is None:
            raise Failed("not installed")
        self.run("info")

    def command(self, *arguments):
        return ["podman", "--root", self.scratch / "root", "--runroot", "/run/podman-bench",
                "--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "file", *arguments]

    def version(self):
        runtime = self.run("info", "--format", "{{.Host.OCIRuntime.Name}}").strip()
        return f"{self.run('version', '--format', '{{.Client.Version}}').strip()} with {runtime}"

    def forget_everything(self):
        super().forget_everything()
        self.run("rmi", "-a", "-f")


class Docker(Engine):
    """The docker CLI with a private dockerd: data, sockets and network are its own."""

    name = "docker"

    def __init__(self, runner, scratch):
        super().__init__(runner, scratch)
        if shutil.which("dockerd") is None or shutil.which("docker") is None:
            raise Failed("not installed")
        self.socket = "unix:///run/docker-bench.sock"
        self.client = self.choose_client()
        (self.scratch / "daemon.json").write_text("{}")
        with open(self.scratch / "dockerd.log", "w") as log:
            self.daemon = subprocess.Popen(
                ["dockerd", "--config-file", self.scratch / "daemon.json", "--data-root", self.scratch / "data",
                 "--exec-root", "/run/docker-bench", "--pidfile", "/run/docker-bench.pid", "-H", self.socket,
                 "--storage-driver", "overlay2"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.wait_for_daemon()
        self.build_kit = self.has_build_kit()
        os.environ["DOCKER_BUILDKIT"] = str(int(self.build_kit))

    @staticmethod
    def choose_client():
        """Where PATH has several, the one of the daemon's version: newer clients need a plugin to use BuildKit."""
        found = [os.path.join(folder, "docker") for folder in os.environ["PATH"].split(":")
                 if os.access(os.path.join(folder, "docker"), os.X_OK)]

        def version(program):
            said = subprocess.run([program, "--version"], text=True, capture_output=True).stdout
            return re.findall(r"[0-9]+\.[0-9.]+", said)[:1]

        daemon = version("dockerd")
        return next((program for program in found if version(program) == daemon), found[0])

    def wait_for_daemon(self):
        deadline = time.monotonic() + 60
        while True:
            try:
                self.run("version")
                return
            except Failed as failure:
                if self.daemon.poll() is None and time.monotonic() < deadline:
                    time.sleep(0.1)
                    continue
                self.stop()
                lines = (self.scratch / "dockerd.log").read_text(errors="replace").strip().split("\n")
                raise Failed(f"dockerd does not run: {lines[-1][-300:]}") from failure

    def has_build_kit(self):
        folder = self.scratch / "probe"
        folder.mkdir()
        (folder / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
        os.environ["DOCKER_BUILDKIT"] = "1"
        try:
            self.runner.run(self.build(folder))
        except Failed:
            return False
        return True

    def command(self, *arguments):
        return [self.client, "-H", self.socket, *arguments]

    def version(self):
        return f"{self.run('version', '--format', '{{.Server.Version}}').strip()}" \
               f" ({'BuildKit' if self.build_kit else 'classic builder'})"

    def forget_everything(self):
        super().forget_everything()
        images = self.run("images", "-aq").split()
        if images:
            self.run("rmi", "-f", *dict.fromkeys(images))
        self.run("builder", "prune", "-a", "-f")

    def stop(self):
        end(self.daemon)


class Buildah(Engine):
    """Only builds; OCI isolation, cached layers."""

    name = "buildah"

    def __init__(self, runner, scratch):
        super().__init__(runner, scratch)
        if shutil.which("buildah") is None:
            raise Failed("not installed")
        self.run("info")

    def command(self, *arguments):
        return ["buildah", "--root", self.scratch / "root", "--runroot", "/run/buildah-bench", "--storage-driver", "overlay", *arguments]

    def build(self, folder, *flags):
        return self.command("build", "--layers", "--isolation", "oci", "--cgroup-parent", "dray-bench-buildah", *flags, folder)

    def version(self):
        return self.run("--version").split()[2]

    def load_base(self, archive):
        if not self.has_base:
            self.run("pull", f"docker-archive:{archive}")
            self.has_base = True


class BuildKit(Engine):
    """buildkitd and buildctl from the folder DRAY_BUILDKIT, with OCI worker and overlay snapshots; the base is an OCI layout."""

    name = "buildkit"

    def __init__(self, runner, scratch):
        super().__init__(runner, scratch)
        programs = os.environ.get("DRAY_BUILDKIT")
        if not programs or not os.access(os.path.join(programs, "buildkitd"), os.X_OK):
            raise Failed("DRAY_BUILDKIT does not name a folder with buildkitd and buildctl")
        self.programs, self.socket = programs, "unix:///run/buildkit-bench.sock"
        with open(self.scratch / "buildkitd.log", "w") as log:
            self.daemon = subprocess.Popen(
                [f"{programs}/buildkitd", "--root", self.scratch / "root", "--addr", self.socket, "--containerd-worker=false",
                 "--oci-worker-net=host", "--oci-worker-snapshotter=overlayfs"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            try:
                self.run("debug", "workers")
                return
            except Failed:
                if self.daemon.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise Failed(f"buildkitd does not run: {(self.scratch / 'buildkitd.log').read_text()[-300:]}") from None
                time.sleep(0.1)

    def command(self, *arguments):
        return [f"{self.programs}/buildctl", "--addr", self.socket, *arguments]

    def build(self, folder, *flags):
        command = self.command("build", "--frontend", "dockerfile.v0", "--local", f"context={folder}", "--local", f"dockerfile={folder}",
                               "--oci-layout", f"base={self.scratch / 'layout'}", "--opt", f"context:{BASE_IMAGE}=oci-layout://base@{self.digest}")
        for flag, value in zip(flags[::2], flags[1::2]):
            command += {"--build-arg": ["--opt", f"build-arg:{value}"], "-t": ["--output", f"type=image,name={value}"]}[flag]
        return command

    def version(self):
        return self.run("--version").split()[2]

    def load_base(self, archive):
        if self.has_base:
            return
        if shutil.which("skopeo") is None:
            raise Failed("skopeo, which makes its base image's layout, is not installed")
        self.runner.run(["skopeo", "copy", f"docker-archive:{archive}", f"oci:{self.scratch / 'layout'}:base"])
        self.digest = json.loads((self.scratch / "layout/index.json").read_text())["manifests"][0]["digest"]
        self.has_base = True

    def stop(self):
        end(self.daemon)
