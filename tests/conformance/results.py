# SPDX-License-Identifier: Apache-2.0
"""What was found: files in the cache, the table, the comparison with the reference runtimes, expected.json."""
import datetime
import json
import pathlib
import platform
import re

from runtimes import is_reference
from suite import CACHE

EXPECTED = pathlib.Path(__file__).resolve().parent / "expected.json"
WORDS = ("ok", "not ok", "skip")


def expected(suite):
    known = json.loads(EXPECTED.read_text()).get(suite, {})
    return {"skip": known.get("skip", {}), "fails": known.get("fails", {})}


class Result:
    """One suite run with one runtime; kept as JSON. A filtered run is a look at some tests: a file of its own."""

    def __init__(self, suite, label, version, whole):
        self.suite, self.label, self.version, self.whole = suite, label, version, whole
        self.tests = {}
        self.date = datetime.datetime.now().isoformat(timespec="seconds")

    def add(self, name, word, reason, points=None, failed=(), passed=(), seconds=0.0):
        entry = {"word": word, "reason": reason, "seconds": round(seconds, 2)}
        if points is not None:
            # With many programs a text stands for several points: one that failed somewhere did not pass.
            entry |= {"points": points, "failed": list(failed), "passed": sorted({*passed} - {*failed}) if failed else []}
        self.tests[name] = entry

    def count(self, word):
        return sum(test["word"] == word for test in self.tests.values())

    def points(self):
        counted = [test["points"] for test in self.tests.values() if "points" in test]
        return {key: sum(points[key] for points in counted) for key in ("passed", "failed", "skipped")} if counted else None

    def close(self):
        kept = {"suite": self.suite, "runtime": self.label, "version": self.version, "date": self.date,
                "kernel": platform.release(), "counts": {word: self.count(word) for word in WORDS}, "points": self.points(),
                "tests": self.tests}
        target = file_of(self.suite, self.label, self.whole)
        target.write_text(json.dumps(kept, indent=1) + "\n")
        print(f"# {target}", flush=True)


def file_of(suite, label, whole=True):
    return CACHE / "results" / f"{suite}-{label}{'' if whole else '.part'}.json"


def load(suite, label):
    file = file_of(suite, label)
    if not file.exists():
        return None
    kept = json.loads(file.read_text())
    result = Result(suite, label, kept["version"], True)
    result.tests, result.date = kept["tests"], kept["date"]
    return result


def references(suite):
    labels = sorted(path.stem.removeprefix(suite + "-") for path in (CACHE / "results").glob(f"{suite}-*.json")
                    if not path.stem.endswith(".part"))
    return [load(suite, label) for label in labels if is_reference(label)]


def print_table(suite, found):
    print(f"\n{suite:<24}{'passed':>8}{'failed':>8}{'skipped':>8}")
    for result in found:
        line = f"{result.label:<24}" + "".join(f"{result.count(word):>8}" for word in WORDS)
        points = result.points()
        if points:
            line += f"   checks: {points['passed']} passed, {points['failed']} failed, {points['skipped']} skipped"
        print(line)


def worse(result, reference):
    """{what passes with the reference and fails with the runtime: how it failed}"""
    found = {}
    for name, theirs in reference.tests.items():
        ours = result.tests.get(name)
        if ours is None:
            if result.whole and theirs["word"] == "ok":
                found[name] = "was not run"
        elif ours["word"] == "not ok" and theirs["word"] == "ok":
            found[name] = ours["reason"]
        elif ours["word"] == theirs["word"] == "not ok":
            for text in ours.get("failed", []):
                if text in theirs.get("passed", []):
                    found[f"{name}: {text}"] = "only this check"
    return found


def gate(suite, found):
    """1 when something passes with runc or crun and fails with another runtime, and no reason for it is written down."""
    code = 0
    for result in found:
        known = expected(suite)["fails"].get(result.label, {})
        if is_reference(result.label):
            news = [name for name, test in result.tests.items() if test["word"] == "not ok" and name not in known]
            for name in news:
                print(f"# {result.label}: fails and is not in expected.json: {name} [{result.tests[name]['reason']}]")
            continue
        peers = references(suite)
        if not peers:
            print(f"no reference results: run `run {suite}` without --runtime first")
            return 2
        against = {}
        for peer in peers:
            for name, reason in worse(result, peer).items():
                against.setdefault(name, (reason, []))[1].append(peer.label)
        for name, (reason, labels) in against.items():
            excused = name in known
            code = code if excused else 1
            print(f"{'known: ' if excused else ''}{result.label} fails, passes with {' and '.join(labels)}: "
                  f"{name} [{known.get(name) or reason}]")
        shy = [name for name, test in result.tests.items() if test["word"] == "skip"
               and any(peer.tests.get(name, {}).get("word") == "ok" for peer in peers)]
        if shy:
            print(f"# {result.label} skips {len(shy)} that a reference passes: " + "; ".join(shy))
    return code


def record(suite):
    """Takes the references' failures over; a reason that somebody wrote stays."""
    whole = json.loads(EXPECTED.read_text())
    fails = whole.setdefault(suite, {}).setdefault("fails", {})
    for result in references(suite):
        known = fails.get(result.label, {})
        fails[result.label] = {name: known.get(name) or re.sub(rf"{CACHE}\S*", "*", test["reason"]) for name, test in result.tests.items()
                               if test["word"] == "not ok"}
    EXPECTED.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
