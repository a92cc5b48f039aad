# SPDX-License-Identifier: Apache-2.0
"""An image from an OCI archive as comparable data: its config and the file tree its layers come to."""
import gzip
import hashlib
import io
import json
import stat
import subprocess
import tarfile


def read_blob(archive, digest):
    return archive.extractfile("blobs/" + digest.replace(":", "/")).read()


def unpacked(blob, media_type):
    if blob[:4] == b"\x28\xb5\x2f\xfd":
        return subprocess.run(["zstd", "-dc"], input=blob, capture_output=True, check=True).stdout
    return gzip.decompress(blob) if blob[:2] == b"\x1f\x8b" else blob


def load(path):
    """(manifest, config, tree) of the only image in an OCI archive."""
    with tarfile.open(path) as archive:
        descriptor = json.load(archive.extractfile("index.json"))["manifests"][0]
        manifest = json.loads(read_blob(archive, descriptor["digest"]))
        while "manifests" in manifest:
            manifest = json.loads(read_blob(archive, manifest["manifests"][0]["digest"]))
        config = json.loads(read_blob(archive, manifest["config"]["digest"]))
        tree = {}
        for layer in manifest["layers"] or ():
            apply(tree, io.BytesIO(unpacked(read_blob(archive, layer["digest"]), layer["mediaType"])))
    return manifest, config, tree


def remove(tree, name):
    for path in [path for path in tree if path == name or path.startswith(name + "/")]:
        del tree[path]


def apply(tree, layer):
    """One layer's tar onto the tree, by the image-spec's rules for whiteouts."""
    with tarfile.open(fileobj=layer) as tar:
        entries = tar.getmembers()
        for entry in entries:
            folder, _, base = entry.name.strip("/").removeprefix("./").rpartition("/")
            if base == ".wh..wh..opq":
                for path in [path for path in tree if path.startswith(folder + "/")]:
                    del tree[path]
            elif base.startswith(".wh."):
                remove(tree, f"{folder}/{base[4:]}".strip("/"))
        for entry in entries:
            name = entry.name.strip("/").removeprefix("./").strip("/")
            if name in ("", ".") or name.rpartition("/")[2].startswith(".wh."):
                continue
            if entry.islnk():
                tree[name] = tree[entry.linkname.strip("/").removeprefix("./")]
                continue
            if not (entry.isdir() and tree.get(name, {}).get("type") == "dir"):
                remove(tree, name)
            tree[name] = describe(tar, entry)


def describe(tar, entry):
    node = {"mode": oct(stat.S_IMODE(entry.mode)), "owner": f"{entry.uid}:{entry.gid}", "mtime": int(entry.mtime)}
    xattrs = {key.removeprefix("SCHILY.xattr."): value for key, value in entry.pax_headers.items() if key.startswith("SCHILY.xattr.")}
    if xattrs:
        node["xattrs"] = xattrs
    if entry.isreg():
        node |= {"type": "file", "content": hashlib.sha256(tar.extractfile(entry).read()).hexdigest()[:16], "size": entry.size}
    elif entry.issym():
        node |= {"type": "symlink", "target": entry.linkname}
        del node["mode"]
    elif entry.isdir():
        node["type"] = "dir"
    elif entry.isfifo():
        node["type"] = "fifo"
    else:
        node |= {"type": "device", "device": f"{entry.type!r} {entry.devmajor}:{entry.devminor}"}
    return node


def hard_links(tree):
    """The groups of names that are one file."""
    groups = {}
    for name, node in tree.items():
        groups.setdefault(id(node), []).append(name)
    return sorted(sorted(names) for names in groups.values() if len(names) > 1)


def without_times(config):
    """A config without what no two builds share."""
    config = json.loads(json.dumps(config))
    config.pop("created", None)
    config.get("rootfs", {}).pop("diff_ids", None)
    for entry in config.get("history", []):
        entry.pop("created", None)
    return config


def differences(theirs, ours, began):
    """Lines that say where two images differ. Times count where theirs is older than the build: only such a time was defined by the input."""
    (manifest_a, config_a, tree_a), (manifest_b, config_b, tree_b) = theirs, ours
    found = []

    def compare(what, a, b):
        if a != b:
            found.append(f"{what}: {json.dumps(a)} != {json.dumps(b)}")

    a, b = without_times(config_a), without_times(config_b)
    for key in sorted({*a, *b} - {"config", "history"}):
        compare(f"config {key}", a.get(key), b.get(key))
    for key in sorted({*a.get("config", {}), *b.get("config", {})}):
        compare(f"config.config {key}", a.get("config", {}).get(key), b.get("config", {}).get(key))
    compare("history length", len(a.get("history", [])), len(b.get("history", [])))
    for number, (x, y) in enumerate(zip(a.get("history", []), b.get("history", []))):
        compare(f"history {number}", x, y)
    compare("layers", len(manifest_a["layers"] or ()), len(manifest_b["layers"] or ()))
    for name in sorted({*tree_a, *tree_b}):
        x, y = tree_a.get(name), tree_b.get(name)
        if x and y and (x["mtime"] >= began or x["type"] == "dir" and y["mtime"] >= began and x["mtime"] == 0):
            x, y = ({key: value for key, value in node.items() if key != "mtime"} for node in (x, y))
        compare(f"file {name}", x, y)
    compare("hard links", hard_links(tree_a), hard_links(tree_b))
    return found
