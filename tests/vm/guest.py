# SPDX-License-Identifier: Apache-2.0
"""What the suites share, in the guest: dray on its default folders, an image of busybox, the phases of a suite that
cuts the machine's power."""
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

PHASE = int(os.environ.get("DRAY_VM_PHASE", "1"))
CGROUP = pathlib.Path("/sys/fs/cgroup")
IMAGE = "busybox"
DOCKERFILE = """FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
CMD ["sh"]
"""


class Result:
    def __init__(self, process):
        self.code, self.out, self.err = process.returncode, process.stdout, process.stderr

    def __repr__(self):
        return f"exit code {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def command(*words, timeout=120, **options):
    process = subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, timeout=timeout, **options)
    return Result(process)


def dray(*words, **options):
    return command("dray", *words, **options)


def eventually(condition, seconds=20, what="condition"):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


def context():
    """A build context of IMAGE."""
    folder = pathlib.Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    (folder / "busybox").write_bytes(pathlib.Path("/bin/busybox").read_bytes())
    (folder / "busybox").chmod(0o755)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    return folder


def build_image():
    result = dray("build", "-t", IMAGE, context())
    if result.code != 0:
        raise AssertionError(f"dray build: {result}")


def has_command(name):
    return any(line.split()[:1] == [name] for line in dray("--help").out.splitlines())


def has_flag(flag, verb="run"):
    return flag in dray(verb, "--help").out.replace(",", " ").split()


def cut_power():
    """The host ends the machine as a power failure would and boots the same disk with PHASE + 1."""
    with open("/dev/ttyS2", "w") as results:
        results.write("reset\n")
    time.sleep(600)


class GuestTestCase(unittest.TestCase):
    maxDiff = None

    def ok(self, *words, **options):
        """Runs dray; the test fails if it fails. Returns stdout."""
        result = dray(*words, **options)
        self.assertEqual(0, result.code, f"dray {' '.join(map(str, words))}: {result}")
        return result.out

    def fails(self, code, pattern, *words, **options):
        result = dray(*words, **options)
        self.assertEqual(code, result.code, repr(result))
        self.assertRegex(result.err, pattern)
        return result

    def run_in(self, script, *flags):
        """Output of a shell script in a fresh container."""
        return self.ok("run", "--rm", "--network", "none", *flags, IMAGE, "sh", "-c", script)

    def inspect(self, name, expression):
        return self.ok("inspect", "-f", "{{" + expression + "}}", name).strip()

    def need_flag(self, flag, verb="run"):
        if not has_flag(flag, verb):
            self.skipTest(f"dray {verb} has no {flag} yet")

    def need_command(self, name):
        if not has_command(name):
            self.skipTest(f"dray {name} does not exist yet")


def main(phase=None):
    """Runs the tests of the calling file, or of one of its classes."""
    suite = unittest.TestLoader().loadTestsFromModule(sys.modules["__main__"]) if phase is None \
        else unittest.TestLoader().loadTestsFromTestCase(phase)
    outcome = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
    return 0 if outcome.wasSuccessful() else 1
