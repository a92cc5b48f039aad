#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The n-th system call of a kind fails, for each n: the command succeeds or says what is wrong, nothing that the store promised is
damaged, and the same command succeeds once the fault is gone. $DRAY_FAULTS: how many faults are tried (60, chosen by $DRAY_FAULT_SEED),
or "all"; $DRAY_FAULT_VERBS: of which commands. strace counts the calls of each thread by itself. No container is started."""
import collections
import concurrent.futures
import json
import os
import random
import re
import shutil
import subprocess

from fake_registry import ScriptedRegistry
from harness import DRAY, DrayTestCase, Result, main, require, skip_all
from layer_trees import image, layers_of, oci_archive

FAULTS = os.environ.get("DRAY_FAULTS", "60")
SEED = os.environ.get("DRAY_FAULT_SEED", "1")
VERBS = os.environ.get("DRAY_FAULT_VERBS", "load pull rmi prune build tag save").split()
CALLS = {  # "…+": the n-th and all after it, as on a disk that is full or broken
    "ENOSPC ENOSPC+ EIO": "write pwrite64 writev pwritev copy_file_range ftruncate fallocate openat openat2 mkdir mkdirat rename renameat "
                          "renameat2 linkat symlinkat mknodat fsetxattr lsetxattr setxattr",
    "EIO EIO+": "fsync fdatasync syncfs sync_file_range read pread64 getdents64 unlink unlinkat rmdir fchmod fchmodat fchown fchownat utimensat",
    "EIO": "newfstatat statx lseek flock access faccessat2 readlinkat",
    "EAGAIN EAGAIN+": "clone clone3 fork vfork",
    "ECONNRESET": "connect recvfrom sendto",
}
CLEAR = re.compile("(?i)no space left|disk is full|i/o error|input/output error|unable to open database file|readonly database"
                   "|resource temporarily unavailable|connection reset|reset by peer|error while loading shared libraries")


class Place:
    """A store of its own for one fault."""

    def __init__(self, folder):
        self.folder, self.root = folder, folder / "root"

    def command(self, *words):
        return [str(DRAY), "--root", str(self.root), "--state", str(self.folder / "state"), *map(str, words)]

    def run(self, *words, trace=()):
        process = subprocess.run([*trace, *self.command(*words)], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=120)
        return Result(process)


class Faults(DrayTestCase):
    needs_base = starts_containers = False

    @classmethod
    def setUpClass(cls):
        require("strace")
        if subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode != 0:
            skip_all("strace may trace nothing here")
        super().setUpClass()
        cls.first, cls.second = image(1), image(2)
        cls.registry = ScriptedRegistry({"second:1": cls.second})
        cls.registry.server.handle_error = lambda *_: None  # whoever was failed hangs up
        cls.addClassCleanup(cls.registry.stop)
        for name, made in (("first", cls.first), ("second", cls.second)):
            oci_archive(cls.scratch / f"{name}.tar", name, made)
        cls.context_folder = cls.scratch / "context"
        (cls.context_folder / "tree").mkdir(parents=True)
        for number in range(3):
            (cls.context_folder / "tree" / str(number)).write_bytes(random.Random(number).randbytes(20_000))
        (cls.context_folder / "Dockerfile").write_text("FROM first AS one\nCOPY tree /tree\nFROM one\nCOPY --chmod=640 tree/1 /bin/tool\nCOPY --from=one /tree/2 /two\n")
        cls.make_templates()

    @classmethod
    def make_templates(cls):
        """What the commands begin with: nothing, one image, or several with a cache and what killed processes left."""
        cls.templates = {"empty": Place(cls.scratch / "empty"), "one": Place(cls.scratch / "one"), "full": Place(cls.scratch / "full")}
        cls.templates["empty"].folder.mkdir()
        for name, archives in (("one", ["first"]), ("full", ["first", "second"])):
            for archive in archives:
                cls.do(cls.templates[name], "load", "-q", "-i", cls.scratch / f"{archive}.tar")
        full = cls.templates["full"]
        cls.do(full, "build", "-t", "built", cls.context_folder)
        cls.do(full, "create", "--name", "idle", "--network", "none", "first", "/bin/tool")
        cls.do(full, "rmi", "built")
        (full.root / "content" / "ingest" / "blob-left").write_bytes(b"x")
        (full.root / "snapshots" / "new-left" / "fs").mkdir(parents=True)
        (full.root / "tmp" / "left").mkdir(parents=True)
        cls.good = layers_of(full.root)
        place = cls.begin("one", cls.scratch / "built")
        cls.do(place, "build", "-q", "-t", "built", cls.context_folder)
        cls.built = cls.trees(place, "built")

    @classmethod
    def trees(cls, place, name):
        """The trees of an image's layers: a step that missed a file would make another layer, and no damage."""
        layers = json.loads(cls.do(place, "image", "inspect", name))[0]["RootFS"]["Layers"]
        there = layers_of(place.root)
        return [there[layer] for layer in layers]

    @staticmethod
    def do(place, *words):
        result = place.run(*words)
        if result.code != 0:
            raise AssertionError(f"dray {' '.join(map(str, words))}: {result}")
        return result.out

    def verb(self, name):
        """What it begins with, its words, and what must be so when it has succeeded."""
        has = lambda image: lambda place: self.do(place, "image", "inspect", image)
        lacks = lambda image: lambda place: self.assertNotEqual(0, place.run("image", "inspect", image).code)
        remote = f"{self.registry.address}/second:1"
        return {
            "load": ("empty", ["load", "-q", "-i", self.scratch / "second.tar"], has("second")),
            "pull": ("one", ["pull", "-q", remote], has(remote)),
            "rmi": ("full", ["rmi", "second"], lacks("second")),
            "prune": ("full", ["system", "prune", "-a", "-f"], lacks("second")),
            "build": ("one", ["build", "-q", "-t", "built", self.context_folder], lambda place: self.assertEqual(self.built, self.trees(place, "built"))),
            "tag": ("one", ["tag", "first", "other"], has("other")),
            "save": ("full", ["save", "-o", "{folder}/saved.tar", "second"], lambda place: self.load_saved(place)),
        }[name]

    def load_saved(self, place):
        empty = Place(place.folder / "loaded")
        self.do(empty, "load", "-q", "-i", place.folder / "saved.tar")

    @classmethod
    def begin(cls, name, folder):
        subprocess.run(["cp", "-a", "--sparse=always", cls.templates[name].folder, folder], check=True)
        return Place(folder)

    def words(self, place, words):
        return [str(word).replace("{folder}", str(place.folder)) for word in words]

    def cases(self, verb):
        """Every call of the command without a fault: (kind of call, its number in its thread, error)."""
        template, words, _ = self.verb(verb)
        place = self.begin(template, self.scratch / f"count-{verb}")
        log = place.folder / "trace"
        known = " ".join(CALLS.values()).split()
        result = place.run(*self.words(place, words), trace=["strace", "-f", "-qq", "-o", str(log), "-e", "trace=" + ",".join("?" + name for name in known)])
        self.assertEqual(0, result.code, repr(result))
        counts = collections.Counter()
        for line in log.read_text(errors="replace").splitlines():
            if found := re.match(r"(\d+) +(\w+)\(", line):
                counts[found.groups()] += 1
        most = collections.Counter()
        for (_, name), count in counts.items():
            most[name] = max(most[name], count)
        shutil.rmtree(place.folder)
        return [(verb, name, number, error) for errors, names in CALLS.items() for name in names.split() for error in errors.split()
                for number in range(1, most[name] + 1)]

    def fault(self, number, case):
        """One fault. Returns what came of it; raises if it did any harm."""
        verb, name, count, error = case
        template, words, done = self.verb(verb)
        place = self.begin(template, self.scratch / f"fault-{number}")
        words, log = self.words(place, words), place.folder / "trace"
        when = f"{count}+" if error.endswith("+") else count
        try:
            result = place.run(*words, trace=["strace", "-f", "-qq", "-y", "-o", str(log), "-e", f"trace={name}",
                                              "-e", f"inject={name}:error={error.rstrip('+')}:when={when}"])
            injected = [line for line in log.read_text(errors="replace").splitlines() if "(INJECTED)" in line]
            if not injected:
                return "no fault"
            silenced = any(re.search(r"write\(([12]<|\d+<(pipe|socket):)", line) for line in injected)  # it could not say anything
            self.assertTrue(0 <= result.code < 128 or (silenced and result.code == 130), f"it died: {result}")
            if result.code == 0:
                done(place)
            outcome = "succeeded" if result.code == 0 else "clear error" if CLEAR.search(result.err) else "unclear error"
            if outcome == "unclear error" and silenced:
                outcome = "could not say"
            if outcome == "unclear error":
                return f"unclear error {result.code}: {result.err.strip()[-300:]!r} after {injected[0][:200]}"
            # SQLite syncs the directory of a new file without insisting on it; put_image's syncfs covers that.
            if result.code == 0 and name in ("fsync", "fdatasync", "syncfs") and not any("/root>)" in line for line in injected):
                return f"unsynced success after {injected[0][:200]}"
            self.whole(place, result)
            if number % 2:  # half of them find what it left, the others do not
                self.prune(place)
            again = place.run(*words)
            if again.code != 0:
                try:
                    done(place)  # the fault came after the deed
                except AssertionError:
                    self.fail(f"it does not work again: {again}")
            done(place)
            self.whole(place, again)
            self.prune(place)
            return outcome
        except AssertionError as failure:
            raise AssertionError(f"{' '.join(map(str, case))}: {failure}\n{injected[:2]}\nthe command: {result}") from None
        finally:
            shutil.rmtree(place.folder)

    def whole(self, place, result):
        checked = place.run("system", "check")
        self.assertEqual(0, checked.code, f"{checked}")
        for name, found in layers_of(place.root).items():
            self.assertEqual(self.good.get(name, found), found, f"layer {name}")
        return checked.out + checked.err

    def prune(self, place):
        """Nothing stays but what somebody refers to, also in the layout's list for other tools."""
        result = place.run("system", "prune", "-f")
        self.assertEqual(0, result.code, repr(result))
        self.assertNotIn("Nothing refers to", self.whole(place, result))
        for entry in json.loads((place.root / "content" / "index.json").read_text())["manifests"]:
            self.assertTrue((place.root / "content" / "blobs" / entry["digest"].replace(":", "/")).exists(), "index.json names what is gone")
        for folder in ("content/ingest", "tmp"):
            self.assertEqual([], list((place.root / folder).glob("*")))

    def test_a_layer_of_many_files_goes_to_the_disk_early(self):
        for files, syncs in ((1100, 2), (3, 1)):
            folder = self.context({"Dockerfile": "FROM scratch\nCOPY many /many\n", **{f"many/{number}": "x" for number in range(files)}})
            log = self.scratch / f"syncs-{files}"
            command = self.command("build", "-q", folder)
            subprocess.run(["strace", "-f", "-qq", "-o", log, "-e", "trace=syncfs", *command], stdout=subprocess.DEVNULL, check=True)
            self.assertEqual(syncs, log.read_text().count("syncfs("))
        self.ok("system", "prune", "-af")

    def test_store(self):
        cases = [case for verb in VERBS for case in self.cases(verb)]
        total = len(cases)
        if FAULTS != "all":
            cases = random.Random(SEED).sample(cases, min(int(FAULTS), total))
        outcomes, bad = collections.defaultdict(collections.Counter), []
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for case, future in [(case, pool.submit(self.fault, *numbered)) for numbered in enumerate(cases) for case in [numbered[1]]]:
                try:
                    outcome = future.result()
                except AssertionError as failure:
                    outcome = "damage"
                    bad.append(str(failure))
                outcomes[case[0]][outcome.split(" after ")[0].split(":")[0]] += 1
                if outcome.startswith("un"):
                    bad.append(f"{' '.join(map(str, case))}: {outcome}")
        for verb, counts in outcomes.items():
            print(f"{verb}: {sum(counts.values())} faults: {dict(counts)}")
        print(f"{len(cases)} of {total} faults")
        self.assertEqual([], bad, "\n" + "\n\n".join(bad))


if __name__ == "__main__":
    main()
