# SPDX-License-Identifier: Apache-2.0
"""A registry of a few lines that lies, cuts off or stalls as a test tells it to."""
import hashlib
import http.server
import json
import os
import threading


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
