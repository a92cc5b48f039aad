#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `dray build` pushes: images, indexes and caches at a real registry, registries that die; and that others load what it makes."""
import hashlib
import json
import shutil
import socket
import subprocess
import threading

from build_harness import OutputTestCase
from harness import Registry, main


class ToRegistry(OutputTestCase):
    """Pushes and caches at a real registry; a registry that dies."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.registry = Registry(cls.scratch)

    @classmethod
    def tearDownClass(cls):
        cls.registry.stop()
        super().tearDownClass()

    def raw(self, name):
        out = subprocess.run(["skopeo", "inspect", "--tls-verify=false", "--raw", f"docker://{name}"], check=True, capture_output=True).stdout
        return json.loads(out), "sha256:" + hashlib.sha256(out).hexdigest()

    def test_push_one_platform(self):
        name = f"{self.registry.address}/one:1"
        self.ok("build", "--push", "-t", name, self.sources())
        manifest, digest = self.raw(name)
        self.assertEqual(self.inspect(name, "Id"), manifest["config"]["digest"])
        self.assertIn(f"{self.registry.address}/one@{digest}", self.inspect(name, "RepoDigests"))

    def test_push_an_index(self):
        name = f"{self.registry.address}/many:1"
        self.ok("build", "--platform", "linux/amd64,linux/arm64", "--provenance", "true", "-o", f"type=registry,name={name}", self.sources())
        index, digest = self.raw(name)
        self.assertEqual(["amd64", "arm64", "unknown", "unknown"], [entry["platform"]["architecture"] for entry in index["manifests"]])
        # the plain commands know the index, too
        again = f"{self.registry.address}/many:2"
        self.ok("tag", name, again)
        self.assertIn(digest, self.ok("push", again))
        self.assertEqual(digest, self.raw(again)[1])
        out = self.place()
        self.elsewhere("build", "--platform", "linux/arm64,linux/amd64", "-o", out, self.context({"Dockerfile": f"FROM {name}\n"}))
        for arch in ("amd64", "arm64"):
            self.assertEqual(f"for {arch}\n", (out / f"linux_{arch}/inline").read_text())

    def test_push_by_digest(self):
        name = f"{self.registry.address}/bydigest"
        self.ok("build", "-o", f"type=image,name={name},push-by-digest=true,store=false", self.sources())
        digest = json.loads(self.ok("build", "-t", "bydigest", "-q", self.sources()) and self.ok("inspect", "bydigest"))[0]["Descriptor"]["digest"]
        self.assertEqual(digest, self.raw(f"{name}@{digest}")[1])
        tags = subprocess.run(["skopeo", "list-tags", "--tls-verify=false", f"docker://{name}"], capture_output=True, text=True)
        self.assertNotIn("latest", tags.stdout)
        self.fails(1, "by digest", "build", "-o", f"type=image,name={name}:1,push-by-digest=true", self.sources())

    def test_registry_cache(self):
        for mode in ("image-manifest=true", "image-manifest=false"):
            with self.subTest(mode):
                folder, name = self.sources(), f"{self.registry.address}/cache-{mode[-4:]}:c"
                self.elsewhere("build", "--cache-to", f"type=registry,ref={name},mode=max,{mode}", folder)
                second = self.elsewhere("build", "--progress", "plain", "--cache-from", name, folder)
                self.assertEqual(5, len(self.steps(second)), second.stderr)

    def test_inline_cache(self):
        folder, name = self.sources(), f"{self.registry.address}/inline:1"
        self.elsewhere("build", "--build-arg", "BUILDKIT_INLINE_CACHE=1", "--push", "-t", name, "-o", "type=image,compression=zstd", folder)
        second = self.elsewhere("build", "--progress", "plain", "--cache-from", name, folder)
        self.assertEqual(5, len(self.steps(second)), second.stderr)

    def test_a_cache_that_is_not_there(self):
        result = self.dray("build", "--cache-from", f"{self.registry.address}/none:1", self.sources())
        self.assertEqual(0, result.code, result)
        self.assertIn("is not used", result.err)

    def test_a_registry_that_dies_half_way(self):
        """It takes the first blob and is gone."""
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]

        def serve():
            for _ in range(4):
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    if connection.recv(65536).startswith(b"GET /v2/ "):
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                    connection.recv(65536)
            listener.close()
        threading.Thread(target=serve, daemon=True).start()
        folder, root, out = self.sources(), self.place(), self.place()
        end = f"type=registry,ref=127.0.0.1:{port}/c:1,mode=max"
        command = self.command("build", "-t", "kept", "-o", "type=image", "-o", out, "--cache-to", end, folder)
        command[command.index("--root") + 1] = str(root / "root")
        died = subprocess.run(command, capture_output=True, text=True, timeout=300)
        listener.close()
        self.assertEqual(1, died.returncode, died.stderr)
        self.assertIn("exporting the build cache", died.stderr)
        self.assertTrue((out / "app/a").exists())
        after = self.elsewhere("build", "--progress", "plain", "-t", "kept", "--cache-to", end + ",ignore-error=true", folder, root=root)
        self.assertEqual(5, len(self.steps(after)), after.stderr)  # the cache is whole
        self.assertIn("WARN: the build cache was not exported", after.stderr)


class OtherEngines(OutputTestCase):
    """What is built here runs elsewhere."""

    def test_podman_and_docker_load_it(self):
        folder, out = self.sources(), self.place()
        self.ok("build", "-t", "interop:1", "-o", f"type=oci,dest={out}/o.tar,compression=zstd", "-o", f"type=docker,dest={out}/d.tar", folder)
        if shutil.which("podman"):
            storage = ["podman", "--root", out / "podman", "--runroot", out / "run", "--storage-driver", "vfs"]
            for archive in ("d.tar", "o.tar"):
                loaded = subprocess.run([*storage, "load", "-i", out / archive], capture_output=True, text=True)
                self.assertEqual(0, loaded.returncode, loaded.stderr)
                self.assertIn("interop:1", loaded.stdout)
            subprocess.run([*storage, "rmi", "-af"], capture_output=True)
        loaded = self.elsewhere("load", "-i", out / "d.tar")
        self.assertIn("interop:1", loaded.stdout)
        if shutil.which("umoci"):
            subprocess.run(["skopeo", "copy", "-q", f"oci-archive:{out}/o.tar", f"oci:{out}/layout:1"], check=True)
            self.ok("build", "-o", f"type=oci,tar=false,dest={out}/plain,name=interop:1", folder)
            subprocess.run(["umoci", "unpack", "--image", f"{out}/plain:1", out / "bundle"], check=True, capture_output=True)
            self.assertEqual("hello\n", (out / "bundle/rootfs/app/a").read_text())


if __name__ == "__main__":
    main()
