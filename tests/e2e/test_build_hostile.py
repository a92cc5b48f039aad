#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bad input of dray build: contexts of links and devices, huge Dockerfiles, "../" wherever a path can be. It ends soon, with a
clear error or the right image; nothing outside is read or written, and nothing is left."""
import io
import os
import stat
import subprocess
import sys
import tarfile
import time

from harness import DrayTestCase, main

HUGE = 10 << 20
CANARY = "canary-7d41"


def tar_bytes(entries, mode="w"):
    """A tar of (name, content) for files, (name, link target, type) for others."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content, *kind in entries:
            info = tarfile.TarInfo(name)
            if kind:
                info.type, info.linkname = kind[0], content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content.encode()))
    return buffer.getvalue()

MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_maxrss, used.ru_utime + used.ru_stime)
sys.exit(code)
"""


class Hostile(DrayTestCase):
    needs_base = False

    def setUp(self):
        super().setUp()
        self.canary = self.scratch / "canary"
        self.canary.write_text(CANARY)
        self.addCleanup(self.check_leftovers)

    def check_leftovers(self):
        self.assertEqual(CANARY, self.canary.read_text())
        self.assertEqual([], [path for path in self.scratch.glob("**/pwned") if self.root not in path.parents])
        for folder in (self.state / "builds", self.root / "tmp", self.root / "build-locks"):
            self.assertEqual([], list(folder.glob("*")))

    def make(self, dockerfile, fill=None, *flags, timeout=60, **options):
        """Builds into a tar; gives the result and the image's entries."""
        folder = self.context({"Dockerfile": dockerfile} if dockerfile is not None else {})
        if fill:
            fill(folder)
        out = folder.with_suffix(".tar")
        result = self.dray("build", "--progress", "plain", "-o", f"type=tar,dest={out}", *flags, folder, timeout=timeout, **options)
        self.assertNotIn(CANARY, result.out + result.err)
        entries = {}
        if result.code == 0:
            self.assertNotIn(CANARY.encode(), out.read_bytes())
            with tarfile.open(out) as tar:
                entries = {member.name: member for member in tar}
            out.unlink()
        return result, entries

    def good(self, *arguments, **options):
        result, entries = self.make(*arguments, **options)
        self.assertEqual(0, result.code, repr(result))
        return entries

    def bad(self, pattern, *arguments, **options):
        result, _ = self.make(*arguments, **options)
        self.assertEqual(1, result.code, repr(result)[:5000])
        self.assertRegex(result.err, pattern)
        self.assertRegex(result.err, r"(?m)^dray: .+")
        self.assertLess(len(result.err), 100_000)

    # -- links and devices in a context -------------------------------------------------------------------------------

    @staticmethod
    def links(folder):
        (folder / "dir").mkdir()
        (folder / "dir/file").write_text("F")
        for name, target in {"self": "self", "a": "b", "b": "a", "dir/here": ".", "dir/up": "..", "dir/twice": "here/here",
                             "root": "/", "host": "/etc/passwd", "out": "../" * 20 + "etc/passwd"}.items():
            os.symlink(target, folder / name)
        for n in range(60):
            os.symlink(f"chain{n + 1}", folder / f"chain{n}")
        (folder / "chain60").write_text("end")

    def test_recursive_links(self):
        entries = self.good("FROM scratch\nCOPY . /x/\n", self.links)
        self.assertEqual(("self", "/etc/passwd", ".."), (entries["x/self"].linkname, entries["x/host"].linkname, entries["x/dir/up"].linkname))
        self.assertNotIn("x/dir/here/file", entries)
        entries = self.good("FROM scratch\nCOPY " + "dir/up/" * 12 + "dir/twice/here/file /f\n", self.links)
        self.assertEqual(1, entries["f"].size)
        for name in ("self", "a", "chain0"):
            self.bad(r"Dockerfile:2.*(not found|symbolic links)", f"FROM scratch\nCOPY {name} /x\n", self.links)
        for name in ("host", "out", "root/etc/passwd"):
            self.bad(r"Dockerfile:2.*(?i:not found|no such)", f"FROM scratch\nCOPY {name} /x\n", self.links)
        self.good("FROM scratch\nCOPY **/file /x/\nCOPY */*/f* /y/\n", self.links)

    @staticmethod
    def devices(folder):
        os.mknod(folder / "zero", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
        os.mknod(folder / "disk", 0o600 | stat.S_IFBLK, os.makedev(7, 250))
        os.mkfifo(folder / "pipe")
        (folder / "dir").mkdir()
        os.mknod(folder / "dir/zero", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
        os.mkfifo(folder / "dir/pipe")
        (folder / "file").write_text("F")

    def test_devices_are_not_read(self):
        for word in ("COPY", "ADD"):
            for source in (".", "zero disk pipe file", "dir"):
                with self.subTest(word=word, source=source):
                    entries = self.good(f"FROM scratch\n{word} {source} /x/\n", self.devices)
                    self.assertTrue(entries["x/zero"].ischr())
                    self.assertTrue(entries["x/pipe"].isfifo())
        for name in ("Dockerfile", ".dockerignore"):
            for make in (lambda path: os.mkfifo(path), lambda path: os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5)), lambda path: path.mkdir(),
                         lambda path: os.symlink("Dockerfile", path), lambda path: os.symlink(self.canary, path), lambda path: os.symlink("/dev/zero", path)):
                text = None if name == "Dockerfile" else "FROM scratch\nCOPY . /x/\n"
                with self.subTest(name=name):
                    result, _ = self.make(text, lambda folder: make(folder / name))
                    if name == "Dockerfile":
                        self.assertEqual(1, result.code, repr(result))
                    self.assertLess(len(result.err), 5000)
        self.bad(r"(?i)dockerfile|regular|larger", "FROM scratch\n", None, "-f", "/dev/zero")
        self.fails(1, r"dray: .+", "build", "/dev/zero", timeout=60)

    def test_many_files(self):
        """DRAY_TEST_CONTEXT_FILES=1000000 for the proof in full. Memory grows by some 650 bytes a file (cached: 310)."""
        count = int(os.environ.get("DRAY_TEST_CONTEXT_FILES", "3000"))
        folder = self.context({"Dockerfile": "FROM scratch\nCOPY . /all/\n", ".dockerignore": "*/7*\n"})
        for n in range(count):
            if n % 1000 == 0:
                (folder / f"dir{n // 1000}").mkdir()
            os.close(os.open(folder / f"dir{n // 1000}" / f"{n % 1000}-of-the-files-in-here", os.O_CREAT | os.O_WRONLY))
        hidden = sum(str(n % 1000).startswith("7") for n in range(count))
        time.sleep(0.1)  # younger files' digests are not kept
        for cached in (False, True):
            # Measured by a Python that is small: the peak of whoever starts a program counts as the program's.
            measured = subprocess.run([sys.executable, "-c", MEASURE, *map(str, self.command("build", "--progress", "plain", "-t", "many", folder))],
                                      capture_output=True, text=True)
            self.assertEqual(0, measured.returncode, measured.stderr)
            self.assertEqual(cached, "CACHED" in measured.stderr, measured.stderr)
            peak, seconds = map(float, measured.stdout.split())
            print(f"{count} files, cached: {cached}: {peak / 1024:.0f} MiB, {seconds:.2f} s of CPU", flush=True)
            self.assertLess(peak * 1024, (64 << 20) + 700 * count)
        out = self.scratch / "many.tar"
        self.ok("build", "-o", f"type=tar,dest={out}", folder, timeout=900)
        with tarfile.open(out) as tar:
            self.assertEqual(count - hidden, sum(member.isfile() and "-of-the-files" in member.name for member in tar))
        self.ok("rmi", "many")
        self.ok("builder", "prune", "-af")

    # -- huge Dockerfiles ---------------------------------------------------------------------------------------------

    def test_a_dockerfile_of_10_mb(self):
        line = "x" * 79 + "\n"
        texts = {"one value": ("FROM scratch\nLABEL a=" + "x" * HUGE + "\n", r"Dockerfile:2"), "one word": ("x" * HUGE, r"Dockerfile:1: unknown instruction"),
                 "instructions": ("FROM scratch\n" + "LABEL a=b\n" * (HUGE // 10), "too many instructions"), "stages": ("FROM scratch\n" * (HUGE // 13), "too many"),
                 "one command": ("FROM scratch\nRUN true" + " \\\n && echo xxxxxxxxxxxxxxxxxxxxx" * (HUGE // 32) + "\n", "Dockerfile:2: .*larger than 4 MiB"),
                 "a heredoc": ("FROM scratch\nCOPY <<EOF /big\n" + line * (HUGE // 80) + "EOF\n", "Dockerfile:2"),
                 "heredocs without end": ("FROM scratch\nCOPY " + " ".join(f"<<E{n}" for n in range(HUGE // 10)) + " /d/\n", "Dockerfile:2"),
                 "variables": ("FROM scratch\nENV a=x\nENV b=" + "$a" * (HUGE // 2) + "\n", "Dockerfile:3"),
                 "nested": ("FROM scratch\nENV b=" + "${a:-" * (HUGE // 5) + "\n", "Dockerfile:2"), "zeros": ("FROM scratch\nLABEL a=" + "\0" * HUGE + "\n", "Dockerfile:2"),
                 "twice as large": ("#" * (2 * HUGE), "larger than")}
        for name, (text, pattern) in texts.items():
            with self.subTest(name):
                start = time.monotonic()
                self.bad(pattern, text)
                self.assertLess(time.monotonic() - start, 30)
        comments = "FROM scratch\n" + ("# " + "x" * 77 + "\n") * (HUGE // 80) + "COPY Dockerfile /d\n"
        self.assertEqual(len(comments), self.good(comments)["d"].size)
        folder = self.context({})
        self.ok("build", "-o", "type=cacheonly", "-f", "-", folder, input=comments.replace("COPY Dockerfile /d", "LABEL a=b"))
        self.fails(1, "larger than", "build", "-f", "-", folder, input=texts["twice as large"][0])
        archive = tar_bytes([("Dockerfile", texts["twice as large"][0])])
        refused = subprocess.run(self.command("build", "-"), input=archive, capture_output=True, timeout=60)
        self.assertEqual(1, refused.returncode)
        self.assertRegex(refused.stderr.decode(), "larger than")

    # -- "../" --------------------------------------------------------------------------------------------------------

    def test_parent_paths_in_sources(self):
        up = "../" * 20 + str(self.canary)[1:]
        for source in (up, "dir/" + up, "dir/../../canary", f"/../{up}", "..", "../canary", "*/../../canary", "../*"):
            for word in ("COPY", "ADD", "COPY --parents", "COPY --from=stage", "ADD --unpack"):
                with self.subTest(source=source, word=word):
                    head = "# syntax=docker/dockerfile:1-labs\nFROM scratch AS stage\nCOPY dir /dir\nFROM scratch\n"
                    self.make(head + f"{word} {source} /x/\n", lambda folder: (folder / "dir").mkdir())  # looks for the canary
        for word in ("source", "src"):
            for option in (f"type=bind,{word}={up}", f"type=bind,from=stage,{word}={up}", f"type=cache,{word}={up}"):
                result, _ = self.make(f"FROM scratch AS stage\nWORKDIR /dir\nFROM scratch\nRUN --mount={option},target=/m true\n")
                self.assertEqual(1, result.code)  # at the latest because there is no shell

    def test_parent_paths_in_targets(self):
        up = "../" * 20
        entries = self.good(f"FROM scratch\nWORKDIR {up}work/../../w\nCOPY f {up}a/pwned\nCOPY f /../../b/pwned\nADD f ../c/\nCOPY f .\n"
                            f"COPY <<EOF {up}h/pwned\nheredoc\nEOF\n", lambda folder: (folder / "f").write_text("F"))
        self.assertEqual({"a/pwned", "b/pwned", "c/f", "w/f", "h/pwned"}, {name for name, entry in entries.items() if entry.isfile()})
        for name in ("../pwned", "/../pwned", "a/../../pwned"):
            self.make(f"FROM scratch\nCOPY <<{name} /in/\nx\n{name}\n")
            self.make(f'FROM scratch\nCOPY <<"{name}" /in/\nx\n{name}\n')
        entries = self.good(f"FROM scratch\nVOLUME {up}v\nCOPY f /x\n", lambda folder: (folder / "f").write_text("F"))
        self.assertEqual({"x"}, set(entries))

    def test_parent_paths_in_archives(self):
        for entries in ([("../pwned", "x")], [("/pwned", "x")], [("a/../../pwned", "x")], [("l", "..", tarfile.SYMTYPE), ("l/pwned", "x")],
                        [("l", str(self.scratch), tarfile.SYMTYPE), ("l/pwned", "x")], [("h", "../" * 20 + str(self.canary)[1:], tarfile.LNKTYPE)],
                        [("h", str(self.canary), tarfile.LNKTYPE)], [("l", str(self.canary), tarfile.SYMTYPE), ("h", "l", tarfile.LNKTYPE)]):
            with self.subTest(entries):
                self.make("FROM scratch\nADD t.tar /in/\n", lambda folder: (folder / "t.tar").write_bytes(tar_bytes(entries)))
                data = tar_bytes([("Dockerfile", "FROM scratch\nCOPY . /c/\nCOPY h /d\n"), *entries])
                out = self.scratch / "context.out"
                built = subprocess.run(self.command("build", "-o", f"type=tar,dest={out}", "-"), input=data, capture_output=True, timeout=60)
                self.assertIn(built.returncode, (0, 1), built.stderr)
                if out.exists():
                    self.assertNotIn(CANARY.encode(), out.read_bytes())
                    out.unlink()

    def test_parent_paths_elsewhere(self):
        def fill(folder):
            (folder / ".dockerignore").write_text("../*\n!../canary\n/../../x\n../../../..\n")
            (folder / "f").write_text("F")
        self.assertIn("x/f", self.good("FROM scratch\nCOPY . /x/\n", fill))
        for flags in (("--target", "../../x"), ("--build-context", "a=../../../../nosuch"), ("-t", "../../x"), ("--platform", "../../../linux"), ("-f", "../" * 20 + "nosuch")):
            with self.subTest(flags):
                self.bad(".", "FROM scratch\nCOPY Dockerfile /\n", None, *flags)
        self.bad(r"Dockerfile:2", "FROM scratch\nCOPY --from=../../x f /\n")
        self.bad(r"Dockerfile:1", "FROM ../../x\n")


if __name__ == "__main__":
    main()
