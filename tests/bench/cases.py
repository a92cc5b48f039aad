# SPDX-License-Identifier: Apache-2.0
"""What is measured. A case says what is timed for an engine and what must be made ready, untimed, before."""
import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import tarfile

import harness
from engines import BASE_IMAGE
from measure import Failed, paired
from sandbox import own_file_system


class Case:
    name = ""
    slow = False         # seconds a run for some engine: fewer runs
    warm_up = 1
    needs_base = True
    prints_usage = False  # memory and CPU time, too

    def set_up(self, bench):
        """Once, before any engine."""

    def set_up_engine(self, bench, engine):
        """Once an engine; Failed takes the engine out of this case."""

    def before(self, bench, engine, number):
        """Before each timed run of an engine."""

    def command(self, bench, engine, number):
        raise NotImplementedError

    def floor(self, bench, number):
        """The least work the machine could do for the same, or None."""
        return None

    def tear_down(self, bench, engine):
        pass


class Bench:
    """The folders, programs and engines that the cases share."""

    def __init__(self, runner, scratch, running):
        self.runner, self.scratch = runner, scratch
        self.engines = {engine.name: engine for engine in running}
        self.archive = scratch / "base.tar"
        self.registry = None
        self.counter = 0
        self.floor_disk = scratch / "floor-disk"
        own_file_system(self.floor_disk)

    def close(self):
        if self.registry:
            self.registry.stop()

    def fresh(self, prefix, folder=None):
        self.counter += 1
        return (folder or self.scratch) / f"{prefix}-{self.counter}"

    def rootfs(self):
        """The base image's programs and libraries, for the floor program."""
        folder = self.floor_disk / "rootfs"
        if not folder.exists():
            parts = self.scratch / "archive"
            parts.mkdir()
            folder.mkdir()
            self.runner.run(["tar", "-C", parts, "-xf", self.archive])
            for layer in harness.json.loads((parts / "manifest.json").read_text())[0]["Layers"]:
                self.runner.run(["tar", "-C", folder, "--exclude=usr/share", "--exclude=var", "-xf", parts / layer])
        return folder

    def program(self, name):
        path = self.scratch / name
        return path if path.exists() else None

    def floor_container(self):
        if self.program("floor") is None:
            return None
        return [self.program("floor"), self.rootfs(), self.fresh("floor", self.floor_disk), "/bin/true"]

    def start_registry(self):
        if self.registry is None:
            if shutil.which("docker-registry") is None:
                raise Failed("docker-registry is not installed")
            self.registry = harness.Registry(self.scratch)
        return self.registry

    def measure(self, case, runs):
        failures = {}
        try:
            case.set_up(self)
        except Failed as failure:
            failures = {name: str(failure) for name in self.engines}
        for name, engine in self.engines.items():
            if name in failures:
                continue
            try:
                if case.needs_base:
                    engine.load_base(self.archive)
                case.set_up_engine(self, engine)
            except Failed as failure:
                failures[name] = str(failure)
        contestants = [name for name in self.engines if name not in failures]
        usage = {}
        if contestants and case.floor(self, 0) is not None:
            contestants.append("floor")

        def step(name, number):
            if name == "floor":
                argv = case.floor(self, number)
            else:
                case.before(self, self.engines[name], number)
                argv = case.command(self, self.engines[name], number)
            if case.slow:
                os.sync()  # what the one before wrote must not be written back on this one's time
            if not case.prints_usage or not (self.scratch / "peak_memory").exists():
                return self.runner.timed(argv)
            elapsed = self.runner.timed([self.scratch / "peak_memory", *argv])
            spent, peak = self.runner.usage, int(self.runner.output().split()[-1]) / 1024
            memory, cpu = usage.get(name, (0, 0))
            usage[name] = (max(memory, peak), max(cpu, spent.ru_utime + spent.ru_stime))
            return elapsed

        samples = paired(contestants, runs, case.warm_up, step) if contestants else paired([], 0, 0, step)
        for name in contestants:
            if name != "floor":
                try:
                    case.tear_down(self, self.engines[name])
                except Failed as failure:
                    failures[name] = str(failure)
        samples.failures.update(failures)
        samples.usage = usage
        return samples


class Version(Case):
    """A command that does nothing: what starting the program costs. The floor is an empty static program."""
    name = "version"
    needs_base = False
    warm_up = 2

    def command(self, bench, engine, number):
        return engine.command("version")

    def floor(self, bench, number):
        return [bench.program("empty")] if bench.program("empty") else None


class StartNone(Case):
    """A container without network, from the command to its end and removal."""
    name = "start-none"
    flags = ("--network", "none")
    warm_up = 2

    def command(self, bench, engine, number):
        return engine.command("run", "--rm", *self.flags, BASE_IMAGE, "true")

    def floor(self, bench, number):
        return bench.floor_container()


class StartBridge(StartNone):
    """The same on the engine's default bridge. The floor has a network namespace, but nothing in it."""
    name = "start-bridge"
    flags = ()


class Exec(Case):
    """One more process in a running container."""
    name = "exec"
    warm_up = 2

    def set_up_engine(self, bench, engine):
        engine.run("run", "-d", "--name", "bench-exec", "--network", "none", BASE_IMAGE, "sleep", "3600")

    def command(self, bench, engine, number):
        return engine.command("exec", "bench-exec", "true")

    def tear_down(self, bench, engine):
        engine.run("rm", "-f", "bench-exec")


class Load(Case):
    """`load` of the base image's archive into a store that has nothing of it."""
    name = "load"
    slow = True
    needs_base = False

    def before(self, bench, engine, number):
        engine.forget_everything()

    def command(self, bench, engine, number):
        engine.has_base = True
        return engine.command("load", "-i", bench.archive)


class BuildNoop(Case):
    """A small Dockerfile again, nothing changed."""
    name = "build-noop"

    def set_up(self, bench):
        self.folder = bench.fresh("context")
        self.folder.mkdir()
        (self.folder / "Dockerfile").write_text(
            f"FROM {BASE_IMAGE}\nENV A=b\nRUN echo one >/one\nCOPY app /app\nRUN echo two >/two\nCMD [\"true\"]\n")
        write_tree(self.folder / "app", 100, "app")

    def command(self, bench, engine, number):
        return engine.build(self.folder, "-t", "bench/noop")


class BuildRun(Case):
    """A build whose one step must run: `RUN true` after an ARG with a new value. The floor is a container by hand."""
    name = "build-run"

    def set_up(self, bench):
        self.folder = bench.fresh("context")
        self.folder.mkdir()
        (self.folder / "Dockerfile").write_text(f"FROM {BASE_IMAGE}\nARG ROUND\nRUN true\n")

    def command(self, bench, engine, number):
        return engine.build(self.folder, "--build-arg", f"ROUND={number}", "-t", "bench/run")

    def floor(self, bench, number):
        return bench.floor_container()


def write_tree(folder, count, seed):
    """`count` text-like files of 100 bytes to 8 KiB, 100 a folder. Another seed makes every file another."""
    source = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = " ".join("".join(source.choices(letters, k=source.randint(2, 9))) for _ in range(4000)).encode()
    for number in range(count):
        path = folder / f"d{number // 100:03}"
        if number % 100 == 0:
            path.mkdir(parents=True, exist_ok=True)
        length = min(8192, max(100, int(source.lognormvariate(7.3, 1.0))))
        start = source.randrange(len(words) - length)
        (path / f"f{number % 100:02}.txt").write_bytes(f"{seed} {number}\n".encode() + words[start:start + length])


class CopyCold(Case):
    """COPY of 10,000 small files, every one of them new. The floor is `cp -a` and a sync of that file system."""
    name = "copy-cold"
    slow = True
    files = 10000

    def set_up(self, bench):
        self.folder = bench.fresh("context")
        self.folder.mkdir()
        (self.folder / "Dockerfile").write_text(f"FROM {BASE_IMAGE}\nCOPY tree /tree\n")
        self.written = None

    def change(self, number):
        write_tree(self.folder / "tree", self.files, f"round {number}")

    def change_once(self, number):
        if self.written != number:
            self.change(number)
            self.written = number

    def before(self, bench, engine, number):
        self.change_once(number)

    def command(self, bench, engine, number):
        return engine.build(self.folder, "-t", "bench/copy")

    def floor(self, bench, number):
        self.change_once(number)
        target = bench.fresh("copy", bench.floor_disk)
        return ["sh", "-c", f"cp -a {self.folder}/tree {target} && sync -f {target}"]


class CopyChanged(CopyCold):
    """The same tree again, one file of it changed."""
    name = "copy-changed"

    def set_up(self, bench):
        super().set_up(bench)
        write_tree(self.folder / "tree", self.files, "changed")

    def change(self, number):
        (self.folder / "tree" / "d050" / "f50.txt").write_text(f"round {number}\n")

    def floor(self, bench, number):
        return None


class Push(Case):
    """The base image to an empty registry on loopback."""
    name = "push"
    slow = True

    def set_up(self, bench):
        self.registry = bench.start_registry()
        self.storage = bench.scratch / f"registry-{self.registry.port}"

    def set_up_engine(self, bench, engine):
        engine.run("tag", BASE_IMAGE, self.target(engine))

    def target(self, engine):
        return f"{self.registry.address}/bench/{engine.name}:1"

    def before(self, bench, engine, number):
        shutil.rmtree(self.storage, ignore_errors=True)

    def command(self, bench, engine, number):
        return engine.command("push", *engine.plain_http, self.target(engine))


class Pull(Case):
    """The same image, as Dray pushed it, into a store that has nothing of it."""
    name = "pull"
    slow = True
    needs_base = False

    def set_up(self, bench):
        self.source = f"{bench.start_registry().address}/bench/source:1"
        dray = bench.engines["dray"]
        dray.load_base(bench.archive)
        dray.run("tag", BASE_IMAGE, self.source)
        dray.run("push", self.source)

    def before(self, bench, engine, number):
        engine.forget_everything()

    def command(self, bench, engine, number):
        return engine.command("pull", *engine.plain_http, self.source)


class LargeImage:
    """Ten layers of about 100 MB, half of it noise; made once."""

    @staticmethod
    def archive(bench):
        path = bench.scratch / "large.tar"
        if path.exists():
            return path
        rng, layers, entries = random.Random(1), [], []
        layout = bench.scratch / "large"
        layout.mkdir()
        for number in range(10):
            layer = layout / f"layer{number}.tar"
            with tarfile.open(layer, "w") as archive:
                for index in range(100):
                    data = rng.randbytes(1 << 19) + bytes(1 << 19)
                    entry = tarfile.TarInfo(f"layer{number}/file{index}")
                    entry.size = len(data)
                    archive.addfile(entry, io.BytesIO(data))
            layers.append("sha256:" + hashlib.sha256(layer.read_bytes()).hexdigest())
            entries.append(layer.name)
        config = json.dumps({"architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine], "os": "linux", "config": {},
                             "rootfs": {"type": "layers", "diff_ids": layers}}).encode()
        name = hashlib.sha256(config).hexdigest() + ".json"
        (layout / name).write_bytes(config)
        (layout / "manifest.json").write_text(json.dumps([{"Config": name, "RepoTags": ["bench/large:1"], "Layers": entries}]))
        bench.runner.run(["tar", "-C", layout, "-cf", path, "manifest.json", name, *entries])
        shutil.rmtree(layout)
        return path


class LoadLarge(Case):
    """A ten-layer 1 GB image from an archive into an empty store."""
    name = "load-large"
    prints_usage = True
    slow = True
    needs_base = False

    def set_up(self, bench):
        self.archive = LargeImage.archive(bench)

    def before(self, bench, engine, number):
        engine.forget_everything()

    def command(self, bench, engine, number):
        return engine.command("load", "-i", self.archive)


class SaveLarge(LoadLarge):
    """The same image into an archive."""
    name = "save-large"

    def set_up_engine(self, bench, engine):
        engine.forget_everything()
        engine.run("load", "-i", self.archive)

    def before(self, bench, engine, number):
        (bench.scratch / "saved.tar").unlink(missing_ok=True)

    def command(self, bench, engine, number):
        return engine.command("save", "-o", bench.scratch / "saved.tar", "bench/large:1")


class PushLarge(Push):
    """The same image to an empty registry on loopback; the floor is skopeo from a layout that has it compressed."""
    name = "push-large"
    prints_usage = True
    needs_base = False

    def set_up(self, bench):
        super().set_up(bench)
        archive = LargeImage.archive(bench)
        self.layout = bench.scratch / "large-oci"
        if shutil.which("skopeo"):
            bench.runner.run(["skopeo", "copy", "-q", f"docker-archive:{archive}", f"oci:{self.layout}:1"])

    def set_up_engine(self, bench, engine):
        engine.forget_everything()
        engine.run("load", "-i", LargeImage.archive(bench))
        engine.run("tag", "bench/large:1", self.target(engine))

    def floor(self, bench, number):
        if not self.layout.exists():
            return None
        shutil.rmtree(self.storage, ignore_errors=True)
        return ["skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{self.layout}:1", f"docker://{self.registry.address}/bench/skopeo:1"]


class PullLarge(Pull):
    """The same image, as Dray pushed it, into an empty store; the floor is skopeo into a layout, which does not unpack."""
    name = "pull-large"
    prints_usage = True

    def set_up(self, bench):
        self.source = f"{bench.start_registry().address}/bench/large:1"
        dray = bench.engines["dray"]
        dray.run("load", "-i", LargeImage.archive(bench))
        dray.run("tag", "bench/large:1", self.source)
        dray.run("push", self.source)

    def floor(self, bench, number):
        if shutil.which("skopeo") is None:
            return None
        target = bench.scratch / "pulled-oci"
        shutil.rmtree(target, ignore_errors=True)
        return ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{self.source}", f"oci:{target}:1"]


ALL = [Version, StartNone, StartBridge, Exec, BuildNoop, BuildRun, CopyCold, CopyChanged, Load, Push, Pull, LoadLarge, SaveLarge,
       PushLarge, PullLarge]
