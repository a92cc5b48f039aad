#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A store on a small file system: what fails for want of space says so, leaves nothing, and works once there is space.

The file system is a tmpfs, so these tests also show that a store, with its overlay upper folders, works on one.
"""
import functools
import http.server
import io
import os
import shutil
import subprocess
import tarfile
import threading

from harness import BASE_IMAGE, DrayTestCase, Registry, base_archive, eventually, main, require

MEGABYTE = 1 << 20
FULL = "(?i)no space left on device|disk is full"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class FullDisk(DrayTestCase):
    needs_base = False

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.addClassCleanup(super().tearDownClass)
        cls.root.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "none", cls.root], check=True)
        cls.addClassCleanup(subprocess.run, ["umount", cls.root], check=True)
        base_archive()

    @classmethod
    def tearDownClass(cls):
        pass

    def setUp(self):
        super().setUp()
        self.filler = self.root / "filler"
        self.addCleanup(self.free)

    def space(self):
        found = os.statvfs(self.root)
        return found.f_bavail * found.f_frsize

    def leave(self, size):
        """Fills the file system up to `size` bytes."""
        with open(self.filler, "wb") as file:
            if self.space() > size:
                os.posix_fallocate(file.fileno(), 0, self.space() - size)

    def free(self):
        self.filler.unlink(missing_ok=True)

    def load_base(self):
        self.ok("load", "-q", "-i", base_archive())

    def leaves_nothing(self, code, *command, said="."):
        """`command` fails for want of space. Once there is some, all that it took comes back, but for the database's own files."""
        images, before = self.ok("images", "-a", "-q", "--no-trunc"), self.space()
        failed = self.fails(code, FULL, *command)
        self.assertRegex(failed.err, said)
        self.assertEqual(images, self.ok("images", "-a", "-q", "--no-trunc"))
        filled = self.filler.stat().st_blocks * 512
        self.free()
        self.ok("system", "prune", "-f")
        self.assertGreater(self.space(), before + filled - MEGABYTE, subprocess.run(["du", "-d", "3", self.root], capture_output=True, text=True).stdout)

    def test_load(self):
        self.leave(60 * MEGABYTE)
        self.leaves_nothing(1, "load", "-i", base_archive())
        self.load_base()
        self.assertEqual("ok\n", self.run_in("echo ok > /file; cat /file"))
        self.ok("rmi", BASE_IMAGE)

    def test_pull(self):
        require("docker-registry")
        registry = Registry(self.scratch)
        self.addCleanup(registry.stop)
        name = f"{registry.address}/base:1"
        self.load_base()
        self.ok("tag", BASE_IMAGE, name)
        self.ok("push", name)
        self.ok("rmi", BASE_IMAGE, name)
        self.ok("system", "prune", "-f")
        self.leave(60 * MEGABYTE)
        self.leaves_nothing(1, "pull", name)
        self.ok("pull", name)
        self.assertEqual("ok\n", self.run_in("echo ok > /file; cat /file", image=name))
        self.ok("rmi", name)

    def build_fails(self, dockerfile, left, files=None):
        folder = self.context({"Dockerfile": dockerfile, **(files or {})})
        self.leave(left)
        self.leaves_nothing(1, "build", "--progress", "plain", "-t", "big", folder, said=f"(?i)Dockerfile:2: .*(/big|{self.root}|its last output)")
        self.ok("build", "-t", "big", folder)
        return folder

    def test_build(self):
        self.load_base()
        # The step itself runs out of space; the step has space, but not the layer made of it; a file of the context has none.
        for dockerfile, left in (("RUN head -c 40m /dev/urandom > /big", 20), ("RUN head -c 40m /dev/urandom > /big", 60), ("COPY big /", 20), ("COPY big /", 60)):
            with self.subTest(dockerfile=dockerfile, left=left):
                folder = self.build_fails(f"FROM {BASE_IMAGE}\n{dockerfile}\n", left * MEGABYTE, {"big": os.urandom(40 * MEGABYTE)})
                self.assertEqual("41943040\n", self.run_in("stat -c %s /big", image="big"))
                self.ok("rmi", "big")
                self.ok("system", "prune", "-a", "-f")
                self.load_base()
                shutil.rmtree(folder)
        self.ok("rmi", BASE_IMAGE)

    def test_context_of_a_build(self):
        """A tar on standard input: its files have no space, COPY's copies have none, the layer has none."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name, content in (("Dockerfile", b"FROM scratch\nCOPY dir /d\n"), ("dir/big", os.urandom(40 * MEGABYTE))):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        self.ok("build", "-t", "other", self.context({"Dockerfile": "FROM scratch\nCOPY f /\n", "f": "F"}))
        for left, said in ((20, "unpacking the context: .*dir/big"), (60, "dir/big|\"/d|big"), (100, "")):
            with self.subTest(left):
                self.leave(left * MEGABYTE)
                failed = subprocess.run(self.command("build", "--progress", "plain", "-t", "big", "-"), input=buffer.getvalue(), capture_output=True)
                self.assertEqual(1, failed.returncode, failed.stderr)
                self.assertRegex(failed.stderr.decode(), f"(?i)dray: .*({said}).*(no space left on device|disk is full)")
                self.assertEqual([], list((self.root / "tmp").glob("*")))
                self.free()
                built = subprocess.run(self.command("build", "--progress", "plain", "-t", "big", "-"), input=buffer.getvalue(), capture_output=True)
                self.assertEqual(0, built.returncode, built.stderr)
                self.ok("rmi", "big")
                self.ok("builder", "prune", "-a", "-f")
        self.ok("rmi", "other")

    def test_output_of_a_build(self):
        """The steps have space, but not what is made of them: no half output stays, and the cache is as good as before."""
        folder = self.context({"Dockerfile": "FROM scratch\nCOPY big /\n", "big": os.urandom(40 * MEGABYTE)})
        out = self.root / "out"
        for kind in ("-o type=oci,dest=", "-o type=docker,dest=", "-o type=tar,dest=", "-o type=local,dest=", "-o type=cacheonly --cache-to type=local,dest="):
            with self.subTest(kind):
                flags = (kind + str(out)).split()
                self.ok("builder", "prune", "-a", "-f")
                self.leave(100 * MEGABYTE)  # the copy and its blob
                self.fails(1, f"(?i)dray: exporting .*{out}.*({FULL[4:]})", "build", "--progress", "plain", *flags, folder)
                if "local" not in kind:
                    self.assertFalse(out.exists())
                self.assertEqual([], [path for path in self.root.glob("out*/**/*") if path.name.startswith(".dray-")] + list(self.root.glob(".dray-*")))
                self.free()
                again = self.dray("build", "--progress", "plain", *flags, folder)
                self.assertEqual(0, again.code, again)
                self.assertIn("CACHED", again.err)
                self.assertGreater(sum(path.stat().st_size for path in [out, *out.rglob("*")]), 40 * MEGABYTE)
                shutil.rmtree(out) if out.is_dir() else out.unlink()
        self.ok("builder", "prune", "-a", "-f")

    def test_download_of_a_build(self):
        site = self.scratch / "site"
        site.mkdir()
        (site / "big").write_bytes(os.urandom(40 * MEGABYTE))
        handler = functools.partial(Quiet, directory=str(site))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.handle_error = lambda *_: None  # whoever has no space for it hangs up
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        address = f"http://127.0.0.1:{server.server_address[1]}/big"
        # The download, the file, its blob, ADD's copy of it.
        for left in (20, 60, 100, 140):
            with self.subTest(left):
                folder = self.context({"Dockerfile": f"FROM scratch\nADD {address} /\n"})
                self.leave(left * MEGABYTE)
                self.fails(1, FULL, "build", "--progress", "plain", "-t", "big", folder)
                self.assertEqual([], list((self.root / "tmp").glob("*")))
                self.free()
                self.ok("build", "-t", "big", folder)
                self.ok("rmi", "big")
                self.ok("builder", "prune", "-a", "-f")

    def test_run(self):
        self.load_base()
        self.leave(10 * MEGABYTE)
        result = self.dray("run", "--network", "none", "--name", "writer", BASE_IMAGE, "sh", "-c", "head -c 20m /dev/zero > /big || echo status $?")
        self.assertEqual(0, result.code, result)
        self.assertIn("status 1", result.out)
        self.assertRegex(result.err, FULL)
        self.ok("rm", "writer")
        self.leave(0)
        # Not one page left.
        self.fails(125, FULL, "run", "--rm", "--network", "none", BASE_IMAGE, "true")
        self.assertEqual("", self.ok("ps", "-aq"))
        self.free()
        self.assertEqual("ok\n", self.run_in("echo ok"))
        self.ok("rmi", BASE_IMAGE)

    def test_an_exit_is_noted(self):
        self.load_base()
        self.ok("run", "-d", "--network", "none", "--name", "ends", BASE_IMAGE, "sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done")
        eventually(lambda: "ready" in self.ok("logs", "ends"), 10, "the container runs")
        self.leave(0)
        self.ok("kill", "-s", "TERM", "ends")
        self.assertEqual("7\n", self.ok("wait", "ends"))
        self.assertEqual(7, self.inspect("ends", "State")["ExitCode"])
        self.free()
        self.ok("rm", "ends")
        self.ok("rmi", BASE_IMAGE)

    def test_space_can_be_made_on_a_nearly_full_disk(self):
        self.load_base()
        self.ok("create", "--name", "idle", BASE_IMAGE, "true")
        self.leave(MEGABYTE // 2)
        before = self.space()
        self.ok("rm", "idle")
        self.ok("rmi", BASE_IMAGE)
        self.ok("system", "prune", "-f")
        self.assertGreater(self.space(), before + 100 * MEGABYTE)


if __name__ == "__main__":
    main()
