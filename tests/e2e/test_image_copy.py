#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""image copy between all places, what registries list and remove, and skopeo as the judge of what was written."""
import io
import json
import subprocess
import tarfile

from fake_registry import INDEX, MANIFEST, ImageOfLayers, digest
from harness import Registry, main, require
from registry_case import RegistryTestCase


class Copy(RegistryTestCase):
    def setUp(self):
        super().setUp()
        require("skopeo")
        self.image = ImageOfLayers([300000, 200000], seed=self.id())
        self.folder = self.context({})

    def skopeo_raw(self, place):
        return subprocess.run(["skopeo", "inspect", "--tls-verify=false", "--raw", place], check=True, capture_output=True).stdout

    def test_everywhere_and_back(self):
        registry = self.serve({"x:1": self.image})
        origin, folder = f"docker://{registry.address}/x:1", self.folder
        places = [f"oci:{folder}/layout:tag", f"oci-archive:{folder}/a.tar:tag", f"docker-archive:{folder}/d.tar:team/app:1", f"dir:{folder}/dir", "local:team/app:2"]
        for place in places:
            self.assertEqual(self.image.digest, self.ok("image", "copy", "-q", origin, place).strip())
            if not place.startswith(("local", "docker-archive")):  # skopeo makes up a manifest for each docker-archive
                self.assertEqual(self.image.manifest, self.skopeo_raw(place))
            self.ok("image", "copy", place, f"docker://{registry.address}/back:1")
            self.assertEqual(self.image.manifest, registry.manifests.pop(("back", "1"))[1])
        subprocess.run(["skopeo", "inspect", f"docker-archive:{folder}/d.tar"], check=True, capture_output=True)
        self.assertIn("team/app:1", self.ok("load", "-i", folder / "d.tar"))
        self.check_store()
        self.forget("team/app:1", "team/app:2")

    def test_what_skopeo_wrote(self):
        registry = self.serve({"x:1": self.image})
        for place in (f"dir:{self.folder}/s-dir", f"oci:{self.folder}/s-oci:t", f"oci-archive:{self.folder}/s.tar:t", f"docker-archive:{self.folder}/s-d.tar:n:1"):
            subprocess.run(["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{registry.address}/x:1", place], check=True)
            self.ok("image", "copy", place, "local:from-skopeo:1")
            self.assertEqual(digest(self.image.config) if "docker-archive" not in place else self.inspect("from-skopeo:1", "Id"), self.inspect("from-skopeo:1", "Id"))
            self.forget("from-skopeo:1")

    def index(self, registry):
        """x:all is an index of two platforms; the host's is self.image."""
        other = ImageOfLayers([1000], seed=1)
        for image in (self.image, other):
            registry.add("x:tmp", image)
        architecture = json.loads(self.image.config)["architecture"]
        entries = [{"mediaType": MANIFEST, "digest": image.digest, "size": len(image.manifest), "platform": {"os": "linux", "architecture": name}}
                   for image, name in ((self.image, architecture), (other, "s390x"))]
        index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
        registry.manifests["x", "all"] = registry.manifests["x", digest(index)] = (INDEX, index)
        return index, other

    def test_indexes(self):
        registry = self.serve()
        index, other = self.index(registry)
        name = f"docker://{registry.address}/x:all"
        self.assertEqual(self.image.digest, self.ok("image", "copy", "-q", name, f"dir:{self.folder}/one").strip())
        self.assertEqual(other.digest, self.ok("image", "copy", "-q", "--platform", "linux/s390x", name, f"dir:{self.folder}/two").strip())
        for place in (f"dir:{self.folder}/all", f"oci:{self.folder}/all-oci:t", f"oci-archive:{self.folder}/all.tar:t"):
            self.assertEqual(digest(index), self.ok("image", "copy", "-q", "--all", name, place).strip())
            self.ok("image", "copy", "--all", place, f"docker://{registry.address}/again:1")
            self.assertEqual(index, registry.manifests.pop(("again", "1"))[1])
        self.fails(1, "exclude", "image", "copy", "--all", "--platform", "linux/arm64", name, f"dir:{self.folder}/no")
        self.fails(1, "s390x|no image|platform", "image", "copy", "--platform", "linux/mips", name, f"dir:{self.folder}/no")

    def test_referrers(self):
        registry, empty = self.serve({"x:1": self.image}), b"{}"
        registry.blobs[digest(empty)] = empty
        signature = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/example.signature",
                                "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest(empty), "size": 2},
                                "layers": [{"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest(empty), "size": 2}],
                                "subject": {"mediaType": MANIFEST, "digest": self.image.digest, "size": len(self.image.manifest)}}).encode()
        registry.manifests["x", digest(signature)] = (MANIFEST, signature)
        self.ok("image", "copy", "--referrers", f"docker://{registry.address}/x:1", f"oci:{self.folder}/l:t")
        self.ok("image", "copy", "--referrers", f"oci:{self.folder}/l:t", f"docker://{registry.address}/y:1")
        self.assertEqual(signature, registry.manifests["y", digest(signature)][1])
        # A registry without the referrers API gets the list under a tag.
        old = self.serve(fault=lambda handler: "/referrers/" in handler.path and handler.error(404, "NOT_FOUND") is None)
        for _ in range(2):
            self.ok("image", "copy", "--referrers", f"oci:{self.folder}/l:t", f"docker://{old.address}/y:1")
        listed = json.loads(old.manifests["y", self.image.digest.replace(":", "-")][1])["manifests"]
        self.assertEqual([(digest(signature), "application/example.signature")], [(entry["digest"], entry["artifactType"]) for entry in listed])
        self.ok("image", "copy", "--referrers", f"docker://{old.address}/y:1", f"oci:{self.folder}/m:t")
        self.assertEqual(2, len(json.loads((self.folder / "m" / "index.json").read_text())["manifests"]))

    def test_bad_sources(self):
        registry = self.serve({"x:1": self.image})
        wrong = digest(self.image.layers[0])
        registry.blobs[wrong] = b"y" * len(registry.blobs[wrong])
        self.fails(1, "have digest", "image", "copy", f"docker://{registry.address}/x:1", f"oci:{self.folder}/bad:t")
        self.assertFalse((self.folder / "bad" / "index.json").exists())
        self.assertFalse((self.folder / "bad" / "blobs" / "sha256" / wrong[7:]).exists())
        for place in ("x:1", "ftp:x", "docker:x", "oci:", "--all"):
            self.assertNotEqual(0, self.dray("image", "copy", place, f"dir:{self.folder}/n").code)
        evil = self.folder / "evil.tar"
        with tarfile.open(evil, "w") as archive:
            for name, data in (("../../escape", b"x"), ("manifest.json", b'[{"Config":"../../etc/passwd","Layers":["/etc/shadow"]}]')):
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
        self.fails(1, "missing from the archive", "image", "copy", f"docker-archive:{evil}", f"dir:{self.folder}/n")
        self.fails(1, "exists", "image", "copy", f"docker://{registry.address}/x:1", f"oci-archive:{evil}")
        self.check_store()

    def test_lists_and_removal(self):
        registry = self.serve({f"x:{number}": self.image for number in range(5)}, page=2)
        registry.add("team/y:1", self.image)
        self.assertEqual([str(number) for number in range(5)], self.ok("image", "tags", f"{registry.address}/x").split())
        self.assertEqual(["team/y", "x"], self.ok("registry", "catalog", registry.address).split())
        self.assertEqual(self.image.manifest.decode(), self.ok("image", "inspect", "--remote", "--raw", f"{registry.address}/x:1"))
        self.assertEqual("linux\n", self.ok("image", "inspect", "--remote", "-f", "{{.os}}", f"{registry.address}/x:1"))
        self.ok("pull", "-q", f"{registry.address}/x:1")
        self.assertEqual(self.image.manifest.decode(), self.ok("image", "inspect", "--raw", f"{registry.address}/x:1"))
        self.ok("rmi", f"{registry.address}/x:1")
        self.ok("registry", "rm", f"{registry.address}/x:3")
        self.assertNotIn("3", self.ok("image", "tags", f"{registry.address}/x").split())
        self.fails(1, "not found", "registry", "rm", f"{registry.address}/x:3")
        self.ok("pull", "-a", f"{registry.address}/x")
        self.assertEqual(4, len(self.ok("images", f"{registry.address}/x", "--format", "{{.Tag}}").split()))
        self.fails(1, "--all-tags", "pull", "-a", f"{registry.address}/x:1")
        circle = self.serve({"x:1": self.image}, fault=lambda handler: "/tags/" in handler.path and handler.say(
            200, b'{"tags":["a"]}', {"Link": '</v2/x/tags/list?n=1&last=a>; rel="next"'}) is None)
        self.fails(1, "does not end", "image", "tags", f"{circle.address}/x")
        self.forget(*(f"{registry.address}/x:{number}" for number in (0, 1, 2, 4)))

    def test_manifest_lists(self):
        registry, other = self.serve({"x:1": self.image}), self.serve()
        _, foreign = self.index(other)
        other.add("arm:1", foreign)
        name = f"{registry.address}/list:1"
        self.ok("manifest", "create", name, f"{registry.address}/x:1", f"{other.address}/arm:1")
        self.fails(1, "being made", "manifest", "create", name, f"{registry.address}/x:1")
        self.ok("manifest", "annotate", "--arch", "arm64", "--variant", "v8", name, f"{other.address}/arm:1")
        self.fails(1, "does not exist", "manifest", "annotate", "--arch", "arm64", name, f"{other.address}/none:1")
        self.fails(1, "itself a manifest list", "manifest", "create", "two:1", f"{other.address}/x:all")
        digest_of_list = self.ok("manifest", "push", "--purge", name).strip()
        pushed = registry.manifests["list", "1"][1]
        self.assertEqual(digest(pushed), digest_of_list)
        entries = json.loads(pushed)["manifests"]
        self.assertEqual([self.image.digest, foreign.digest], [entry["digest"] for entry in entries])
        self.assertEqual({"architecture": "arm64", "os": "linux", "variant": "v8"}, entries[1]["platform"])
        self.assertTrue(all(layer in registry.blobs for layer in foreign.blobs))
        self.assertEqual(json.loads(pushed), json.loads(self.ok("manifest", "inspect", name)))
        self.fails(1, "No such manifest", "manifest", "rm", name)

    def test_docker_registry(self):
        require("docker-registry")
        real, registry = Registry(self.folder), self.serve()
        self.addCleanup(real.stop)
        index, _ = self.index(registry)
        self.ok("image", "copy", "--all", f"docker://{registry.address}/x:all", f"docker://{real.address}/x:all")
        self.assertEqual(index, self.skopeo_raw(f"docker://{real.address}/x:all"))
        self.assertEqual("all\n", self.ok("image", "tags", f"{real.address}/x"))
        self.assertEqual("x\n", self.ok("registry", "catalog", real.address))
        self.ok("registry", "rm", f"{real.address}/x:all")
        self.fails(1, "not found", "image", "inspect", "--remote", "--raw", f"{real.address}/x:all")


if __name__ == "__main__":
    main()
