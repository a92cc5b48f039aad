#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""system df, system check, the prune commands, export and import, on a store of their own."""
import functools
import http.server
import json
import os
import subprocess
import tarfile
import threading

from harness import BASE_IMAGE, DrayTestCase, eventually, main


class Disk(DrayTestCase):
    def usage(self):
        rows = [json.loads(line) for line in self.ok("system", "df", "--format", "json").splitlines()]
        return {row["Type"]: row for row in rows}

    def test_df(self):
        head = self.ok("system", "df").splitlines()
        self.assertEqual(["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"], head[0].split())
        self.assertEqual(["Images", "Containers", "Local Volumes", "Build Cache"], [line.split("  ")[0] for line in head[1:]])
        before = self.usage()
        self.assertEqual("1", before["Images"]["TotalCount"])
        self.assertEqual("0", before["Images"]["Active"])
        self.assertRegex(before["Images"]["Reclaimable"], r"^\d.*B \(100%\)$")
        self.ok("run", "--name", "writer", "--network", "none", "-v", "kept:/data", BASE_IMAGE, "sh", "-c",
                "head -c 3000000 /dev/urandom > /big; head -c 2000000 /dev/urandom > /data/big; sync")
        self.ok("volume", "create", "unused")
        after = self.usage()
        self.assertEqual("1", after["Images"]["Active"])
        self.assertRegex(after["Images"]["Reclaimable"], r"^0B \(0%\)$")
        self.assertEqual(("1", "0"), (after["Containers"]["TotalCount"], after["Containers"]["Active"]))
        self.assertRegex(after["Containers"]["Size"], r"^3(\.\d+)?MB$")
        self.assertEqual(("2", "1"), (after["Local Volumes"]["TotalCount"], after["Local Volumes"]["Active"]))
        self.assertRegex(after["Local Volumes"]["Size"], r"^2(\.\d+)?MB$")
        verbose = self.ok("system", "df", "-v")
        for text in ("Images space usage:", "Containers space usage:", "Local Volumes space usage:", "Build cache usage: 0B", "writer", "kept"):
            self.assertIn(text, verbose)
        self.fails(1, "conflict", "system", "df", "-v", "--format", "json")
        self.ok("rm", "writer")
        self.ok("volume", "rm", "kept", "unused")

    def test_info(self):
        name = self.ok("create", "--network", "none", BASE_IMAGE, "true").strip()
        self.addCleanup(self.dray, "rm", name)
        self.ok("tag", BASE_IMAGE, "second-name")
        self.addCleanup(self.dray, "rmi", "second-name")
        info = json.loads(self.ok("info", "-f", "json"))
        self.assertEqual((1, 0, 1, 1), (info["Containers"], info["ContainersRunning"], info["ContainersStopped"], info["Images"]))
        driver = json.loads(self.ok("image", "inspect", BASE_IMAGE))[0]["GraphDriver"]["Name"]
        self.assertEqual(f"{driver} {os.uname().release}\n", self.ok("system", "info", "--format", "{{.Driver}} {{.KernelVersion}}"))
        lines = self.ok("info").splitlines()
        self.assertIn(f"Storage Driver: {driver}", lines)
        self.assertIn(f"Docker Root Dir: {info['DockerRootDir']}", lines)
        self.assertIn(f"CPUs: {len(os.sched_getaffinity(0))}", lines)
        self.fails(125, "accepts no arguments", "info", "operand")

    def test_prune_containers(self):
        for name, label in (("first", "keep=yes"), ("second", "keep=no")):
            self.ok("run", "--name", name, "--label", label, "--network", "none", BASE_IMAGE, "sh", "-c", "echo x > /x")
        self.ok("run", "-d", "--name", "busy", "--network", "none", BASE_IMAGE, "sleep", "100")
        identifier = self.inspect("second", "Id")
        declined = self.dray("container", "prune", input="n\n")
        self.assertEqual(1, declined.code)
        self.assertEqual("WARNING! This will remove all stopped containers.\nAre you sure you want to continue? [y/N] ", declined.out)
        self.assertEqual("Total reclaimed space: 0B\n", self.ok("container", "prune", "-f", "--filter", "until=1h"))
        out = self.ok("container", "prune", "--filter", "label!=keep=yes", input="y\n")
        self.assertRegex(out, rf"Deleted Containers:\n{identifier}\n\nTotal reclaimed space: \S+B\n$")
        self.assertEqual({"first", "busy"}, set(self.ok("ps", "-a", "--format", "{{.Names}}").split()))
        self.ok("container", "prune", "-f", "--filter", "label=keep")
        self.assertEqual(["busy"], self.ok("ps", "-a", "--format", "{{.Names}}").split())
        self.fails(1, "invalid filter", "container", "prune", "-f", "--filter", "colour=red")

    def test_prune_images(self):
        self.build(f"FROM {BASE_IMAGE}\nLABEL kind=old\nRUN head -c 4000000 /dev/urandom > /x\n", tag="scrap:1")
        old = self.inspect("scrap:1", "Id")
        self.build(f"FROM {BASE_IMAGE}\nLABEL kind=new\nRUN head -c 4000000 /dev/urandom > /y\n", tag="scrap:1")
        self.ok("builder", "prune", "-a", "-f")
        self.assertEqual("Total reclaimed space: 0B\n", self.ok("image", "prune", "-f", "--filter", "until=24h"))
        self.assertEqual("Total reclaimed space: 0B\n", self.ok("image", "prune", "-f", "--filter", "label=kind=new"))
        out = self.ok("image", "prune", input="y\n")
        self.assertIn("WARNING! This will remove all dangling images.\nAre you sure you want to continue? [y/N] ", out)
        self.assertRegex(out, rf"Deleted Images:\ndeleted: {old}\n\nTotal reclaimed space: 8(\.\d+)?MB\n$")
        self.ok("run", "--name", "holder", "--network", "none", BASE_IMAGE, "true")
        out = self.ok("image", "prune", "-a", "-f")
        self.assertRegex(out, r"untagged: scrap:1\ndeleted: sha256:")
        self.assertNotIn("bookworm", out)
        self.ok("rm", "holder")
        self.ok("system", "check")

    def test_prune_volumes(self):
        self.ok("volume", "create", "named")
        anonymous = self.ok("volume", "create").strip()
        self.ok("run", "--name", "user", "--network", "none", "-v", "used:/data", BASE_IMAGE, "true")
        out = self.ok("volume", "prune", input="y\n")
        self.assertIn("WARNING! This will remove anonymous local volumes not used by at least one container.", out)
        self.assertRegex(out, rf"Deleted Volumes:\n{anonymous}\n\nTotal reclaimed space: ")
        self.assertRegex(self.ok("volume", "prune", "-a", "-f"), r"Deleted Volumes:\nnamed\n\n")
        self.assertEqual(["used"], self.ok("volume", "ls", "-q").split())
        self.ok("rm", "user")
        self.ok("volume", "rm", "used")


class Check(DrayTestCase):
    def blob(self, digest):
        return self.root / "content" / "blobs" / digest.replace(":", "/")

    def test_whole(self):
        self.build(f"FROM {BASE_IMAGE}\nRUN echo 1 > /1\nRUN echo 2 > /2\n", tag="built")
        self.ok("create", "--name", "standing", "built")
        out = self.ok("system", "check")
        self.assertRegex(out, r"^Checked \d+ blobs \(\d.*B\), \d+ layers, 2 images, 1 containers, \d+ build-cache records: nothing is wrong\n$")
        self.assertEqual("", self.ok("system", "check", "-q"))
        self.ok("rm", "standing")
        self.ok("rmi", "built")

    def test_damaged_layer_blob_is_healed_by_loading_again(self):
        manifest = json.loads(self.ok("image", "inspect", "--raw", BASE_IMAGE))
        layer = self.blob(manifest["layers"][0]["digest"])
        good = layer.read_bytes()
        archive = self.scratch / "good.tar"
        self.ok("save", "-o", archive, BASE_IMAGE)
        with layer.open("r+b") as file:
            file.seek(len(good) // 2)
            file.write(bytes([good[len(good) // 2] ^ 1]))
        found = self.dray("system", "check")
        self.assertEqual(1, found.code)
        self.assertRegex(found.out, rf"blob {layer.parent.name}:{layer.name}: its bytes have digest")
        self.assertRegex(found.out, r"image debian:bookworm: layer 1 blob .* is missing or damaged\n  this means: it runs, but")
        self.assertEqual("ok\n", self.run_in("echo ok"))
        repaired = self.dray("system", "check", "--repair")
        self.assertEqual(1, repaired.code, "the image is not whole yet")
        self.assertIn("repaired: removed", repaired.out)
        self.assertIn("pull, load or build debian:bookworm again", repaired.out)
        self.assertFalse(layer.exists())
        self.ok("load", "-q", "-i", archive)
        self.ok("system", "check")
        self.assertEqual(good, layer.read_bytes())

    def test_lost_layer_is_unpacked_again(self):
        self.build("FROM scratch\nCOPY file /\n", {"file": "text"}, tag="small")
        (directory,) = [path.parent for path in (self.root / "snapshots").glob("*/fs/file")]
        subprocess.run(["rm", "-rf", directory], check=True)
        self.assertEqual(1, self.dray("system", "check").code)
        self.assertIn("unpacked again", self.ok("system", "check", "--repair"))
        self.ok("system", "check")
        self.assertEqual(1, len(list((self.root / "snapshots").glob("*/fs/file"))))
        self.ok("rmi", "small")

    def test_container_without_its_directory(self):
        self.ok("create", "--name", "broken", BASE_IMAGE)
        (upper,) = (self.root / "snapshots").glob("*/upper")
        upper.rmdir()
        found = self.dray("system", "check")
        self.assertEqual(1, found.code)
        self.assertRegex(found.out, r"container broken: its snapshots/\d+/upper is gone\n  this means: it does not start")
        self.ok("rm", "broken")
        self.ok("system", "check")

    def test_beside_a_build(self):
        folder = self.context({"Dockerfile": f"FROM {BASE_IMAGE}\n" + "".join(f"RUN echo {i} > /{i}; sleep 0.1\n" for i in range(10))})
        build = subprocess.Popen(self.command("build", "--no-cache", "-t", "beside", folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            checks = 0
            while build.poll() is None:
                self.ok("system", "check")
                checks += 1
        finally:
            build.wait()
        self.assertEqual(0, build.returncode)
        self.assertGreater(checks, 1)
        self.ok("rmi", "beside")


class FileTrees(DrayTestCase):
    def entries(self, archive):
        with tarfile.open(archive) as tar:
            return {member.name: member for member in tar}

    def test_export_and_import(self):
        self.build(f"FROM {BASE_IMAGE}\nRUN rm /etc/issue; mkdir /d; echo text > /d/file; ln /d/file /d/hard; ln -s file /d/soft; chmod 4755 /d/file; mkfifo /d/pipe\n",
                   tag="origin")
        self.ok("run", "-d", "--name", "exported", "--network", "none", "-v", "apart:/apart", "origin", "sh", "-c",
                "rm /etc/motd /d/soft; echo own > /own; echo hidden > /apart/x; touch /.wh.odd; touch /ready; sleep 100")
        eventually(lambda: self.dray("exec", "exported", "test", "-e", "/ready").code == 0, what="the container has written")
        archive = self.scratch / "tree.tar"
        self.ok("export", "-o", archive, "exported")
        entries = self.entries(archive)
        for gone in ("etc/issue", "etc/motd", "d/soft", "apart/x"):
            self.assertNotIn(gone, entries)
        self.assertIn("apart", entries)
        self.assertIn(".wh.odd", entries)
        self.assertEqual(0o4755, entries["d/file"].mode)
        self.assertEqual("d/file", entries["d/hard"].linkname)
        self.assertTrue(entries["d/pipe"].isfifo())
        self.ok("exec", "exported", "rm", "/.wh.odd")
        self.ok("stop", "-t", "0", "exported")
        stopped = self.dray("export", "exported", text=False)
        self.assertEqual(0, stopped.code)
        archive.write_bytes(stopped.out)
        self.assertEqual(set(entries) - {".wh.odd"}, set(self.entries(archive)))
        self.ok("rm", "exported")
        self.ok("volume", "rm", "apart")

        identifier = self.ok("import", "-m", "from a tree", "-c", 'CMD ["cat", "/own"]', "-c", "ENV A=b", archive, "tree:1").strip()
        self.assertEqual(identifier, self.inspect("tree:1", "Id"))
        self.assertEqual("own\n", self.ok("run", "--rm", "--network", "none", "tree:1"))
        self.assertEqual(["A=b"], [word for word in self.inspect("tree:1", "Config.Env") if word.startswith("A=")])
        self.assertIn("from a tree", self.ok("history", "--format", "{{.Comment}}", "tree:1"))
        self.assertEqual("text\n", self.ok("run", "--rm", "--network", "none", "tree:1", "cat", "/d/hard"))
        plain = self.ok("import", archive).strip()
        self.assertIn("<none>", self.ok("images"))
        self.assertIn(f"Imported from {archive}", self.ok("history", "--format", "{{.Comment}}", plain))
        self.ok("rmi", plain, "tree:1", "origin")
        self.ok("system", "check")

    def test_import_from_stdin_and_url(self):
        folder = self.scratch / "web"
        folder.mkdir()
        (folder / "file").write_text("text")
        subprocess.run(["tar", "-C", folder, "-czf", folder / "tree.tgz", "file"], check=True)
        with open(folder / "tree.tgz", "rb") as tree:
            result = subprocess.run(self.command("import", "-", "piped"), stdin=tree, capture_output=True)
        self.assertEqual(0, result.returncode, result.stderr)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(QuietHandler, directory=folder)) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            address = f"http://127.0.0.1:{server.server_address[1]}"
            self.ok("import", f"{address}/tree.tgz", "fetched")
            self.fails(1, "404", "import", f"{address}/absent.tgz", "never")
            server.shutdown()
        layers = {self.inspect(name, "RootFS.Layers")[0] for name in ("piped", "fetched")}
        self.assertEqual(1, len(layers))
        self.ok("rmi", "piped", "fetched")

    def test_refused(self):
        bad = self.scratch / "bad"
        bad.write_bytes(os.urandom(5000))
        self.fails(1, "importing", "import", bad, "never")
        bad.write_bytes(b"")
        self.fails(1, "empty", "import", bad, "never")
        with tarfile.open(bad, "w") as tar:
            link = tarfile.TarInfo("out")
            link.type, link.linkname = tarfile.SYMTYPE, "/"
            tar.addfile(link)
            tar.addfile(tarfile.TarInfo("out/../../escape"))
        self.fails(1, "escape", "import", bad, "never")
        for change in ("RUN true", "FROM x", "COPY a b", "CMD a\nRUN b"):
            self.fails(1, "change", "import", "-c", change, bad, "never")
        self.fails(1, "No such container", "export", "absent")
        self.assertNotIn("never", self.ok("images"))
        self.ok("system", "prune", "-f")
        self.assertNotIn("Nothing refers to", self.ok("system", "check"))


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


if __name__ == "__main__":
    main()
