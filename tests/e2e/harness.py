# SPDX-License-Identifier: Apache-2.0
"""The e2e harness: drives the real program against real containers, and fails a test that leaves something behind.

Each test file has its own --root and --state in a temporary folder. Before and after every test the machine's mounts,
cgroups, network interfaces and processes are compared; a difference is a failure of that test. A file is one ctest;
exit code 77 means skipped, with the reason printed.
"""
import fcntl
import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("DRAY_BUILD_DIR", SOURCE / "build" / "release"))
DRAY = BUILD / "dray"
CACHE = BUILD / "e2e-cache"
BASE_IMAGE = "debian:bookworm"


def skip_all(reason):
    print(f"SKIPPED: {reason}")
    sys.exit(77)


def require(*programs):
    for program in programs:
        if shutil.which(program) is None:
            skip_all(f"{program} is not installed")


def base_archive():
    """A docker-save archive of debian:bookworm, made once per build folder (through `dray image bootstrap`)."""
    CACHE.mkdir(exist_ok=True)
    archive = CACHE / "debian.tar"
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
                base = [DRAY, "--root", f"{scratch}/root", "--state", f"{scratch}/state"]
                subprocess.run([*base, "image", "bootstrap", BASE_IMAGE], check=True)
                subprocess.run([*base, "save", "-o", f"{scratch}/debian.tar", BASE_IMAGE], check=True)
                os.rename(f"{scratch}/debian.tar", archive)
    return archive


class Result:
    def __init__(self, process):
        self.code, self.out, self.err = process.returncode, process.stdout, process.stderr

    def __repr__(self):
        return f"exit code {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def eventually(condition, seconds=10, what="condition"):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fetch(host, port, path="/", timeout=15):
    """The body of an HTTP answer; retries until the server is up."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            with socket.create_connection((host, port), timeout=2) as connection:
                connection.sendall(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
                data = b""
                while chunk := connection.recv(65536):
                    data += chunk
                if data:
                    return data.decode()
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise AssertionError(f"no answer from {host}:{port}")
        time.sleep(0.1)


def machine_state(root):
    """What a test must leave as it was."""
    mounts = sorted(line.split(" - ")[0].split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines())
    cgroups = set()
    for top in ("/sys/fs/cgroup", *pathlib.Path("/sys/fs/cgroup").iterdir()):
        base = pathlib.Path(top) / "dray"
        if base.is_dir():
            cgroups.update(str(path) for path in base.iterdir() if path.is_dir())
    links = {name for name in os.listdir("/sys/class/net") if name != "dray0"}
    processes = set()
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        program = command.split(b"\0")[0].rsplit(b"/", 1)[-1]  # not in any argument: somebody may be building it
        if str(root).encode() in command or program in (b"dray-monitor", b"dray-init"):
            processes.add((entry.name, command.replace(b"\0", b" ").decode(errors="replace")))
    return {"mounts": mounts, "cgroups": cgroups, "links": links, "processes": processes}


class DrayTestCase(unittest.TestCase):
    """A test with a store of its own (shared by the tests of the class), the base image loaded."""

    needs_base = True
    starts_containers = True  # False: what others do on the machine meanwhile is nothing to it
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            skip_all("needs root")
        if not DRAY.exists():
            skip_all(f"{DRAY} is not built")
        cls.scratch = pathlib.Path(tempfile.mkdtemp(prefix="dray-e2e-", dir="/var/tmp"))
        cls.root, cls.state = cls.scratch / "root", cls.scratch / "state"
        if cls.needs_base:
            loaded = cls.dray("load", "-q", "-i", str(base_archive()))
            if loaded.code != 0:
                raise AssertionError(f"loading the base image: {loaded}")

    @classmethod
    def tearDownClass(cls):
        for identifier in cls.dray("ps", "-aq").out.split():
            cls.dray("rm", "-f", "-v", identifier)
        shutil.rmtree(cls.scratch, ignore_errors=True)

    def setUp(self):
        self.before = self.seen()
        self.addCleanup(self.check_leaks)

    def seen(self):
        state = machine_state(self.root)
        if self.starts_containers:
            return state
        return {"mounts": [path for path in state["mounts"] if str(self.scratch) in path],
                "processes": {found for found in state["processes"] if str(self.scratch) in found[1]}}

    def check_leaks(self):
        for identifier in self.dray("ps", "-aq").out.split():
            self.dray("rm", "-f", "-v", identifier)
        # A monitor ends a moment after the exit was reported; on a busy machine that takes a while.
        deadline = time.monotonic() + 20
        while (after := self.seen()) != self.before and time.monotonic() < deadline:
            time.sleep(0.05)
        for kind, was in self.before.items():
            self.assertEqual(was, after[kind], f"the test left {kind} behind")

    @classmethod
    def command(cls, *arguments):
        return [str(DRAY), "--root", str(cls.root), "--state", str(cls.state), *map(str, arguments)]

    @classmethod
    def dray(cls, *arguments, input=None, env=None, cwd=None, timeout=300, text=True):
        stdin = {"input": input} if input is not None else {"stdin": subprocess.DEVNULL}
        process = subprocess.run(cls.command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=text,
                                 env={**os.environ, **(env or {})}, cwd=cwd, timeout=timeout, **stdin)
        return Result(process)

    def ok(self, *arguments, **options):
        """Runs dray; the test fails if it fails. Returns stdout."""
        result = self.dray(*arguments, **options)
        self.assertEqual(0, result.code, f"dray {' '.join(map(str, arguments))}: {result}")
        return result.out

    def fails(self, code, pattern, *arguments, **options):
        """Runs dray; it must end with `code` and an error that matches. Returns the result."""
        result = self.dray(*arguments, **options)
        self.assertEqual(code, result.code, repr(result))
        self.assertRegex(result.err, pattern)
        return result

    def run_in(self, script, *flags, image=BASE_IMAGE):
        """Output of a shell script in a fresh container."""
        return self.ok("run", "--rm", "--network", "none", *flags, image, "sh", "-c", script)

    def context(self, files):
        """A build context; values are text, bytes, or a callable that gets the path."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.scratch))
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if callable(content):
                content(path)
            elif isinstance(content, bytes):
                path.write_bytes(content)
            else:
                path.write_text(content)
        return folder

    def build(self, dockerfile, files=None, *flags, tag="test"):
        folder = self.context({"Dockerfile": dockerfile, **(files or {})})
        self.ok("build", "-t", tag, *flags, folder)
        return folder

    def inspect(self, name, expression=None):
        document = json.loads(self.ok("inspect", name))[0]
        for part in (expression or "").split("."):
            if part:
                document = document[part]
        return document


class Terminal:
    """dray on a pty, for interactive tests."""

    def __init__(self, command, rows=24, columns=80):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))  # before it can be asked for
            os.execv(command[0], command)
        self.output = b""

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, text):
        os.write(self.fd, text if isinstance(text, bytes) else text.encode())

    def expect(self, pattern, seconds=10):
        deadline = time.monotonic() + seconds
        while not (match := re.search(pattern.encode(), self.output)):
            if time.monotonic() > deadline:
                raise AssertionError(f"did not see {pattern!r} in {self.output!r}")
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    chunk = os.read(self.fd, 65536)
                except OSError:
                    chunk = b""
                self.output += chunk
        self.output = self.output[match.end():]
        return match

    def wait(self, seconds=15):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if select.select([self.fd], [], [], 0.05)[0]:
                try:
                    self.output += os.read(self.fd, 65536)
                except OSError:
                    pass
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        raise AssertionError(f"dray did not end; output so far: {self.output!r}")


class Registry:
    """A docker-registry on loopback; one with a password has "user" with "secret"."""

    def __init__(self, folder, has_password=False):
        require("docker-registry", *["htpasswd"] * has_password)
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        auth = ""
        if has_password:
            subprocess.run(["htpasswd", "-Bbc", f"{folder}/htpasswd", "user", "secret"], check=True, capture_output=True)
            auth = f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}\n"
        config = pathlib.Path(folder) / f"registry-{self.port}.yml"
        config.write_text(f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/registry-{self.port}}},"
                          f" delete: {{enabled: true}}}}\nhttp: {{addr: '{self.address}'}}\n{auth}")
        self.process = subprocess.Popen(["docker-registry", "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        def answers():
            try:
                return socket.create_connection(("127.0.0.1", self.port), 1).close() is None
            except OSError:
                return False
        eventually(answers, what="docker-registry answers")

    def stop(self):
        self.process.terminate()
        self.process.wait()


def main():
    unittest.main(verbosity=2)
