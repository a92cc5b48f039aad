# SPDX-License-Identifier: Apache-2.0
"""opencontainers/runtime-tools' validation programs: they drive $RUNTIME with create, start, state, kill, delete."""
import platform
import re

from suite import (CACHE, NotHere, RANDOM, Test, Verdict, go_module, need, one_line, step, tap_points, timed_out,
                   writable_copy)

VERSION = "v0.9.0"
MODULE = f"github.com/opencontainers/runtime-tools@{VERSION}"
TREE = CACHE / f"runtime-tools-{VERSION}"
TTY = False
ONE_CGROUP_VERSION = True
NEWER_SYSCALLS = ("clone3", "close_range", "faccessat2", "openat2", "pidfd_open", "pidfd_send_signal", "rseq", "statx")
# The release is older than Go's modules: the versions it was made with, or the next ones that can still be had and built.
DEPENDENCIES = """module github.com/opencontainers/runtime-tools

go 1.16

require (
	github.com/blang/semver v3.5.1+incompatible
	github.com/hashicorp/go-multierror v1.1.1
	github.com/mndrix/tap-go v0.0.0-20171203230836-629fa407e90b
	github.com/mrunalp/fileutils v0.5.0
	github.com/opencontainers/runtime-spec v1.0.2
	github.com/opencontainers/selinux v1.9.1
	github.com/satori/go.uuid v1.2.0
	github.com/sirupsen/logrus v1.8.1
	github.com/syndtr/gocapability v0.0.0-20200815063812-42c35b437635
	github.com/urfave/cli v1.19.1
	github.com/xeipuuv/gojsonschema v1.2.0
)
"""


def prepare():
    need("go", "tar")
    if platform.machine() != "x86_64":
        raise NotHere("its root file systems are for x86 only")
    if writable_copy(go_module(MODULE), TREE) or not (TREE / "go.mod").exists():
        (TREE / "go.mod").write_text(DEPENDENCIES)
    _modernise(TREE / "generate/seccomp/seccomp_default.go")
    build = ["go", "build", "-mod=mod", "-o"]
    if not (TREE / "runtimetest").exists():
        step([*build, "runtimetest", "./cmd/runtimetest"], cwd=TREE, env={"CGO_ENABLED": "0"})
    for name in _programs():
        if not (TREE / "validation" / name / "test").exists():
            step([*build, f"validation/{name}/test", f"./validation/{name}"], cwd=TREE)


def _modernise(profile):
    """The seccomp profile that nearly all tests use is of 2019. It denies what a runtime of today may call after loading it:
    runc 1.5 dies of a missing statx, and so nearly no test would say anything about it."""
    text = profile.read_text()
    if '"statx"' not in text:
        profile.write_text(text.replace('"statfs64",\n', '"statfs64",\n' + "".join(f'"{name}",\n' for name in NEWER_SYSCALLS), 1))


def _programs():
    return sorted(folder.name for folder in (TREE / "validation").iterdir()
                  if folder.is_dir() and folder.name != "util")


def environment(runtime):
    return {"RUNTIME": str(runtime.program)}


def tests():
    # They unpack ./rootfs-*.tar.gz and copy ./runtimetest, so they run in the top folder.
    return [Test(name, name, [TREE / "validation" / name / "test"], TREE, timeout=120) for name in _programs()]


def verdict(outcome):
    passed, failed, skipped, all_skipped = tap_points(outcome.output)
    points = len(passed) + len(failed) + len(skipped)
    counts = {"passed": len(passed), "failed": len(failed), "skipped": len(skipped)}
    if outcome.code is None:
        return Verdict("not ok", timed_out(outcome).reason, counts, failed, passed)
    if failed:
        return Verdict("not ok", one_line("; ".join(failed)), counts, failed, passed)
    if points == 0 and re.search(r"^1\.\.0\s*$", outcome.output, re.M):
        # Those of the hooks report no checks; they print an error or nothing.
        error = re.search(r'^ +"error": "(.*)"', outcome.output, re.M)
        return Verdict("not ok", one_line(RANDOM.sub("*", error[1]))) if error else Verdict("ok")
    if outcome.code != 0 or (points == 0 and all_skipped is None):
        lines = [line for line in outcome.output.splitlines() if line.strip() and not re.match(r"TAP|ok|#|\s|1\.\.", line)]
        return Verdict("not ok", one_line(f"exit code {outcome.code}; {lines[-1] if lines else 'no check was made'}"), counts)
    if counts["passed"] == 0:
        return Verdict("skip", one_line("; ".join(dict.fromkeys(skipped)) or all_skipped or ""), counts)
    return Verdict("ok", points=counts)
