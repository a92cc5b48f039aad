# SPDX-License-Identifier: Apache-2.0
"""Runs one foreign test so that nothing of it outlives it, and touches nothing that the test didn't make.

- Processes: this process is a child subreaper, so whatever a test leaves (a detached container's init, too) becomes a
  descendant of ours and is killed when the test is over. Zombies are reaped all the time, because tests wait for pids.
- Mounts: the test has a private mount namespace, which dies with its last process. /run, where runtimes keep their
  containers and `ip netns` its names, is a fresh tmpfs in there.
- Cgroups and dummy links: what is there afterwards and was not before. The machine lock (see run) keeps other engines' work
  out of that comparison; a cgroup in use can't be removed in any case.
"""
import ctypes
import os
import pathlib
import pty
import select
import signal
import subprocess
import time

CGROUPS = pathlib.Path("/sys/fs/cgroup")
LINKS = pathlib.Path("/sys/class/net")
PR_SET_CHILD_SUBREAPER = 36
POLL = 0.01
# Debian's crun refuses a machine of cgroup v1 that has a v2 mount with a controller beside it. Without that mount it makes its
# cgroups in the folder below, as plain folders that nobody removes: these go to a tmpfs of the test's own.
# /dev/null is a node of the test's own, too: one of runc's tests sees whether a runtime changes its owner, and crun 1.8 does.
SET_UP = """set -e
if [ -n "$1" ] && [ -n "$(cat /sys/fs/cgroup/unified/cgroup.controllers 2>/dev/null)" ]; then
  umount /sys/fs/cgroup/unified
  mount -t tmpfs conformance /sys/fs/cgroup/unified
fi
shift
mount -t tmpfs -o mode=755 conformance /run
mknod -m 666 /run/.null c 1 3
mount --bind /run/.null /dev/null
[ -t 0 ] || exec </dev/null
exec "$@"
"""


class Outcome:
    def __init__(self, code, output, left):
        self.code = code        # None after a timeout
        self.output = output    # stdout and stderr as they came
        self.left = left        # what had to be cleaned up, for people


def become_subreaper():
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def run(argv, *, cwd, env, timeout, log, tty=False, one_cgroup_version=False):
    """Runs argv with its output in the file `log`; kills and sweeps what is left of it. With `tty`, a terminal is its
    standard input and controlling terminal."""
    before = _things()
    master, slave = pty.openpty() if tty else (None, os.open(os.devnull, os.O_RDONLY))
    try:
        with open(log, "wb") as out:
            child = subprocess.Popen(
                ["setsid", *(["--ctty"] if tty else []), "unshare", "--mount", "--propagation", "private", "--",
                 "sh", "-c", SET_UP, "sh", "one" if one_cgroup_version else "", *map(str, argv)],
                cwd=cwd, env=env, stdin=slave, stdout=out, stderr=subprocess.STDOUT)
        try:
            code = _wait(child, time.monotonic() + timeout, master)
        except BaseException:
            _kill_descendants(patient=False)
            _sweep(before)
            raise
        left = _kill_descendants(patient=code is not None) + _sweep(before)
    finally:
        for end in (master, slave):
            if end is not None:
                os.close(end)
    return Outcome(code, pathlib.Path(log).read_text(errors="replace"), left)


def _reap():
    """Takes the exit codes of all dead children: {pid: code}."""
    dead = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return dead
        if pid == 0:
            return dead
        dead[pid] = os.waitstatus_to_exitcode(status)


def _wait(child, deadline, terminal):
    while time.monotonic() < deadline:
        # What is written to the terminal is dropped, but nobody may have to wait for that.
        while terminal is not None and select.select([terminal], [], [], 0)[0]:
            os.read(terminal, 65536)
        dead = _reap()
        if child.pid in dead:
            child.returncode = dead[child.pid]
            return child.returncode
        time.sleep(POLL)
    child.returncode = -signal.SIGKILL
    return None


def _descendants():
    parents = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                stat = pathlib.Path(entry.path, "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found = set()
    for pid in parents:
        chain = []
        ancestor = pid
        while ancestor in parents and ancestor not in found and ancestor != os.getpid():
            chain.append(ancestor)
            ancestor = parents[ancestor]
        if ancestor == os.getpid() or ancestor in found:
            found.update(chain)
    return found


def _thaw(pid):
    """A frozen process of cgroup v1 doesn't die."""
    try:
        lines = pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        state = CGROUPS / "freezer" / path.lstrip("/") / "freezer.state"
        if controllers == "freezer" and path != "/" and state.exists():
            state.write_text("THAWED")


def _kill_descendants(patient):
    # A test that ended may have processes that are just going; only what stays counts as left.
    grace = time.monotonic() + (0.5 if patient else 0)
    while time.monotonic() < grace and (_reap(), _descendants())[1]:
        time.sleep(POLL)
    names = []
    deadline = time.monotonic() + 10
    while (_reap(), pids := _descendants())[1]:
        if time.monotonic() > deadline:
            names.append("processes that don't die: " + " ".join(map(str, sorted(pids))))
            break
        if not names:
            names.append(f"{len(pids)} process(es)")
        for pid in pids:
            _thaw(pid)
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(POLL)
    return names if patient else []


def _things():
    links = {entry.name for entry in os.scandir(LINKS)}
    return {path for path, _, _ in os.walk(CGROUPS)}, links


def _sweep(before):
    cgroups, links = (now - then for now, then in zip(_things(), before))
    left = []
    gone = 0
    for path in sorted(cgroups, key=len, reverse=True):
        try:
            os.rmdir(path)
            gone += 1
        except OSError:
            pass
    if gone:
        left.append(f"{gone} cgroup(s)")
    for name in sorted(links):
        if name.startswith("dummy") and subprocess.run(["ip", "link", "del", name], capture_output=True).returncode == 0:
            left.append(f"link {name}")
    return left
