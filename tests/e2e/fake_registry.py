# SPDX-License-Identifier: Apache-2.0
"""A registry of a few lines that lies, cuts off or stalls as a test tells it to."""
import base64
import hashlib
import http.server
import io
import json
import os
import random
import re
import socket
import ssl
import tarfile
import threading
import time
import urllib.parse

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Image:
    """One layer of noise, which is a tar archive to nobody, with a config and a manifest that fit."""

    def __init__(self, layer=None):
        self.layer = layer or os.urandom(200000)
        self.config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest(self.layer)]}}).encode()
        self.manifest = json.dumps({
            "schemaVersion": 2, "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(self.config), "size": len(self.config)},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest(self.layer), "size": len(self.layer)}]}).encode()


class FakeRegistry:
    """Answers every manifest request with `manifest`, and blobs from digest -> (bytes sent, length announced)."""

    def __init__(self, blobs, manifest, stalls=False):
        self.stalled, self.released = threading.Event(), threading.Event()
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self, body, kind, length=None):
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body) if length is None else length))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            def do_GET(self):
                if self.path == "/v2/":
                    self.answer(b"{}", "application/json")
                elif "/manifests/" in self.path:
                    self.answer(manifest, "application/vnd.oci.image.manifest.v1+json")
                elif (found := blobs.get(self.path.rsplit("/", 1)[1])) is None:
                    self.send_error(404)
                else:
                    self.answer(found[0], "application/octet-stream", found[1])
                    self.close_connection = True
                    if stalls and len(found[0]) < found[1]:
                        self.wfile.flush()
                        registry.stalled.set()
                        registry.released.wait(60)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()


class ImageOfLayers:
    """Layers that are tar archives, a config and a manifest that fit: an image as a registry holds it."""

    def __init__(self, sizes=(), seed=0, layers=None):
        rng = random.Random(seed)
        self.layers = layers or [self.archive(f"f{number}", rng.randbytes(size)) for number, size in enumerate(sizes)]
        self.config = json.dumps({"architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine), "os": "linux", "config": {},
                                  "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in self.layers]}}).encode()
        describe = lambda kind, data: {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest(data), "size": len(data)}
        self.manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": describe("config.v1+json", self.config),
                                    "layers": [describe("layer.v1.tar", layer) for layer in self.layers]}).encode()
        self.digest = digest(self.manifest)
        self.blobs = {digest(data): data for data in (*self.layers, self.config)}

    @staticmethod
    def archive(name, data):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        return out.getvalue()


class ScriptedRegistry:
    """A registry in memory that keeps to the specification, but for `fault(handler)`: it may answer a request itself
    (and return True), or change `handler.cut_after`, the bytes of a body after which the connection is cut."""

    def __init__(self, images=None, fault=None, auth=None, ranges=True, rate=None, tls=None, page=1000):
        self.blobs, self.manifests, self.uploads = {}, {}, {}
        self.fault, self.auth, self.ranges, self.rate, self.page = fault, auth, ranges, rate, page
        self.seen, self.lock, self.count, self.started = [], threading.Lock(), 0, 0
        self.sent, self.at_once, self.most_at_once = 0, 0, 0
        registry = self

        class Handler(RegistryHandler):
            pass

        Handler.registry = registry
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls[:2])
            if len(tls) > 2:  # an authority of clients
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(tls[2])
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.scheme = "https" if tls else "http"
        self.address = f"127.0.0.1:{self.server.server_port}"
        for name, image in (images or {}).items():
            self.add(name, image)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def add(self, name, image):
        """`name` is repository:tag."""
        repository, tag = name.rsplit(":", 1)
        self.blobs.update(image.blobs)
        for reference in (tag, image.digest):
            self.manifests[repository, reference] = (MANIFEST, image.manifest)

    def requests(self, pattern=""):
        with self.lock:
            return [request for request in self.seen if pattern in f"{request[0]} {request[1]}"]

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class RegistryHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry = None
    cut_after = None

    def say(self, status, body=b"", headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.send_body(body)

    def error(self, status, code, message="", headers=None):
        body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        self.say(status, body, {"Content-Type": "application/json", **(headers or {})})

    def send_body(self, body):
        registry, left = self.registry, self.cut_after
        with registry.lock:
            registry.at_once += 1
            registry.most_at_once = max(registry.most_at_once, registry.at_once)
        try:
            for start in range(0, len(body), 65536):
                piece = body[start:start + 65536]
                if left is not None and left <= len(piece):
                    self.wfile.write(piece[:left])
                    self.wfile.flush()
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                left = None if left is None else left - len(piece)
                self.wfile.write(piece)
                registry.sent += len(piece)
                if registry.rate:
                    time.sleep(len(piece) / registry.rate)
        except OSError:
            self.close_connection = True
        finally:
            with registry.lock:
                registry.at_once -= 1

    def allowed(self):
        registry, given = self.registry, self.headers.get("Authorization", "")
        if not registry.auth:
            return True
        if registry.auth == "basic":
            if given == "Basic " + base64.b64encode(b"user:secret").decode():
                return True
            challenge = 'Basic realm="test"'
        else:
            if given == "Bearer good":
                return True
            challenge = f'Bearer realm="{registry.scheme}://{registry.address}/token",service="test"'
        self.error(401, "UNAUTHORIZED", "authentication required", {"WWW-Authenticate": challenge})
        return False

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def handle_request(self):
        registry = self.registry
        self.cut_after = None
        with registry.lock:
            registry.count += 1
            self.number = registry.count
            registry.seen.append((self.command, self.path, dict(self.headers)))
        if registry.fault and registry.fault(self):
            return
        path, _, query = re.sub("^http://[^/]*", "", self.path).partition("?")  # absolute when we are a proxy
        values = dict(urllib.parse.parse_qsl(query))
        if path == "/token":
            return self.token(values)
        if not self.allowed():
            return
        if path == "/v2/":
            return self.say(200, b"{}")
        if path == "/v2/_catalog":
            return self.listing("repositories", sorted({name for name, _ in registry.manifests}), values)
        found = re.fullmatch(r"/v2/(.+)/(manifests|blobs|tags|referrers)/(.*)", path)
        if not found:
            return self.error(404, "NAME_UNKNOWN")
        repository, kind, rest = found.groups()
        getattr(self, kind)(repository, rest, values)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_request

    def token(self, values):
        if self.command == "POST":
            values = dict(urllib.parse.parse_qsl(self.body().decode()))
            good = values.get("grant_type") == "refresh_token" and values.get("refresh_token") == "identity"
        else:
            given = self.headers.get("Authorization")
            good = self.registry.auth == "anonymous" or given == "Basic " + base64.b64encode(b"user:secret").decode()
        if good:
            self.say(200, json.dumps({"token": "good", "access_token": "good", "expires_in": 300}).encode())
        else:
            self.say(401, json.dumps({"details": "incorrect username or password"}).encode())

    def listing(self, key, names, values, extra=None):
        names = [name for name in names if name > values.get("last", "")]
        count = min(int(values.get("n", self.registry.page)), self.registry.page)
        headers = {"Content-Type": "application/json"}
        if len(names) > count:
            path = self.path.partition("?")[0]
            headers["Link"] = f'<{path}?n={count}&last={urllib.parse.quote(names[count - 1])}>; rel="next"'
        self.say(200, json.dumps({**(extra or {}), key: names[:count]}).encode(), headers)

    def tags(self, repository, _, values):
        names = sorted(tag for name, tag in self.registry.manifests if name == repository and ":" not in tag)
        if not names:
            return self.error(404, "NAME_UNKNOWN", "repository name not known to registry")
        self.listing("tags", names, values, {"name": repository})

    def referrers(self, repository, subject, _):
        found = []
        for (name, reference), (kind, data) in self.registry.manifests.items():
            document = json.loads(data)
            if name == repository and reference == digest(data) and document.get("subject", {}).get("digest") == subject:
                found.append({"mediaType": kind, "digest": reference, "size": len(data), "artifactType": document.get("artifactType", "")})
        self.say(200, json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": found}).encode(), {"Content-Type": INDEX})

    def manifests(self, repository, reference, _):
        manifests = self.registry.manifests
        if self.command == "PUT":
            data = self.body()
            for blob in (json.loads(data).get("layers", []) if "layers" in json.loads(data) else []):
                if blob["digest"] not in self.registry.blobs:
                    return self.error(400, "MANIFEST_BLOB_UNKNOWN", blob["digest"])
            for name in {reference, digest(data)}:
                manifests[repository, name] = (self.headers["Content-Type"], data)
            return self.say(201, headers={"Docker-Content-Digest": digest(data)})
        found = manifests.get((repository, reference))
        if not found:
            return self.error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        if self.command == "DELETE":
            gone = digest(found[1])
            for key in [key for key, value in manifests.items() if key[0] == repository and (key[1] == reference or reference == gone == digest(value[1]))]:
                del manifests[key]
            return self.say(202)
        self.say(200, found[1], {"Content-Type": found[0], "Docker-Content-Digest": digest(found[1])})

    def blobs(self, repository, rest, values):
        registry = self.registry
        if rest.startswith("uploads/"):
            return self.upload(repository, rest[len("uploads/"):], values)
        data = registry.blobs.get(rest)
        if data is None:
            return self.error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        headers = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": rest}
        if not registry.ranges:
            return self.say(200, data, headers)
        headers["Accept-Ranges"] = "bytes"
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not asked:
            return self.say(200, data, headers)
        begin = int(asked[1])
        end = min(int(asked[2]) + 1 if asked[2] else len(data), len(data))
        if begin >= end:
            return self.say(416, headers={"Content-Range": f"bytes */{len(data)}"})
        self.say(206, data[begin:end], {**headers, "Content-Range": f"bytes {begin}-{end - 1}/{len(data)}"})

    def upload(self, repository, identifier, values):
        registry, uploads = self.registry, self.registry.uploads
        if self.command == "POST":
            self.body()
            if values.get("mount") in registry.blobs:
                return self.say(201, headers={"Location": f"/v2/{repository}/blobs/{values['mount']}"})
            with registry.lock:
                registry.started += 1
                identifier = f"u{registry.started}"
            uploads[identifier] = b""
            return self.say(202, headers={"Location": f"/v2/{repository}/blobs/uploads/{identifier}?state=x", "Range": "0-0"})
        if identifier not in uploads:
            self.body()  # what is left unread would be taken for the next request
            return self.error(404, "BLOB_UPLOAD_UNKNOWN")
        here = {"Location": f"/v2/{repository}/blobs/uploads/{identifier}?state=x"}
        if self.command == "PATCH":
            start = int(self.headers.get("Content-Range", f"{len(uploads[identifier])}-").split("-")[0])
            if start != len(uploads[identifier]):
                self.body()
                return self.error(416, "BLOB_UPLOAD_INVALID", headers=here)
            left = int(self.headers["Content-Length"])
            while left > 0 and (piece := self.rfile.read1(min(left, 65536))):
                uploads[identifier] += piece
                left -= len(piece)
                if self.cut_after is not None and len(uploads[identifier]) >= self.cut_after:
                    self.close_connection = True
                    return self.connection.shutdown(socket.SHUT_RDWR)
        if self.command == "PUT":
            data = uploads[identifier] + self.body()
            if digest(data) != values["digest"]:
                return self.error(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
            registry.blobs[values["digest"]] = data
            uploads.pop(identifier, None)
            return self.say(201, headers={"Location": f"/v2/{repository}/blobs/{values['digest']}"})
        if uploads[identifier]:
            here["Range"] = f"0-{len(uploads[identifier]) - 1}"
        self.say(202 if self.command == "PATCH" else 204, headers=here)

    def log_message(self, *_):
        pass
