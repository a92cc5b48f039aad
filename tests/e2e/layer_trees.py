# SPDX-License-Identifier: Apache-2.0
"""Images with every kind of file, and what a store has made of their layers, to compare file by file."""
import hashlib
import io
import json
import os
import pathlib
import random
import sqlite3
import stat
import tarfile

from fake_registry import MANIFEST, ImageOfLayers

OVERLAYS_OWN = ("trusted.overlay.uuid", "trusted.overlay.origin", "trusted.overlay.impure")


def layer(entries):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, content, attributes in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mtime, entry.mode = kind, 1_600_000_000, 0o755 if kind == tarfile.DIRTYPE else 0o644
            entry.pax_headers = attributes.pop("pax", {})
            for key, value in attributes.items():
                setattr(entry, key, value)
            if kind == tarfile.REGTYPE:
                entry.size = len(content)
            elif content:
                entry.linkname = content
            archive.addfile(entry, io.BytesIO(content) if kind == tarfile.REGTYPE else None)
    return out.getvalue()


def image(seed):
    """Every kind of entry a layer can have."""
    noise = random.Random(seed).randbytes
    return ImageOfLayers(layers=[
        layer([("bin", tarfile.DIRTYPE, None, {}), ("bin/tool", tarfile.REGTYPE, noise(300_000), {"mode": 0o4755, "uid": 5, "gid": 6}),
               ("bin/again", tarfile.LNKTYPE, "bin/tool", {}), ("bin/link", tarfile.SYMTYPE, "tool", {}),
               ("gone", tarfile.REGTYPE, b"x", {}), ("sub", tarfile.DIRTYPE, None, {"mode": 0o1777}), ("sub/gone", tarfile.REGTYPE, b"y", {})]),
        layer([("pipe", tarfile.FIFOTYPE, None, {}), ("null", tarfile.CHRTYPE, None, {"devmajor": 1, "devminor": 3}), (".wh.gone", tarfile.REGTYPE, b"", {}),
               ("marked", tarfile.REGTYPE, noise(5000), {"pax": {"SCHILY.xattr.user.mark": "here"}}), ("sub", tarfile.DIRTYPE, None, {}),
               ("sub/.wh..wh..opq", tarfile.REGTYPE, b"", {}), ("sub/new", tarfile.REGTYPE, noise(100), {})])])


def oci_archive(path, name, made):
    index = {"schemaVersion": 2, "manifests": [{"mediaType": MANIFEST, "digest": made.digest, "size": len(made.manifest),
                                                "annotations": {"io.containerd.image.name": f"docker.io/library/{name}:latest"}}]}
    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index).encode(),
             **{f"blobs/sha256/{name[7:]}": data for name, data in {**made.blobs, made.digest: made.manifest}.items()}}
    path.write_bytes(layer([(name, tarfile.REGTYPE, data, {}) for name, data in files.items()]))


def fingerprint(folder):
    """What a tree is: everything but times and inode numbers."""
    found, inodes = {}, {}
    for path in sorted([folder, *folder.rglob("*")]):
        status = path.lstat()
        content = (os.readlink(path) if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(status.st_mode) else "")
        attributes = {name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)
                      if name not in OVERLAYS_OWN}
        first = inodes.setdefault(status.st_ino, path)
        found[str(path.relative_to(folder))] = (status.st_mode, status.st_uid, status.st_gid, status.st_rdev, content, attributes,
                                                str(first.relative_to(folder)))
    return found


def layers_of(root):
    """diffID -> fingerprint of each layer that the store says it has."""
    root = pathlib.Path(root)
    if not (root / "dray.db").exists():
        return {}
    database = sqlite3.connect(f"file:{root}/dray.db?mode=ro", uri=True)
    try:
        rows = database.execute("SELECT id, diff_id FROM snapshots WHERE diff_id IS NOT NULL").fetchall()
    except sqlite3.OperationalError:  # no table yet
        rows = []
    finally:
        database.close()
    return {name: fingerprint(root / "snapshots" / str(number) / "fs") for number, name in rows}
