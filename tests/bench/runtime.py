#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""OCI runtimes side by side on a busybox bundle: times as ratios to crun, memory, and 200 containers. See README.md.

usage: tests/bench/runtime.py [--runtime PATH]... [--runs N] [--case NAME]... [--json FILE] [--dray PATH]
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import select
import shutil
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[1:1] = [str(HERE.parent / "conformance")]  # after our own folder: both have a sandbox

import measure
import peer_engines
import runc_bats
import runtimes
import sandbox

CGROUP = "dray-bench"
MANY, AT_ONCE = 200, 20


def parse_arguments():
    parser = argparse.ArgumentParser(usage=__doc__.partition("usage: ")[2].strip())
    parser.add_argument("--runtime", action="append", help="repeatable; default: runc. crun is always there as the base")
    parser.add_argument("--runs", type=int, default=25)
    parser.add_argument("--case", action="append", choices=["run", "run-net", "lifecycle", "exec", "many", "memory"])
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--dray", help="a dray program, whose monitor is then measured, too")
    return parser.parse_args()


def prepare(scratch):
    runc_bats.busybox_image(scratch / "root.tar")
    peer_engines.image_archive(scratch / "image.tar", scratch / "root.tar")
    (scratch / "rootfs").mkdir()
    subprocess.run(["tar", "-x", "-f", scratch / "root.tar", "-C", scratch / "rootfs"], check=True)
    for folder in ("proc", "sys"):
        (scratch / "rootfs" / folder).mkdir()
    if shutil.which("cc"):
        for program in ("floor", "peak_memory"):
            subprocess.run(["cc", "-O2", "-static", HERE / f"{program}.c", "-o", scratch / program], check=True)


class Bundles:
    """Bundles over one read-only root file system. The configuration is what `runc spec` writes, or crun's."""

    def __init__(self, scratch):
        self.scratch = scratch
        generator = shutil.which("runc") or "crun"
        (scratch / "spec").mkdir()
        subprocess.run([generator, "spec"], cwd=scratch / "spec", check=True)
        self.base = json.loads((scratch / "spec/config.json").read_text())

    def make(self, name, args, network=False):
        config = json.loads(json.dumps(self.base))
        config["process"].update(terminal=False, args=args)
        config["process"].pop("rlimits", None)
        config["root"] = {"path": str(self.scratch / "rootfs"), "readonly": True}
        config["linux"]["cgroupsPath"] = f"/{CGROUP}/{name}"
        if not network:
            config["linux"]["namespaces"] = [one for one in config["linux"]["namespaces"] if one["type"] != "network"]
            config["mounts"] = [mount for mount in config["mounts"] if mount["destination"] != "/sys"]
        folder = self.scratch / "bundles" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config))
        return folder


class Contestant:
    """A runtime with a state folder of its own."""

    def __init__(self, runtime, runner, bundles):
        self.runtime, self.runner, self.bundles = runtime, runner, bundles
        self.prefix = [runtime.program, "--root", f"/run/bench-{runtime.label}"]

    def bundle(self, case, args, network=False):
        return self.bundles.make(f"{self.runtime.label}-{case}", args, network)

    def run(self, case, network=False):
        bundle = self.bundle(case, ["true"], network)
        return self.runner.timed([*self.prefix, "run", "-b", bundle, f"b-{case}"])

    def lifecycle(self):
        """create, start, until the process has ended, delete."""
        bundle = self.bundle("lifecycle", ["true"])
        pid_file = bundle / "pid"
        spent = self.runner.timed([*self.prefix, "create", "-b", bundle, "--pid-file", pid_file, "b-lifecycle"])
        watch = os.pidfd_open(int(pid_file.read_text()))
        begin = time.perf_counter_ns()
        self.runner.timed([*self.prefix, "start", "b-lifecycle"])
        if not select.select([watch], [], [], 30)[0]:
            raise measure.Failed("the container doesn't end")
        os.close(watch)
        # The time between is the runner's own reading and opening; it isn't counted.
        spent += (time.perf_counter_ns() - begin) / 1e6
        return spent + self.runner.timed([*self.prefix, "delete", "b-lifecycle"])

    def start_long(self):
        self.runner.timed([*self.prefix, "run", "-d", "-b", self.bundle("exec", ["sleep", "100000"]), "b-exec"])

    def end_long(self):
        self.runner.timed([*self.prefix, "delete", "-f", "b-exec"])

    def exec(self):
        return self.runner.timed([*self.prefix, "exec", "b-exec", "true"])

    def many(self):
        """Seconds for MANY containers, AT_ONCE at a time, from start to deletion."""
        bundles = [self.bundle(f"many{number}", ["true"]) for number in range(MANY)]

        def one(number):
            done = subprocess.run([*self.prefix, "run", "-b", bundles[number], f"b-many{number}"], stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True)
            if done.returncode != 0:
                raise measure.Failed(f"container {number}: exit code {done.returncode}: {done.stderr.strip()[-300:]}")
        begin = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(one, range(MANY)))
        return time.perf_counter() - begin

    def peak_memory(self, *arguments):
        """Peak resident memory in KiB of one command of the runtime, its own helpers that it waited for included.

        Through a small program: what Python starts has Python's own peak as its least one."""
        self.runner.timed([self.bundles.scratch / "peak_memory", *self.prefix, *arguments])
        return int(self.runner.output().split()[-1])


def floor(scratch, runner, *flags):
    target = scratch / "floor-scratch"
    elapsed = runner.timed([scratch / "floor", *flags, scratch / "rootfs", target, "/bin/true"])
    shutil.rmtree(target, ignore_errors=True)
    return elapsed


def timed_case(name, contestants, scratch, runner, runs):
    by_name = {one.runtime.label: one for one in contestants}
    names = list(by_name)
    if name in ("run", "run-net") and (scratch / "floor").exists():
        names.append("floor")

    def step(contestant, _round):
        if contestant == "floor":
            return floor(scratch, runner)
        one = by_name[contestant]
        return {"run": lambda: one.run(name), "run-net": lambda: one.run(name, network=True), "lifecycle": one.lifecycle,
                "exec": one.exec, "many": lambda: one.many() * 1000}[name]()

    if name == "exec":
        for one in contestants:
            one.start_long()
    try:
        if name == "many":
            return measure.paired(names, max(2, runs // 10), 0, step)
        return measure.paired(names, runs, 3, step)
    finally:
        if name == "exec":
            for one in contestants:
                one.end_long()


def report_times(name, samples, base):
    print(f"\n{name}: median ms, ratio to {base}")
    for contestant in samples.times:
        ratio = samples.ratio(base, contestant)  # the contestant's time divided by the base's
        if contestant in samples.failures:
            print(f"  {contestant:16} failed: {samples.failures[contestant]}")
        else:
            print(f"  {contestant:16}{samples.median(contestant):10.2f}{ratio:8.2f}   min {min(samples.times[contestant]):.2f}")


def report_memory(contestants, scratch, options):
    found = {}
    print("\npeak resident memory of the runtime, KiB (medians of 5)")
    for one in contestants:
        name = one.runtime.label
        one.start_long()
        try:
            run = [one.peak_memory("run", "-b", one.bundle("memory", ["true"]), "b-memory") for _ in range(5)]
            execute = [one.peak_memory("exec", "b-exec", "true") for _ in range(5)]
        finally:
            one.end_long()
        found[name] = {"run": statistics.median(run), "exec": statistics.median(execute)}
        print(f"  {name:16} run {found[name]['run']:.0f}, exec {found[name]['exec']:.0f}")
    print("\nmemory of what stays beside a container, KiB (private: what its end would give back)")
    for what, values in monitors(scratch, contestants[0].runtime, options.dray).items():
        found[what] = values
        shown = values if isinstance(values, str) else ", ".join(f"{key} {value}" for key, value in values.items())
        print(f"  {what:16} {shown}")
    return found


def memory_of(name):
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and (entry / "comm").read_text().strip() == name[:15]:
            sizes = {"RSS": 0, "PSS": 0, "private": 0}
            for line in (entry / "smaps_rollup").read_text().splitlines()[1:]:
                key, value = line.split()[:2]
                key = {"Rss:": "RSS", "Pss:": "PSS", "Private_Clean:": "private", "Private_Dirty:": "private"}.get(key)
                if key:
                    sizes[key] += int(value)
            return sizes
    return "not found"


def monitors(scratch, runtime, dray):
    """conmon of podman, containerd's shim, dray-monitor, each with one sleeping container."""
    found = {}
    for kind, process in ((peer_engines.Podman, "conmon"), (peer_engines.Ctr, "containerd-shim-runc-v2")):
        engine = None
        try:
            engine = kind(runtime, scratch)
            if kind is peer_engines.Ctr:
                engine.must("run", "-d", *engine.run_flags(), peer_engines.IMAGE, "b-monitor", "sleep", "1000")
            else:
                engine.must("run", "-d", "--network", "none", peer_engines.IMAGE, "sleep", "1000")
            time.sleep(0.5)
            found[process] = memory_of(process)
        except (peer_engines.NotHere, peer_engines.Unusable) as reason:
            found[process] = f"not measured: {reason}"
        finally:
            if engine is not None:
                engine.clean()
                engine.stop()
    if dray:
        command = [dray, "--root", scratch / "dray", "--state", "/run/bench-dray"]
        try:
            subprocess.run([*command, "load", "-i", scratch / "image.tar"], check=True, capture_output=True)
            subprocess.run([*command, "run", "-d", "--name", "b-monitor", "--network", "none", peer_engines.IMAGE, "sleep", "1000"],
                           check=True, capture_output=True)
            time.sleep(0.5)
            found["dray-monitor"] = memory_of("dray-monitor")
        except subprocess.CalledProcessError as failure:
            found["dray-monitor"] = f"not measured: {failure.stderr.decode(errors='replace').strip()[-200:]}"
        finally:
            subprocess.run([*command, "rm", "-f", "b-monitor"], capture_output=True)
    return found


def main_inside(scratch, options):
    runner = measure.Runner(scratch)
    chosen = {runtime.label: runtime for runtime in map(runtimes.Runtime.of, ["crun", *(options.runtime or ["runc"])])}
    bundles = Bundles(scratch)
    contestants = [Contestant(runtime, runner, bundles) for runtime in chosen.values()]
    for runtime in chosen.values():
        print(f"{runtime.label}: {runtime.version}")
    base = contestants[0].runtime.label
    report = {"versions": {runtime.label: runtime.version for runtime in chosen.values()}, "cases": {}}
    code = 0
    for name in options.case or ["run", "run-net", "lifecycle", "exec", "many", "memory"]:
        if name == "memory":
            report["memory"] = report_memory(contestants, scratch, options)
            continue
        samples = timed_case(name, contestants, scratch, runner, options.runs)
        report_times(name if name != "many" else f"{MANY} containers, {AT_ONCE} at once", samples, base)
        report["cases"][name] = {"median_ms": {key: samples.median(key) for key in samples.times},
                                 "ratio": {key: samples.ratio(base, key) for key in samples.times},
                                 "samples_ms": samples.times, "failures": samples.failures}
        code = code or int(bool(samples.failures))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return code


def main():
    options = parse_arguments()
    sandbox.CGROUP_PARENTS += (CGROUP, "peers")
    if sandbox.INSIDE in os.environ:
        return sandbox.enter(lambda scratch: main_inside(scratch, options))
    return sandbox.supervise(prepare)


if __name__ == "__main__":
    sys.exit(main())
