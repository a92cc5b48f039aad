#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""push and pull against a real docker-registry; what others pushed, what others read; hostile registries."""
import hashlib
import json
import subprocess
import time

from fake_registry import FakeRegistry, Image, digest
from harness import BASE_IMAGE, DrayTestCase, Registry, free_port, main, require


class RealRegistry(DrayTestCase):
    @classmethod
    def setUpClass(cls):
        require("docker-registry", "skopeo")
        super().setUpClass()
        cls.registry = Registry(cls.scratch)
        cls.addClassCleanup(cls.registry.stop)

    def skopeo(self, *arguments):
        return subprocess.run(["skopeo", *map(str, arguments)], check=True, capture_output=True, text=True).stdout

    def test_round_trip(self):
        self.ok("build", "-t", "app", self.context({"Dockerfile": "FROM debian:bookworm\nRUN echo pushed > /file\nCMD cat /file\n"}))
        name = f"{self.registry.address}/team/app:1"
        identifier = self.inspect("app", "Id")
        self.ok("tag", "app", name)
        out = self.ok("push", name)
        digest = out.split("digest: ")[1].split()[0]
        raw = self.skopeo("inspect", "--tls-verify=false", "--raw", f"docker://{name}")
        self.assertEqual(digest, "sha256:" + hashlib.sha256(raw.encode()).hexdigest())
        self.assertEqual("application/vnd.oci.image.manifest.v1+json", json.loads(raw)["mediaType"])
        self.ok("rmi", name, "app")
        pulled = self.ok("pull", name)
        self.assertIn(f"Digest: {digest}", pulled)
        self.assertEqual(identifier, self.inspect(name, "Id"))
        self.assertEqual("pushed\n", self.ok("run", "--rm", "--network", "none", name))
        self.assertIn("Image is up to date", self.ok("pull", name))
        self.assertIn(f"@{digest}", self.inspect(name)["RepoDigests"][0])
        self.ok("rmi", name)
        self.assertEqual("pushed\n", self.ok("run", "--rm", "--network", "none", f"{self.registry.address}/team/app@{digest}"))

    def test_second_push_sends_nothing(self):
        name = f"{self.registry.address}/base:1"
        self.ok("tag", BASE_IMAGE, name)
        self.ok("push", name)
        self.assertIn("already exists", self.ok("push", name).lower())

    def test_schema2_and_oci_of_others(self):
        name = f"{self.registry.address}/other"
        self.ok("save", "-o", self.scratch / "base.tar", BASE_IMAGE)
        for form in ("v2s2", "oci"):
            self.skopeo("copy", "--dest-tls-verify=false", "--format", form, f"docker-archive:{self.scratch}/base.tar", f"docker://{name}:{form}")
            self.ok("pull", f"{name}:{form}")
            self.assertEqual(form + "\n", self.ok("run", "--rm", "--network", "none", f"{name}:{form}", "echo", form))
            # and what was pulled goes back as it came
            self.ok("tag", f"{name}:{form}", f"{name}:{form}-back")
            self.ok("push", f"{name}:{form}-back")
            raw = [self.skopeo("inspect", "--tls-verify=false", "--raw", f"docker://{name}:{tag}") for tag in (form, form + "-back")]
            self.assertEqual(raw[0], raw[1])

    def test_run_pulls_what_is_missing(self):
        name = f"{self.registry.address}/base:pulled"
        self.ok("tag", BASE_IMAGE, name)
        self.ok("push", name)
        self.ok("rmi", name)
        result = self.dray("run", "--rm", "--network", "none", name, "echo", "pulled it")
        self.assertEqual("pulled it\n", result.out, result)
        self.assertIn(f"Unable to find image '{name}' locally", result.err)
        self.ok("rmi", name)
        self.fails(125, "(?i)no such image", "run", "--rm", "--pull", "never", name, "true")

    def test_build_from_a_registry(self):
        name = f"{self.registry.address}/base:from"
        self.ok("tag", BASE_IMAGE, name)
        self.ok("push", name)
        self.ok("rmi", name)
        self.build(f"FROM {name}\nRUN echo built > /b\n")
        self.assertEqual("built\n", self.ok("run", "--rm", "--network", "none", "test", "cat", "/b"))

    def test_errors(self):
        self.fails(1, "(?i)not found|manifest unknown|does not exist", "pull", f"{self.registry.address}/nosuch:1")
        self.fails(1, "(?i)no such image|does not exist", "push", f"{self.registry.address}/never-tagged:1")

    def test_registry_is_down(self):
        port = free_port()
        name = f"127.0.0.1:{port}/x:1"
        self.ok("tag", BASE_IMAGE, f"127.0.0.1:{port}/base:1")
        folder = self.context({"Dockerfile": f"FROM {name}\nRUN true\n"})
        for code, command in ((1, ("pull", name)), (1, ("push", f"127.0.0.1:{port}/base:1")), (1, ("build", folder)), (125, ("run", "--rm", name))):
            started = time.monotonic()
            self.fails(code, f"127.0.0.1:{port}.*(?i:refused|connect)", *command)
            self.assertLess(time.monotonic() - started, 15)
        self.ok("rmi", f"127.0.0.1:{port}/base:1")
        self.assertEqual("ok\n", self.run_in("echo ok"))

    def test_authentication(self):
        private = Registry(self.scratch, has_password=True)
        self.addCleanup(private.stop)
        name = f"{private.address}/private:1"
        self.ok("tag", BASE_IMAGE, name)
        self.fails(1, "(?i)unauthorized|denied|authentication|login", "push", name)
        config = self.context({"config.json": json.dumps({"auths": {private.address: {"auth": "dXNlcjpzZWNyZXQ="}}})})
        self.ok("push", name, env={"DOCKER_CONFIG": str(config)})
        self.ok("rmi", name)
        self.ok("pull", name, env={"DOCKER_CONFIG": str(config)})


class HostileRegistry(DrayTestCase):
    """Answers of a registry that lies. Each must be a clear error with nothing recorded."""

    def serve(self, blobs, manifest):
        registry = FakeRegistry(blobs, manifest)
        self.addCleanup(registry.stop)
        return registry.address

    def unfinished(self):
        ingest = self.root / "content" / "ingest"
        return {path.name for path in ingest.iterdir()} if ingest.exists() else set()

    def pull_fails(self, pattern, address, name="x:1", keeps=0):
        """`keeps`: beginnings of layers that the next pull goes on with."""
        images, unfinished = self.ok("images", "-a", "-q", "--no-trunc"), self.unfinished()
        self.fails(1, pattern, "pull", f"{address}/{name}")
        self.assertEqual(images, self.ok("images", "-a", "-q", "--no-trunc"))
        left = self.unfinished() - unfinished
        self.assertEqual(keeps, len(left), left)
        self.assertTrue(all(name.startswith("partial-") for name in left), left)

    def test_wrong_digest(self):
        image = Image()
        wrong = bytes([image.layer[0] ^ 1]) + image.layer[1:]
        self.pull_fails("(?i)digest", self.serve({digest(image.layer): (wrong, len(wrong)), digest(image.config): (image.config, len(image.config))}, image.manifest))

    def test_wrong_config(self):
        image = Image()
        wrong = image.config.replace(b"linux", b"Linux")
        self.pull_fails("(?i)digest", self.serve({digest(image.layer): (image.layer, len(image.layer)), digest(image.config): (wrong, len(wrong))}, image.manifest))

    def test_truncated_blob(self):
        image = Image()
        self.pull_fails("(?i)truncat|short|ended|closed|size|transfer|bytes", self.serve({digest(image.layer): (image.layer[:1000], len(image.layer)),
                        digest(image.config): (image.config, len(image.config))}, image.manifest), keeps=1)

    def test_layer_that_is_no_archive(self):
        image = Image()
        self.pull_fails("(?i)tar|archive|format", self.serve({digest(image.layer): (image.layer, len(image.layer)), digest(image.config): (image.config, len(image.config))}, image.manifest))

    def test_manifest_for_another_digest(self):
        self.pull_fails("(?i)digest|verification", self.serve({}, Image().manifest), "x@sha256:" + "0" * 64)

    def test_nonsense(self):
        self.pull_fails("(?i)json|manifest", self.serve({}, b"<html>hello</html>"))
        self.pull_fails("(?i)manifest|large|limit", self.serve({}, b'{"schemaVersion":2,"x":"' + b"a" * (9 << 20) + b'"}'))


if __name__ == "__main__":
    main()
