#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A registry that fails, lies and asks for what is not its own; ways to log in; mirrors and proxies.

After each: a clear error or success, every blob of the store what its name says, no credential at the wrong host."""
import base64
import json
import subprocess

from fake_registry import ImageOfLayers, digest
from harness import main, require
from registry_case import RegistryTestCase

SECRET = base64.b64encode(b"user:secret").decode()


class Faults(RegistryTestCase):
    def setUp(self):
        super().setUp()
        self.image = ImageOfLayers([300000, 200000, 100000], seed=self.id())

    def pull_works(self, registry, name="x:1", **options):
        self.ok("pull", f"{registry.address}/{name}", **options)
        self.check_store()
        self.forget(f"{registry.address}/{name}")

    def pull_fails(self, pattern, registry, name="x:1", **options):
        result = self.fails(1, pattern, "pull", f"{registry.address}/{name}", **options)
        self.check_store(kept_partials=True)
        self.assertEqual("", self.ok("images", "-aq"))
        return result

    def test_500_at_every_nth_call(self):
        for n in (2, 3, 5):
            registry = self.serve({"x:1": self.image}, fault=lambda handler: handler.number % n == 0 and handler.error(500, "UNKNOWN") is None)
            self.pull_works(registry)
        registry = self.serve({"x:1": self.image}, fault=lambda handler: "/blobs/" in handler.path and handler.error(503, "UNAVAILABLE") is None)
        self.pull_fails("503", registry)

    def test_connection_cut_at_every_nth_byte(self):
        for n in (1000, 65536, 99999):
            def fault(handler):
                if "/blobs/" in handler.path:
                    handler.cut_after = n
            for ranges in (True, False):
                if n == 1000 and ranges or not ranges and n != 99999:
                    continue
                registry = self.serve({"x:1": self.image}, fault=fault, ranges=ranges)
                if ranges:
                    self.pull_works(registry)
                else:
                    self.pull_fails("(?i)connection|closed|transfer|bytes", registry)

    def test_endless_body(self):
        def fault(handler):
            if digest(self.image.layers[0]) not in handler.path:
                return False
            handler.send_response(200)
            handler.end_headers()
            handler.close_connection = True
            try:
                while True:
                    handler.wfile.write(b"x" * 65536)
            except OSError:
                return True
        self.pull_fails("larger than", self.serve({"x:1": self.image}, fault=fault))

    def test_right_length_wrong_bytes(self):
        registry = self.serve({"x:1": self.image})
        wrong = digest(self.image.layers[1])
        registry.blobs[wrong] = bytes([registry.blobs[wrong][0] ^ 1]) + registry.blobs[wrong][1:]
        self.pull_fails("has digest.*expected", registry)
        self.assertEqual(2, len(registry.requests(f"GET /v2/x/blobs/{wrong}")))  # a broken cache gets a second chance

    def test_wrong_content_type(self):
        for kind, pattern in (("application/vnd.oci.image.index.v1+json", "calls itself"), ("text/html", None)):
            registry = self.serve({"x:1": self.image})
            registry.manifests["x", "1"] = (kind, self.image.manifest)
            if pattern:
                self.pull_fails(pattern, registry)
            else:
                self.pull_works(registry)

    def test_401_for_ever(self):
        registry = self.serve({"x:1": self.image}, auth="token")
        self.pull_fails("unauthorized|denied", registry)
        before = len(registry.requests())
        self.pull_fails("denied", registry, env=self.credentials(registry, {"auth": base64.b64encode(b"user:wrong").decode()}))
        self.assertLess(len(registry.requests()) - before, 12)
        loop = self.serve({"x:1": self.image}, fault=lambda handler: handler.path != "/v2/" and handler.error(
            401, "UNAUTHORIZED", headers={"WWW-Authenticate": 'Basic realm="x"'}) is None)
        self.pull_fails("denied", loop, env=self.credentials(loop, {"auth": SECRET}))
        self.assertLess(len(loop.requests()), 8)

    def test_too_many_requests(self):
        limits = {"Retry-After": "7200", "ratelimit-limit": "100;w=21600", "ratelimit-remaining": "0;w=21600"}
        registry = self.serve({"x:1": self.image}, fault=lambda handler: "/manifests/" in handler.path and handler.error(
            429, "TOOMANYREQUESTS", "You have reached your pull rate limit.", limits) is None)
        result = self.pull_fails("toomanyrequests: You have reached your pull rate limit. .0 of 100 pulls left in 6 hours", registry)
        self.assertIn("try again in 2 hours", result.err)
        self.assertIn("dray login", result.err)
        passing = self.serve({"x:1": self.image}, fault=lambda handler: handler.number == 2 and handler.error(429, "TOOMANYREQUESTS", headers={"Retry-After": "1"}) is None)
        self.pull_works(passing)

    def test_redirects_get_no_credentials(self):
        other = self.serve({"x:1": self.image})
        registry = self.serve({"x:1": self.image}, auth="basic", fault=lambda handler: "/blobs/" in handler.path and handler.say(
            307, headers={"Location": f"http://{other.address}{handler.path}"}) is None)
        self.pull_works(registry, env=self.credentials(registry, {"auth": SECRET}))
        self.assertTrue(other.requests("/blobs/"))
        self.assertFalse([request for request in other.requests() if "Authorization" in request[2]])
        for location in ("file:///etc/passwd", "gopher://127.0.0.1/", "//", f"http://user:pass@{other.address}\x01"):
            bad = self.serve({"x:1": self.image}, fault=lambda handler: "/blobs/" in handler.path and handler.say(302, headers={"Location": location}) is None)
            self.pull_fails("(?i)location|redirect|url|scheme", bad)

    def test_upload_location_elsewhere_gets_no_credentials(self):
        other = self.serve()
        registry = self.serve({"x:1": self.image}, auth="basic")
        env = self.credentials(registry, {"auth": SECRET})
        self.ok("pull", f"{registry.address}/x:1", env=env)
        registry.blobs.clear()

        def fault(handler):
            if handler.command != "POST":
                return False
            other.uploads["u"] = b""
            handler.say(202, headers={"Location": f"http://{other.address}/v2/x/blobs/uploads/u"})
            return True
        registry.fault = fault
        self.fails(1, "(?i)blob|manifest", "push", f"{registry.address}/x:1", env=env)
        self.assertTrue(other.requests("PUT"))
        self.assertFalse([request for request in other.requests() if "Authorization" in request[2]])
        self.forget(f"{registry.address}/x:1")

    def test_push_survives_faults(self):
        registry = self.serve({"x:1": self.image})
        self.ok("pull", f"{registry.address}/x:1")
        for n in (2, 3):
            registry.blobs.clear()
            registry.fault = lambda handler: handler.command != "POST" and handler.number % n == 0 and handler.body() is not None and handler.error(500, "UNKNOWN") is None
            self.ok("push", f"{registry.address}/x:1")
            for layer in self.image.layers:
                self.assertIn(digest(layer), registry.blobs)
        self.forget(f"{registry.address}/x:1")

    def test_a_broken_upload_goes_on_in_chunks(self):
        image = ImageOfLayers([40 << 20], seed=1)
        registry = self.serve({"x:1": image})
        self.ok("pull", f"{registry.address}/x:1")
        registry.blobs.clear()
        cuts = []

        def fault(handler):
            if handler.command == "PUT" and int(handler.headers["Content-Length"]) > 1 << 20:
                handler.rfile.read(1 << 20)  # a proxy with a limit
                handler.close_connection = True
                return True
            if handler.command == "PATCH" and len(cuts) < 2:
                cuts.append(handler.path)
                handler.cut_after = 20 << 20 if len(cuts) == 2 else 5 << 20
        registry.fault = fault
        self.ok("push", f"{registry.address}/x:1")
        self.assertIn(digest(image.layers[0]), registry.blobs)
        patches = [int(request[2]["Content-Range"].split("-")[0]) for request in registry.requests("PATCH")]
        self.assertEqual(0, patches[0])
        self.assertTrue(5 << 20 <= patches[1] < 16 << 20, patches)  # not from the start
        self.forget(f"{registry.address}/x:1")

    def test_a_mount_that_is_none(self):
        registry = self.serve({"x:1": self.image})
        self.ok("pull", f"{registry.address}/x:1")
        self.ok("tag", f"{registry.address}/x:1", f"{registry.address}/y:1")
        lies = []

        def fault(handler):
            if "/y/blobs/sha256:" in handler.path and handler.command == "HEAD" and digest(self.image.layers[0]) in handler.path and len(lies) < 2:
                return handler.error(404, "BLOB_UNKNOWN") is None
            if "mount=" in handler.path and digest(self.image.layers[0]).replace(":", "%3A") in handler.path:
                lies.append(handler.path)
        registry.fault = fault
        out = self.dray("push", f"{registry.address}/y:1")
        self.assertEqual(0, out.code, out)
        self.assertTrue(registry.requests("POST /v2/y/blobs/uploads/") or "already exists" in out.out)
        self.forget(f"{registry.address}/x:1", f"{registry.address}/y:1")


class Access(RegistryTestCase):
    def setUp(self):
        super().setUp()
        self.image = ImageOfLayers([100000], seed=7)

    def check(self, registry, env):
        self.ok("pull", f"{registry.address}/x:1", env=env)
        self.check_store()
        self.forget(f"{registry.address}/x:1")

    def test_token_servers(self):
        for auth, entry in (("anonymous", {}), ("token", {"auth": SECRET}), ("token", {"auth": SECRET, "identitytoken": "identity"}),
                            ("token", {"registrytoken": "good"})):
            registry = self.serve({"x:1": self.image}, auth=auth)
            self.check(registry, self.credentials(registry, entry))
            asked = registry.requests("/token")
            self.assertEqual({"identitytoken": ["POST"]}.get(list(entry)[-1] if entry else "", [] if "registrytoken" in entry else ["GET"]),
                             [request[0] for request in asked])

    def test_auth_json(self):
        registry = self.serve({"team/x:1": self.image, "other:1": self.image}, auth="basic")
        folder = self.context({"containers/auth.json": json.dumps({"auths": {f"{registry.address}/team": {"auth": SECRET}}})})
        env = {"XDG_RUNTIME_DIR": str(folder), "DOCKER_CONFIG": str(folder)}
        self.ok("pull", f"{registry.address}/team/x:1", env=env)
        self.fails(1, "no basic auth credentials", "pull", f"{registry.address}/other:1", env=env)
        self.forget(f"{registry.address}/team/x:1")

    def test_tls_with_an_authority_of_its_own(self):
        require("openssl")
        folder = self.context({})
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=test",
                        "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key", "-out", folder / "crt"], check=True, capture_output=True)
        registry = self.serve({"x:1": self.image}, tls=(folder / "crt", folder / "key"), auth="token")
        certificates = folder / "certs.d" / registry.address
        certificates.mkdir(parents=True)
        (certificates / "ca.crt").write_bytes((folder / "crt").read_bytes())
        (folder / "config.json").write_text(json.dumps({"auths": {registry.address: {"auth": SECRET}}}))
        self.check(registry, {"DOCKER_CONFIG": str(folder)})

    def configured(self, settings, *arguments, **options):
        path = self.context({"daemon.json": json.dumps(settings)}) / "daemon.json"
        return self.dray("--config", path, *arguments, **options)

    def test_mirrors(self):
        origin, mirror, broken = self.serve({"x:1": self.image}), self.serve({"cache/x:1": self.image}), self.serve()
        settings = {"registries": {origin.address: {"mirrors": [f"http://{broken.address}", f"http://{mirror.address}/cache"]}}}
        result = self.configured(settings, "pull", f"{origin.address}/x:1")
        self.assertEqual(0, result.code, result)
        self.assertIn(f"mirror http://{broken.address}", result.out)
        self.assertEqual([], origin.requests())
        self.assertTrue(mirror.requests("/v2/cache/x/blobs/"))
        self.forget(f"{origin.address}/x:1")
        del mirror.blobs[digest(self.image.layers[0])]  # what a mirror lacks comes from the registry
        self.assertEqual(0, self.configured(settings, "pull", f"{origin.address}/x:1").code)
        self.assertTrue(origin.requests("/blobs/"))
        self.check_store()
        self.forget(f"{origin.address}/x:1")
        for wrong in ({"registries": {"x": {"mirror": []}}}, {"registry-mirrors": ["example.com"]}, {"registries": []}):
            self.assertRegex(self.configured(wrong, "images").err, "registr")

    def test_proxy(self):
        proxy = self.serve({"x:1": self.image}, fault=lambda handler: handler.command == "CONNECT")
        settings = {"insecure-registries": ["registry.invalid:5000"]}
        for variable in ("HTTP_PROXY", "http_proxy"):
            result = self.configured(settings, "pull", "registry.invalid:5000/x:1", env={variable: f"http://{proxy.address}", "NO_PROXY": "", "no_proxy": ""})
            self.assertEqual(0, result.code, result)
            self.forget("registry.invalid:5000/x:1")
        self.assertTrue(proxy.requests("GET http://registry.invalid:5000/v2/x/blobs/"))
        before = len(proxy.requests())
        result = self.configured(settings, "pull", "registry.invalid:5000/x:1", env={"HTTP_PROXY": f"http://{proxy.address}", "NO_PROXY": ".invalid", "no_proxy": ".invalid",
                                                                                 "HTTPS_PROXY": "", "https_proxy": ""})
        self.assertEqual(1, result.code)
        self.assertEqual(before, len(proxy.requests()))
        local = self.serve({"x:1": self.image})
        self.check(local, {"HTTP_PROXY": f"http://{proxy.address}", "http_proxy": f"http://{proxy.address}"})
        self.assertEqual(before, len(proxy.requests()))


if __name__ == "__main__":
    main()
