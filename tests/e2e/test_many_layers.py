#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Images of hundreds of layers: loaded, run, built upon, removed, up to overlay's own limit; a clear error beyond."""
import hashlib
import io
import json
import tarfile

from harness import BASE_IMAGE, DrayTestCase, main


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class ManyLayers(DrayTestCase):
    def archive(self, name, count):
        """An OCI archive of an image with `count` layers: the base image's (which is in the store), then small ones. Each replaces
        /number, adds a file of its own, and removes the one that the layer ten below it added."""
        base = json.loads(self.ok("image", "inspect", "--raw", BASE_IMAGE))
        config = {"architecture": self.inspect(BASE_IMAGE, "Architecture"), "os": "linux", "config": {"Cmd": ["cat", "/number"]},
                  "rootfs": {"type": "layers", "diff_ids": list(self.inspect(BASE_IMAGE, "RootFS.Layers"))}}
        layers, blobs = list(base["layers"]), {}
        for number in range(len(layers) + 1, count + 1):
            out = io.BytesIO()
            with tarfile.open(fileobj=out, mode="w") as layer:
                for path, data in (("number", str(number).encode()), (f"many/{number}", b"x"), (f"many/.wh.{number - 10}", b"")):
                    entry = tarfile.TarInfo(path)
                    entry.size = len(data)
                    layer.addfile(entry, io.BytesIO(data))
            data = out.getvalue()
            blobs[digest(data)] = data
            layers.append({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest(data), "size": len(data)})
            config["rootfs"]["diff_ids"].append(digest(data))
        config = json.dumps(config).encode()
        manifest = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": layers,
                               "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(config), "size": len(config)}}).encode()
        blobs.update({digest(data): data for data in (config, manifest)})
        index = json.dumps({"schemaVersion": 2, "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(manifest),
                            "size": len(manifest), "annotations": {"org.opencontainers.image.ref.name": name}}]}).encode()
        path = self.scratch / f"{count}.tar"
        with tarfile.open(path, "w") as archive:
            files = {f"blobs/sha256/{key[7:]}": data for key, data in blobs.items()}
            for path_in, data in {**files, "index.json": index, "oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}.items():
                entry = tarfile.TarInfo(path_in)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
        return path

    def load(self, count):
        self.ok("load", "-q", "-i", self.archive(f"layers:{count}", count))
        return f"layers:{count}"

    def test_run_and_build(self):
        for count in (128, 200, 400):
            image = self.load(count)
            self.assertEqual(str(count), self.run_in("cat number; ls many | wc -l >&2", image=image))
            self.assertEqual(f"{count - 9} {count}\n", self.run_in("echo $(ls many | sort -n | sed -n '1p;$p')", image=image))
        self.build("FROM layers:200\nRUN echo built > /number && rm many/200\nCOPY file /many/\nRUN ls many > /listing", {"file": "x"}, tag="layers:built")
        self.assertEqual("built\n", self.run_in("cat number", image="layers:built"))
        self.assertEqual(203, len(self.inspect("layers:built", "RootFS.Layers")))
        listing = sorted(self.run_in("cat listing", image="layers:built").split())
        self.assertEqual(sorted(["file", *map(str, range(191, 200))]), listing)
        for image in ("layers:128", "layers:200", "layers:400", "layers:built"):
            self.ok("rmi", image)
        self.ok("system", "prune", "-f")
        self.assertLess(len(list((self.root / "snapshots").iterdir())), 10)

    def test_the_limit(self):
        self.assertEqual("500", self.run_in("cat number", image=self.load(500)))
        image = self.load(501)
        self.fails(125, "501 layers.* at most 500", "run", "--rm", "--network", "none", image)
        folder = self.context({"Dockerfile": f"FROM {image}\nRUN true\n"})
        self.fails(1, "501 layers.* at most 500", "build", folder)
        self.ok("rmi", image, "layers:500")


if __name__ == "__main__":
    main()
