#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Attacks on the builder by its Dockerfile, context, stages and the steps themselves: a canary of the host's stays as it is,
nothing of the host's is read, and nothing is left."""
import os
import pathlib
import re
import signal
import subprocess
import time

from harness import DrayTestCase, eventually, main

HEAD = "FROM debian:bookworm\n"


class Builder(DrayTestCase):
    def setUp(self):
        super().setUp()
        self.canary = self.scratch / "canary"
        self.canary.mkdir(exist_ok=True)
        (self.canary / "file").write_text("untouched")
        (self.canary / "empty").mkdir(exist_ok=True)
        self.addCleanup(self.check_canary)
        self.addCleanup(self.check_leftovers)

    def check_canary(self):
        self.assertEqual(["empty", "file"], sorted(os.listdir(self.canary)))
        self.assertEqual([], os.listdir(self.canary / "empty"))
        self.assertEqual("untouched", (self.canary / "file").read_text())

    def check_leftovers(self):
        self.assertEqual([], list((self.state / "builds").glob("*")))
        for folder in ("tmp", "build-locks"):
            self.assertEqual([], list((self.root / folder).glob("*")), folder)

    def attempt(self, dockerfile, files=None, *flags):
        folder = self.context({"Dockerfile": dockerfile, **(files or {})})
        return self.dray("build", "--network", "none", "--progress", "plain", "-t", "attacked", *flags, folder)

    def test_cache_mount_source_race(self):
        """CVE-2024-23651, CVE-2024-11218: one step swaps the source of a cache mount for a link while another mounts it."""
        (self.canary / "file").write_text("untouched")
        swap = ("RUN --mount=type=cache,id=race,target=/c mkdir -p /c/sub; for i in $(seq 300); do mv /c/sub /c/real; "
                f"ln -s {self.canary} /c/sub; rm /c/sub; ln -s / /c/sub; rm /c/sub; mv /c/real /c/sub; done # swap\n")
        use = [f"RUN --mount=type=cache,id=race,target=/m,source=/sub cat /m/file /m{self.canary}/file; rm -rf /m/file; touch /m/pwned # {n}\n" for n in range(12)]
        seed = self.attempt(HEAD + "RUN --mount=type=cache,id=race,target=/c mkdir -p /c/sub\n")
        self.assertEqual(0, seed.code, repr(seed))
        folder = self.context({"swap": HEAD + swap, **{f"use{n}": HEAD + line for n, line in enumerate(use)}})
        swapper = subprocess.Popen(self.command("build", "--network", "none", "-f", folder / "swap", folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for n in range(len(use)):
            result = self.dray("build", "--network", "none", "--progress", "plain", "-f", folder / f"use{n}", folder)
            self.assertNotIn("untouched", result.err)
            if result.code != 0:  # the moment when there was no sub
                self.assertRegex(result.err, r"has no \"/sub\"|did not complete")
        swapper.wait(60)
        self.assertEqual(0, swapper.returncode)

    def test_cache_mount_source_is_a_link(self):
        for target in (self.canary, "/", "../../../../../../../../.." + str(self.canary), "/proc/self/root" + str(self.canary)):
            with self.subTest(target):
                made = self.attempt(HEAD + f"RUN --mount=type=cache,id=link,target=/c ln -sfn {target} /c/sub # {target}\n")
                self.assertEqual(0, made.code, repr(made))
                result = self.attempt(HEAD + f"RUN --mount=type=cache,id=link,target=/m,source=/sub ls -la /m; cat /m/file /m{self.canary}/file; touch /m/pwned # {target}\n")
                self.assertNotIn("untouched", result.err)

    def test_mount_point_cleanup(self):
        """CVE-2024-23652: the clean-up of a mount point follows what the step has put in its way."""
        for link in (f"mv /a /real && ln -s {self.canary} /a", f"mv /a /real && ln -s ../../../../../..{self.canary} /a",
                     "mv /a /real && ln -s /real /a && mkdir /real/more"):
            with self.subTest(link):
                result = self.attempt(HEAD + f"RUN --mount=type=tmpfs,target=/a/empty {link}\n")
                self.assertEqual(0, result.code, repr(result))
                self.assertTrue((self.canary / "empty").is_dir())
        # In the image, too: a directory of the image's that takes the place of the mount point stays.
        result = self.attempt(HEAD + "RUN mkdir -p /other/b\nRUN --mount=type=tmpfs,target=/a/b mv /a /was && ln -s /other /a\n")
        self.assertEqual(0, result.code, repr(result))
        self.assertIn("b", self.run_in("ls /other", image="attacked"))

    def test_entitlements(self):
        """CVE-2024-23653, GHSA-7236: rights that nobody granted, words that nobody knows."""
        for line, pattern in (("RUN --security=insecure true", "security.insecure"), ("RUN --network=host true", "network.host"),
                              ("RUN --security=INSECURE true", "(?i)security"), ("RUN --security=2 true", "(?i)security"),
                              ("RUN --network=container:x true", "(?i)network"), ("RUN --security= true", "(?i)security")):
            with self.subTest(line):
                result = self.attempt(HEAD + "RUN touch /first\n" + line + "\n")
                if line.endswith("= true") and result.code == 0:
                    continue  # empty is the default, which is the strict one
                self.assertEqual(1, result.code, repr(result))
                self.assertRegex(result.err, pattern)
        folder = self.context({"Dockerfile": HEAD + "RUN grep -c . /proc/net/dev && grep Seccomp: /proc/self/status | grep 2\n"})
        self.ok("build", "--network", "none", folder)

    def test_mount_options_are_a_closed_list(self):
        """CVE-2024-9407: options that smuggle others."""
        for option in ("type=bind,target=/m,bind-propagation=shared", "type=bind,target=/m,propagation=rshared", "type=tmpfs,target=/m,tmpfs-mode=0777",
                       "type=bind,target=/m,src=/,rw=perhaps", "type=bind,target=/m,volume-opt=x", "type=volume,target=/m", "type=,target=/m",
                       "type=cache,target=/c,sharing=everyone", "type=cache,target=/c,mode=99999", "type=tmpfs,target=/t,size=-1", "type=secret,id=x,uid=-1",
                       "type=bind,target=/", "type=bind", "target=/m\0x"):
            with self.subTest(option):
                result = self.attempt(HEAD + f"RUN --mount={option} true\n")
                self.assertEqual(1, result.code, repr(result))
                self.assertRegex(result.err, r"dray: .+")

    def test_cache_ids_are_names(self):
        """CVE-2024-9675: an id or a source that is a path out of the caches."""
        (self.canary / "file").write_text("untouched")
        deep = "../" * 20
        for option in (f"id={deep}{str(self.canary)[1:]},target=/c", f"id={self.canary},target=/c", "id=..,target=/c", "id=.,target=/c",
                       "id=a/../../../../..,target=/c"):
            with self.subTest(option):
                result = self.attempt(HEAD + f"RUN --mount=type=cache,{option} ls -A /c; touch /c/pwned # {option}\n")
                self.assertEqual(0, result.code, repr(result))
                self.assertNotIn("untouched", result.err)
        for source in (f"{deep}{str(self.canary)[1:]}", f"{self.canary}", "../../..", ".."):
            with self.subTest(source):
                result = self.attempt(HEAD + f"RUN --mount=type=cache,id=plain,source={source},target=/c ls -A /c; touch /c/pwned # {source}\n")
                self.assertNotRegex(result.err, r"#\d+ \S+ (empty|file)$")
        for name in os.listdir(self.root / "cache-mounts"):
            self.assertRegex(name, r"^[0-9a-f]{64}(\.lock)?$")

    def test_bind_source_is_a_link(self):
        """CVE-2024-1753: a stage's, an image's or the context's link leads to the host."""
        links = {"abs": self.canary, "root": "/", "up": "../" * 20 + str(self.canary)[1:], "proc": f"/proc/self/root{self.canary}"}
        for name, target in links.items():
            with self.subTest(name):
                look = f"ls -A /m; cat /m/file /m{self.canary}/file; touch /m/pwned /m{self.canary}/pwned; rm -rf /m/file; true"
                for extra in ("", ",rw"):
                    result = self.attempt(f"FROM debian:bookworm AS stage\nRUN ln -s {target} /link\nFROM debian:bookworm\n"
                                          f"RUN --mount=type=bind,from=stage,source=/link,target=/m{extra} {look}\n")
                    self.assertNotIn("untouched", result.err)
                    folder = self.context({"Dockerfile": HEAD + f"RUN --mount=source=link,target=/m{extra} {look}\n"})
                    os.symlink(target, folder / "link")
                    result = self.dray("build", "--network", "none", "--progress", "plain", folder)
                    self.assertNotIn("untouched", result.err)

    def test_context_cannot_be_written(self):
        folder = self.context({"Dockerfile": HEAD + "RUN --mount=target=/m,rw rm -rf /m/* /m/.[a-z]*; touch /m/pwned\n"
                               "RUN --mount=target=/m mount -o remount,rw /m; touch /m/pwned; rm -rf /m/keep; true\n", "keep": "K", ".hidden": "H"})
        self.ok("build", "--network", "none", folder)
        self.assertEqual([".hidden", "Dockerfile", "keep"], sorted(os.listdir(folder)))

    def test_ignored_files_are_not_mounted(self):
        folder = self.context({"Dockerfile": HEAD + "RUN --mount=target=/m find /m; cat /m/secret /m/link /m/dir/../secret /m/./secret; true\n"
                               "RUN --mount=target=/m,source=link cat /m; true\n", "secret": "untouched", "dir/x": "x", ".dockerignore": "secret\n"})
        os.symlink("secret", folder / "link")
        result = self.dray("build", "--network", "none", "--progress", "plain", folder)
        self.assertNotIn("untouched", result.err)
        self.assertNotRegex(result.err, r"#\d+ \S+ /m/secret")

    def test_copy_sees_only_its_context(self):
        for source in ("/etc/hostname", "../../../../../../etc/passwd", "abs/file", "up/file", "abs", "dir/../../canary/file"):
            with self.subTest(source):
                folder = self.context({"Dockerfile": f"FROM scratch\nCOPY {source} /x\n", "dir/y": "y"})
                os.symlink(self.canary, folder / "abs")
                os.symlink("../" * 20 + str(self.canary)[1:], folder / "up")
                result = self.dray("build", "-t", "attacked", folder)
                self.assertEqual(1, result.code, repr(result))

    def test_add_through_links_of_the_image(self):
        """COPY and ADD onto symlinks of the image write into the image."""
        result = self.attempt(HEAD + f"RUN ln -s {self.canary} /out && ln -s / /root-link && ln -s ../../../../../..{self.canary}/new /file-link\n"
                              f"COPY f /out/\nCOPY f /root-link{self.canary}/x\nCOPY f /file-link\n", {"f": "F"})
        self.assertIn(result.code, (0, 1), repr(result))

    def test_dockerfile_and_ignore_file_stay_in_the_context(self):
        """CVE-2026-44517, GHSA-g2h8: what is named in a context is opened beneath it."""
        folder = self.context({})
        (self.canary / "file").write_text("untouched")
        os.symlink(self.canary / "file", folder / "Dockerfile")
        result = self.dray("build", folder)
        self.assertEqual(1, result.code)
        self.assertNotIn("untouched", result.err)

    def test_a_step_cannot_outlive_the_build(self):
        """F2: kill -9 of the build ends its step, and leaves a cache that is true."""
        folder = self.context({"Dockerfile": HEAD + "RUN echo 1 > /one\nRUN --mount=type=cache,target=/c touch /c/x; (setsid sleep 1234 &) ; echo 2 > /two; sleep 1234\n"})
        build = subprocess.Popen(self.command("build", "--network", "none", folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(lambda: list((self.root / "cache-mounts").glob("*/data/x")), what="the step runs")
        build.send_signal(signal.SIGKILL)
        build.wait()
        self.ok("system", "prune", "-f")
        def gone():
            for entry in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    if entry.read_bytes() == b"sleep\0001234\0":
                        return False
                except OSError:
                    pass
            return True
        eventually(gone, what="the step's processes are gone")
        (folder / "Dockerfile").write_text(HEAD + "RUN echo 1 > /one\nRUN cat /one; ! cat /two\n")
        self.ok("build", "--network", "none", folder)

    def test_kill_at_any_time(self):
        """F2: kill -9 at 12 moments; what is in the cache afterwards is whole."""
        lines = "".join(f"RUN echo {n} > /{n} && head -c 500000 /dev/urandom > /r{n} && sha256sum /r{n} > /s{n}\n" for n in range(6))
        folder = self.context({"Dockerfile": HEAD + lines + "RUN sha256sum -c /s[0-9]\n"})
        for n in range(12):
            build = subprocess.Popen(self.command("build", "--network", "none", "-t", "killed", folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(0.05 + 0.06 * n)
            build.kill()
            build.wait()
        self.ok("build", "--network", "none", "-t", "killed", folder)
        self.assertIn("r5: OK", self.run_in("cd / && sha256sum -c /s[0-9]", image="killed"))
        self.ok("system", "prune", "-f")

    def test_a_damaged_cache(self):
        """F53: records that lead nowhere are dropped, and the step runs again."""
        folder = self.context({"Dockerfile": HEAD + "RUN echo 1 > /one\nRUN --mount=type=cache,id=damaged,target=/c echo 2 > /c/two\n"})
        blobs = self.root / "content" / "blobs" / "sha256"
        of_base = set(blobs.iterdir())
        self.ok("build", "--network", "none", "-t", "first", folder)
        self.ok("rmi", "first")
        for path in self.root.glob("cache-mounts/*/about"):
            path.unlink()
        for path in self.root.glob("cache-mounts/*/data"):
            path.rename(path.parent / "moved")
        for path in set(blobs.iterdir()) - of_base:
            path.unlink()
        result = self.dray("build", "--network", "none", "-t", "again", folder)
        self.assertIn(result.code, (0, 1), repr(result))
        self.ok("builder", "du")
        self.ok("builder", "prune", "-a", "-f")
        self.ok("build", "--network", "none", "-t", "again", folder)


if __name__ == "__main__":
    main()
