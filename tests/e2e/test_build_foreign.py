#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""RUN for another kind of machine, by qemu-user that is registered with binfmt_misc for the time of these tests."""
import os
import pathlib
import subprocess
import tempfile
import unittest

from harness import CACHE, DrayTestCase, main

BINFMT = pathlib.Path("/proc/sys/fs/binfmt_misc")
ENTRY = "dray-test-aarch64"
MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
LINES = ("FROM --platform=$BUILDPLATFORM scratch AS native\nCOPY Dockerfile /\n"
         "FROM scratch AS root\nADD root.tar /\nCOPY --from=native /Dockerfile /\n"
         "FROM root\nRUN [\"/bin/busybox\", \"sh\", \"-ec\", \"/bin/busybox uname -m > /machine; echo $PATH > /path\"]\n"
         "RUN [\"/bin/busybox\", \"sh\", \"-c\", \"/bin/busybox cat /machine\"]\n")


def fetched():
    """qemu-aarch64-static and a root with a static arm64 busybox, from Debian's packages, once per build folder."""
    qemu, root = CACHE / "qemu-aarch64-static", CACHE / "busybox-arm64.tar"
    CACHE.mkdir(exist_ok=True)
    try:
        if not qemu.exists():
            with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
                subprocess.run(["apt-get", "download", "-qq", "qemu-user-static"], cwd=scratch, check=True, capture_output=True, timeout=300)
                package = next(pathlib.Path(scratch).glob("*.deb"))
                subprocess.run(["dpkg", "-x", package, f"{scratch}/x"], check=True)
                os.rename(f"{scratch}/x/usr/bin/qemu-aarch64-static", qemu)
        if not root.exists():
            new = CACHE / "new-busybox-arm64.tar"  # mmdebstrap goes by the name's end
            subprocess.run(["mmdebstrap", "-q", "--arch=arm64", "--variant=extract", "--include=busybox-static", "bookworm", new],
                           check=True, capture_output=True, timeout=300)
            subprocess.run(["tar", "--delete", "--wildcards", "-f", new, "./dev*"], check=True)
            os.rename(new, root)
    except (OSError, subprocess.SubprocessError) as problem:
        raise unittest.SkipTest(f"no qemu-user-static or arm64 busybox: {getattr(problem, 'stderr', None) or problem}")
    return qemu, root


class Foreign(DrayTestCase):
    needs_base = False

    @classmethod
    def setUpClass(cls):
        if os.uname().machine != "x86_64":
            raise unittest.SkipTest("arm64 is no foreign machine here")
        super().setUpClass()
        cls.qemu, cls.rootfs = fetched()
        if not (BINFMT / "register").exists():
            if subprocess.run(["mount", "-t", "binfmt_misc", "none", BINFMT], capture_output=True).returncode != 0:
                raise unittest.SkipTest("binfmt_misc can't be mounted here")
            cls.addClassCleanup(subprocess.run, ["umount", BINFMT], check=True)

    def register(self, enabled=True):
        if any("aarch64" in name for name in os.listdir(BINFMT)):
            self.skipTest("this host has an interpreter for arm64 already")
        (BINFMT / "register").write_text(f":{ENTRY}:M::{MAGIC}:{MASK}:{self.qemu}:F")
        self.addCleanup((BINFMT / ENTRY).write_text, "-1")
        if not enabled:
            (BINFMT / ENTRY).write_text("0")

    def sources(self):
        folder = self.context({"Dockerfile": LINES})
        (folder / "root.tar").hardlink_to(self.rootfs) if folder.stat().st_dev == self.rootfs.stat().st_dev else \
            (folder / "root.tar").write_bytes(self.rootfs.read_bytes())
        return folder

    def test_run(self):
        self.register()
        result = self.dray("build", "--progress", "plain", "--network", "none", "--platform", "linux/arm64", "-t", "foreign", self.sources())
        self.assertEqual(0, result.code, result)
        self.assertIn(" aarch64\n", result.err)
        self.assertEqual("arm64", self.inspect("foreign", "Architecture"))
        self.assertEqual("aarch64\n", self.ok("run", "--rm", "--network", "none", "foreign", "/bin/busybox", "uname", "-m"))
        # its status is the program's
        folder = self.context({"Dockerfile": 'FROM foreign\nRUN ["/bin/busybox", "sh", "-c", "exit 7"]\n'})
        self.fails(1, "(?s)Dockerfile:2.*exit code: 7", "build", "--network", "none", "--platform", "linux/arm64", folder)

    def test_no_interpreter(self):
        self.register(enabled=False)
        self.fails(1, "(?s)Dockerfile:7: RUN for linux/arm64 is not possible.*qemu-aarch64", "build", "--platform", "linux/arm64", self.sources())


if __name__ == "__main__":
    main()
