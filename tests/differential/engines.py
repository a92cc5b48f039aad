# SPDX-License-Identifier: Apache-2.0
"""The two builders that are compared. Each builds a context into an OCI archive."""
import os
import shutil
import subprocess
import time


class BuildError(Exception):
    pass


def call(command, **options):
    process = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, **options)
    if process.returncode != 0:
        raise BuildError((process.stderr or process.stdout).strip())
    return process.stdout


class BuildKit:
    """buildkitd with a folder and a socket of its own; `programs` is where buildkitd and buildctl were built."""

    name = "buildkit"

    def __init__(self, programs, folder, registry):
        self.programs, self.folder = programs, folder
        folder.mkdir()
        self.address = f"unix://{folder}/buildkitd.sock"
        (folder / "buildkitd.toml").write_text(f'[registry."{registry}"]\n  http = true\n[worker.oci]\n  snapshotter = "overlayfs"\n')
        log = open(folder / "log", "w")
        self.process = subprocess.Popen(
            [programs / "buildkitd", "--config", folder / "buildkitd.toml", "--root", folder / "root", "--addr", self.address,
             "--oci-worker-net=host", "--containerd-worker=false"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})
        deadline = time.monotonic() + 60
        while subprocess.run([programs / "buildctl", "--addr", self.address, "debug", "workers"], capture_output=True).returncode:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise SystemExit(f"buildkitd does not start: {(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.2)

    def build(self, context, dockerfile, options, output):
        command = [self.programs / "buildctl", "--addr", self.address, "build", "--progress", "plain", "--frontend", "dockerfile.v0",
                   "--local", f"context={context}", "--local", f"dockerfile={dockerfile.parent}", "--opt", f"filename={dockerfile.name}"]
        for flag, value in options:
            command += {"--build-arg": ["--opt", f"build-arg:{value}"], "--target": ["--opt", f"target={value}"],
                        "--label": ["--opt", f"label:{value}"], "--secret": ["--secret", value], "--platform": ["--opt", f"platform={value}"],
                        "--add-host": ["--opt", "add-hosts=" + value.replace(":", "=", 1)], "--network": ["--opt", f"force-network-mode={value}"],
                        "--build-context": ["--opt", "context:" + value]}[flag]
        call([*command, "--output", f"type=oci,dest={output}"])

    def push(self, context, dockerfile, name):
        call([self.programs / "buildctl", "--addr", self.address, "build", "--frontend", "dockerfile.v0", "--local", f"context={context}", "--local",
              f"dockerfile={dockerfile.parent}", "--opt", f"filename={dockerfile.name}", "--output",
              f"type=image,name={name},push=true,registry.insecure=true"])

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Dray:
    name = "dray"

    def __init__(self, program, folder):
        self.program, self.folder = program, folder
        folder.mkdir()
        self.prefix = [program, "--root", folder / "root", "--state", folder / "state"]

    def build(self, context, dockerfile, options, output):
        flags = [part for option in options for part in option]
        call([*self.prefix, "build", "--progress", "plain", "-t", "case", "-f", dockerfile, *flags, context])
        call([*self.prefix, "save", "-o", output, "case"])

    def stop(self):
        shutil.rmtree(self.folder / "state", ignore_errors=True)
