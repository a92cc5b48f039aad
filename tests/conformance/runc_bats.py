# SPDX-License-Identifier: Apache-2.0
"""runc's own integration tests: bats files that drive the program named by $RUNC."""
import io
import os
import pathlib
import platform
import re
import shutil
import stat
import subprocess
import tarfile

from suite import CACHE, NotHere, Test, Verdict, go_module, need, one_line, step, timed_out, writable_copy

VERSION = "v1.5.1"
MODULE = f"github.com/opencontainers/runc@{VERSION}"
# Some tests open /dev/tty; the project's own CI runs them with a terminal.
TTY = True
ONE_CGROUP_VERSION = False
HELPERS = ["recvtty", "sd-helper", "seccompagent", "fs-idmap", "pidfd-kill", "remap-rootfs", "key_label"]
IP = """#!/bin/sh
if [ "$1 $2 $4 $5" = "link add type dummy" ]; then
  {0} "$@" 2>/dev/null || exec {0} link add "$3" type veth peer name "peer-$3"
  exit 0
fi
exec {0} "$@"
"""
TAGS = "seccomp urfave_cli_no_docs"
TREE = CACHE / f"runc-{VERSION}"
INTEGRATION = TREE / "tests/integration"
# The reference: the runc that these tests belong to.
RUNC = TREE / "runc"


def prepare():
    need("bats", "jq", "gawk", "gcc", "busybox", "mmdebstrap", "ip", "losetup", "go")
    writable_copy(go_module(MODULE), TREE)
    for script in [*TREE.rglob("*.sh")]:
        script.chmod(0o755)
    helpers = TREE / "tests/cmd/_bin"
    helpers.mkdir(exist_ok=True)
    for name in HELPERS:
        if not (helpers / name).exists():
            step(["go", "build", "-tags", TAGS, "-o", helpers, f"./tests/cmd/{name}"], cwd=TREE)
    if not RUNC.exists():
        step(["go", "build", "-tags", TAGS, "-ldflags", f"-X main.gitCommit={VERSION}", "-o", "runc", "."], cwd=TREE,
             env={"CGO_ENABLED": "1"})
    arch = subprocess.run(["go", "env", "GOARCH"], capture_output=True, text=True, check=True).stdout.strip()
    data = INTEGRATION / "testdata"
    # tar finds out by itself that these are not compressed.
    _make(data / f"busybox-{arch}.tar.xz", busybox_image)
    _make(data / f"debian-{arch}.tar.xz", _debian_image)


def _make(target, make):
    if not target.exists():
        partial = target.with_suffix(".partial")
        make(partial)
        partial.rename(target)


def busybox_image(path):
    """A root like that of Docker's busybox image (no /proc, no /sys: tests rely on that) with Debian's busybox."""
    program = pathlib.Path(shutil.which("busybox"))
    if b"ld-linux" in program.read_bytes()[:4096]:
        raise NotHere("busybox is not static; install busybox-static")
    applets = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    with tarfile.open(path, "w") as tar:
        def add(name, mode, kind=tarfile.DIRTYPE, data=b"", link=""):
            info = tarfile.TarInfo("./" + name)
            info.mode, info.type, info.size, info.linkname = mode, kind, len(data), link
            tar.addfile(info, io.BytesIO(data))
        for name in ("bin", "dev", "etc", "home", "lib", "lib64", "usr", "usr/bin", "usr/sbin", "var", "var/spool", "var/www"):
            add(name, 0o755)
        add("root", 0o700)
        add("tmp", 0o1777)
        add("bin/busybox", 0o755, tarfile.REGTYPE, program.read_bytes())
        for name in applets:
            if name != "busybox":
                add(f"bin/{name}", 0o755, tarfile.LNKTYPE, link="./bin/busybox")
        add("etc/passwd", 0o644, tarfile.REGTYPE, b"root:x:0:0:root:/root:/bin/sh\n"
            b"daemon:x:1:1:daemon:/usr/sbin:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n")
        add("etc/group", 0o644, tarfile.REGTYPE, b"root:x:0:\ndaemon:x:1:\ntty:x:5:\nusers:x:100:\nnobody:x:65534:\n")


def _debian_image(path):
    suite = dict(re.findall(r'^(\w+)="?([^"\n]*)', pathlib.Path("/etc/os-release").read_text(), re.M))
    options = [f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "man", "locale", "info")]
    release = suite.get("VERSION_CODENAME", "stable") if suite.get("ID") == "debian" else "stable"
    step(["mmdebstrap", "--variant=minbase", "--format=tar", *options, release, path], cwd="/")


def environment(runtime):
    # The tests compare the program's name with its help and version texts.
    link = CACHE / "bin" / runtime.label / "runc"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(runtime.program)
    shims = CACHE / "shims"
    shims.mkdir(parents=True, exist_ok=True)
    # Without udev there is nothing to settle; the tests of network devices only want to wait for it.
    if shutil.which("udevadm") is None and not (shims / "udevadm").exists():
        (shims / "udevadm").write_text("#!/bin/sh\nexit 0\n")
        (shims / "udevadm").chmod(stat.S_IRWXU)
    # Some kernels have no dummy links; one end of a pair does what the tests want of them.
    if not (shims / "ip").exists():
        (shims / "ip").write_text(IP.format(shutil.which("ip")))
        (shims / "ip").chmod(stat.S_IRWXU)
    return {"RUNC": str(link), "PATH": f"{shims}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}


def tests():
    found = []
    for file in sorted(INTEGRATION.glob("*.bats")):
        for name in re.findall(r'^@test "(.*)" \{', file.read_text(), re.M):
            pattern = "^" + re.sub(r"([][\\.*+?(){}|^$])", r"\\\1", name.strip()) + " *$"
            found.append(Test(f"{file.name}: {name.strip()}", file.stem, ["bats", "--tap", "-f", pattern, file], INTEGRATION))
    return found


def verdict(outcome):
    if outcome.code is None:
        return timed_out(outcome)
    skip = re.search(r"^ok 1 .*?# skip ?(.*)", outcome.output, re.M)
    if skip:
        return Verdict("skip", one_line(skip[1]))
    if outcome.code == 0 and re.search(r"^ok 1 ", outcome.output, re.M):
        return Verdict("ok")
    failed = re.search(r"^# +`(.*)' failed", outcome.output, re.M)
    line = re.search(r"^# \(.*line (\d+)\)", outcome.output, re.M)
    # The program's own last words say more than the shell's test that they didn't pass.
    said = [text for text in re.findall(r"^# (?:time=.*level=(?:error|fatal) msg=)?(.*)", outcome.output, re.M)
            if re.search(r"level=error|msg=|rror|denied|not |no such", text) and not text.startswith(("`", "("))]
    parts = [f"line {line[1]}" if line else "", failed[1] if failed else "", said[-1] if said else ""]
    return Verdict("not ok", one_line("; ".join(part for part in parts if part) or outcome.output[-200:]))
