# SPDX-License-Identifier: Apache-2.0
"""A bench run happens in mount, network and pid namespaces of its own, so that nothing of it can stay behind.

Bridges, firewall rules, mounts and daemons of every engine end with the namespaces, even after kill -9. Two things
reach the machine, the scratch folder and empty cgroups; the supervisor, which stays outside, removes them.
"""
import fcntl
import os
import pathlib
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback

CGROUPS = pathlib.Path("/sys/fs/cgroup")
CGROUP_PARENTS = ("dray", "docker", "libpod_parent", "machine.slice", "buildkit", "dray-bench-buildah")
INSIDE = "DRAY_BENCH_SCRATCH"
KEPT = ("DRAY_BUILDKIT",)  # variables that the inner half needs


def _mount(*arguments):
    subprocess.run(["mount", *map(str, arguments)], check=True)


def _engine_cgroups():
    hierarchies = [CGROUPS, *(path for path in CGROUPS.iterdir() if path.is_dir())]
    tops = {hierarchy / parent for hierarchy in hierarchies for parent in CGROUP_PARENTS}
    return {pathlib.Path(folder) for top in tops if top.is_dir() for folder, _, _ in os.walk(top)}


def _remove_cgroups(known):
    """rmdir only: a cgroup that anybody is in, or has put a child into, stays."""
    deadline = time.monotonic() + 5
    while (new := _engine_cgroups() - known) and time.monotonic() < deadline:
        for folder in sorted(new, key=lambda path: len(path.parts), reverse=True):
            try:
                folder.rmdir()
            except OSError:
                time.sleep(0.02)  # its processes are still ending


def supervise(prepare):
    """The outer half: `prepare(scratch)` outside, this program again inside, then cleaning. Returns the exit code."""
    known = _engine_cgroups()
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="dray-bench-", dir="/var/tmp"))
    child = None

    def stop(number, _frame):
        raise SystemExit(128 + number)

    endings = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in endings:
        signal.signal(number, stop)
    try:
        prepare(scratch)
        child = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child",
             "--mount-proc", sys.executable, *sys.argv],
            env={**os.environ, INSIDE: str(scratch)}, start_new_session=True)
        return child.wait()
    finally:
        for number in endings:
            signal.signal(number, signal.SIG_IGN)  # impatience must not leave half of it behind
        if child is not None and child.poll() is None:
            child.kill()  # unshare; the namespaces' first process dies with it, and everything else with that
            child.wait()
        _remove_cgroups(known)
        _remove_folder(scratch)


def _remove_folder(folder):
    for _ in range(50):  # the namespace's last processes may still be ending
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)
    print(f"bench: could not remove {folder}", file=sys.stderr)


def _loopback_up():
    with socket.socket() as any_socket:
        up, request_flags, set_flags = 1, 0x8913, 0x8914  # IFF_UP, SIOCGIFFLAGS, SIOCSIFFLAGS
        name, flags = struct.unpack("16sh", fcntl.ioctl(any_socket, request_flags, struct.pack("16sh", b"lo", 0)))
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sh", name, flags | up))


def _private_folders():
    """Whatever an engine's --root says, it keeps locks, keys, addresses and sockets in these: writes go to memory."""
    resolver = pathlib.Path("/etc/resolv.conf").resolve()
    servers = resolver.read_bytes() if resolver.is_file() else b""
    for folder in ("/run", "/dev/shm"):
        _mount("-t", "tmpfs", "-o", "mode=755", "bench", folder)
    for folder in ("/etc", "/opt", "/var/lib"):
        layers = pathlib.Path("/run/bench-writes" + folder)
        (layers / "upper").mkdir(parents=True)
        (layers / "work").mkdir()
        options = f"lowerdir={folder},upperdir={layers}/upper,workdir={layers}/work"
        _mount("-t", "overlay", "-o", options, "bench", folder)
    if resolver.is_relative_to("/run"):
        resolver.parent.mkdir(parents=True, exist_ok=True)
        resolver.write_bytes(servers)


def _single_cgroup_version():
    """Debian's crun refuses cgroup v1 beside a v2 mount with a controller: all engines run without that mount."""
    controllers = CGROUPS / "unified" / "cgroup.controllers"
    if controllers.exists() and controllers.read_text().strip():
        subprocess.run(["umount", CGROUPS / "unified"], check=True)
        # crun then makes its cgroups in the folder below, as plain folders that nobody removes.
        _mount("-t", "tmpfs", "bench", CGROUPS / "unified")


def own_file_system(folder):
    """Mounts a fresh ext4 (in a sparse file beside it) on the new `folder`; False: loop devices or mkfs.ext4 are missing.

    An engine's figures must not depend on what the others, or a run before, did to the disk: ext4 without a journal, for
    one, searches inodes up to ten times longer for minutes after many were deleted.
    """
    folder.mkdir()
    image = folder.with_name(folder.name + ".ext4")
    with open(image, "wb") as sparse:
        sparse.truncate(16 << 30)
    # Nothing is initialised in the background later on: that would be on somebody's time.
    made = subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,nodiscard", image], capture_output=True)
    return made.returncode == 0 and subprocess.run(
        ["mount", "-o", "loop,noinit_itable", image, folder], capture_output=True).returncode == 0


def _reap_until(child):
    """Orphans (monitors, shims) become children of the namespace's first process, which must wait for them."""
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)


def enter(body):
    """The inner half: sets the namespaces up and runs `body(scratch)` in a child of the first process."""
    scratch = pathlib.Path(os.environ[INSIDE])
    for limit, value in ((resource.RLIMIT_NOFILE, 1048576), (resource.RLIMIT_NPROC, resource.RLIM_INFINITY)):
        try:
            resource.setrlimit(limit, (value, value))
        except (OSError, ValueError):
            pass  # podman sets these for a container and may then refuse; it says so itself
    _loopback_up()
    _private_folders()
    _single_cgroup_version()
    home = scratch / "home"
    home.mkdir()
    path, kept = os.environ.get("PATH", ""), {name: os.environ[name] for name in KEPT if name in os.environ}
    os.environ.clear()
    # No proxy settings, no credentials: the only registry is on this namespace's loopback.
    os.environ.update(kept, PATH=f"{path}:/usr/sbin:/sbin", HOME=str(home), LANG="C.UTF-8", TMPDIR=str(scratch))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = body(scratch)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return _reap_until(child)
