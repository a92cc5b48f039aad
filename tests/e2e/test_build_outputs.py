#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `dray build` makes of a build: files, archives, images for several platforms, attestations, caches; and that equal
input gives equal bytes."""
import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import tarfile

from build_harness import Archive, OutputTestCase
from harness import main


class Outputs(OutputTestCase):
    # -- files -------------------------------------------------------------------------------------------------------

    def test_local(self):
        out = self.place()
        self.ok("build", "-t", "files-only", "-o", out, self.sources())
        self.assertEqual("hello\n", (out / "app/a").read_text())
        status = (out / "app/a").stat()
        self.assertEqual((os.geteuid(), os.getegid(), 1600000000), (status.st_uid, status.st_gid, status.st_mtime))
        self.assertEqual(0o4755, stat.S_IMODE((out / "app/setuid").stat().st_mode))
        self.assertEqual("/etc/passwd", os.readlink(out / "data/link"))
        self.fails(1, "(?i)no such", "image", "inspect", "files-only")  # nothing but what was asked for

    def test_devices_and_links_stay(self):
        out = self.place()
        os.mknod(out / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        os.symlink("null", out / "link")
        os.symlink("file", out / "dangling")
        for name in ("null", "link"):
            self.ok("build", "-o", f"type=tar,dest={out / name}", "--iidfile", out / name, "--metadata-file", out / name, self.sources())
            self.ok("build", "-o", f"type=oci,dest={out / name}", self.sources())
        self.ok("build", "-o", f"type=tar,dest={out}/dangling", self.sources())
        self.assertTrue(stat.S_ISCHR(os.lstat(out / "null").st_mode))
        self.assertEqual(["null", "file"], [os.readlink(out / name) for name in ("link", "dangling")])
        self.assertTrue(tarfile.is_tarfile(out / "file"))
        self.assertEqual({"null", "link", "dangling", "file"}, set(os.listdir(out)))

    def test_local_never_follows_links_out(self):
        out, outside = self.place(), self.place()
        (outside / "a").write_text("untouched")
        os.symlink(outside, out / "app")
        os.symlink(outside / "a", out / "inline")
        (out / "data").write_text("a file where a directory comes")
        self.ok("build", "-o", f"type=local,dest={out}", self.sources())
        self.assertEqual("untouched", (outside / "a").read_text())
        self.assertEqual(["a"], os.listdir(outside))
        self.assertFalse((out / "app").is_symlink())
        self.assertEqual("hello\n", (out / "app/a").read_text())
        self.assertFalse((out / "inline").is_symlink())
        self.assertEqual("x\n", (out / "data/x").read_text())

    def test_local_modes(self):
        out = self.place()
        (out / "old").write_text("old")
        (out / "app").mkdir()
        (out / "app/old").write_text("old")
        self.ok("build", "-o", f"type=local,dest={out}", self.sources())
        self.assertTrue((out / "old").exists())
        self.ok("build", "-o", f"type=local,dest={out},mode=delete", self.sources())
        self.assertFalse((out / "old").exists() or (out / "app/old").exists())
        self.assertTrue((out / "app/a").exists())
        self.assertEqual([], [name for name in os.listdir(out) if name.startswith(".dray-")])

    def test_tar_to_stdout(self):
        result = self.dray("build", "-o", "-", self.sources(), text=False)
        self.assertEqual(0, result.code, result)
        with tarfile.open(fileobj=io.BytesIO(result.out)) as tar:
            member = tar.getmember("app/a")
            self.assertEqual((7, 8, b"hello\n"), (member.uid, member.gid, tar.extractfile(member).read()))
            self.assertTrue(tar.getmember("work/dir").isdir())

    def test_several_outputs_at_once(self):
        out = self.place()
        self.ok("build", "-t", "several", "-o", out / "tree", "-o", f"type=tar,dest={out}/t.tar", "-o", f"type=oci,dest={out}/o.tar",
                "-o", f"type=docker,dest={out}/d.tar", "-o", "type=image", "-o", "type=cacheonly", self.sources())
        config = self.inspect("several", "Id")
        archive = Archive(out / "o.tar")
        self.assertEqual(config, archive.top()["config"]["digest"])
        self.assertEqual({0}, archive.times)
        docker = Archive(out / "d.tar")
        manifest = json.loads(docker.files["manifest.json"])[0]
        self.assertEqual(["several:latest"], manifest["RepoTags"])
        self.assertEqual("blobs/" + config.replace(":", "/"), manifest["Config"])
        self.assertTrue((out / "tree/app/a").exists() and (out / "t.tar").exists())

    def test_cacheonly_leaves_no_image(self):
        self.ok("build", "-t", "nothing", "-o", "type=cacheonly", self.sources())
        self.fails(1, "(?i)no such", "image", "inspect", "nothing")

    def test_what_is_refused(self):
        folder = self.sources()
        for flags, pattern in ((["-o", "type=loca,dest=x"], "did you mean local"), (["-o", "type=local,dst=x"], "did you mean dest"),
                               (["-o", "type=image,compresion=zstd"], "did you mean compression"),
                               (["-o", "type=local"], "dest"), (["-o", "type=image,push=maybe"], "not true or false"),
                               (["-o", "type=oci,dest=x,compression=estargz"], "estargz is not supported"),
                               (["-o", "type=oci,dest=x,compression=zstd,compression-level=23"], "from 0 to 22"),
                               (["-o", "type=oci,tar=false"], "tar=false needs"), (["--push"], "name to push is missing"),
                               (["-o", "-", "-o", "type=oci"], "only one output"), (["-o", "type=oci,dest=x,rewrite-timestamp=true"], "SOURCE_DATE_EPOCH"),
                               (["--cache-to", "type=gha"], "not supported"), (["--cache-from", "type=registr,ref=x"], "did you mean registry"),
                               (["--cache-to", "type=local"], "dest"), (["--provenance", "mode=mid"], "min or max"),
                               (["--attest", "type=sbom,generator=x/y"], "generator"), (["--unset", "envv=X"], "did you mean env"),
                               (["--annotation", "novalue"], "KEY=VALUE"), (["--annotation", "index:a=b"], "is for an index"),
                               (["-o", "type=image,name=a@sha256:" + "0" * 64], "named by a digest")):
            result = self.dray("build", *flags, folder)
            self.assertNotEqual(0, result.code, (flags, result))
            self.assertRegex(result.err, pattern)

    # -- equal bytes -------------------------------------------------------------------------------------------------

    def test_two_roots_give_one_image(self):
        folder = self.sources()
        first = self.elsewhere("build", "-q", folder).stdout
        self.assertRegex(first, "^sha256:")
        self.assertEqual(first, self.elsewhere("build", "-q", folder).stdout)
        self.assertEqual(first, self.elsewhere("build", "-q", "--no-cache", folder).stdout)
        out = self.place()
        for name in ("one", "two"):
            self.elsewhere("build", "-o", f"type=oci,dest={out}/{name}.tar", "-o", f"type=tar,dest={out}/{name}.files", folder)
        self.assertEqual((out / "one.tar").read_bytes(), (out / "two.tar").read_bytes())
        self.assertEqual((out / "one.files").read_bytes(), (out / "two.files").read_bytes())

    def test_no_time_of_the_clock_is_left(self):
        """Each step but the first copies /app up; the clock may tick at any moment of it."""
        folder = self.sources("FROM scratch\n" + "".join(f"COPY a /app/{n}\nWORKDIR /work{n}\n" for n in range(40)))
        out = self.place() / "t.tar"
        for _ in range(5):
            self.elsewhere("build", "-o", f"type=tar,dest={out}", folder)
            with tarfile.open(out) as tar:
                self.assertLessEqual({member.mtime for member in tar}, {0, 1600000000})

    def test_source_date_epoch(self):
        folder, out = self.sources(), self.place()
        os.utime(folder / "sub/x", (1700000000, 1700000000))
        env = {"SOURCE_DATE_EPOCH": "1650000000"}
        self.ok("build", "--no-cache", "-o", f"type=oci,dest={out}/o.tar,rewrite-timestamp=true", "-o", f"type=tar,dest={out}/t.tar",
                folder, env=env)
        archive = Archive(out / "o.tar")
        config = archive.document(archive.top()["config"])
        self.assertEqual("2022-04-15T05:20:00", config["created"][:19])
        self.assertEqual({"2022-04-15T05:20:00"}, {entry["created"][:19] for entry in config["history"]})
        times = set()
        for layer, diff_id in zip(archive.top()["layers"], config["rootfs"]["diff_ids"]):
            with tarfile.open(fileobj=io.BytesIO(archive.blob(layer))) as tar:
                times |= {member.mtime for member in tar}
        self.assertEqual(1650000000, max(times))
        self.assertIn(1600000000, times)  # older ones stay
        with tarfile.open(out / "t.tar") as tar:
            self.assertEqual({1650000000}, {member.mtime for member in tar})
        self.fails(1, "invalid SOURCE_DATE_EPOCH", "build", "--build-arg", "SOURCE_DATE_EPOCH=yesterday", folder)
        of_stage = self.context({"Dockerfile": "ARG SOURCE_DATE_EPOCH=s\nFROM scratch AS s\nADD https://example.com/x /\nFROM scratch\nLABEL a=b\n"})
        self.fails(1, "Dockerfile:1: SOURCE_DATE_EPOCH of a stage or a named context is not supported", "build", of_stage)
        # A directory has no time of its own: as if it were not given.
        plain, context = (self.place() / "id" for _ in range(2))
        self.ok("build", "--iidfile", plain, folder)
        self.ok("build", "--iidfile", context, "--build-arg", "SOURCE_DATE_EPOCH=context", folder)
        self.assertEqual(plain.read_text(), context.read_text())

    # -- forms of images ---------------------------------------------------------------------------------------------

    def test_compression_and_media_types(self):
        folder, out = self.sources(), self.place()
        magics = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd", "uncompressed": None}
        for kind, magic in magics.items():
            self.ok("build", "-o", f"type=oci,dest={out}/{kind}.tar,compression={kind},compression-level=9", folder)
            archive = Archive(out / f"{kind}.tar")
            config = archive.document(archive.top()["config"])
            for layer, diff_id in zip(archive.top()["layers"], config["rootfs"]["diff_ids"]):
                data = archive.blob(layer)
                if magic:
                    self.assertTrue(data.startswith(magic))
                else:
                    self.assertEqual(diff_id, "sha256:" + hashlib.sha256(data).hexdigest())
        self.ok("build", "-o", f"type=oci,dest={out}/docker.tar,oci-mediatypes=false", folder)
        top = Archive(out / "docker.tar").top()
        self.assertEqual("application/vnd.docker.distribution.manifest.v2+json", top["mediaType"])
        self.assertEqual({"application/vnd.docker.image.rootfs.diff.tar.gzip"}, {layer["mediaType"] for layer in top["layers"]})
        self.ok("build", "-t", "zstd-image", "-o", "type=image,compression=zstd", folder)
        self.ok("save", "-o", out / "saved.tar", "zstd-image")
        if shutil.which("skopeo"):
            subprocess.run(["skopeo", "copy", "-q", f"oci-archive:{out}/zstd.tar", f"dir:{out}/copied"], check=True)

    def test_layout_directory_keeps_other_names(self):
        folder, out = self.sources(), self.place()
        for name in ("one:1", "two:2", "one:1"):
            self.ok("build", "--label", f"name={name}", "-o", f"type=oci,tar=false,dest={out},name={name}", folder)
        index = json.loads((out / "index.json").read_text())
        self.assertEqual(["docker.io/library/one:1", "docker.io/library/two:2"],
                         sorted(entry["annotations"]["io.containerd.image.name"] for entry in index["manifests"]))

    def test_annotations(self):
        folder, out = self.sources(), self.place()
        self.ok("build", "--annotation", "plain=1", "--annotation", "manifest-descriptor[linux/arm64],index:both=2", "--platform",
                "linux/amd64,linux/arm64", "-o", f"type=oci,dest={out}/a.tar,annotation-manifest[linux/amd64].only=3", folder)
        archive = Archive(out / "a.tar")
        index = archive.top()
        self.assertEqual({"both": "2"}, index["annotations"])
        amd64, arm64 = index["manifests"]
        self.assertEqual({"both": "2"}, arm64["annotations"])
        self.assertNotIn("annotations", amd64)
        self.assertEqual({"plain": "1", "only": "3"}, archive.document(amd64)["annotations"])
        self.assertEqual({"plain": "1"}, archive.document(arm64)["annotations"])

    def test_squash_keeps_the_base(self):
        base = self.context({"Dockerfile": "FROM scratch\nCOPY f* /x/\nCOPY d /x/d/\n", "f1": "1", "f2": "2", "d/deep": "3"})
        self.ok("build", "-t", "squash-base", base)
        top = self.context({"Dockerfile": "FROM squash-base\nCOPY f /x/f1\nCOPY f /x/d/new\nCOPY g /x/f1\nCOPY f /y/\n", "f": "f", "g": "g"})
        out = self.place()
        self.ok("build", "-t", "plain", "-o", "type=image", "-o", out / "plain", top)
        self.ok("build", "-t", "squashed", "--squash", "-o", "type=image", "-o", out / "squashed", top)
        layers = self.inspect("squashed", "RootFS.Layers")
        self.assertEqual(3, len(layers))
        self.assertEqual(self.inspect("squash-base", "RootFS.Layers"), layers[:2])
        read = lambda folder: {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
        self.assertEqual(read(out / "plain"), read(out / "squashed"))
        self.assertEqual({"x/f1": "g", "x/f2": "2", "x/d/deep": "3", "x/d/new": "f", "y/f": "f"}, read(out / "squashed"))
        self.assertIn("squash of 4 layers", self.ok("history", "--no-trunc", "squashed"))

    def test_unset_inherited_metadata(self):
        base = self.context({"Dockerfile": "FROM scratch\nENV A=1 B=2\nLABEL keep=1 drop=2\nVOLUME /v1 /v2\nEXPOSE 80 90/udp\n"
                                           "ENTRYPOINT [\"/e\"]\nCMD [\"c\"]\nUSER 5\nHEALTHCHECK CMD true\n"})
        self.ok("build", "-t", "unset-base", base)
        top = self.context({"Dockerfile": "FROM unset-base\nENV B=3\n"})
        result = self.dray("build", "-t", "unset", *(word for text in ("env=A", "env=B", "label=drop", "volume=/v1", "expose=80", "cmd", "user",
                                                                     "healthcheck", "label=none") for word in ("--unset", text)), top)
        self.assertEqual(0, result.code, result)
        self.assertIn("--unset env=B: nothing", result.err)  # the Dockerfile set it itself
        self.assertIn("--unset label=none: nothing", result.err)
        config = self.inspect("unset", "Config")
        self.assertEqual({"keep": "1"}, config["Labels"])
        self.assertIn("B=3", config["Env"])
        self.assertFalse([variable for variable in config["Env"] if variable.startswith("A=")])
        self.assertEqual((["/v2"], ["90/udp"], ["/e"], None, ""),
                         (list(config["Volumes"]), list(config["ExposedPorts"]), config["Entrypoint"], config["Cmd"], config["User"]))
        self.assertNotIn("Healthcheck", config)

    # -- several platforms -------------------------------------------------------------------------------------------

    def test_platforms(self):
        folder, out = self.sources(), self.place()
        flags = ["--platform", "linux/amd64,linux/arm64,linux/amd64"]
        self.ok("build", *flags, "-t", "multi", "-o", "type=image", "-o", out / "tree", "-o", f"type=tar,dest={out}/t.tar",
                "-o", f"type=oci,dest={out}/o.tar", folder)
        for arch in ("amd64", "arm64"):
            self.assertEqual(f"for {arch}\n", (out / f"tree/linux_{arch}/inline").read_text())
        with tarfile.open(out / "t.tar") as tar:
            self.assertIn("linux_arm64/app/a", tar.getnames())
        archive = Archive(out / "o.tar")
        index = archive.top()
        self.assertEqual(["amd64", "arm64"], [entry["platform"]["architecture"] for entry in index["manifests"]])
        for entry in index["manifests"]:
            config = archive.document(archive.document(entry)["config"])
            self.assertEqual(entry["platform"]["architecture"], config["architecture"])
            self.assertEqual(config["architecture"], config["config"]["Labels"]["arch"])
        host = self.inspect("multi", "Architecture")
        self.assertEqual(os.uname().machine.replace("x86_64", "amd64").replace("aarch64", "arm64"), host)
        # what was built is a base for either platform
        self.ok("build", "--platform", "linux/arm64", "-o", out / "next", self.context({"Dockerfile": "FROM multi\n"}))
        self.assertEqual("for arm64\n", (out / "next/inline").read_text())
        self.fails(1, "platform-split", "build", *flags, "-o", f"type=local,dest={out}/merged,platform-split=false", folder)
        self.fails(1, "no image index", "build", *flags, "-o", f"type=docker,dest={out}/d.tar", folder)

    def test_foreign_run_says_what_to_install(self):
        foreign = "s390x"
        folder = self.context({"Dockerfile": "FROM scratch\nRUN true\n"})
        if any("s390x" in name for name in os.listdir("/proc/sys/fs/binfmt_misc") if os.path.isdir("/proc/sys/fs/binfmt_misc")):
            self.skipTest("this host runs s390x programs")
        self.fails(1, "(?s)Dockerfile:2: RUN for linux/s390x is not possible.*qemu-s390x", "build", "--platform", f"linux/{foreign}", folder)

    # -- attestations ------------------------------------------------------------------------------------------------

    def attested(self, *flags):
        status = "Package: libx\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:2.3-4\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n"
        folder = self.context({"Dockerfile": "FROM scratch\nARG TOKEN\nARG HTTP_PROXY\nCOPY root /\n", "secret": "geheim-1234",
                               "root/var/lib/dpkg/status": status, "root/etc/os-release": 'ID=debian\nVERSION_ID="12"\n',
                               "root/lib/apk/db/installed": "P:musl\nV:1.2.4-r2\nA:x86_64\nL:MIT\n",
                               "root/usr/lib/python3/dist-packages/flask-2.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: Flask\nVersion: 2.0\n\nName: wrong\n",
                               "root/app/node_modules/@s/left-pad/package.json": '{"name": "@s/left-pad", "version": "1.3.0"}',
                               "root/app/node_modules/bad/package.json": "[" * 100000})
        out = self.place() / "o.tar"
        self.ok("build", *flags, "--build-arg", "TOKEN=argument-value", "--build-arg", "HTTP_PROXY=http://user:proxy-password@h:1",
                "--secret", f"id=mysecret,src={folder}/secret", "-t", "attested", "-o", f"type=oci,dest={out}", folder)
        return Archive(out)

    def statements(self, archive):
        index = archive.top()
        image, attestation = index["manifests"]
        self.assertEqual({"os": "unknown", "architecture": "unknown"}, attestation["platform"])
        self.assertEqual({"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image["digest"]}, attestation["annotations"])
        found = {}
        for layer in archive.document(attestation)["layers"]:
            self.assertEqual("application/vnd.in-toto+json", layer["mediaType"])
            statement = archive.document(layer)
            self.assertEqual(layer["annotations"]["in-toto.io/predicate-type"], statement["predicateType"])
            self.assertEqual({"sha256": image["digest"][7:]}, statement["subject"][0]["digest"])
            found[statement["predicateType"]] = statement["predicate"]
        return found

    def test_no_attestation_unless_asked_for(self):
        out = self.place()
        self.ok("build", "--provenance=false", "-o", f"type=oci,dest={out}/o.tar", self.sources())
        self.assertIn("layers", Archive(out / "o.tar").top())

    def test_provenance_and_sbom(self):
        archive = self.attested("--provenance", "mode=min", "--sbom", "true")
        found = self.statements(archive)
        provenance = found["https://slsa.dev/provenance/v1"]
        self.assertEqual({}, provenance["buildDefinition"]["externalParameters"]["request"]["args"])
        packages = {package["name"]: package for package in found["https://spdx.dev/Document"]["packages"]}
        self.assertEqual({"libx", "musl", "Flask", "@s/left-pad"}, set(packages))
        urls = {name: package["externalRefs"][0]["referenceLocator"] for name, package in packages.items()}
        self.assertEqual("pkg:deb/debian/libx@1:2.3-4?arch=amd64&distro=debian-12", urls["libx"])
        self.assertEqual("pkg:npm/%40s/left-pad@1.3.0", urls["@s/left-pad"])
        # An image's history has the values of its ARGs, as BuildKit's has; a secret is nowhere.
        for word in ("argument-value", "proxy-password"):
            self.assertNotIn(word, json.dumps(found))
        self.assertNotIn(b"geheim-1234", b"".join(archive.files.values()))

    def test_provenance_max(self):
        provenance = self.statements(self.attested("--attest", "type=provenance,mode=max"))["https://slsa.dev/provenance/v1"]
        request = provenance["buildDefinition"]["externalParameters"]["request"]
        self.assertEqual("argument-value", request["args"]["build-arg:TOKEN"])
        self.assertEqual([{"id": "mysecret"}], request["secrets"])
        text = json.dumps(provenance)
        self.assertIn("COPY root /", text)
        self.assertNotIn("proxy-password", text)
        self.assertNotIn("geheim-1234", text)

    # -- caches ------------------------------------------------------------------------------------------------------

    def test_local_cache_round_trip(self):
        folder, out = self.sources(), self.place()
        first = self.elsewhere("build", "--progress", "plain", "--cache-to", f"type=local,dest={out}/c,mode=max", folder)
        self.assertEqual([], self.steps(first))
        root = self.place()
        second = self.elsewhere("build", "--progress", "plain", "--cache-from", f"type=local,src={out}/c", folder, root=root)
        self.assertEqual(5, len(self.steps(second)), second.stderr)
        # without the source's name, what it said is not believed
        third = self.elsewhere("build", "--progress", "plain", folder, root=root)
        self.assertEqual([], self.steps(third), third.stderr)

    def test_hostile_caches(self):
        folder, out = self.sources(), self.place()
        expected = self.elsewhere("build", "-q", "--cache-to", f"type=local,dest={out}/c,mode=max", folder).stdout
        layout = out / "c"
        blob = lambda digest: layout / "blobs/sha256" / digest[7:]
        index = json.loads((layout / "index.json").read_text())
        manifest = json.loads(blob(index["manifests"][0]["digest"]).read_text())
        document = json.loads(blob(manifest["config"]["digest"]).read_text())

        def wrong_diff_ids(cache):
            for layer in cache["layers"]:
                layer["annotations"]["diffID"] = "sha256:" + "1" * 64
            return cache

        def wrong_blobs(cache):
            for layer in cache["layers"]:
                layer["blob"] = "sha256:" + "2" * 64
            return cache

        def out_of_range(cache):
            cache["records"][0]["layers"][0]["layer"] = 4096
            return cache

        cases = {"wrong diffID": wrong_diff_ids, "wrong blob": wrong_blobs, "no such layer": out_of_range,
                 "cycle": lambda cache: {**cache, "layers": [{**layer, "parent": 0} for layer in cache["layers"]]},
                 "lists": lambda cache: {"layers": {}, "records": 5}, "deep": lambda cache: json.loads("[" * 500 + "]" * 500),
                 "path": lambda cache: {**cache, "layers": [{**layer, "blob": "sha256:../../../etc/passwd"} for layer in cache["layers"]]}}
        for name, change in cases.items():
            with self.subTest(name):
                text = json.dumps(change(json.loads(json.dumps(document)))).encode()
                digest = "sha256:" + hashlib.sha256(text).hexdigest()
                blob(digest).write_bytes(text)
                changed = {**manifest, "config": {**manifest["config"], "digest": digest, "size": len(text)}}
                bytes_ = json.dumps(changed).encode()
                top = "sha256:" + hashlib.sha256(bytes_).hexdigest()
                blob(top).write_bytes(bytes_)
                (layout / "index.json").write_text(json.dumps({**index, "manifests": [{**index["manifests"][0], "digest": top, "size": len(bytes_)}]}))
                root = self.place()
                built = self.elsewhere("build", "-q", "--cache-from", f"type=local,src={layout}", folder, root=root)
                self.assertEqual(expected, built.stdout)
                if name != "cycle":
                    noisy = self.elsewhere("build", "--progress", "plain", "--cache-from", f"type=local,src={layout}", folder)
                    self.assertIn("is not used", noisy.stderr)

    def test_truncated_layers_of_a_cache(self):
        folder, out = self.sources(), self.place()
        expected = self.elsewhere("build", "-q", "--cache-to", f"type=local,dest={out}/c", folder).stdout
        for path in (out / "c/blobs/sha256").iterdir():
            data = path.read_bytes()
            if data.startswith(b"\x1f\x8b"):
                path.write_bytes(data[:-9])
        built = self.elsewhere("build", "-q", "--cache-from", f"type=local,src={out}/c", folder)
        self.assertEqual(expected, built.stdout)


if __name__ == "__main__":
    main()
