# SPDX-License-Identifier: Apache-2.0
"""What a suite is to `run`: it can be made ready in a folder, lists its tests, and reads a test's verdict."""
import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

CACHE = pathlib.Path(os.environ.get("DRAY_CONFORMANCE_DIR", "/var/tmp/dray-conformance"))


# Texts that differ from run to run: container ids, scratch folders.
RANDOM = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|ocitest\d+|tmp\.\w+|\btmp\w{8}\b|\brun[cn]?-\d+\b|0x[0-9a-f]+|\bpid \d+")


class NotHere(Exception):
    """The suite can't be had or run on this machine; the text says why."""


@dataclasses.dataclass
class Test:
    name: str
    group: str          # tests of a group run under one hold of the lock, about
    argv: list
    cwd: pathlib.Path | None = None     # None: an empty folder of its own
    timeout: int = 60
    env: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Verdict:
    word: str           # ok, not ok, skip
    reason: str = ""
    points: dict | None = None      # of a program with many checks: how many passed, failed, skipped
    failed: list = dataclasses.field(default_factory=list)      # and their texts
    passed: list = dataclasses.field(default_factory=list)


def timed_out(outcome):
    return Verdict("not ok", f"did not end in time; last words: {one_line(outcome.output[-120:])}")


def need(*programs):
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise NotHere("not installed: " + " ".join(missing))


def go_module(module):
    """The folder of a Go module's source in Go's own module cache (read-only)."""
    need("go")
    out = subprocess.run(["go", "mod", "download", "-json", module], capture_output=True, text=True, cwd="/")
    found = re.search(r'"Dir": "(.*)"', out.stdout)
    if not found:
        raise NotHere(f"{module}: {(out.stdout + out.stderr).strip()}")
    return pathlib.Path(found[1])


def debian_source(name, target):
    """Unpacks what upstream released for Debian's source package `name` into the folder `target`."""
    if target.exists():
        return
    need("apt-get", "tar")
    with tempfile.TemporaryDirectory(dir=CACHE / "tmp") as work:
        work = pathlib.Path(work)
        (work / "out").mkdir()
        step(["apt-get", *_source_lists(work), "update"], cwd=work)
        step(["apt-get", *_source_lists(work), "source", "--download-only", name], cwd=work)
        step(["tar", "-x", "--strip-components=1", "-C", "out", "-f", *work.glob("*.orig.tar.*[!c]")], cwd=work)
        shutil.move(work / "out", target)


def _source_lists(work):
    """apt options for a private configuration: this machine's Debian mirrors, but their sources."""
    parts = work / "parts"
    (work / "lists/partial").mkdir(parents=True, exist_ok=True)
    parts.mkdir(exist_ok=True)
    for file in [pathlib.Path("/etc/apt/sources.list"), *pathlib.Path("/etc/apt/sources.list.d").glob("*")]:
        if file.suffix in (".list", ".sources") and file.exists():
            text = re.sub(r"^Types:.*", "Types: deb-src", file.read_text(), flags=re.M)
            (parts / file.name).write_text(re.sub(r"^deb ", "deb-src ", text, flags=re.M))
    return ["-o", "Dir::Etc::sourcelist=/dev/null", "-o", f"Dir::Etc::sourceparts={parts}",
            "-o", f"Dir::State::lists={work}/lists", "-o", "Dir::Cache::srcpkgcache=", "-o", "Dir::Cache::pkgcache="]


def writable_copy(source, target):
    """Copies a module's tree without the module cache's write protection. True when there was none."""
    if target.exists():
        return False
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial, copy_function=shutil.copyfile)
    for folder, _, _ in os.walk(partial):
        os.chmod(folder, 0o755)
    partial.rename(target)
    return True


def step(argv, *, cwd, env=None):
    """One step of making ready; its output matters only when it fails."""
    done = subprocess.run(list(map(str, argv)), cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True)
    if done.returncode != 0:
        raise NotHere(f"{' '.join(map(str, argv))}: {(done.stdout + done.stderr).strip()[-1500:]}")


def one_line(text, limit=160):
    text = re.sub(r"\s+", " ", text).strip()
    return text if len(text) <= limit else text[: limit - 1] + "…"


def tap_points(output):
    """The texts of the (passed, failed, skipped) points of TAP output, and the plan's skip reason or None."""
    passed, failed, skipped, all_skipped = [], [], [], None
    for line in output.splitlines():
        if plan := re.match(r"1\.\.0\s*#\s*skip\S*\s*(.*)", line, re.I):
            all_skipped = plan[1]
        match = re.match(r"(not )?ok\b\s*(\d*)\s*-?\s*(.*)", line)
        if not match:
            continue
        skip = re.search(r"#\s*skip\S*\s*(.*)", match[3], re.I)
        if skip:
            skipped.append(skip[1] or "no reason given")
        else:
            (failed if match[1] else passed).append(one_line(RANDOM.sub("*", match[3])) or "(no text)")
    return passed, failed, skipped, all_skipped
