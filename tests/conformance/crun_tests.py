# SPDX-License-Identifier: Apache-2.0
"""crun's own tests, of the version that Debian has: Python files that drive the program named by $OCI_RUNTIME."""
import pathlib
import re
import stat
import subprocess
import sys

from suite import CACHE, NotHere, RANDOM, Test, Verdict, debian_source, need, one_line, step, timed_out

TREE = CACHE / "crun-tests"
# test_mounts.py skips itself silently without a Python module libmount, which not every Debian has.
MODULES = pathlib.Path(__file__).resolve().parent / "modules"
TTY = False
ONE_CGROUP_VERSION = True
# Some name $INIT as ./tests/init; what they write goes into the working folder.
IN_TREE = 'ln -s "$1/tests" tests; shift; exec "$@"'
# Without these of crun's options no test runs at all; for a runtime that hasn't got them they are taken away.
WRAPPER = """#!/usr/bin/env python3
import os, sys
arguments, dropped = sys.argv[1:], {dropped!r}
for option in dropped:
    while option in arguments:
        at = arguments.index(option)
        del arguments[at:at + 2]
os.execv({program!r}, [{program!r}, *arguments])
"""


def prepare():
    need("cc")
    debian_source("crun", TREE)
    if not (TREE / "tests/init").exists():
        (TREE / "config.h").write_text("#define HAVE_SECCOMP 1\n")     # what `configure` would find
        step(["cc", "-O1", "-w", "-static", "-I.", "-o", "tests/init", "tests/init.c"], cwd=TREE)


def environment(runtime):
    def offers(option, *command):
        said = subprocess.run([runtime.program, *command, "--help"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        return option in said.stdout + said.stderr

    dropped = [option for option, command in (("--cgroup-manager", []), ("--config", ["run"])) if not offers(option, *command)]
    program = runtime.program
    if dropped:
        program = CACHE / "bin" / runtime.label / "without-crun-options"
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(WRAPPER.format(dropped=dropped, program=str(runtime.program)))
        program.chmod(stat.S_IRWXU)
    return {"OCI_RUNTIME": str(program), "INIT": str(TREE / "tests/init"), "LC_ALL": "C.UTF-8",
            "PYTHONPATH": f"{TREE}/tests:{MODULES}"}


def tests():
    found = []
    for file in sorted((TREE / "tests").glob("test_*.py")):
        table = file.read_text().rpartition("all_tests")[0].rpartition("all_tests = {")[2]
        for name in re.findall(r'^\s+["\']([\w-]+)["\']\s*:', table, re.M):
            found.append(Test(f"{file.name}: {name}", file.stem, ["sh", "-c", IN_TREE, "sh", TREE, sys.executable, file],
                              env={"RUN_TESTS": name}))
    if not found:
        raise NotHere("no tests found in crun's source")
    return found


def verdict(outcome):
    if outcome.code is None:
        return timed_out(outcome)
    said = re.search(r"(not ok|ok) 1 - (.*)", outcome.output)
    words = [line for line in outcome.output.splitlines() if line.strip() and not re.search(r"^1\.\.\d|ok 1 - ", line)]
    # What the runtime said comes before Python's own line about it.
    words = [line for line in words if not line.startswith("Command '")] or words
    reason = one_line(RANDOM.sub("*", words[-1]) if words else "the test says no more")
    if said is None:
        return Verdict("not ok", one_line(f"exit code {outcome.code}; {reason}"))
    if "#SKIP" in said[2]:
        return Verdict("skip", reason)
    return Verdict(said[1], "" if said[1] == "ok" else reason)
