#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Images for several platforms in Dray's store: pulled, pushed, saved, loaded and copied whole; a hostile index."""
import json
import subprocess
import tarfile

from fake_registry import INDEX, MANIFEST, ImageOfLayers, digest
from harness import main, require
from registry_case import RegistryTestCase


class Platforms(RegistryTestCase):
    def setUp(self):
        super().setUp()
        self.host, self.other = ImageOfLayers([200000, 1000], seed=1), ImageOfLayers([150000], seed=2)
        del self.other.blobs[digest(self.other.config)]
        self.other.config = self.other.config.replace(json.loads(self.host.config)["architecture"].encode(), b"s390x")
        self.remake(self.other, json.loads(self.other.manifest)["layers"])
        self.attestation = ImageOfLayers([], seed=3)
        statement = b'{"_type": "https://in-toto.io/Statement/v0.1"}'
        self.attestation.blobs[digest(statement)] = statement
        self.remake(self.attestation, [{"mediaType": "application/vnd.in-toto+json", "digest": digest(statement), "size": len(statement)}])
        self.folder = self.context({})

    @staticmethod
    def remake(image, layers):
        manifest = json.loads(image.manifest)
        manifest["config"].update(digest=digest(image.config), size=len(image.config))
        image.blobs[digest(image.config)] = image.config
        image.manifest = json.dumps({**manifest, "layers": layers}).encode()
        image.digest = digest(image.manifest)

    def add_index(self, registry, name, *images, **more):
        """An index of (image, operating system, architecture) under a name."""
        entries = []
        for image, system, architecture in images:
            registry.add(f"{name.split(':')[0]}:tmp", image)
            entries.append({"mediaType": MANIFEST, "digest": image.digest, "size": len(image.manifest), "platform": {"os": system, "architecture": architecture}})
        index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries, **more}).encode()
        repository, tag = name.split(":")
        registry.manifests[repository, tag] = registry.manifests[repository, digest(index)] = (INDEX, index)
        return index

    def whole(self, registry, name="x:all", **more):
        return self.add_index(registry, name, (self.host, "linux", json.loads(self.host.config)["architecture"]), (self.other, "linux", "s390x"),
                              (self.attestation, "unknown", "unknown"), **more)

    def assert_pushed(self, registry, name, index):
        repository, tag = name.split(":")
        self.assertEqual(index, registry.manifests[repository, tag][1])
        for image in (self.host, self.other, self.attestation):
            self.assertEqual(image.manifest, registry.manifests[repository, image.digest][1])
            self.assertEqual([], [blob for blob in image.blobs if blob not in registry.blobs])

    def test_pull_push_save_load_copy(self):
        require("skopeo")
        registry, target = self.serve(), self.serve()
        index = self.whole(registry)
        name = f"{registry.address}/x:all"
        out = self.ok("pull", "--all-platforms", name)
        self.assertIn(f"Digest: {digest(index)}\nStatus: Downloaded newer image", out)
        self.assertIn("Image is up to date", self.ok("pull", "--all-platforms", name))
        self.assertIn("Image is up to date", self.ok("pull", name))
        self.ok("system", "prune", "-f")
        self.ok("system", "check")
        # A push sends the index, also from another name, a loaded archive, and a copy.
        self.ok("tag", name, f"{target.address}/pushed:1")
        self.ok("push", f"{target.address}/pushed:1")
        self.assert_pushed(target, "pushed:1", index)
        self.ok("save", "-o", self.folder / "a.tar", name)
        self.ok("image", "copy", "--all", f"local:{name}", f"docker://{target.address}/copied:1")
        self.assert_pushed(target, "copied:1", index)
        raw = subprocess.run(["skopeo", "inspect", "--raw", f"oci-archive:{self.folder}/a.tar:all"], check=True, capture_output=True).stdout
        self.assertEqual(index, raw)
        self.forget(name, f"{target.address}/pushed:1")
        self.assertEqual([], list((self.root / "content" / "blobs" / "sha256").iterdir()))
        self.assertIn(name, self.ok("load", "-i", self.folder / "a.tar"))
        self.ok("tag", name, f"{target.address}/loaded:1")
        self.ok("push", f"{target.address}/loaded:1")
        self.assert_pushed(target, "loaded:1", index)
        self.forget(name, f"{target.address}/loaded:1")
        self.ok("image", "copy", "--all", f"docker://{registry.address}/x:all", "local:here:1")
        self.ok("image", "copy", "--all", "local:here:1", f"docker://{target.address}/again:1")
        self.assert_pushed(target, "again:1", index)
        self.ok("image", "copy", "--platform", "linux/s390x", "local:here:1", f"dir:{self.folder}/one")
        self.assertEqual(self.other.manifest, (self.folder / "one" / "manifest.json").read_bytes())
        self.ok("system", "check")
        self.check_store()
        self.forget("here:1")

    def layout(self, archive):
        """The entries of an archive's index.json, its manifest.json, and all its files."""
        with tarfile.open(archive) as tar:
            files = {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}
        return json.loads(files["index.json"])["manifests"], json.loads(files["manifest.json"]), files

    def test_save_and_load_some_platforms(self):
        registry, folder = self.serve(), self.folder
        self.whole(registry)
        name, host = f"{registry.address}/x:all", json.loads(self.host.config)["architecture"]
        self.ok("pull", "-q", "--all-platforms", name)
        # One: its manifest alone has the name.
        self.ok("save", "--platform", "linux/s390x", "-o", folder / "one.tar", name)
        entries, saved, files = self.layout(folder / "one.tar")
        self.assertEqual(([self.other.digest], [[name]]), ([e["digest"] for e in entries], [e["RepoTags"] for e in saved]))
        self.assertFalse({f"blobs/sha256/{blob[7:]}" for blob in self.host.blobs} & set(files))
        # Several: an index of just those, without the attestation; the host's is what the name means to docker.
        self.ok("save", "--platform", f"linux/s390x,{host}", "-o", folder / "two.tar", name)
        entries, saved, files = self.layout(folder / "two.tar")
        inner = json.loads(files["blobs/sha256/" + entries[0]["digest"][7:]])["manifests"]
        self.assertEqual([self.other.digest, self.host.digest], [entry["digest"] for entry in inner])
        self.assertEqual(f"blobs/sha256/{digest(self.host.config)[7:]}", saved[0]["Config"])
        self.assertFalse({f"blobs/sha256/{blob[7:]}" for blob in self.attestation.blobs} & set(files))
        self.ok("save", "-o", folder / "all.tar", name)
        self.fails(1, "no image for platform linux/mips .*it has: ", "save", "--platform", "linux/mips", "-o", folder / "no.tar", name)
        self.fails(1, "cannot parse platform", "save", "--platform", "a/b/c/d", "-o", folder / "no.tar", name)
        self.assertFalse((folder / "no.tar").exists())
        self.forget(name)

        for archive in ("one", "two", "all"):
            self.ok("load", "--platform", "linux/s390x", "-i", folder / f"{archive}.tar")
            self.assertEqual(digest(self.other.config), self.ok("inspect", "-f", "{{.Id}}", name).strip())
            self.assertFalse({blob[7:] for blob in self.host.blobs} & {path.name for path in (self.root / "content/blobs/sha256").iterdir()})
            self.forget(name)
        self.fails(1, f"s390x, asked for: linux/{host}", "load", "--platform", host, "-i", folder / "one.tar")
        self.fails(1, "no image for platform linux/mips", "load", "--platform", "linux/mips", "-i", folder / "all.tar")
        self.fails(1, "no image for platform linux/mips", "load", "--platform", "s390x,mips", "-i", folder / "all.tar")
        self.assertEqual([], list((self.root / "content" / "blobs" / "sha256").iterdir()))
        # Several again: the name is an index of both, which a push sends.
        self.ok("load", "--platform", "linux/s390x", "--platform", host, "-i", folder / "all.tar")
        self.assertEqual(digest(self.host.config), self.ok("inspect", "-f", "{{.Id}}", name).strip())
        self.ok("tag", name, f"{registry.address}/y:1")
        self.ok("push", f"{registry.address}/y:1")
        index = json.loads(registry.manifests["y", "1"][1])
        self.assertEqual([self.other.digest, self.host.digest], [entry["digest"] for entry in index["manifests"]])
        self.ok("system", "check")
        self.forget(name, f"{registry.address}/y:1")

    def test_push_one_platform_and_all_tags(self):
        registry, target = self.serve(), self.serve()
        self.whole(registry)
        name = f"{registry.address}/x:all"
        self.ok("pull", "-q", "--all-platforms", name)
        for tag in ("1", "2"):
            self.ok("tag", name, f"{target.address}/team/y:{tag}")
        self.ok("push", "--platform", "linux/s390x", f"{target.address}/team/y:1")
        self.assertEqual({("team/y", "1"), ("team/y", self.other.digest)}, set(target.manifests))
        self.assertEqual(self.other.manifest, target.manifests["team/y", "1"][1])
        self.fails(1, "linux/mips", "push", "--platform", "linux/mips", f"{target.address}/team/y:1")
        self.fails(1, "--all-tags", "push", "-a", f"{target.address}/team/y:1")
        self.fails(1, "does not exist locally", "push", "-a", f"{target.address}/team/z")
        self.assertEqual(2, self.ok("push", "-a", f"{target.address}/team/y").count(": digest: "))
        for tag in ("1", "2"):
            self.assertEqual(registry.manifests["x", "all"], target.manifests["team/y", tag])
        self.forget(name, f"{target.address}/team/y:1", f"{target.address}/team/y:2")

    def test_a_foreign_layer(self):
        layers = json.loads(self.host.manifest)["layers"]
        layers[0]["urls"] = ["http://127.0.0.1:1/layer"]
        gone = self.host.blobs.pop(layers[0]["digest"])
        self.remake(self.host, layers)
        registry = self.serve({"x:1": self.host})
        self.fails(1, "foreign layer, .* from the registry only", "pull", f"{registry.address}/x:1")
        registry.blobs[layers[0]["digest"]] = gone  # what the registry has itself is as good as any
        self.ok("pull", "-q", f"{registry.address}/x:1")
        self.forget(f"{registry.address}/x:1")

    def test_a_container_of_another_platform(self):
        registry = self.serve()
        self.whole(registry)
        name = f"{registry.address}/x:all"
        self.ok("pull", "-q", "--all-platforms", name)
        asked = len(registry.requests())
        self.assertEqual(digest(self.other.config), self.ok("image", "inspect", "--platform", "linux/s390x", "-f", "{{.Id}}", name).strip())
        self.assertEqual("s390x", self.ok("image", "inspect", "--platform", "linux/s390x", "-f", "{{.Architecture}}", name).strip())
        self.ok("history", "--platform", "linux/s390x", name)
        self.fails(1, "for platform linux/mips", "history", "--platform", "linux/mips", name)
        for platform, image in (((), self.host), (("--platform", "linux/s390x"), self.other)):
            identifier = self.ok("create", *platform, name, "/f0").strip()
            self.assertEqual(digest(image.config), self.inspect(identifier, "Image"))
            self.ok("rm", identifier)
        self.assertEqual(asked, len(registry.requests()))
        self.fails(1, "linux/arm/v7", "create", "--pull", "never", "--platform", "linux/arm/v7", name, "/f0")
        self.forget(name)

    def test_the_environment_names_a_platform(self):
        registry = self.serve()
        self.whole(registry)
        name = f"{registry.address}/x:all"
        env = {"DOCKER_DEFAULT_PLATFORM": "linux/s390x"}
        self.ok("pull", "-q", name, env=env)
        self.assertEqual(digest(self.other.config), self.inspect(name, "Id"))
        self.ok("pull", "-q", "--platform", json.loads(self.host.config)["architecture"], name, env=env)  # the flag says more
        self.assertEqual(digest(self.host.config), self.inspect(name, "Id"))
        self.ok("pull", "-q", "--all-platforms", name, env=env)
        self.assertEqual(digest(self.host.config), self.inspect(name, "Id"))
        identifier = self.ok("create", name, "/f0", env=env).strip()
        self.assertEqual(digest(self.other.config), self.inspect(identifier, "Image"))
        self.ok("rm", identifier)
        with tarfile.open(self.folder / "files.tar", "w") as tar:
            tar.add(__file__, "file")
        imported = self.ok("import", self.folder / "files.tar", env=env).strip()
        self.assertEqual("s390x", self.ok("image", "inspect", "-f", "{{.Architecture}}", imported).strip())
        self.fails(1, "DOCKER_DEFAULT_PLATFORM.*linux/a/b/c/d", "pull", name, env={"DOCKER_DEFAULT_PLATFORM": "linux/a/b/c/d"})
        self.forget(name, imported)

    def test_the_registry_has_another_one_now(self):
        registry, target = self.serve(), self.serve()
        self.whole(registry)
        name = f"{registry.address}/x:all"
        self.ok("pull", "-q", "--all-platforms", name)
        newer = self.whole(registry, annotations={"is": "newer"})
        self.assertIn("Downloaded newer image", self.ok("pull", name))
        self.ok("tag", name, f"{target.address}/one:1")
        self.ok("push", f"{target.address}/one:1")  # the index that was pulled whole is not what the name means any more
        self.assertEqual(self.host.manifest, target.manifests["one", "1"][1])
        self.ok("pull", "-q", "--all-platforms", name)
        self.ok("tag", name, f"{target.address}/all:1")
        self.ok("push", f"{target.address}/all:1")
        self.assert_pushed(target, "all:1", newer)
        self.forget(name, f"{target.address}/one:1", f"{target.address}/all:1")

    def test_none_for_this_host(self):
        registry = self.serve()
        index = self.add_index(registry, "x:foreign", (self.other, "linux", "s390x"))
        name = f"{registry.address}/x:foreign"
        self.fails(1, "no image for platform", "pull", name)
        self.assertIn(digest(index), self.ok("pull", "--all-platforms", name))
        self.assertEqual("s390x", self.inspect(name, "Architecture"))
        self.forget(name)

    def test_bad_indexes(self):
        self.fails(1, "exclude each other", "pull", "--all-platforms", "--platform", "linux/arm64", "x")
        registry = self.serve()
        self.whole(registry)
        missing = digest(self.other.layers[0])
        kept = registry.blobs.pop(missing)
        self.fails(1, "not found|unknown", "pull", "--all-platforms", f"{registry.address}/x:all")
        registry.blobs[missing] = b"y" * len(kept)
        self.fails(1, "digest", "pull", "--all-platforms", f"{registry.address}/x:all")
        registry.blobs[missing] = kept
        deep = ("linux", "s390x")
        inner = self.add_index(registry, "x:deep", (self.other, *deep))
        for level in range(6):
            entry = {"mediaType": INDEX, "digest": digest(inner), "size": len(inner)}
            host = {"mediaType": MANIFEST, "digest": self.host.digest, "size": len(self.host.manifest),
                    "platform": {"os": "linux", "architecture": json.loads(self.host.config)["architecture"]}}
            inner = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [host, entry], "annotations": {"level": str(level)}}).encode()
            registry.manifests["x", digest(inner)] = registry.manifests["x", "deep"] = (INDEX, inner)
        self.fails(1, "nested too deeply", "pull", "--all-platforms", f"{registry.address}/x:deep")
        many = [{"mediaType": MANIFEST, "digest": digest(str(number).encode()), "size": 3} for number in range(20)]
        self.add_index(registry, "x:many", (self.host, "linux", json.loads(self.host.config)["architecture"]))
        inner = json.loads(registry.manifests["x", "many"][1])
        inner["manifests"] += many
        registry.manifests["x", "many"] = (INDEX, json.dumps(inner).encode())
        self.fails(1, "not found|unknown", "pull", "--all-platforms", f"{registry.address}/x:many")
        self.assertEqual("", self.ok("images", "-q"))
        self.ok("system", "prune", "-f", "-a")
        self.check_store()
        self.assertEqual([], list((self.root / "content" / "blobs" / "sha256").iterdir()))


if __name__ == "__main__":
    main()
