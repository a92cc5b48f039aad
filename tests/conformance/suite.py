# SPDX-License-Identifier: Apache-2.0
"""What a suite is to `run`: it can be made ready in a folder, lists its tests, and reads a test's verdict."""
import dataclasses
import os
import pathlib
import re
import shutil
import subprocess

CACHE = pathlib.Path(os.environ.get("DRAY_CONFORMANCE_DIR", "/var/tmp/dray-conformance"))


class NotHere(Exception):
    """The suite can't be had or run on this machine; the text says why."""


@dataclasses.dataclass
class Test:
    name: str
    group: str          # tests of a group run under one hold of the lock, about
    argv: list
    cwd: pathlib.Path
    timeout: int = 60


@dataclasses.dataclass
class Verdict:
    word: str           # ok, not ok, skip
    reason: str = ""


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
    """(points, the failed ones' texts, the skipped ones' texts, the plan's skip reason or None) of TAP output."""
    points, failed, skipped, all_skipped = 0, [], [], None
    for line in output.splitlines():
        if plan := re.match(r"1\.\.0\s*#\s*skip\S*\s*(.*)", line, re.I):
            all_skipped = plan[1]
        match = re.match(r"(not )?ok\b\s*(\d*)\s*-?\s*(.*)", line)
        if not match:
            continue
        points += 1
        skip = re.search(r"#\s*skip\S*\s*(.*)", match[3], re.I)
        if skip:
            skipped.append(skip[1] or "no reason given")
        elif match[1]:
            failed.append(match[3])
    return points, failed, skipped, all_skipped
