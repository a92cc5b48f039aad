#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""dray registry serve: everybody's clients, hostile ones, kills, a full disk, passwords, TLS, and as a pull-through cache."""
import base64
import concurrent.futures
import hashlib
import http.client
import json
import os
import pathlib
import random
import signal
import socket
import ssl
import subprocess
import tarfile
import threading
import time

from harness import BASE_IMAGE, DRAY, DrayTestCase, Registry, base_archive, eventually, main, require
from peers import Buildah, Docker, Podman

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Served:
    """A registry of ours on a free port of loopback."""

    def __init__(self, folder, *flags, storage=None, listen="127.0.0.1:0", env=None):
        self.folder = pathlib.Path(folder)
        self.storage = pathlib.Path(storage or self.folder / f"registry-{random.randrange(1 << 40):x}")
        self.flags, self.listen, self.env = flags, listen, {**os.environ, **(env or {})}
        self.start()

    def start(self):
        self.log_path = self.folder / f"{self.storage.name}.log"
        with open(self.log_path, "a") as log:
            begin = log.tell()
            self.process = subprocess.Popen([DRAY, "registry", "serve", "--listen", self.listen, "--storage", self.storage, *self.flags],
                                            stdin=subprocess.DEVNULL, stderr=log, env=self.env)
        found = eventually(lambda: self.process.poll() is not None or self.log()[begin:].partition("://")[2].partition(" from")[0], 15, "it serves")
        if found is True:
            raise AssertionError(self.log())
        self.address = self.listen = found
        self.port = int(found.rpartition(":")[2])

    def log(self):
        return self.log_path.read_text()

    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def push_blob(self, name, data):
        return self.request("POST", f"/v2/{name}/blobs/uploads/?digest={sha256(data)}", data)[0]

    def push_image(self, name, tag, layer=b"layer", config=b"{}"):
        for data in (layer, config):
            assert self.push_blob(name, data) == 201
        descriptors = [{"mediaType": "application/x", "digest": sha256(data), "size": len(data)} for data in (config, layer)]
        manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptors[0], "layers": descriptors[1:]}).encode()
        status, _, text = self.request("PUT", f"/v2/{name}/manifests/{tag}", manifest, {"Content-Type": MANIFEST})
        assert status == 201, text
        return manifest

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(20)

    def damage(self):
        """What is wrong with the files: nothing may be."""
        blobs = self.storage / "content/blobs"
        return [path for path in blobs.glob("*/*") if hashlib.new(path.parent.name, path.read_bytes()).hexdigest() != path.name]


class Clients(DrayTestCase):
    @classmethod
    def setUpClass(cls):
        require("skopeo")
        super().setUpClass()
        cls.addClassCleanup(super().tearDownClass)
        cls.registry = Served(cls.scratch)
        cls.addClassCleanup(cls.registry.stop)
        cls.peers = {}
        for kind in (Podman, Buildah, Docker):
            cls.peers[kind] = kind(cls.scratch / kind.__name__.lower())
            cls.addClassCleanup(cls.peers[kind].stop)
        cls.base = f"{cls.registry.address}/team/base:1"
        for command in (("tag", BASE_IMAGE, cls.base), ("push", cls.base)):
            done = cls.dray(*command)
            if done.code != 0:
                raise AssertionError(f"dray {command}: {done}")

    @classmethod
    def tearDownClass(cls):
        pass

    def skopeo(self, *arguments):
        return subprocess.run(["skopeo", *map(str, arguments)], check=True, capture_output=True, text=True).stdout

    def config_of(self, name):
        return json.loads(self.skopeo("inspect", "--tls-verify=false", "--raw", f"docker://{name}"))["config"]["digest"]

    def round_trip(self, kind, *flags):
        peer = self.peers[kind]
        if peer.missing:
            self.skipTest(peer.missing)
        name = f"{self.registry.address}/{kind.__name__.lower()}/base:1"
        peer.ok("pull", *flags, self.base)
        peer.ok("tag", self.base, name)
        peer.ok("push", *flags, name)
        self.assertEqual(self.config_of(self.base), self.config_of(name))
        peer.ok("rmi", name, self.base)
        peer.ok("pull", *flags, name)
        peer.ok("rmi", name)
        peer.settle()
        self.ok("pull", name)
        self.assertEqual("ok\n", self.ok("run", "--rm", "--network", "none", name, "echo", "ok"))
        self.ok("rmi", name)

    def test_docker(self):
        self.round_trip(Docker)

    def test_podman(self):
        self.round_trip(Podman, "--tls-verify=false")

    def test_buildah(self):
        self.round_trip(Buildah, "--tls-verify=false")

    def test_skopeo(self):
        name = f"{self.registry.address}/skopeo"
        for form in ("v2s2", "oci"):
            self.skopeo("copy", "--dest-tls-verify=false", "--format", form, f"docker-archive:{base_archive()}", f"docker://{name}:{form}")
            self.skopeo("copy", "--src-tls-verify=false", f"docker://{name}:{form}", f"dir:{self.scratch}/{form}")
        self.assertEqual(["oci", "v2s2"], json.loads(self.skopeo("list-tags", "--tls-verify=false", f"docker://{name}"))["Tags"])
        self.skopeo("delete", "--tls-verify=false", f"docker://{name}:oci")
        self.assertEqual(["v2s2"], json.loads(self.skopeo("list-tags", "--tls-verify=false", f"docker://{name}"))["Tags"])

    def test_dray(self):
        name = f"{self.registry.address}/dray:1"
        self.ok("tag", BASE_IMAGE, name)
        identifier = self.inspect(name, "Id")
        self.ok("push", name)
        self.assertIn("already exists", self.ok("push", name).lower())
        self.ok("rmi", name)
        self.ok("pull", name)
        self.assertEqual(identifier, self.inspect(name, "Id"))
        self.ok("rmi", name)


class Server(DrayTestCase):
    needs_base = False

    def serve(self, *flags, **options):
        registry = Served(self.scratch, *flags, **options)
        self.addCleanup(lambda: registry.process.poll() is None and registry.stop(signal.SIGKILL))
        return registry

    def test_help_and_wrong_flags(self):
        self.assertIn("--proxy", self.ok("registry", "serve", "--help"))
        self.fails(125, "unknown flag", "registry", "serve", "--no-such")
        for flags, pattern in ((("--listen", "0.0.0.0:0"), "not on loopback"), (("--listen", "nonsense"), "no address"),
                               (("--tls-cert", "/dev/null"), "belong together"), (("--htpasswd", "/nonexistent"), "No such file|no such file"),
                               (("--htpasswd", "/dev/null"), "no users"), (("--proxy", "ftp://x"), "--proxy"),
                               (("--proxy", "http://x/path"), "host and a port")):
            self.fails(1, pattern, "registry", "serve", "--listen", "127.0.0.1:0", *flags)

    def test_one_registry_a_folder(self):
        registry = self.serve()
        self.fails(1, "another registry", "registry", "serve", "--listen", "127.0.0.1:0", "--storage", registry.storage)
        self.fails(1, "another registry", "registry", "gc", "--storage", registry.storage)
        self.assertEqual(0, registry.stop())
        self.assertIn("Removed 0 blobs", self.ok("registry", "gc", "--storage", registry.storage))

    def test_names_that_are_made_to_point_at_loopback_are_refused(self):
        registry = self.serve()
        for host, status in (("evil.example", 403), (f"evil.example:{registry.port}", 403), (f"localhost:{registry.port}", 200), ("127.0.0.1", 200)):
            self.assertEqual(status, registry.request("GET", "/v2/", None, {"Host": host})[0], host)

    def test_hostile_requests(self):
        registry = self.serve()
        registry.push_image("a", "t")
        files = sorted(registry.storage.rglob("*"))
        digest = sha256(b"layer")
        requests = [b"", b"\0" * 100, b"GET", b"GET /v2/\r\n\r\n", b"\r\n" * 1000, b"\x16\x03\x01" + b"x" * 500,
                    b"GET " + b"/" * 300000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
                    b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n" + b"A: " + b"b" * 300000 + b"\r\n\r\n",
                    b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 60000 + b"\r\n",
                    b"GET /v2/ HTTP/9.9\r\nHost: localhost\r\n\r\n", b"G\0T /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
                    b"PUT /v2/a/manifests/t HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
                    b"PUT /v2/a/manifests/t HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n",
                    b"PUT /v2/a/manifests/t HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nx",
                    b"PUT /v2/a/manifests/t HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nx",
                    b"PATCH /v2/a/blobs/uploads/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"]
        for request in requests:
            with socket.create_connection(("127.0.0.1", registry.port), 10) as connection:
                try:
                    connection.sendall(request)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass
                except OSError:
                    pass
            self.assertEqual(200, registry.request("GET", "/v2/")[0], request[:60])
        for path in ("/v2/../../etc/passwd", "/v2/a/../../../etc/manifests/passwd", "/v2/a/manifests/..%2f..%2fetc", "/v2/%2e%2e/tags/list",
                     "/v2/a/blobs/sha256:..%2F..%2Fregistry.db", "/v2/a/blobs/uploads/..%2f..", "/v2/a%00/tags/list", "/v2/a/tags/list?n=-1",
                     f"/v2/{'a/' * 5000}a/tags/list", f"/v2/a/referrers/{'x' * 20000}", f"/v2/b/blobs/{digest}", f"/v2/a/blobs/{digest.upper()}"):
            for method in ("GET", "PUT", "DELETE", "PATCH", "TRACE", "NOSUCH"):
                status, _, body = registry.request(method, path, b"x" if method in ("PUT", "PATCH") else None)
                self.assertIn(status, (400, 404, 405, 414, 431), f"{method} {path[:80]}: {body[:200]}")
        self.assertEqual(files, sorted(registry.storage.rglob("*")))
        self.assertNotIn("\0", registry.log())
        self.assertIsNone(registry.process.poll())

    def test_an_upload_goes_on_after_a_lost_connection(self):
        registry = self.serve()
        data = random.randbytes(3 << 20)
        location = registry.request("POST", "/v2/a/blobs/uploads/")[1]["Location"]
        with socket.create_connection(("127.0.0.1", registry.port), 10) as connection:
            connection.sendall(f"PATCH {location} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data[:2 << 20])
            eventually(lambda: list((registry.storage / "content/ingest").iterdir())[0].stat().st_size > 1 << 20, what="bytes arrive")
        status, headers, _ = registry.request("GET", location)
        self.assertEqual(204, status)
        begin = int(headers["Range"].partition("-")[2]) + 1
        self.assertGreater(begin, 1 << 20)
        rest = {"Content-Range": f"{begin}-{len(data) - 1}"}
        self.assertEqual(201, registry.request("PUT", f"{location}?digest={sha256(data)}", data[begin:], rest)[0])
        self.assertEqual(data, registry.request("GET", f"/v2/a/blobs/{sha256(data)}")[2])

    def test_kill_9_at_any_moment(self):
        storage = self.scratch / "killed"
        promised = {}
        for attempt in range(6):
            registry = self.serve(storage=storage)
            end = threading.Event()

            def pusher(number):
                while not end.is_set():
                    try:
                        layer = random.randbytes(random.randrange(1, 1 << 20))
                        tag = f"t{number}-{random.randrange(5)}"
                        manifest = registry.push_image("a", tag, layer)
                        promised[tag] = (manifest, sha256(layer))
                        time.sleep(random.random() / 50)
                    except (OSError, http.client.HTTPException):
                        promised.pop(tag, None)     # the old or the new
                        return

            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                jobs = [pool.submit(pusher, number) for number in range(4)]
                time.sleep(0.3 + random.random())
                registry.stop(signal.SIGKILL)
                end.set()
                for job in jobs:
                    job.result()
        registry = self.serve(storage=storage)
        self.assertEqual([], list((storage / "content/ingest").iterdir()))
        self.assertEqual([], registry.damage())
        self.assertTrue(promised)
        tags = json.loads(registry.request("GET", "/v2/a/tags/list")[2])["tags"]
        for tag in tags:
            status, _, manifest = registry.request("GET", f"/v2/a/manifests/{tag}")
            self.assertEqual(200, status)
            for part in json.loads(manifest)["layers"] + [json.loads(manifest)["config"]]:
                self.assertEqual(200, registry.request("HEAD", f"/v2/a/blobs/{part['digest']}")[0])
        for tag, (manifest, _) in promised.items():
            self.assertEqual(manifest, registry.request("GET", f"/v2/a/manifests/{tag}")[2])

    def test_full_disk(self):
        storage = self.scratch / "small"
        storage.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "small", storage], check=True)
        self.addCleanup(lambda: subprocess.run(["umount", storage], check=True))
        registry = Served(self.scratch, storage=storage)
        self.addCleanup(registry.stop)
        self.assertEqual(201, registry.push_blob("a", b"before"))
        status, _, body = registry.request("POST", f"/v2/a/blobs/uploads/?digest={sha256(bytes(12 << 20))}", bytes(12 << 20))
        self.assertEqual(507, status)
        self.assertIn(b"no space left", body)
        # The file and its space go when the connection's end is seen to.
        eventually(lambda: not list((storage / "content/ingest").iterdir()))
        eventually(lambda: registry.push_blob("a", b"after") == 201)
        registry.push_image("a", "t")
        self.assertEqual([], registry.damage())

    def test_the_same_blob_at_once_and_deleted_while_read(self):
        registry = self.serve()
        data = random.randbytes(4 << 20)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            self.assertEqual({201}, set(pool.map(lambda n: registry.push_blob(f"r{n % 3}", data), range(16))))
            blob = f"/blobs/{sha256(data)}"

            def work(n):
                name = f"/v2/r{n % 3}"
                if n % 4 == 0:
                    return registry.request("DELETE", name + blob)[0] in (202, 404)
                if n % 4 == 1:
                    return registry.push_blob(f"r{n % 3}", data) == 201
                status, _, body = registry.request("GET", name + blob)
                return (status, body) == (200, data) or status == 404

            self.assertTrue(all(pool.map(work, range(80))))
        self.assertEqual([], registry.damage())
        self.assertEqual([], list((registry.storage / "content/ingest").iterdir()))

    def test_memory_stays_small(self):
        registry = self.serve()
        part = bytes(1 << 20)

        def push(number):
            digest = hashlib.sha256()
            location = registry.request("POST", "/v2/a/blobs/uploads/")[1]["Location"]

            def stream():
                for index in range(64):
                    block = bytes([number]) + index.to_bytes(4, "big") + part[5:]
                    digest.update(block)
                    yield block

            status, headers, _ = registry.request("PATCH", location, stream())     # chunked
            self.assertEqual((202, f"0-{(64 << 20) - 1}"), (status, headers["Range"]))
            name = "sha256:" + digest.hexdigest()
            self.assertEqual(201, registry.request("PUT", f"{location}?digest={name}")[0])
            return len(registry.request("GET", f"/v2/a/blobs/{name}")[2])

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            self.assertEqual([64 << 20] * 4, list(pool.map(push, range(4))))
        peak = next(line for line in pathlib.Path(f"/proc/{registry.process.pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
        self.assertLess(int(peak.split()[1]), 48 << 10, peak)

    def test_users(self):
        require("htpasswd", "skopeo")
        passwords = self.scratch / "users"
        subprocess.run(["htpasswd", "-Bbc", passwords, "user", "sesame-sentinel"], check=True, capture_output=True)
        registry = self.serve("--htpasswd", str(passwords))
        status, headers, _ = registry.request("GET", "/v2/")
        self.assertEqual(401, status)
        self.assertIn("Basic", headers["WWW-Authenticate"])
        self.assertEqual(401, registry.push_blob("a", b"x" * 100000))
        for credentials, code in (("user:sesame-sentinel", 0), ("user:wrong", 1), ("nobody:sesame-sentinel", 1)):
            done = subprocess.run(["skopeo", "copy", "--dest-creds", credentials, "--dest-tls-verify=false", f"docker-archive:{base_archive()}",
                                   f"docker://{registry.address}/a:1"], capture_output=True, text=True)
            self.assertEqual(code, done.returncode, done.stderr)
        self.assertNotIn("sentinel", registry.log())
        self.assertNotIn("Basic", registry.log())

    def test_tls(self):
        require("openssl")
        certificate, key = self.scratch / "cert.pem", self.scratch / "key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-addext",
                        "subjectAltName=DNS:localhost,IP:127.0.0.1", "-days", "2", "-keyout", key, "-out", certificate], check=True, capture_output=True)
        registry = self.serve("--tls-cert", str(certificate), "--tls-key", str(key))
        context = ssl.create_default_context(cafile=certificate)
        connection = http.client.HTTPSConnection("localhost", registry.port, context=context, timeout=20)
        data = random.randbytes(1 << 20)
        connection.request("POST", f"/v2/a/blobs/uploads/?digest={sha256(data)}", data)
        answer = connection.getresponse()
        self.assertEqual(201, answer.status, answer.read())
        answer.read()
        connection.request("GET", f"/v2/a/blobs/{sha256(data)}")
        self.assertEqual(data, connection.getresponse().read())
        self.assertIn(connection.sock.version(), ("TLSv1.2", "TLSv1.3"))
        connection.close()
        old = subprocess.run(["openssl", "s_client", "-connect", registry.address, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], input="", text=True,
                             capture_output=True)
        self.assertNotEqual(0, old.returncode)
        self.fails(1, "can't be used for TLS", "registry", "serve", "--listen", "127.0.0.1:0", "--tls-cert", key, "--tls-key", key,
                   "--storage", self.scratch / "never")

    def test_signals(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            registry = self.serve()
            registry.push_image("a", "t")
            idle = socket.create_connection(("127.0.0.1", registry.port))      # an idle client holds nothing up
            started = time.monotonic()
            self.assertEqual(0, registry.stop(number))
            self.assertLess(time.monotonic() - started, 5)
            idle.close()

    def test_pull_through(self):
        behind = self.serve()
        layer = random.randbytes(5 << 20)
        first = behind.push_image("team/app", "t", layer)
        cache = self.serve("--proxy", f"http://{behind.address}")
        digest = sha256(layer)
        status, headers, body = cache.request("GET", "/v2/team/app/manifests/t")
        self.assertEqual((200, first, MANIFEST), (status, body, headers["Content-Type"]))
        status, headers, body = cache.request("HEAD", f"/v2/team/app/blobs/{digest}")
        self.assertEqual((200, str(len(layer)), b""), (status, headers["Content-Length"], body))
        self.assertEqual(0, behind.log().count(f" GET /v2/team/app/blobs/{digest} "))
        with concurrent.futures.ThreadPoolExecutor(6) as pool:     # fetched once, all get it
            bodies = list(pool.map(lambda _: cache.request("GET", f"/v2/team/app/blobs/{digest}")[2], range(6)))
        self.assertEqual([layer] * 6, bodies)
        self.assertLessEqual(behind.log().count(f" GET /v2/team/app/blobs/{digest} "), 2)
        eventually(lambda: (cache.storage / "content/blobs/sha256" / digest[7:]).exists(), what="the blob is cached")
        status, _, part = cache.request("GET", f"/v2/team/app/blobs/{digest}", headers={"Range": "bytes=100-199"})
        self.assertEqual((206, layer[100:200]), (status, part))
        second = behind.push_image("team/app", "t", b"another layer")
        self.assertEqual(second, cache.request("GET", "/v2/team/app/manifests/t")[2])      # asked again
        self.assertEqual(404, cache.request("GET", "/v2/team/app/manifests/nosuch")[0])
        self.assertEqual(404, cache.request("GET", f"/v2/team/app/blobs/{sha256(b'none')}")[0])
        for method, path in (("POST", "/v2/a/blobs/uploads/"), ("PUT", "/v2/a/manifests/t"), ("DELETE", f"/v2/team/app/blobs/{digest}")):
            self.assertEqual(405, cache.request(method, path)[0])
        # A blob that is not what its name says is neither cached nor ended as if it were whole.
        (behind.storage / "content/blobs/sha256" / sha256(b"another layer")[7:]).write_bytes(b"another lAyer")
        with self.assertRaises(http.client.HTTPException):
            cache.request("GET", f"/v2/team/app/blobs/{sha256(b'another layer')}")
        self.assertFalse((cache.storage / "content/blobs/sha256" / sha256(b"another layer")[7:]).exists())
        behind.stop()
        status, headers, body = cache.request("GET", "/v2/team/app/manifests/t")
        self.assertEqual((200, second), (status, body))
        self.assertIn("299", headers["Warning"])
        self.assertEqual(layer, cache.request("GET", f"/v2/team/app/blobs/{digest}")[2])
        self.assertEqual([], cache.damage())

    def test_pull_through_of_docker_registry(self):
        """With a password there and none here; tags are asked for anew, and what came through outlives the registry behind."""
        behind = Registry(self.scratch, has_password=True)
        self.addCleanup(lambda: behind.process.poll() is None and behind.stop())
        secret = base64.b64encode(b"user:secret").decode()
        env = {"DOCKER_CONFIG": str(self.context({"config.json": json.dumps({"auths": {behind.address: {"auth": secret}}})}))}
        folder = self.context({"one/f": random.randbytes(3 << 20), "two/f": b"2"})
        for name in ("one", "two"):
            with tarfile.open(folder / f"{name}.tar", "w") as archive:
                archive.add(folder / name / "f", "f")
            self.ok("import", folder / f"{name}.tar", f"{behind.address}/team/app:{name}")
            self.ok("push", f"{behind.address}/team/app:{name}", env=env)
        cache, stranger = self.serve("--proxy", f"http://{behind.address}", env=env), self.serve("--proxy", f"http://{behind.address}")
        name = f"{cache.address}/team/app"
        self.fails(1, "not found|denied", "pull", f"{stranger.address}/team/app:one")

        def pulled(tag):
            self.ok("system", "prune", "-f", "-a")
            self.ok("pull", "-q", f"{name}:{tag}")
            identifier = self.inspect(f"{name}:{tag}", "Id")
            self.ok("rmi", f"{name}:{tag}")
            return identifier

        one, two = (self.inspect(f"{behind.address}/team/app:{tag}", "Id") for tag in ("one", "two"))
        self.ok("tag", f"{behind.address}/team/app:two", f"{behind.address}/team/app:latest")
        self.ok("push", f"{behind.address}/team/app:latest", env=env)
        self.assertEqual(two, self.inspect(f"{behind.address}/team/app:latest", "Id"))
        self.ok("rmi", *(f"{behind.address}/team/app:{tag}" for tag in ("two", "latest")))
        self.assertEqual([one, two, two], [pulled(tag) for tag in ("one", "two", "latest")])
        self.ok("image", "copy", f"docker://{name}:one", f"docker://{behind.address}/team/app:latest", env=env)
        self.assertEqual(one, pulled("latest"))
        behind.stop()
        started = time.monotonic()
        self.assertEqual([one, two, one], [pulled(tag) for tag in ("one", "two", "latest")])
        self.assertLess(time.monotonic() - started, 20)  # not one after another waits for a registry that is not there
        for longest in (30, 2):  # what is not cached is not tried for at length each time
            started = time.monotonic()
            self.assertGreaterEqual(cache.request("GET", "/v2/team/app/manifests/never")[0], 500)
            self.assertLess(time.monotonic() - started, longest)
        self.assertEqual([], cache.damage())
        self.assertNotIn(secret, cache.log())


if __name__ == "__main__":
    main()
