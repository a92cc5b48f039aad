#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Everyday operations of podman, docker and containerd with a runtime, compared to what they give with crun.

usage: tests/conformance/peers.py [--runtime PATH] [--engine NAME]... [--filter RE] [--list] [--verbose]
"""
import argparse
import difflib
import importlib.util
import json
import os
import pathlib
import re
import shutil
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import peer_cases
import peer_engines
import runc_bats
import runtimes
from suite import CACHE

REFERENCE, SECOND = "crun", "runc"
ENGINES = {engine.name: engine for engine in (peer_engines.Podman, peer_engines.Docker, peer_engines.Ctr)}


def bench_sandbox():
    """tests/bench's sandbox: mount, network and pid namespaces in which all of it happens."""
    path = pathlib.Path(__file__).resolve().parents[1] / "bench" / "sandbox.py"
    spec = importlib.util.spec_from_file_location("bench_sandbox", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.CGROUP_PARENTS += ("peers",)
    return module


def parse_arguments():
    parser = argparse.ArgumentParser(usage=__doc__.partition("usage: ")[2].strip())
    parser.add_argument("--runtime", default=REFERENCE)
    parser.add_argument("--engine", action="append", choices=ENGINES)
    parser.add_argument("--filter", default="")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--verbose", action="store_true", help="print the transcripts of all cases")
    return parser.parse_args()


def prepare(scratch):
    runc_bats.busybox_image(scratch / "root.tar")
    peer_engines.image_archive(scratch / "image.tar", scratch / "root.tar")


def transcript(engine, case):
    """(what happened, None) or ([], why it could not)"""
    engine.transcript = []
    before = peer_engines.left_behind(None)
    try:
        case.body(engine)
    except peer_engines.Unusable as failure:
        return [], str(failure)
    finally:
        engine.clean()
    # Monitors and shims end a little after their container.
    deadline = time.monotonic() + 3
    while (left := peer_engines.left_behind(before)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return engine.transcript + [f"left behind: {what}" for what in left], None


def compare(case, engines, verbose):
    """One case with the reference and the runtime under test; (word, text)."""
    reference, tested, second = engines
    expected, failure = transcript(reference, case)
    if failure:
        return "skip", f"not with {reference.runtime.label} here: {failure}"
    # 125: the engine itself could not; what docker says of a missing program is a case of its own.
    if "exit code 125" in "".join(expected[:1]) and not case.name.startswith("command-not"):
        return "skip", f"not with {reference.runtime.label} here: {reference.last_error.strip()[-200:]}"
    found, failure = transcript(tested, case)
    if verbose:
        print("\n".join("    " + line for line in "\n".join(found).split("\n")))
    if failure:
        problem = failure
    elif found == expected:
        return "same", ""
    else:
        problem = "\n" + "\n".join(difflib.unified_diff("\n".join(expected).split("\n"), "\n".join(found).split("\n"),
                                                        reference.runtime.label, tested.runtime.label, lineterm="", n=1))
    if second is not None:
        others, _ = transcript(second, case)
        if others == found and not failure:
            return "as " + second.runtime.label, problem
    return "different", problem


def run_engine(name, scratch, chosen, options):
    kind = ENGINES[name]
    made = []
    counts, results = {}, {}
    try:
        try:
            made = [kind(runtime, scratch) if runtime else None for runtime in chosen]
        except (peer_engines.NotHere, peer_engines.Unusable) as reason:
            print(f"{name}: {reason}")
            return {"unusable": 1}, {}
        for case in peer_cases.ALL:
            if name not in case.engines or not re.search(options.filter, case.name):
                continue
            word, text = compare(case, made, options.verbose)
            counts[word] = counts.get(word, 0) + 1
            results[case.name] = {"word": word, "text": text}
            print(f"{name}: {word}: {case.name}" + (f" [{text}]" if text else ""), flush=True)
    finally:
        for engine in made:
            if engine is not None:
                engine.stop()
    return counts, results


def main_inside(scratch, options):
    tested = runtimes.Runtime.of(options.runtime)
    reference = runtimes.Runtime.of(REFERENCE)
    second = runtimes.Runtime.of(SECOND) if shutil.which(SECOND) else None
    if second is not None and second.program == tested.program:
        second = None
    chosen = [reference, tested, second]
    peer_engines.Docker.all_runtimes = list({runtime.label: runtime for runtime in chosen if runtime}.values())
    whole, table, code = {}, [], 0
    for name in options.engine or ENGINES:
        counts, whole[name] = run_engine(name, scratch, chosen, options)
        table.append(f"{name:<10}" + ", ".join(f"{count} {word}" for word, count in sorted(counts.items())))
        if not set(counts) <= {"same", "skip", f"as {second.label if second else ''}"}:
            code = 1
    print("\n" + "\n".join([f"{tested.label} ({tested.version}) beside {reference.label}", *table]))
    if not options.filter:
        kept = CACHE / "results" / f"peers-{tested.label}.json"
        kept.parent.mkdir(parents=True, exist_ok=True)
        # Engines are often run one at a time.
        before = json.loads(kept.read_text()) if kept.exists() else {}
        kept.write_text(json.dumps(before | whole, indent=1) + "\n")
    return code


def main():
    options = parse_arguments()
    if options.list:
        print("\n".join(f"{case.name} ({', '.join(case.engines)})" for case in peer_cases.ALL))
        return 0
    sandbox = bench_sandbox()

    if sandbox.INSIDE not in os.environ:
        return sandbox.supervise(prepare)
    return sandbox.enter(lambda scratch: main_inside(scratch, options))


if __name__ == "__main__":
    sys.exit(main())
