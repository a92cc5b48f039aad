#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The client against registries of several makers, all by the same tests: docker-registry, Dray's own, and zot where $DRAY_ZOT names
its program."""
import json
import os
import random
import socket
import subprocess
import threading
import unittest

from fake_registry import INDEX, MANIFEST, ImageOfLayers, digest
from harness import DRAY, Registry, eventually, free_port, main, require
from registry_case import RegistryTestCase, serve_each


class Relay:
    """A TCP relay in front of a registry that cuts one connection: the first that has carried `cut_after` bytes up or down."""

    def __init__(self, port):
        self.port, self.cut, self.up, self.lock = port, None, bytearray(), threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        serve_each(self.listener, self.relay)

    def relay(self, client):
        with client, socket.create_connection(("127.0.0.1", self.port)) as server:
            back = threading.Thread(target=self.pump, args=(server, client, "down"), daemon=True)
            back.start()
            self.pump(client, server, "up")
            back.join()

    def pump(self, source, target, way):
        carried = 0
        try:
            while data := source.recv(65536):
                carried += len(data)
                with self.lock:
                    if way == "up" and len(self.up) < 1 << 28:
                        self.up += data
                    if self.cut and self.cut[0] == way and carried > self.cut[1]:
                        self.cut = None
                        source.shutdown(socket.SHUT_RDWR)
                        target.shutdown(socket.SHUT_RDWR)
                        return
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


class Kind:
    """What every registry must do. `port` is where it listens."""

    def setUp(self):
        super().setUp()
        self.image = ImageOfLayers([300000, 200000], seed=self.id())
        self.folder = self.context({})
        self.address = f"127.0.0.1:{self.port}"
        self.source = self.serve({"x:1": self.image})

    def push(self, name):
        self.ok("image", "copy", "-q", f"docker://{self.source.address}/x:1", f"docker://{self.address}/{name}")

    def raw(self, name):
        return self.ok("image", "inspect", "--remote", "--raw", f"{self.address}/{name}").encode()

    def test_push_and_pull(self):
        name = f"{self.address}/team/app:1"
        self.ok("pull", "-q", f"{self.source.address}/x:1")
        self.ok("tag", f"{self.source.address}/x:1", name)
        out = self.ok("push", name)
        self.assertIn(self.image.digest, out)
        self.assertIn("already exists", self.ok("push", name).lower())
        self.forget(name, f"{self.source.address}/x:1")
        self.assertIn(self.image.digest, self.ok("pull", name))
        self.assertEqual(digest(self.image.config), self.inspect(name, "Id"))
        self.assertIn("up to date", self.ok("pull", f"{self.address}/team/app@{self.image.digest}") + self.ok("pull", name))
        self.forget(name)
        self.fails(1, "not found|does not exist|unknown", "pull", f"{self.address}/team/app:nosuch")
        self.fails(1, "not found|does not exist|unknown|denied", "pull", f"{self.address}/nosuch:1")

    def test_mounts(self):
        self.push("mount/first:1")
        out = self.ok("image", "copy", f"docker://{self.address}/mount/first:1", f"docker://{self.address}/mount/second:1")
        self.assertEqual(len(self.image.blobs), out.count("Mounted from mount/first") + out.count("Already exists"), out)  # zot knows a blob wherever it is
        self.assertEqual(self.image.manifest, self.raw("mount/second:1"))
        self.ok("pull", "-q", f"{self.address}/mount/second:1")
        self.forget(f"{self.address}/mount/second:1")

    def test_lists_and_removal(self):
        for tag in ("a", "b", "c"):
            self.push(f"listed:{tag}")
        self.assertEqual(["a", "b", "c"], sorted(self.ok("image", "tags", f"{self.address}/listed").split()))
        self.assertIn("listed", self.ok("registry", "catalog", self.address).split())
        self.assertIn(f"{self.address}/listed", self.ok("search", "--format", "{{.Name}}", f"{self.address}/iste").split())
        self.ok("registry", "rm", f"{self.address}/listed@{self.image.digest}")
        self.fails(1, "not found|unknown", "image", "inspect", "--remote", "--raw", f"{self.address}/listed:a")

    def test_indexes(self):
        host = json.loads(self.image.config)["architecture"]
        other = ImageOfLayers([1000], seed=1)
        self.source.add("x:tmp", other)
        entries = [{"mediaType": MANIFEST, "digest": image.digest, "size": len(image.manifest), "platform": {"os": "linux", "architecture": name}}
                   for image, name in ((self.image, host), (other, "s390x"))]
        index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
        self.source.manifests["x", "all"] = self.source.manifests["x", digest(index)] = (INDEX, index)
        self.ok("pull", "-q", "--all-platforms", f"{self.source.address}/x:all")
        self.ok("tag", f"{self.source.address}/x:all", f"{self.address}/indexed:1")
        self.ok("push", f"{self.address}/indexed:1")
        self.assertEqual(index, self.raw("indexed:1"))
        self.forget(f"{self.source.address}/x:all", f"{self.address}/indexed:1")
        self.assertIn(digest(index), self.ok("pull", "--all-platforms", f"{self.address}/indexed:1"))
        self.forget(f"{self.address}/indexed:1")

    def test_referrers(self):
        empty = b"{}"
        self.source.blobs[digest(empty)] = empty
        blob = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest(empty), "size": 2}
        signature = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/example.signature", "config": blob, "layers": [blob],
                                "subject": {"mediaType": MANIFEST, "digest": self.image.digest, "size": len(self.image.manifest)}}).encode()
        self.source.manifests["x", digest(signature)] = (MANIFEST, signature)
        self.ok("image", "copy", "--referrers", f"docker://{self.source.address}/x:1", f"docker://{self.address}/signed:1")
        self.ok("image", "copy", "--referrers", f"docker://{self.address}/signed:1", f"oci:{self.folder}/l:t")
        self.assertEqual(signature, (self.folder / "l" / "blobs" / "sha256" / digest(signature)[7:]).read_bytes())

    def big(self):
        """An image of one layer of 24 MiB under x:big, and a relay in front of the registry."""
        image = ImageOfLayers([24 << 20], seed=random.random())
        self.source.add("x:big", image)
        relay = Relay(self.port)
        self.addCleanup(relay.listener.close)
        return image, relay

    def test_a_push_that_breaks_goes_on(self):
        image, relay = self.big()
        relay.cut = ("up", 5 << 20)
        self.ok("image", "copy", "-q", f"docker://{self.source.address}/x:big", f"docker://{relay.address}/broken:push")
        self.assertIsNone(relay.cut)
        self.assertIn(b"PATCH ", relay.up)  # in chunks, after the one request that broke
        self.assertEqual(image.manifest, self.raw("broken:push"))
        self.ok("pull", "-q", f"{self.address}/broken:push")
        self.forget(f"{self.address}/broken:push")

    def test_a_pull_that_breaks_goes_on(self):
        image, relay = self.big()
        self.ok("image", "copy", "-q", f"docker://{self.source.address}/x:big", f"docker://{self.address}/broken:pull")
        relay.cut = ("down", 5 << 20)
        self.assertIn(image.digest, self.ok("pull", f"{relay.address}/broken:pull"))
        self.assertIsNone(relay.cut)
        self.assertRegex(relay.up.decode(errors="replace").lower(), r"\r\nrange: bytes=[1-9]")
        self.check_store()
        self.forget(f"{relay.address}/broken:pull")


class DockerRegistry(Kind, RegistryTestCase):
    @classmethod
    def setUpClass(cls):
        require("docker-registry")
        super().setUpClass()
        registry = Registry(cls.scratch)
        cls.addClassCleanup(registry.stop)
        cls.port = registry.port


class Program(Kind):
    """A registry that is started by a command, and answers when it listens."""

    @classmethod
    def start(cls, port, *command):
        cls.port, words = port, [str(word) for word in command]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        cls.addClassCleanup(process.wait)
        cls.addClassCleanup(process.terminate)

        def answers():
            if process.poll() is not None:
                raise AssertionError(f"{words} ended with {process.returncode}")
            try:
                return socket.create_connection(("127.0.0.1", cls.port), 1).close() is None
            except OSError:
                return False

        eventually(answers, 30, f"{words[0]} answers")


class Own(Program, RegistryTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        port = free_port()
        cls.start(port, DRAY, "registry", "serve", "--listen", f"127.0.0.1:{port}", "--storage", cls.scratch / "own")


@unittest.skipUnless(os.environ.get("DRAY_ZOT"), "set DRAY_ZOT to the path of a zot program (its minimal build will do)")
class Zot(Program, RegistryTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        port = free_port()
        config = cls.scratch / "zot.json"
        config.write_text(json.dumps({"distSpecVersion": "1.1.1", "storage": {"rootDirectory": str(cls.scratch / "zot")}, "log": {"level": "error"},
                                      "http": {"address": "127.0.0.1", "port": str(port), "compat": ["docker2s2"]}}))
        cls.start(port, os.environ["DRAY_ZOT"], "serve", config)


if __name__ == "__main__":
    main()
