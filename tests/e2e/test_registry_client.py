#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Search; blobs that a registry mounts from elsewhere in it; certificates of registries and of ours."""
import json
import pathlib
import shutil
import socket
import subprocess
import threading
import urllib.parse

from fake_registry import ImageOfLayers, digest
from harness import Registry, main, require
from registry_case import RegistryTestCase, serve_each


class Tunnel:
    """An HTTP proxy whose every CONNECT ends at one address, whatever name was asked for."""

    def __init__(self, target):
        self.target, self.asked = target, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        serve_each(self.listener, self.tunnel)

    def tunnel(self, client):
        head = b""
        while b"\r\n\r\n" not in head and (more := client.recv(1)):
            head += more
        self.asked.append(head.split(b"\r\n")[0].decode())
        with client, socket.create_connection(self.target) as server:
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=self.pump, args=(server, client), daemon=True)
            back.start()
            self.pump(client, server)
            back.join()

    @staticmethod
    def pump(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


class Client(RegistryTestCase):
    def setUp(self):
        super().setUp()
        self.image = ImageOfLayers([300000, 2000], seed=self.id())
        self.folder = self.context({})

    def test_search(self):
        results = [{"name": "team/first", "description": "An image.\x1b[31m\n" + "é" * 60, "star_count": 12, "is_official": False},
                   {"name": "second", "description": None, "star_count": 3, "is_official": True}, {"description": "no name"}, 7]
        asked = []

        def index(handler):
            path, _, query = handler.path.partition("?")
            if path != "/v1/search":
                return False
            asked.append(dict(urllib.parse.parse_qsl(query)))
            handler.say(200, json.dumps({"num_results": 2, "results": results}).encode())
            return True

        registry = self.serve(fault=index)
        out = self.ok("search", f"{registry.address}/a b&c").splitlines()
        self.assertEqual({"q": "a b&c", "n": "25"}, asked[0])
        self.assertEqual(["NAME", "DESCRIPTION", "STARS", "OFFICIAL"], out[0].split())
        self.assertEqual(3, len(out))
        described = "An image.[31m" + "é" * 60
        self.assertRegex(out[1], rf"^{registry.address}/team/first +{described[:44].replace('[', '.')}… +12 *$")
        self.assertRegex(out[2], rf"^{registry.address}/second +3 +\[OK\]$")
        self.assertIn(described, self.ok("search", "--no-trunc", f"{registry.address}/a"))
        names = lambda *flags: self.ok("search", "--format", "{{.Name}} {{.StarCount}} {{.IsOfficial}}", *flags, f"{registry.address}/x").splitlines()
        first, second = f"{registry.address}/team/first 12 ", f"{registry.address}/second 3 [OK]"
        self.assertEqual([first, second], names())
        self.assertEqual([first], names("--filter", "stars=4"))
        self.assertEqual([second], names("--filter", "is-official=true"))
        self.assertEqual([], names("--filter", "is-official=true", "-f", "stars=4"))
        self.assertEqual([first], names("--limit", "1"))
        self.assertEqual("1", asked[-1]["n"])
        for flags, error in ((("--limit", "0"), "range"), (("--limit", "101"), "range"), (("--filter", "stars=x"), "a number"),
                             (("--filter", "is-official=maybe"), "true or false"), (("--filter", "colour=red"), "there are: is-official, stars")):
            self.fails(1, error, "search", *flags, "x")
        self.fails(1, "scheme", "search", "https://x/y")

    def test_search_in_a_catalog(self):
        registry = self.serve({f"{name}:1": self.image for name in ("team/one", "team/two", "other", "onetwo")}, page=2)
        names = lambda term, *flags: self.ok("search", "--format", "{{.Name}}", *flags, f"{registry.address}/{term}").splitlines()
        self.assertEqual([f"{registry.address}/{name}" for name in ("onetwo", "team/one")], names("one"))
        self.assertEqual(4, len(names("")))
        self.assertEqual(1, len(names("", "--limit", "1")))
        self.assertEqual([], names("nosuch"))
        closed = self.serve(fault=lambda handler: "_catalog" in handler.path and handler.error(404, "UNSUPPORTED") is None)
        self.fails(1, "not found|does not|catalog", "search", f"{closed.address}/x")

    def test_copies_mount_what_the_registry_has(self):
        require("docker-registry")
        real, registry = Registry(self.folder), self.serve({"x:1": self.image})
        self.addCleanup(real.stop)
        self.ok("image", "copy", f"docker://{registry.address}/x:1", f"docker://{real.address}/first:1")
        out = self.ok("image", "copy", f"docker://{real.address}/first:1", f"docker://{real.address}/team/second:1")
        self.assertEqual(len(self.image.blobs), out.count("Mounted from first"), out)
        # From the local store, too: what it pulled from there is there.
        self.ok("pull", "-q", f"{real.address}/first:1")
        out = self.ok("image", "copy", f"local:{real.address}/first:1", f"docker://{real.address}/third:1")
        self.assertEqual(len(self.image.blobs), out.count("Mounted from first"), out)
        self.forget(f"{real.address}/first:1")
        for name in ("team/second", "third"):
            self.assertEqual(self.image.manifest.decode(), self.ok("image", "inspect", "--remote", "--raw", f"{real.address}/{name}:1"))
            self.ok("pull", "-q", f"{real.address}/{name}:1")
            self.forget(f"{real.address}/{name}:1")

    def test_a_registry_that_mounts_nothing(self):
        """An upload that it began instead is called off, and the blob is sent."""
        begun = []

        def fault(handler):
            if handler.command == "HEAD" and "/blobs/" in handler.path and "/second/" in handler.path and len(begun) < len(self.image.blobs):
                handler.error(404, "BLOB_UNKNOWN")
                return True
            if handler.command == "POST" and "mount=" in handler.path:
                begun.append(handler.path)
                handler.body()
                handler.say(202, headers={"Location": "/v2/second/blobs/uploads/no"})
                return True
            return False

        registry = self.serve({"first:1": self.image}, fault=fault)
        out = self.ok("image", "copy", f"docker://{registry.address}/first:1", f"docker://{registry.address}/second:1")
        self.assertNotIn("Mounted", out)
        self.assertEqual(len(self.image.blobs), len(begun))
        self.assertEqual(len(begun), len(registry.requests("DELETE /v2/second/blobs/uploads/no")))
        self.assertEqual(self.image.manifest, registry.manifests["second", "1"][1])

    def certificate(self, name, *extra):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={name}", *extra,
                        "-keyout", self.folder / f"{name}.key", "-out", self.folder / f"{name}.crt"], check=True, capture_output=True)

    def test_certificates(self):
        """Not on loopback, where certificates are not looked at: under a name that only a proxy can reach."""
        require("openssl")
        host = f"{self.folder.name.lower().replace('_', '-')}.invalid"
        self.certificate("server", "-addext", f"subjectAltName=DNS:{host}")
        self.certificate("client")
        registry = self.serve({"x:1": self.image}, tls=(self.folder / "server.crt", self.folder / "server.key", self.folder / "client.crt"))
        tunnel = Tunnel(("127.0.0.1", registry.server.server_port))
        self.addCleanup(tunnel.listener.close)
        env = {"HTTPS_PROXY": tunnel.url, "https_proxy": tunnel.url, "NO_PROXY": "", "no_proxy": "", "DOCKER_CONFIG": str(self.folder)}
        self.fails(1, "certificate", "pull", f"{host}/x:1", env=env)
        for place in (pathlib.Path("/etc/containers/certs.d"), pathlib.Path("/etc/docker/certs.d"), self.folder / "certs.d"):
            missing = [parent for parent in (place, *place.parents) if not parent.exists()]
            certificates = place / host
            certificates.mkdir(parents=True)
            try:
                shutil.copy(self.folder / "server.crt", certificates / "ca.crt")
                self.fails(1, "does not accept us without another client certificate", "pull", f"{host}/x:1", env=env)  # ours is wanted
                shutil.copy(self.folder / "client.crt", certificates / "client.cert")
                self.fails(1, "missing key", "pull", f"{host}/x:1", env=env)
                shutil.copy(self.folder / "client.key", certificates / "client.key")
                self.assertIn(self.image.digest, self.ok("pull", f"{host}/x:1", env=env))
            finally:
                shutil.rmtree(certificates)
                for folder in missing:
                    folder.rmdir()
            self.forget(f"{host}/x:1")
        self.assertEqual({f"CONNECT {host}:443 HTTP/1.1"}, set(tunnel.asked))


if __name__ == "__main__":
    main()
