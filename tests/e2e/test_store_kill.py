#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9 at random moments over pull, load, rmi, prune and build running together, on a large disk and on a small one that fills up
again and again; then `system check` finds nothing wrong, and prune leaves nothing that nobody refers to. $DRAY_KILL_SECONDS (20: for
both together), $DRAY_KILL_COUNT and $DRAY_KILL_SEED set how long, how often (each goes on until both are reached, and each command was killed once) and which moments."""
import collections
import os
import random
import re
import shutil
import stat
import subprocess
import threading
import time

from harness import BASE_IMAGE, DrayTestCase, Registry, eventually, main, require

SECONDS = float(os.environ.get("DRAY_KILL_SECONDS", "20")) / 2
COUNT = int(os.environ.get("DRAY_KILL_COUNT", "10"))
SEED = os.environ.get("DRAY_KILL_SEED", "1")
MEGABYTE = 1 << 20
LONGEST = {"load": 0.5, "pull": 0.7, "rmi": 0.15, "prune": 0.3, "build": 1.5}
# What others may do to a command: take its image away, work in the store, fill the disk.
EXPECTED = re.compile(r"(?i)no such image|in use|database is locked|no space left on device|disk is full")
FULL = re.compile("(?i)no space left on device|disk is full")


class Storm(DrayTestCase):
    """What both have in common."""

    def prepare(self, base, step):
        """An archive of "stored", the same in a registry with a few layers more, and builds of two contexts."""
        registry = Registry(self.scratch)
        self.addCleanup(registry.stop)
        self.remote = f"{registry.address}/pulled"
        self.folders = [self.context({"Dockerfile": f"FROM {base}\nCOPY data /data\n{step}COPY end /end\n", "data": os.urandom(500_000), "end": f"{i}\n"})
                        for i in range(2)]
        self.ok("build", "-t", "stored", self.folders[0])
        self.archive = self.scratch / "stored.tar"
        self.ok("save", "-o", self.archive, "stored")
        self.build("FROM stored\n" + "".join(f"COPY {i} /{i}\n" for i in range(4)), {str(i): os.urandom(6_000_000) for i in range(4)}, tag=self.remote)
        self.ok("push", "-q", self.remote)

    def words(self, verb, pick):
        names = ["stored", "built", self.remote]
        return pick.choice({
            "load": [["load", "-q", "-i", self.archive]],
            "pull": [["pull", "-q", self.remote]],
            "rmi": [*(["rmi", "-f", name] for name in names), ["tag", "stored", "built"]],
            "prune": [["system", "prune", "-f"], ["image", "prune", "-f"], ["builder", "prune", "-f"]],
            "build": [["build", *flags, "-t", "built", folder] for flags in ([], ["--no-cache"]) for folder in self.folders],
        }[verb])

    def storm(self):
        """Returns the errors of those that were not killed."""
        errors = []

        def work(verb):
            pick = random.Random(f"{SEED} {verb}")
            while self.goes_on():
                process = subprocess.Popen(self.command(*self.words(verb, pick)), stdin=subprocess.DEVNULL,
                                           stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                try:
                    error = process.communicate(timeout=pick.random() * LONGEST[verb])[1]
                    if process.returncode != 0:
                        errors.append(error)
                        if process.returncode < 0 or not EXPECTED.search(error):
                            self.failures.append((process.args, process.returncode, error))
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.communicate()
                    self.kills[verb] += 1

        threads = [threading.Thread(target=work, args=(verb,)) for verb in LONGEST]
        for thread in threads:
            thread.start()
        checks = 0
        try:
            while self.goes_on():  # beside them: it must not take work in flight for damage
                result = self.dray("system", "check")
                if result.code != 0 and not FULL.search(result.err):
                    self.failures.append(repr(result))
                checks += 1
                time.sleep(0.5)
        except BaseException as failure:
            self.failures.append(failure)
            raise
        finally:
            for thread in threads:
                thread.join()
        print(f"{self.kills.total()} kills {dict(self.kills)}, {checks} checks beside them, {len(errors)} errors, "
              f"{sum(bool(FULL.search(error)) for error in errors)} for want of space")
        self.assertEqual([], self.failures)
        return errors

    def begin(self):
        self.ends, self.kills, self.failures = time.monotonic() + SECONDS, collections.Counter(), []

    def goes_on(self):
        enough = self.kills.total() >= COUNT and all(self.kills[verb] > 0 for verb in LONGEST)
        return not self.failures and (time.monotonic() < self.ends or not enough)

    def check_whole(self):
        self.ok("system", "check", "-q")
        eventually(lambda: self.dray("system", "prune", "-f").code == 0, 20, "prune finds the store idle")
        after = self.ok("system", "check")
        self.assertIn("nothing is wrong", after)
        self.assertNotIn("Nothing refers to", after)
        for folder in ("tmp", "containers", "content/ingest"):
            self.assertEqual([], list((self.root / folder).glob("*")))


class LargeDisk(Storm):
    def test_store_survives(self):
        self.prepare(BASE_IMAGE, "RUN head -c 200000 /dev/urandom > /random; rm /data\n")
        self.begin()
        self.storm()
        self.check_whole()
        self.ok("load", "-q", "-i", self.archive)
        self.assertEqual("0\n", self.run_in("cat /end", image="stored"))
        self.ok("pull", "-q", self.remote)
        self.assertEqual("6000000\n" * 4, self.run_in("stat -c %s /0 /1 /2 /3", image=self.remote))


class SmallDisk(Storm):
    """200 MB of ext4. No container is started."""

    needs_base = starts_containers = False

    @classmethod
    def setUpClass(cls):
        require("mkfs.ext4")
        super().setUpClass()
        disk = cls.scratch / "disk"
        with open(disk, "wb") as file:
            file.truncate(200 * MEGABYTE)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", disk], check=True)
        cls.root.mkdir()
        mounted = subprocess.run(["mount", "-o", "loop", disk, cls.root], capture_output=True, text=True)
        if mounted.returncode != 0:
            cls.tearDownClass()
            raise AssertionError(mounted.stderr)

    @classmethod
    def tearDownClass(cls):
        subprocess.run(["umount", cls.root], check=os.path.ismount(cls.root))
        shutil.rmtree(cls.scratch)

    def space(self):
        found = os.statvfs(self.root)
        return found.f_bavail * found.f_frsize

    def held(self):
        """Bytes on disk of all files but the database's."""
        files = {}
        for path in self.root.rglob("*"):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and not path.name.startswith("dray.db"):
                files[status.st_ino] = status.st_blocks * 512
        return sum(files.values())

    def fill(self, left):
        """Takes all space but `left` bytes, or as much of it as the others have left."""
        filler = self.root / "filler"
        filler.unlink(missing_ok=True)
        with open(filler, "wb") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, max(1, self.space() - left))
            except OSError:
                pass

    def test_not_one_block(self):
        """Where the kernel can't make an overlay's work directory, it mounts it read-only; that is not what is wrong."""
        folder = self.context({"Dockerfile": "FROM scratch\nCOPY data /data\n", "data": "x"})
        self.fill(MEGABYTE)
        self.ok("build", "-t", "first", folder)
        (folder / "data").write_text("y")
        for left in range(0, 64 * 1024, 4096):
            self.fill(left)
            result = self.dray("build", "-t", "second", folder)
            if result.code == 0:
                break
            self.assertRegex(result.err, FULL, left)
        self.fill(0)
        self.fails(1, FULL, "build", "--no-cache", "-t", "third", folder)
        (self.root / "filler").unlink()
        self.ok("build", "-t", "third", folder)
        self.check_whole()
        self.ok("system", "prune", "-a", "-f")

    def test_store_survives(self):
        self.prepare("scratch", "")
        empty = self.space()

        def fill_and_free():
            pick = random.Random(f"{SEED} disk")
            while self.goes_on():
                self.fill(pick.choice([0, 1, 5, 20, 40]) * MEGABYTE)
                time.sleep(pick.random())
                (self.root / "filler").unlink()
                time.sleep(pick.random() / 2)

        self.begin()
        filler = threading.Thread(target=fill_and_free)
        filler.start()
        try:
            errors = self.storm()
        finally:
            filler.join()
        self.assertTrue(any(FULL.search(error) for error in errors), "the disk was never full")
        # Full to the last byte, what is there can be looked at and removed; prune gives the space back, and work goes on.
        self.dray("load", "-q", "-i", self.archive)
        held = self.held()
        self.fill(0)
        self.ok("images")
        self.ok("system", "check", "-q")
        self.dray("rmi", "-f", "stored", "built", self.remote)
        eventually(lambda: self.dray("system", "prune", "-a", "-f").code == 0, 20, "prune finds the store idle")
        self.assertGreater(self.space(), held - MEGABYTE)
        (self.root / "filler").unlink()
        self.check_whole()
        self.assertEqual("", self.ok("images", "-aq"))
        self.assertGreater(self.space(), empty)
        self.ok("load", "-q", "-i", self.archive)
        self.ok("pull", "-q", self.remote)
        self.ok("build", "-t", "built", self.folders[1])
        self.ok("system", "check", "-q")


del Storm  # is no test itself

if __name__ == "__main__":
    main()
