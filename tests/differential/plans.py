#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Dockerfiles as BuildKit's frontend and as `dray builder ast` and `plan --stub-bases` read them: those of plans.txt, and mutations of these
and of the corpus. Compared: the parse tree, whether it is refused, config, history, operations, findings of the checks. Needs no root."""
import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parents[1]
BUILD = pathlib.Path(os.environ.get("DRAY_BUILD_DIR", SOURCE / "build" / "release"))
CORPUS = pathlib.Path(os.environ.get("DRAY_CORPUS", SOURCE.parent / "shared" / "corpus"))
# Not among them: bytes beyond ASCII, which BuildKit reads one by one in flags, and NUL, which no process can be given.
TOKENS = ["\\", "\\\n", "\n", '"', "'", "$", "${", "}", "$X", "${X:-y}", "${PATH%%:*}", "<<EOF", "EOF\n", "#", "# c\n", "\t", " ", "=", "[", "]",
          ",", "--", "--from=", "--mount=type=cache,target=/x", "--chown=1", "AS ", "FROM alpine\n", "ONBUILD ", "ARG X=1\n", "ENV X 2\n", "`",
          "\r\n", "  \n", "&&", "|", "*", "?", "..", "/", "./", "\\$", '\\"', "0", "-1", ":", "@", "--link", "RUN ", "COPY ", "<", "!", '[""]',
          "%", "//", "##", "~", "+", "null"]


def mutated(text, lines):
    for _ in range(random.choice([1, 1, 1, 2, 2, 3, 5])):
        kind, at = random.random(), random.randrange(len(text) + 1)
        rows = text.split("\n")
        row = random.randrange(len(rows))
        if kind < 0.45:
            text = text[:at] + random.choice(TOKENS) + text[at:]
        elif kind < 0.6:
            text = text[:at] + text[at + random.choice([1, 1, 1, 2, 5]):]
        elif kind < 0.9:
            text = "\n".join(rows[:row] + [random.choice(lines)] + rows[row:])
        else:
            other = random.choice(lines)
            rows[row] = rows[row][:random.randrange(len(rows[row]) + 1)] + other[random.randrange(len(other) + 1):]
            text = "\n".join(rows)
    return text


def of_dray(path):
    arguments = [text for line in path.read_text(errors="surrogateescape").split("\n") if line.startswith("#ARG ")
                 for text in ("--build-arg", line[5:])]
    made = subprocess.run([BUILD / "dray", "builder", "plan", "--stub-bases", "--platform", "linux/amd64", *arguments, path],
                          capture_output=True, timeout=60)
    tree = subprocess.run([BUILD / "dray", "builder", "ast", path], capture_output=True, timeout=60)
    document = json.loads(made.stdout)
    return {**document, "ast": tree.stdout.decode(errors="replace") if tree.returncode == 0 else ""}


def operations(document):
    """Executions and file actions; a name's "input" is the numbering of operations."""
    def plain(value):
        if isinstance(value, dict):
            return {key[:1].lower() + key[1:]: plain(item) for key, item in value.items() if not (key == "input" and "name" in value)}
        return [plain(item) for item in value] if isinstance(value, list) else value

    found = []
    for operation in document.get("ops") or []:
        if operation["op"] == "exec":
            found.append(str([operation.get(key) or "" for key in ("args", "env", "cwd", "user")]))
        elif operation["op"] == "file":
            found += [json.dumps(plain(action.get("Action")), sort_keys=True) for action in operation["actions"]]
        elif operation["op"] == "source":
            found.append(operation["identifier"])
    return sorted(found)


def difference(theirs, mine):
    findings = [sorted((w["rule"], w["detail"], w["line"]) for w in document.get("lint") or []) for document in (theirs, mine)]
    if (theirs.get("ast") or "").rstrip("\n") != mine["ast"].rstrip("\n"):
        return "parse tree", theirs.get("ast"), mine["ast"]
    if ("error" in theirs) != ("error" in mine):
        return "verdict", theirs.get("error"), mine.get("error")
    if "error" in theirs:
        return None
    for key in ("config", "history"):
        if (theirs.get(key) or None) != (mine.get(key) or None):
            return key, theirs.get(key), mine.get(key)
    if operations(theirs) != operations(mine):
        return "operations", operations(theirs), operations(mine)
    return ("findings", *findings) if findings[0] != findings[1] else None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--buildkit", type=pathlib.Path, required=True, metavar="FOLDER", help="holds `frontend`, made of frontend.go")
    parser.add_argument("--count", type=int, default=1000, help="mutations (default: 1000)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    random.seed(options.seed)
    written = [text + "\n" for text in (HERE / "plans.txt").read_text().rstrip("\n").split("\n====\n")]
    real = [path.read_text(errors="replace") for path in sorted(CORPUS.glob("dockerfile*/**/Dockerfile"))]
    seeds = [text for text in real + written * 3 if len(text) < 6000 and text.isascii()]
    lines = [line for text in seeds for line in text.split("\n") if line.strip()]
    with tempfile.TemporaryDirectory(prefix="dray-plans-", dir="/var/tmp") as folder:
        paths = []
        for number, text in enumerate(written + [mutated(random.choice(seeds), lines) for _ in range(options.count)]):
            paths.append(pathlib.Path(folder, f"{number:05}"))
            paths[-1].write_text(text, newline="")
        done = subprocess.run([options.buildkit / "frontend", *paths], capture_output=True, check=True)
        theirs = [json.loads(line) for line in done.stdout.decode(errors="replace").splitlines()]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            mine = list(pool.map(of_dray, paths))
        different = 0
        for path, one, other in zip(paths, theirs, mine, strict=True):
            if found := difference(one, other):
                different += 1
                print(f"--- {path.name}: {found[0]}\n{path.read_text(errors='replace')}BuildKit: {str(found[1])[:2000]}\nDray: {str(found[2])[:2000]}")
    print(f"{len(paths) - different} of {len(paths)} the same")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
