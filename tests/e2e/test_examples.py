#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every folder of Dockerfile-examples, built and run. These are the real thing: apt, pip, npm and go reach their registries.
What is built runs under podman and docker, too, where they are installed."""
import os
import subprocess
import unittest

from harness import SOURCE, DrayTestCase, eventually, fetch, free_port, main
from peers import Docker, Podman

EXAMPLES = SOURCE / "Dockerfile-examples"
large = unittest.skipUnless(os.environ.get("DRAY_TEST_LARGE"), "minutes of downloads: set DRAY_TEST_LARGE=1")


class Examples(DrayTestCase):
    def build_example(self, name, tag=None):
        self.ok("build", "--trust-host-ca", "-t", tag or name, EXAMPLES / name, timeout=600)

    def test_hello(self):
        self.build_example("hello")
        self.assertEqual("Hello from Dray!\n", self.ok("run", "--rm", "hello"))

    def test_python_and_flask(self):
        self.build_example("python", "python:3.11-slim")
        self.assertRegex(self.ok("run", "--rm", "python:3.11-slim", "python", "--version"), r"^Python 3\.11")
        self.build_example("flask")
        port = free_port()
        self.ok("run", "-d", "--name", "web", "-p", f"{port}:5000", "flask")
        self.assertIn("running my Python app!", fetch("127.0.0.1", port, timeout=30))
        address = self.inspect("web", "NetworkSettings.IPAddress")
        out = self.ok("run", "--rm", "flask", "python", "-c", f"import urllib.request; print(urllib.request.urlopen('http://{address}:5000').read().decode())")
        self.assertIn("running my Python app!", out)
        history = self.ok("history", "--no-trunc", "flask") + str(self.inspect("flask"))
        for trace in ("ca-certificates.crt", "SSL_CERT_FILE", "PIP_CERT"):
            self.assertNotIn(trace, history, "--trust-host-ca left a trace in the image")
        self.assertEqual("", self.ok("run", "--rm", "--network", "none", "flask", "sh", "-c", "find / -xdev -name 'host-ca*'"))

    def test_nginx(self):
        self.build_example("nginx")
        port = free_port()
        self.ok("run", "-d", "--name", "site", "-p", f"{port}:80", "nginx")
        self.assertIn("A static site from Dray", fetch("127.0.0.1", port))
        eventually(lambda: "GET /" in self.ok("logs", "site"))
        self.ok("stop", "site")
        self.assertEqual(0, self.inspect("site", "State.ExitCode"))

    def test_c_multistage(self):
        self.build_example("c-multistage")
        self.assertEqual("Hello, world, from scratch!\n", self.ok("run", "--rm", "c-multistage"))
        self.assertEqual("Hello, you, from scratch!\n", self.ok("run", "--rm", "c-multistage", "you"))
        self.assertEqual(1, len(self.inspect("c-multistage", "RootFS.Layers")))

    def test_postgres(self):
        self.build_example("postgres")
        def start():
            self.ok("run", "-d", "--name", "db", "-v", "pgdata:/var/lib/postgresql/data", "postgres")
            eventually(lambda: self.dray("exec", "db", "psql", "-c", "select 1").code == 0, 60, "postgres is up")
        start()
        self.ok("exec", "db", "psql", "-c", "create table t(x int)", "-c", "insert into t values (42)")
        self.ok("stop", "db")
        self.ok("rm", "db")
        start()
        self.assertEqual("42\n", self.ok("exec", "db", "psql", "-Atc", "select x from t"))
        self.ok("rm", "-f", "db")
        self.ok("volume", "rm", "pgdata")

    # -- real work: compilers and package managers, cache mounts ---------------------------------------------------------

    def runs_everywhere(self, name, expected, *arguments):
        """The same output from dray, podman and docker; nobody has left anything when they are done."""
        self.assertEqual(expected, self.ok("run", "--rm", "--network", "none", name, *arguments))
        archive = self.scratch / f"{name}.tar"
        self.ok("save", "-o", archive, name)
        for engine in (Podman, Docker):
            peer = engine(self.scratch / f"{engine.__name__.lower()}-{name}")
            try:
                with self.subTest(engine.__name__):
                    if peer.missing:
                        self.skipTest(peer.missing)
                    peer.ok("load", "-i", archive)
                    peer.settle()
                    self.assertEqual(expected, peer.ok(*peer.run_flags(), name, *arguments))
            finally:
                peer.stop()
        archive.unlink()

    def caches(self):
        return self.ok("builder", "cache-mount", "ls")

    def test_cpp(self):
        self.build_example("cpp")
        self.runs_everywhere("cpp", "3 words\n", "one", "two", "three")
        # The compiler stays in its stage, and packages and object files in their caches.
        self.assertEqual("", self.ok("run", "--rm", "--network", "none", "--entrypoint", "sh", "cpp", "-c", "ls -d /src /build /usr/bin/g++ 2>/dev/null || true"))
        self.assertIn("/var/cache/apt", self.caches())

    @large
    def test_numpy(self):
        self.build_example("python", "python:3.11-slim")
        self.build_example("numpy")
        self.runs_everywhere("numpy", "12\n")
        self.assertEqual("", self.ok("run", "--rm", "--network", "none", "numpy", "sh", "-c", "ls -A /root/.cache 2>/dev/null || true"))
        self.assertIn("/root/.cache/pip", self.caches())

    @large
    def test_node(self):
        self.build_example("node")
        self.runs_everywhere("node", "....dray\n")
        self.assertEqual("1000:1000\n", self.ok("run", "--rm", "--network", "none", "node", "stat", "-c", "%u:%g", "index.js"))

    @large
    def test_go(self):
        self.build_example("go")
        self.runs_everywhere("go", "aad03681-8b63-5304-89e0-8ca8f49461b5\n")
        self.assertEqual(1, len(self.inspect("go", "RootFS.Layers")))
        # A change of the source compiles that, with what the cache mounts hold.
        self.assertIn("/root/.cache/go-build", self.caches())


if __name__ == "__main__":
    main()
