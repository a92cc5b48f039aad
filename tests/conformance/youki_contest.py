# SPDX-License-Identifier: Apache-2.0
"""youki's `contest`, if somebody has built it: it is in no package registry, so its programs are not made here.

$DRAY_YOUKI_CONTEST (or youki/ in the cache) is a folder with `contest`, `runtimetest` and `bundle.tar.gz` of youki's tree.
"""
import os
import pathlib
import re
import subprocess

from suite import CACHE, NotHere, RANDOM, Test, Verdict, one_line, timed_out

FOLDER = pathlib.Path(os.environ.get("DRAY_YOUKI_CONTEST", CACHE / "youki"))
TTY = False
ONE_CGROUP_VERSION = True


def prepare():
    missing = [name for name in ("contest", "runtimetest", "bundle.tar.gz") if not (FOLDER / name).exists()]
    if missing:
        raise NotHere(f"{FOLDER} has no {' and no '.join(missing)}; see README.md")


def environment(runtime):
    # `contest` knows runc and youki; some groups only say what youki does and skip themselves with runc.
    return {"RUNTIME_KIND": "runc", "RUNTIME": str(runtime.program)}


def tests():
    listed = subprocess.run([FOLDER / "contest", "list"], cwd=FOLDER, capture_output=True, text=True, check=True).stdout
    command = 'exec ./contest run --runtime "$RUNTIME" --runtimetest ./runtimetest -t "$1"'
    return [Test(name, name, ["sh", "-c", command, "sh", name], FOLDER, timeout=120) for name in listed.split()]


def verdict(outcome):
    """A group is a test; its members are counted as checks. One is `1 / 3 : name : ok|not ok|skipped`, the reason below."""
    if outcome.code is None:
        return timed_out(outcome)
    lines = re.findall(r"^\d+ / \d+ : (.+) : (ok|not ok|skipped)\n(?:\t(.*))?", outcome.output, re.M)
    by_word = {word: [(name, rest) for name, said, rest in lines if said == word] for word in ("ok", "not ok", "skipped")}
    counts = {"passed": len(by_word["ok"]), "failed": len(by_word["not ok"]), "skipped": len(by_word["skipped"])}
    failed = [name for name, _ in by_word["not ok"]]
    if not lines or (outcome.code != 0 and not failed):
        return Verdict("not ok", one_line(f"exit code {outcome.code}; {outcome.output.strip()[-150:]}"), counts)
    if failed:
        reason = "; ".join(f"{name}: {RANDOM.sub('*', rest)}" for name, rest in by_word["not ok"])
        return Verdict("not ok", one_line(reason), counts, failed, [name for name, _ in by_word["ok"]])
    return Verdict("skip" if not by_word["ok"] else "ok", points=counts)
