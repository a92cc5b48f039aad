# SPDX-License-Identifier: Apache-2.0
"""What is measured of a builder, beside buildah, docker's builder and BuildKit: `bench.py --suite build`."""
import json
import os
import pathlib
import shutil
import subprocess
import tarfile

from cases import Case, write_tree
from engines import BASE_IMAGE
from measure import Failed


class BuildCase(Case):
    """A context that is built; `number` is different in every round, warm-up rounds are negative."""
    slow = True

    def set_up(self, bench):
        self.folder = bench.fresh("context")
        self.folder.mkdir()
        self.prepare(bench)
        self.changed = None

    def prepare(self, bench):
        raise NotImplementedError

    def change(self, number):
        """Before the first build of a round."""

    def before(self, bench, engine, number):
        if self.changed != number:
            self.change(number)
            self.changed = number

    def write_dockerfile(self, *lines):
        (self.folder / "Dockerfile").write_text("\n".join((f"FROM {BASE_IMAGE}", *lines)) + "\n")

    def command(self, bench, engine, number):
        return engine.build(self.folder, "--build-arg", f"ROUND={number}", "-t", "bench/case")


class TwentyRuns(BuildCase):
    """20 RUNs that do nearly nothing, none of them cached."""
    name = "runs-20"

    def prepare(self, bench):
        self.write_dockerfile("ARG ROUND", *(f"RUN echo {i} $ROUND > /f{i}" for i in range(20)))


class CopyMany(BuildCase):
    """COPY of 20,000 small files, all of them new."""
    name = "copy-20000"

    def prepare(self, bench):
        self.write_dockerfile("COPY tree /tree")

    def change(self, number):
        write_tree(self.folder / "tree", 20000, f"round {number}")


class CopyBig(BuildCase):
    """COPY of 1 GiB in four files that hardly compress, all of it new."""
    name = "copy-1g"

    def prepare(self, bench):
        self.write_dockerfile("COPY big /big")

    def change(self, number):
        (self.folder / "big").mkdir(exist_ok=True)
        for part in range(4):
            with open(self.folder / "big" / str(part), "wb") as file:
                for _ in range(256):
                    file.write(os.urandom(1 << 20))


class Cached(BuildCase):
    """A context of 20,000 files again, nothing changed."""
    name = "cached-20000"
    slow = False

    def prepare(self, bench):
        self.write_dockerfile("RUN true", "COPY tree /tree", "RUN ls /tree > /list", "CMD [\"true\"]")
        write_tree(self.folder / "tree", 20000, "cached")

    def command(self, bench, engine, number):
        return engine.build(self.folder, "-t", "bench/case")


class TouchOne(Cached):
    """The same with one file of the 20,000 changed."""
    name = "touch-1-of-20000"
    slow = True

    def change(self, number):
        (self.folder / "tree/d100/f50.txt").write_text(f"round {number}\n")


class TwoStages(BuildCase):
    """Two stages that don't know each other, three seconds each, and one that copies from both."""
    name = "stages-3s"

    def prepare(self, bench):
        stages = [f"FROM {BASE_IMAGE} AS {name}\nARG ROUND\nRUN sleep 3 && echo $ROUND > /{name}" for name in ("a", "b")]
        (self.folder / "Dockerfile").write_text("\n".join((*stages, f"FROM {BASE_IMAGE}", "COPY --from=a /a /a", "COPY --from=b /b /b")) + "\n")


class AptInstall(BuildCase):
    """apt-get install of gcc and what it needs, from packages in the context: the network's speed plays no part."""
    name = "apt-install"

    def prepare(self, bench):
        packages = bench.scratch / "packages"
        if not packages.exists():
            raise Failed("the packages could not be downloaded")
        shutil.copytree(packages, self.folder / "packages")
        self.write_dockerfile("COPY packages /packages", "ARG ROUND", "RUN apt-get install -y --no-install-recommends /packages/*.deb > /log")


def download_packages(folder, rootfs_archive):
    """gcc's packages for the base image, with the host's apt (the same release, or the case is left out)."""
    release = pathlib.Path("/etc/os-release").read_text()
    if "bookworm" not in release or shutil.which("apt-get") is None:
        return
    listed = subprocess.run(["apt-get", "install", "--print-uris", "-qq", "--no-install-recommends", "-o", "Dir::State::status=/dev/null",
                             "-o", "APT::Install-Recommends=0", "gcc", "libc6-dev"], capture_output=True, text=True)
    names = [line.split()[1] for line in listed.stdout.splitlines() if line.startswith("'")]
    wanted = [name.split("_")[0] for name in names]
    have = base_packages(rootfs_archive)
    folder.mkdir()
    outcome = subprocess.run(["apt-get", "download", *[name for name in wanted if name not in have]], cwd=folder, capture_output=True)
    if outcome.returncode != 0:
        shutil.rmtree(folder)


def base_packages(archive):
    """Names in the dpkg status of the base image."""
    with tarfile.open(archive) as outer:
        layer = json.load(outer.extractfile("manifest.json"))[0]["Layers"][0]
        with tarfile.open(fileobj=outer.extractfile(layer)) as inner:
            for member in inner:
                if member.name.removeprefix("./") == "var/lib/dpkg/status":
                    text = inner.extractfile(member).read().decode()
                    return {line[9:] for line in text.splitlines() if line.startswith("Package: ")}
    return set()


ALL = [TwentyRuns, CopyMany, CopyBig, Cached, TouchOne, TwoStages, AptInstall]
