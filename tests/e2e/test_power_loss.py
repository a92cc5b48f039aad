#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The power fails, right after a command has said that it is done, or in the middle of one: what was reported is there with every
byte, and what is there is whole. The store is on an ext4 that flushes nothing by itself (commit=600), in a file: a copy of that file
is what a disk holds when the power goes. The copy is looked at as if after a reboot. $DRAY_POWER_CUTS (12) are made in the middle,
at moments that $DRAY_POWER_SEED chooses. No container is started."""
import os
import random
import shutil
import subprocess
import time

from fake_registry import ScriptedRegistry
from harness import DRAY, DrayTestCase, main, require
from layer_trees import image, layers_of, oci_archive

CUTS = int(os.environ.get("DRAY_POWER_CUTS", "12"))
SEED = os.environ.get("DRAY_POWER_SEED", "1")
AFTER_BOOT = 'mount --bind "$1" /proc/sys/kernel/random/boot_id; shift; exec "$@"'


class PowerLoss(DrayTestCase):
    needs_base = starts_containers = False

    @classmethod
    def setUpClass(cls):
        require("mkfs.ext4")
        super().setUpClass()
        cls.disk, cls.after = cls.scratch / "disk", cls.scratch / "after"
        with open(cls.disk, "wb") as file:
            file.truncate(200 << 20)
        subprocess.run(["mkfs.ext4", "-q", cls.disk], check=True)
        cls.root.mkdir()
        cls.after.mkdir()
        cls.made = [image(number) for number in range(3)]
        cls.registry = ScriptedRegistry({f"i{number}:1": made for number, made in enumerate(cls.made)})
        cls.addClassCleanup(cls.registry.stop)
        cls.registry.server.handle_error = lambda *_: None  # whoever was killed hangs up
        for number, made in enumerate(cls.made):
            oci_archive(cls.scratch / f"i{number}.tar", f"i{number}", made)
        cls.folder = cls.scratch / "context"
        cls.folder.mkdir()
        (cls.folder / "data").write_bytes(random.Random(SEED).randbytes(400_000))
        (cls.folder / "Dockerfile").write_text("FROM i0\nCOPY data /one\nCOPY data /two/three\n")
        (cls.scratch / "boot").write_text("00000000-0000-4000-8000-000000000000\n")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.scratch)

    def setUp(self):
        super().setUp()
        subprocess.run(["mount", "-o", "loop,commit=600", self.disk, self.root], check=True)
        self.addCleanup(subprocess.run, ["umount", self.root], check=True)
        self.good = {}

    def cut(self):
        """Mounts what the disk holds now; the caller unmounts it."""
        copy = self.scratch / "copy"
        subprocess.run(["cp", "--sparse=always", self.disk, copy], check=True)
        subprocess.run(["mount", "-o", "loop", copy, self.after], check=True)

    def rebooted(self, *words):
        process = subprocess.run(["unshare", "-m", "sh", "-ec", AFTER_BOOT, "sh", self.scratch / "boot", DRAY, "--root", self.after,
                                  "--state", self.scratch / "after-state", *words], capture_output=True, text=True)
        return process.returncode, process.stdout + process.stderr

    def whole_after_a_cut(self, *names):
        """What is there after it: the named images at least, and all of it whole."""
        self.good.update(layers_of(self.root))
        self.cut()
        try:
            code, text = self.rebooted("system", "check")
            self.assertEqual(0, code, text)
            for name in names:
                code, text = self.rebooted("image", "inspect", name)
                self.assertEqual(0, code, text)
            code, text = self.rebooted("system", "prune", "-f")
            self.assertEqual(0, code, text)
            for name, found in layers_of(self.after).items():
                self.assertEqual(self.good.get(name, found), found, f"layer {name}")
            code, text = self.rebooted("system", "check")
            self.assertEqual(0, code, text)
            self.assertNotIn("Nothing refers to", text)
            code, text = self.rebooted("load", "-q", "-i", str(self.scratch / "i1.tar"))
            self.assertEqual(0, code, text)
        finally:
            subprocess.run(["umount", self.after], check=True)

    def commands(self):
        remote = f"{self.registry.address}/i1:1"
        return [(["load", "-q", "-i", self.scratch / "i0.tar"], ["i0"]), (["tag", "i0", "i0:again"], ["i0", "i0:again"]),
                (["pull", "-q", remote], [remote]), (["build", "-q", "-t", "built", self.folder], ["built"]),
                (["load", "-q", "-i", self.scratch / "i2.tar"], ["i2", "built", remote, "i0"]),
                (["rmi", "i2"], ["built"]), (["import", self.scratch / "i2.tar", "imported"], ["imported"]), (["system", "prune", "-f"], ["built", "i0"])]

    def test_done_is_done(self):
        for words, names in self.commands():
            self.ok(*words)
            self.whole_after_a_cut(*names)
        self.forget()

    def test_no_name_without_its_files(self):
        """What rm and prune remove never leaves a name behind: here the disk gets to know of the removal by somebody's fsync."""
        for words, names in self.commands():
            self.ok(*words)
        self.ok("create", "--name", "idle", "--network", "none", "i0", "/bin/tool")
        subprocess.run(["sync", "-f", self.root], check=True)
        self.ok("rm", "idle")
        self.ok("rmi", "built", "imported", f"{self.registry.address}/i1:1")
        self.ok("system", "prune", "-a", "-f")
        with open(self.root / "other", "wb") as other:
            os.fsync(other.fileno())
        self.whole_after_a_cut()
        self.forget()

    def test_in_the_middle(self):
        pick, there = random.Random(SEED), set()
        longest = {}
        for words, names in self.commands():
            begun = time.monotonic()
            self.ok(*words)
            longest[words[0]] = time.monotonic() - begun
            self.good.update(layers_of(self.root))
        self.forget()
        for number in range(CUTS):
            words, names = self.commands()[number % len(self.commands())]
            process = subprocess.Popen(self.command(*words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            try:
                error = process.communicate(timeout=pick.random() * longest[words[0]])[1]
                self.assertEqual(0, process.returncode, error)
                there.update(names)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
            if words[0] in ("rmi", "system"):
                there.discard("i2")
            with self.subTest(number=number, words=words):
                self.whole_after_a_cut(*there)
            if number % len(self.commands()) == len(self.commands()) - 1:
                self.forget()
                there.clear()
            else:  # what was cut off is done, for the next to build on
                self.dray(*words)
        self.forget()

    def forget(self):
        self.ok("image", "prune", "-a", "-f")
        self.ok("system", "prune", "-a", "-f")
        self.assertEqual("", self.ok("images", "-aq"))


if __name__ == "__main__":
    main()
