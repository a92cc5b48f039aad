#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Attacks through layers, archives and build contexts: nothing is ever written or read outside the root."""
import hashlib
import io
import json
import os
import tarfile

from harness import DrayTestCase, main


def entry(name, kind=tarfile.REGTYPE, link="", content=b"pwned"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o755
    info.size = len(content) if kind == tarfile.REGTYPE else 0
    return info, content


def tar_of(entries):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return buffer.getvalue()


def docker_archive(layer):
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]}}).encode()
    return tar_of([entry("layer.tar", content=layer), entry("config.json", content=config),
                   entry("manifest.json", content=json.dumps([{"Config": "config.json", "RepoTags": ["hostile:1"], "Layers": ["layer.tar"]}]).encode())])


class Layers(DrayTestCase):
    needs_base = False

    def setUp(self):
        super().setUp()
        self.canary = self.scratch / "canary"
        self.canary.mkdir(exist_ok=True)
        (self.canary / "file").write_text("untouched")

    def attempts(self):
        canary, deep = str(self.canary), "../" * 20
        yield "dotdot", [entry(f"{deep}{canary[1:]}/new")]
        yield "absolute", [entry(f"{canary}/new")]
        yield "through a symlink", [entry("link", tarfile.SYMTYPE, canary), entry("link/new")]
        yield "through a relative symlink", [entry("a", tarfile.DIRTYPE), entry("a/link", tarfile.SYMTYPE, f"{deep}{canary[1:]}"), entry("a/link/new")]
        yield "over a symlink", [entry("link", tarfile.SYMTYPE, f"{canary}/file"), entry("link")]
        yield "hard link outside", [entry("hard", tarfile.LNKTYPE, f"{canary}/file"), entry("hard")]
        yield "hard link by dotdot", [entry("hard", tarfile.LNKTYPE, f"{deep}{canary[1:]}/file"), entry("hard")]
        yield "hard link through a symlink", [entry("link", tarfile.SYMTYPE, canary), entry("hard", tarfile.LNKTYPE, "link/file"), entry("hard")]
        yield "whiteout of the parent", [entry("a", tarfile.DIRTYPE), entry("a/.wh...", content=b"")]
        yield "whiteout through a symlink", [entry("link", tarfile.SYMTYPE, canary), entry("link/.wh.file", content=b"")]
        yield "opaque through a symlink", [entry("link", tarfile.SYMTYPE, canary), entry("link/.wh..wh..opq", content=b"")]
        yield "directory through a symlink", [entry("link", tarfile.SYMTYPE, canary), entry("link/newdir", tarfile.DIRTYPE)]
        yield "file as parent", [entry("f"), entry("f/child")]

    def check_canary(self, name):
        self.assertEqual(["file"], sorted(os.listdir(self.canary)), name)
        self.assertEqual("untouched", (self.canary / "file").read_text(), name)

    def test_hostile_layers(self):
        for name, entries in self.attempts():
            with self.subTest(name):
                archive = self.scratch / "hostile.tar"
                archive.write_bytes(docker_archive(tar_of(entries)))
                result = self.dray("load", "-i", archive)
                self.check_canary(name)
                if result.code == 0:
                    self.ok("rmi", "hostile:1")  # harmless: the entry stayed within the layer's own root
                else:
                    self.assertRegex(result.err, "dray: .+")
        self.ok("system", "prune", "-a", "-f")
        self.assertEqual(["empty"], os.listdir(self.root / "snapshots"))  # the empty lower layer is always there

    def test_hostile_add(self):
        for name, entries in self.attempts():
            with self.subTest(name):
                folder = self.context({"Dockerfile": "FROM scratch\nADD x.tar /\n", "x.tar": tar_of(entries)})
                self.dray("build", "-t", "hostile-add", folder)
                self.check_canary(name)

    def test_hostile_context_tar(self):
        for name, entries in self.attempts():
            with self.subTest(name):
                data = tar_of([entry("Dockerfile", content=b"FROM scratch\nCOPY . /\n"), *entries])
                self.dray("build", "-t", "hostile-context", "-", input=data, text=False)
                self.check_canary(name)

    def test_context_symlink_does_not_lead_out(self):
        folder = self.context({"Dockerfile": "FROM scratch\nCOPY link/file /stolen\n"})
        os.symlink(self.canary, folder / "link")
        result = self.dray("build", "-t", "stolen", folder)
        self.assertNotEqual(0, result.code)
        (folder / "Dockerfile").unlink()
        os.symlink(self.canary / "file", folder / "Dockerfile")
        self.assertNotEqual(0, self.dray("build", "-t", "stolen", folder).code)


if __name__ == "__main__":
    main()
