#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The image archives of the corpus ($DRAY_CORPUS, by default beside the checkout), in every form: the file tree of each is the one
that umoci unpacks from what skopeo reads. No container is started."""
import hashlib
import io
import json
import os
import pathlib
import shutil
import stat
import subprocess
import tarfile

from harness import SOURCE, DrayTestCase, main, require, skip_all

FIXTURES = pathlib.Path(os.environ.get("DRAY_CORPUS", SOURCE.parent / "shared" / "corpus")) / "image-fixtures"
# Dray unpacks a layer without what is below it; such a link is refused with its name.
REFUSED = {"hardlink-lower"}
# umoci reads no zstd and skopeo no index in an index (the unit tests compare these with the corpus' own lists), nor does skopeo write
# an archive of a layer that is a link to another.
PEERS_CANNOT_READ, SKOPEO_CANNOT_WRITE = {"zstd", "mixed-compression", "nested-index"}, {"docker-archive/test_link.tar"}
KINDS = {tarfile.REGTYPE: stat.S_IFREG, tarfile.DIRTYPE: stat.S_IFDIR, tarfile.SYMTYPE: stat.S_IFLNK, tarfile.FIFOTYPE: stat.S_IFIFO,
         tarfile.CHRTYPE: stat.S_IFCHR, tarfile.BLKTYPE: stat.S_IFBLK}


def tree_of_export(data):
    """path -> (kind and mode, owner, device, content or target, xattrs); and the sets of names of one file."""
    tree, groups = {}, {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for entry in archive:
            name = entry.name.strip("/").removeprefix("./") or "."
            if entry.islnk():
                target = entry.linkname.strip("/").removeprefix("./")
                tree[name] = tree[target]
                groups.setdefault(target, {target}).add(name)
                continue
            content = entry.linkname if entry.issym() else hashlib.sha256(archive.extractfile(entry).read()).hexdigest() if entry.isreg() else ""
            device = (entry.devmajor, entry.devminor) if entry.isdev() and not entry.isfifo() else (0, 0)
            xattrs = {key.removeprefix("SCHILY.xattr."): value for key, value in entry.pax_headers.items() if key.startswith("SCHILY.xattr.")}
            tree[name] = (KINDS[entry.type] | entry.mode, (entry.uid, entry.gid), device, content, xattrs)
    return tree, {frozenset(names) for names in groups.values()}


def tree_of_folder(folder):
    tree, groups = {}, {}
    for path in [folder, *folder.rglob("*")]:
        name, status = str(path.relative_to(folder)), path.lstat()
        content = os.readlink(path) if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(status.st_mode) else ""
        mode = stat.S_IFLNK | 0o777 if path.is_symlink() else status.st_mode
        xattrs = {key: os.getxattr(path, key, follow_symlinks=False).decode(errors="surrogateescape")
                  for key in os.listxattr(path, follow_symlinks=False)}
        tree[name] = (mode, (status.st_uid, status.st_gid), (os.major(status.st_rdev), os.minor(status.st_rdev)), content, xattrs)
        if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            groups.setdefault(status.st_ino, set()).add(name)
    return tree, {frozenset(names) for names in groups.values()}


class Corpus(DrayTestCase):
    needs_base = starts_containers = False

    @classmethod
    def setUpClass(cls):
        require("skopeo", "umoci")
        if not FIXTURES.is_dir():
            skip_all("no image fixtures (set DRAY_CORPUS)")
        super().setUpClass()

    def skopeo(self, source, destination):
        done = subprocess.run(["skopeo", "copy", "-q", "--insecure-policy", source, destination], capture_output=True, text=True)
        self.assertEqual(0, done.returncode, f"skopeo copy {source}: {done.stderr}")

    def tree_of_peer(self, source):
        """What umoci makes of it."""
        folder = self.context({})
        self.skopeo(source, f"oci:{folder}/layout:peer")
        done = subprocess.run(["umoci", "unpack", "--image", f"{folder}/layout:peer", f"{folder}/bundle"], capture_output=True, text=True)
        self.assertEqual(0, done.returncode, done.stderr)
        tree = tree_of_folder(folder / "bundle" / "rootfs")
        shutil.rmtree(folder)
        return tree

    def tree_of_image(self, name):
        """The layers as a container sees them."""
        container = self.ok("create", "--network", "none", name, "/none").strip()
        exported = self.dray("export", container, text=False)
        self.assertEqual(0, exported.code, exported)
        self.ok("rm", container)
        return tree_of_export(exported.out)

    def compare(self, name, source):
        (mine, my_links), (theirs, their_links) = self.tree_of_image(name), self.tree_of_peer(source)
        mine.setdefault(".", theirs.get("."))  # an archive of a tree need not name its root
        self.assertEqual(theirs, mine)
        self.assertEqual(their_links, my_links)

    def other_forms(self, name, source):
        """The same image out of a docker-archive, an OCI layout and a directory, each written by skopeo, and back again by us."""
        layers, folder = self.inspect(name, "RootFS.Layers"), self.context({})
        for form in (f"docker-archive:{folder}/d.tar:form:1", f"oci:{folder}/layout:form", f"dir:{folder}/dir"):
            self.skopeo(source, form)
            self.ok("image", "copy", "-q", form, "local:form:1")
            self.assertEqual(layers, self.inspect("form:1", "RootFS.Layers"), form)
            self.ok("rmi", "form:1")
        self.ok("load", "-q", "-i", folder / "d.tar")
        self.assertEqual(layers, self.inspect("form:1", "RootFS.Layers"))
        self.ok("rmi", "form:1")
        shutil.rmtree(folder)

    def load(self, path):
        """The IDs or names of what was loaded."""
        return [line.partition(": ")[2] for line in self.ok("load", "-i", path).splitlines()]

    def forget(self):
        self.ok("system", "prune", "-a", "-f")

    def test_synthetic(self):
        compared = 0
        for name, wanted in json.loads((FIXTURES / "synthetic" / "expected.json").read_text()).items():
            path = FIXTURES / "synthetic" / f"{name}.tar"
            with self.subTest(name):
                self.forget()
                if wanted["expect"] == "error" or name in REFUSED:
                    self.fails(1, "(?m)^dray: .", "load", "-i", path)
                    self.assertEqual("", self.ok("images", "-aq"))
                elif wanted["expect"] == "ok":
                    self.assertEqual(1, len(self.load(path)))
                    if name in PEERS_CANNOT_READ:
                        continue
                    self.compare(wanted["image_id"], f"oci-archive:{path}")
                    self.other_forms(wanted["image_id"], f"oci-archive:{path}")
                    compared += 1
        print(f"{compared} trees are umoci's")
        self.assertGreater(compared, 20)

    def test_of_other_projects(self):
        for name, wanted in json.loads((FIXTURES / "upstream" / "expected.json").read_text()).items():
            path = FIXTURES / "upstream" / name
            kind = path.parent.name
            with self.subTest(name):
                self.forget()
                if "images" not in wanted:
                    self.fails(1, "(?m)^dray: .", "load", "-i", path)
                    continue
                self.load(path)
                for number, image in enumerate(wanted["images"]):
                    names = image.get("tags") or [image["ref"]]
                    source = f"{kind}:{path}:" + (f"@{number}" if kind == "docker-archive" else names[0])
                    self.assertEqual(image["image_id"], self.inspect(names[0], "Id"))
                    self.compare(names[0], source)
                    if name not in SKOPEO_CANNOT_WRITE:
                        self.other_forms(names[0], source)
                    self.ok("image", "copy", "-q", f"{kind}:{path}:{names[0]}", "local:copied:1")
                    self.assertEqual(image["image_id"], self.inspect("copied:1", "Id"))

    def test_layouts_and_directories(self):
        folder = FIXTURES / "upstream"
        for path in sorted([*(folder / "oci-layout").iterdir(), *(folder / "dir-format").iterdir()]):
            kind = "dir" if path.parent.name == "dir-format" else "oci"
            with self.subTest(path.name):
                self.forget()
                source = f"{kind}:{path}"
                peer = subprocess.run(["skopeo", "copy", "-q", "--insecure-policy", source, f"oci:{self.context({})}/l:t"], capture_output=True, text=True)
                mine = self.dray("image", "copy", "-q", source, "local:copied:1")
                self.assertEqual(peer.returncode == 0, mine.code == 0, f"{mine} {peer.stderr}")
                if mine.code == 0:
                    self.compare("copied:1", source)
                    self.other_forms("copied:1", source)


if __name__ == "__main__":
    main()
