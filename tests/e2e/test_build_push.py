#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `dray build` pushes: images, indexes and caches at a real registry, registries that die; and that others load what it makes."""
import hashlib
import http.server
import json
import shutil
import socket
import subprocess
import threading

from build_harness import OutputTestCase
from harness import Registry, main


class DyingRegistry(http.server.ThreadingHTTPServer):
    """Takes one whole blob; in the middle of the next it dies: connections are cut, and nobody listens any more."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), DyingHandler)
        self.address = f"127.0.0.1:{self.server_address[1]}"
        self.taken, self.log, self.lock, self.dead = 0, [], threading.Lock(), threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def die(self):
        if not self.dead.is_set():
            self.dead.set()
            self.socket.close()

    def handle_error(self, *_):
        pass

    def close(self):
        self.shutdown()
        self.die()


class DyingHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, code, **headers):
        self.send_response(code)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def handle_one_request(self):
        if self.server.dead.is_set():
            self.close_connection = True
            return self.connection.close()
        super().handle_one_request()

    def do_GET(self):
        self.answer(200 if self.path == "/v2/" else 404)

    do_HEAD = do_GET

    def do_POST(self):
        self.answer(202, Location=f"{self.path}upload")

    def upload(self):
        with self.server.lock:
            self.server.log.append(f"{self.command} {self.path} {self.headers}")
            size = int(self.headers.get("Content-Length") or -1)
            if self.server.taken == 1:
                self.rfile.read(5)
                self.server.die()
                self.close_connection = True
                return self.connection.shutdown(socket.SHUT_RDWR)
            if size >= 0:
                self.rfile.read(size)
            else:
                while (length := int(self.rfile.readline(), 16)) > 0:
                    self.rfile.read(length + 2)
                self.rfile.readline()
            if self.command == "PUT":
                self.server.taken = 1
                return self.answer(201)
            self.answer(202, Location=self.path, Range=f"0-{size - 1}")

    do_PUT = do_PATCH = upload

    def log_message(self, *_):
        pass


class ToRegistry(OutputTestCase):
    """Pushes and caches at a real registry; a registry that dies."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.registry = Registry(cls.scratch)
        cls.addClassCleanup(cls.registry.stop)

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
        """It takes the first blob, begins with the second, and is gone."""
        registry = DyingRegistry()
        self.addCleanup(registry.close)
        folder, root, out = self.sources(), self.place(), self.place()
        end = f"type=registry,ref={registry.address}/c:1,mode=max"
        command = self.command("build", "-t", "kept", "-o", "type=image", "-o", out, "--cache-to", end, folder)
        command[command.index("--root") + 1] = str(root / "root")
        died = subprocess.run(command, capture_output=True, text=True, timeout=300)
        self.assertEqual(1, died.returncode, died.stderr)
        self.assertIn("exporting the build cache", died.stderr)
        self.assertRegex(died.stderr, r"(?m)^dray: .+")
        self.assertEqual(1, registry.taken, registry.log)
        self.assertTrue((out / "app/a").exists())
        self.assertEqual([], list((root / "root/tmp").glob("*")))
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
