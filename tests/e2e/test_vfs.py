#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The storage driver vfs: images, containers and builds without overlayfs, the same as with it."""
import json
import os
import pathlib
import subprocess
import tarfile
import tempfile
import time

from harness import DrayTestCase, eventually, main, require
from oci_harness import make_rootfs

DOCKERFILE = """FROM box AS base
RUN mkdir -p /data/kept /data/gone/deep /data/moved && for d in kept gone moved; do echo $d > /data/$d/file; ln /data/$d/file /data/$d/twin; done
RUN rm -r /data/gone && mkdir /data/gone && echo new > /data/gone/other && mv /data/moved /data/place && chmod 4711 /data/gone/other \\
    && mknod /data/pipe p && ln -s kept/file /data/link && rm /etc/group && rm /data/place/twin && echo more >> /etc/passwd

FROM base AS tool
RUN echo made > /made && dd if=/dev/zero of=/sparse bs=1 count=1 seek=1000000 2>/dev/null

FROM base
COPY sub /app/sub/
COPY --link --chown=7:8 sub /linked/
COPY --from=tool /made /sparse /from/
WORKDIR /work/dir
RUN --mount=type=bind,source=sub,target=/in,rw --mount=type=bind,from=tool,target=/stage --mount=type=bind,target=/all \\
    --mount=type=cache,target=/cache --mount=type=tmpfs,target=/t \\
    echo x > /in/written && ls -R /in /all > listing && cat /stage/made >> listing && echo 1 > /cache/kept && echo 2 > /t/x
RUN --mount=type=bind,from=tool,target=/stage,rw echo changed > /stage/made && rm /stage/sparse && cat /stage/made > staged
"""


def small_base(folder):
    """A root of busybox as a tar, the same each time."""
    rootfs = make_rootfs(folder / "rootfs")
    for name in ("hosts", "hostname", "resolv.conf"):  # else a RUN would have to touch the folder to show its own
        (rootfs / "etc" / name).touch()
    path = folder / "box.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(rootfs, "", filter=lambda entry: entry.replace(mtime=1_500_000_000, uid=0, gid=0, deep=False))
    return path


class VfsTestCase(DrayTestCase):
    needs_base = False

    @classmethod
    def setUpClass(cls):
        require("busybox")
        super().setUpClass()
        cls.box = small_base(cls.scratch)

    @classmethod
    def on(cls, root, *arguments, **options):
        """dray on the store `root`."""
        return subprocess.run([cls.command()[0], "--root", str(root), "--state", f"{root}-state", *map(str, arguments)],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, **options)

    def done(self, root, *arguments, **options):
        process = self.on(root, *arguments, **options)
        self.assertEqual(0, process.returncode, f"{arguments}: {process.stdout}{process.stderr}")
        return process.stdout

    def store(self, *flags):
        root = pathlib.Path(tempfile.mkdtemp(dir=self.scratch)) / "store"
        self.done(root, *flags, "import", self.box, "box")
        return root

    def driver(self, root):
        return json.loads(self.done(root, "image", "inspect", "box"))[0]["GraphDriver"]["Name"]

    def sources(self):
        folder = self.context({"Dockerfile": DOCKERFILE, "sub/a": "a\n", "sub/deep/b": "b\n", "secret": "x", "hidden/x": "x", "hidden/shown": "y",
                               ".dockerignore": "secret\nhidden/*\n!hidden/shown\n"})
        for path in [*folder.rglob("*"), folder]:
            os.utime(path, (1600000000, 1600000000))
        return folder

    def clean(self, root):
        """Whole, and after everything is removed nothing is left but what every store has."""
        self.assertIn("nothing is wrong", self.done(root, "system", "check"))
        for container in self.done(root, "ps", "-aq").split():
            self.done(root, "rm", "-f", "-v", container)
        self.done(root, "system", "prune", "-af")
        self.assertIn("nothing is wrong", self.done(root, "system", "check"))
        self.assertEqual(["empty"], sorted(os.listdir(root / "snapshots")))


class Vfs(VfsTestCase):
    def test_the_same_images_as_with_overlay(self):
        folder, built = self.sources(), {}
        for driver in ("overlay", "vfs"):
            root = self.store("--storage-driver", driver)
            self.assertEqual(driver, self.driver(root))
            env = {**os.environ, "SOURCE_DATE_EPOCH": "1650000000"}
            self.done(root, "build", "-q", "-o", "type=image,name=made,rewrite-timestamp=true", folder, env=env)
            document = json.loads(self.done(root, "image", "inspect", "made"))[0]
            built[driver] = (root, document["RootFS"]["Layers"])
            self.assertEqual("new\n", self.done(root, "run", "--rm", "--network", "none", "made", "cat", "/data/gone/other"))
            self.assertIn("written", self.done(root, "run", "--rm", "--network", "none", "made", "cat", "/work/dir/listing"))
            self.assertEqual("changed\n", self.done(root, "run", "--rm", "--network", "none", "made", "cat", "/work/dir/staged"))
            again = self.done(root, "build", "-q", "-o", "type=image,name=again,rewrite-timestamp=true", folder, env=env)
            self.assertEqual(document["Id"], json.loads(self.done(root, "image", "inspect", "again"))[0]["Id"], again)
        self.assertEqual(built["overlay"][1], built["vfs"][1])
        # What one has saved the other shows; the trees have no difference.
        one, other = built["overlay"][0], built["vfs"][0]
        self.done(other, "tag", "made", "made:vfs")
        self.done(other, "save", "-o", self.scratch / "made.tar", "made:vfs")
        self.assertEqual("", self.done(other, "image", "diff", "made", "made:vfs"))
        self.done(one, "load", "-q", "-i", self.scratch / "made.tar")
        self.assertEqual("", self.done(one, "image", "diff", "made", "made:vfs"))
        listing = self.done(other, "image", "diff", "box", "made")
        self.assertIn("D /etc/group\n", listing)
        self.assertIn("A /data/gone/other\n", listing)
        self.assertNotIn(".wh.", listing)
        self.clean(one)
        self.clean(other)

    def test_a_life_of_containers(self):
        root = self.store("--storage-driver", "vfs")
        self.done(root, "create", "--name", "life", "--network", "none", "-v", "vol:/etc", "box", "sh", "-c",
                  "test -e /kept && cat /kept; echo here >> /kept; rm -f /bin/vi; cat /etc/group")
        self.assertEqual("root:x:0:\n", self.done(root, "start", "-a", "life"))
        self.assertEqual("here\nroot:x:0:\n", self.done(root, "start", "-a", "life"))
        self.done(root, "export", "-o", self.scratch / "life.tar", "life")
        with tarfile.open(self.scratch / "life.tar") as archive:
            self.assertEqual(b"here\nhere\n", archive.extractfile("kept").read())
            self.assertNotIn("bin/vi", archive.getnames())
            self.assertIn("bin/sh", archive.getnames())
        self.assertIn("bin/vi", self.done(root, "run", "--rm", "--network", "none", "box", "ls", "/bin/vi"))
        self.assertRegex(self.done(root, "system", "df", "-v"), r"(?m)^\w{12} .* [\d.]+MB ")  # a whole copy
        # Setuid programs and devices are the image's, whatever the mount is that the store lies on.
        self.assertNotRegex(self.done(root, "run", "--rm", "--network", "none", "box", "head", "-n1", "/proc/self/mountinfo"), "nosuid|nodev|noexec| ro,")
        self.assertRegex(self.done(root, "container", "prune", "-f"), r"reclaimed space: [\d.]+MB")
        self.clean(root)

    def test_a_store_has_one_driver(self):
        root = self.store("--storage-driver=vfs")
        wish = self.scratch / "wish.json"
        wish.write_text('{"storage-driver": "overlay"}')
        for source, how in (("--storage-driver", {"flags": ["--storage-driver", "overlay"]}),
                            ("$DRAY_STORAGE_DRIVER", {"env": {**os.environ, "DRAY_STORAGE_DRIVER": "overlay2"}}),
                            (f'"storage-driver" in "{wish}"', {"flags": ["--config", wish]})):
            refused = self.on(root, *how.pop("flags", []), "images", **how)
            self.assertEqual(1, refused.returncode)
            self.assertIn(f"leave {source} out", refused.stderr)
            self.assertIn('the store has storage driver "vfs", not "overlay"', refused.stderr)
        self.done(root, "--storage-driver", "vfs", "images")
        unknown = self.on(root, "--storage-driver", "zfs", "images")
        self.assertIn('unknown storage driver "zfs"', unknown.stderr)
        configuration = self.scratch / "daemon.json"
        configuration.write_text('{"storage-driver": "vfs"}')
        other = pathlib.Path(tempfile.mkdtemp(dir=self.scratch)) / "store"
        self.done(other, "--config", configuration, "import", self.box, "box")
        self.assertEqual("vfs", self.driver(other))
        self.assertEqual("overlay", self.driver(self.store()))  # what this file system can do

    def test_killed_while_it_copies(self):
        root = self.store("--storage-driver", "vfs")
        self.done(root, "build", "-q", "-t", "many", self.context({
            "Dockerfile": "FROM box\nRUN for i in $(seq 1 800); do echo x > /tmp/$i; done"}))
        for milliseconds in (0, 5, 15):
            before = set(os.listdir(root / "snapshots"))
            process = subprocess.Popen([self.command()[0], "--root", str(root), "--state", f"{root}-state", "create", "many", "true"],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            eventually(lambda: any(name.startswith("new-") for name in set(os.listdir(root / "snapshots")) - before), what="it copies")
            time.sleep(milliseconds / 1000)
            process.kill()
            process.wait()
            self.assertIn("nothing is wrong", self.done(root, "system", "check"))
        self.assertTrue(any(name.startswith("new-") for name in os.listdir(root / "snapshots")), "no kill met a copy")
        self.clean(root)


class OnOverlay(VfsTestCase):
    """As in a container without a volume: the root directory is on an overlay, on which overlayfs cannot write."""

    def setUp(self):
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.scratch))
        self.place = folder / "merged"
        for name in ("lower", "upper", "work", "merged"):
            (folder / name).mkdir()
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o",
                        f"lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work", self.place], check=True)
        self.addCleanup(lambda: subprocess.run(["umount", self.place], check=True))
        super().setUp()

    def test_the_choice_is_made(self):
        root = self.place / "store"
        for warned in (True, False):  # once, by the command that makes the store
            imported = self.on(root, "import", self.box, "box")
            self.assertEqual(0, imported.returncode, imported.stderr)
            self.assertEqual(warned, "warning: overlayfs does not work in" in imported.stderr, imported.stderr)
            self.assertEqual(warned, "storage driver vfs" in imported.stderr, imported.stderr)
        self.assertEqual("vfs", self.driver(root))
        self.done(root, "build", "-q", "-t", "made", self.sources())
        self.assertEqual("new\n", self.done(root, "run", "--rm", "--network", "none", "made", "cat", "/data/gone/other"))
        # Only what the step did is in its layer.
        self.done(root, "build", "-q", "-t", "small", self.context({"Dockerfile": "FROM made\nRUN echo y > /data/kept/file && rm /data/link"}))
        self.done(root, "save", "-o", self.scratch / "small.tar", "small")
        with tarfile.open(self.scratch / "small.tar") as archive:
            top = json.load(archive.extractfile("manifest.json"))[0]["Layers"][-1]
            with tarfile.open(fileobj=archive.extractfile(top)) as layer:
                self.assertEqual(["data", "data/kept", "data/kept/file", "data/kept/twin", "data/.wh.link"], layer.getnames())
        forced = self.on(self.place / "other", "--storage-driver", "overlay", "import", self.box, "box")
        self.assertEqual(0, forced.returncode, forced.stderr)  # layers can be unpacked there
        refused = self.on(self.place / "other", "run", "--rm", "--network", "none", "box", "true")
        self.assertEqual(125, refused.returncode)
        self.assertIn("--storage-driver vfs", refused.stderr)
        self.clean(root)


if __name__ == "__main__":
    main()
