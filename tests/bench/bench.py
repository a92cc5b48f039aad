#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Dray's speed as ratios to docker, podman and a floor, measured in the same run. See README.md beside this file."""
import argparse
import datetime
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

import build_cases
import cases
import engines
import harness
import measure
import sandbox


SUITES = {"engine": (cases.ALL, (engines.Docker, engines.Podman), ("docker", "podman", "floor")),
          "build": (build_cases.ALL, (engines.BuildKit, engines.Buildah, engines.Docker), ("buildkit", "buildah", "docker"))}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9, help="measured rounds a case (a third of it for the slow cases)")
    parser.add_argument("--case", action="append", choices=[case.name for case in (*cases.ALL, *build_cases.ALL)],
                        help="only this one (repeatable)")
    parser.add_argument("--suite", choices=SUITES, default="engine", help="the cases and peers: engine, or build")
    parser.add_argument("--peers", help="comma-separated list, or 'none' (default: those of the suite)")
    parser.add_argument("--dray", type=pathlib.Path, help="the dray program (default: of build/release)")
    parser.add_argument("--json", type=pathlib.Path, help="write all samples to this file")
    return parser.parse_args()


def use_program(program):
    """Lets the e2e harness use `program`; its base image is cached in the same build folder, or in the user's cache."""
    harness.DRAY = program.resolve()
    folder = harness.DRAY.parent
    if (folder / "CMakeCache.txt").exists():
        harness.CACHE = folder / "e2e-cache"
    else:
        harness.CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "dray-bench"
        harness.CACHE.parent.mkdir(parents=True, exist_ok=True)


def prepare(scratch, suite):
    """What needs the machine's network or a compiler, before the namespaces are entered."""
    shutil.copy(harness.base_archive(), scratch / "base.tar")
    if suite == "build":
        build_cases.download_packages(scratch / "packages", scratch / "base.tar")
    if shutil.which("cc") is None:
        return
    here = pathlib.Path(__file__).resolve().parent
    (scratch / "empty.c").write_text("int main(void) { return 0; }\n")
    for source, program in ((here / "floor.c", "floor"), (here / "peak_memory.c", "peak_memory"), (scratch / "empty.c", "empty")):
        subprocess.run(["cc", "-O2", "-static", source, "-o", scratch / program], check=True)


def start_engines(runner, scratch, peers, wanted):
    """Dray first. Returns the engines and, by name, why a peer is missing."""
    running, missing = [engines.Dray(runner, scratch, harness.DRAY)], {}
    for peer in peers:
        if wanted is not None and peer.name not in wanted:
            missing[peer.name] = "not asked for"
            continue
        try:
            running.append(peer(runner, scratch))
        except measure.Failed as failure:
            missing[peer.name] = str(failure)
    return running, missing


def show(value):
    if value is None:
        return "-"
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{decimals}f}"


def main_inside(scratch, options):
    runner = measure.Runner(scratch)
    suite, peers, others = SUITES[options.suite]
    running, missing = start_engines(runner, scratch, peers, options.peers and options.peers.split(","))
    bench = cases.Bench(runner, scratch, running)
    report = {"date": datetime.date.today().isoformat(), "kernel": platform.release(), "cpus": os.cpu_count(),
              "own_disks": all(engine.own_disk for engine in running),
              "engines": {engine.name: engine.version() for engine in running}, "missing": missing, "cases": {}}
    for name, version in report["engines"].items():
        print(f"{name}: {version}")
    for name, reason in missing.items():
        print(f"{name}: not measured: {reason}")
    if not all(engine.own_disk for engine in running):
        print("no file system of its own for each engine (loop devices, mkfs.ext4): what touches many files moves more")
    print(f"\n{'case':18}{'runs':>5}{'dray ms':>10}" + "".join(f"{name + ' x':>11}" for name in others), flush=True)
    failed = False
    try:
        for case in suite:
            if options.case and case.name not in options.case:
                continue
            runs = max(1, options.runs // 3) if case.slow else options.runs
            samples = bench.measure(case(), runs)
            row = {"runs": runs, "median_ms": {name: samples.median(name) for name in samples.times},
                   "ratio": {name: samples.ratio(name, "dray") for name in others}, "samples_ms": samples.times,
                   "failures": samples.failures}
            report["cases"][case.name] = row
            print(f"{case.name:18}{runs:5}{show(samples.median('dray')):>10}"
                  + "".join(f"{show(row['ratio'][name]):>11}" for name in others), flush=True)
            if samples.usage:
                print("    " + "; ".join(f"{name}: peak {memory:.0f} MiB, CPU {cpu:.1f} s" for name, (memory, cpu) in samples.usage.items()), flush=True)
            for name, reason in samples.failures.items():
                print(f"    {name} failed: {reason}", flush=True)
            failed |= "dray" in samples.failures
    finally:
        bench.close()
        for engine in running:
            engine.stop()
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if failed else 0


def main():
    options = parse_arguments()
    program = options.dray or harness.DRAY
    if os.geteuid() != 0:
        harness.skip_all("needs root")
    if not program.exists():
        harness.skip_all(f"{program} is not built")
    harness.require("unshare", "setpriv", "mount")
    use_program(program)
    if sandbox.INSIDE in os.environ:
        return sandbox.enter(lambda scratch: main_inside(scratch, options))
    return sandbox.supervise(lambda scratch: prepare(scratch, options.suite))


if __name__ == "__main__":
    sys.exit(main())
