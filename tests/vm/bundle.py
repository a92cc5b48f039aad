# SPDX-License-Identifier: Apache-2.0
"""Bundles for dray-runtime, in the guest: busybox as root file system and what `dray-runtime spec` writes as config."""
import json
import os
import pathlib
import shutil
import tempfile

from guest import CGROUP, GuestTestCase, command, eventually

RUNTIME = "dray-runtime"
UID = 1000
SESSION = {"HOME": "/home/tester", "USER": "tester", "LOGNAME": "tester", "PATH": os.environ["PATH"], "LANG": "C.UTF-8",
           "XDG_RUNTIME_DIR": f"/run/user/{UID}", "DBUS_SESSION_BUS_ADDRESS": f"unix:path=/run/user/{UID}/bus"}
MANAGER = CGROUP / f"user.slice/user-{UID}.slice/user@{UID}.service"


def as_user(*words, delegated=True, **options):
    """As the ordinary user: in a scope below the user's own manager, the only place whose cgroups they may change, or
    without in the cgroup of this test, which is root's."""
    scope = ["systemd-run", "--user", "--scope", "--quiet", "--collect", "-p", "Delegate=yes"] if delegated else []
    return command(*scope, *words, env=SESSION, user=UID, group=UID, extra_groups=[], cwd=SESSION["HOME"], **options)


def cgroup_of(pid):
    """Of a process, as a path; needs a host with nothing but v2."""
    text = pathlib.Path(f"/proc/{pid}/cgroup").read_text().strip().split("::", 1)[1]
    return CGROUP / text.lstrip("/")


class BundleTestCase(GuestTestCase):
    """self.spec is edited, then run; each test has one container."""
    rootless = False
    flags = ()

    def call(self, *words, **options):
        return command(RUNTIME, *self.flags, *words, **options)

    def setUp(self):
        base = pathlib.Path("/home/tester" if self.rootless else "/root")
        self.bundle = pathlib.Path(tempfile.mkdtemp(prefix="bundle", dir=base))
        self.addCleanup(shutil.rmtree, self.bundle, ignore_errors=True)
        self.bundle.chmod(0o755)
        root = self.bundle / "rootfs"
        for name in ("bin", "proc", "sys", "dev", "tmp", "etc"):
            (root / name).mkdir(parents=True)
        (root / "tmp").chmod(0o1777)
        shutil.copy("/bin/busybox", root / "bin/busybox")
        (root / "bin/busybox").chmod(0o755)
        command("chroot", root, "/bin/busybox", "--install", "-s", "/bin")
        if self.rootless:
            for path in [self.bundle, *self.bundle.rglob("*")]:
                os.chown(path, UID, UID, follow_symlinks=False)
        result = self.call("spec", "-b", self.bundle, *(["--rootless"] if self.rootless else []))
        self.assertEqual(0, result.code, repr(result))
        self.spec = json.loads((self.bundle / "config.json").read_text())
        self.spec["process"]["terminal"] = False
        self.spec["root"]["readonly"] = False
        self.addCleanup(self.call, "delete", "-f", "box")

    def write(self, script=None):
        if script is not None:
            self.spec["process"]["args"] = ["sh", "-c", script]
        (self.bundle / "config.json").write_text(json.dumps(self.spec))

    def succeed(self, *words, **options):
        result = self.call(*words, **options)
        self.assertEqual(0, result.code, f"{words}: {result}")
        return result.out

    def refuse(self, pattern, *words, **options):
        result = self.call(*words, **options)
        self.assertNotEqual(0, result.code, f"{words}: {result}")
        self.assertRegex(result.err, pattern)
        return result

    def output(self, script):
        """Of a script as the container's process."""
        self.write(script)
        return self.succeed("run", "-b", self.bundle, "box")

    def start(self, script="exec sleep 1000"):
        """A container that goes on; returns the pid of its first process."""
        self.write(script)
        # Not a pipe of ours, which the container would hold open.
        self.succeed_detached("run", "-d", "-b", self.bundle, "box")
        return self.state()["pid"]

    def succeed_detached(self, *words):
        with tempfile.TemporaryFile("w+") as said:
            words = [str(word) for word in words]
            result = self.call_to(said, *words)
            said.seek(0)
            self.assertEqual(0, result, f"{words}: {said.read()}")

    def call_to(self, said, *words):
        import subprocess
        return subprocess.run(self.words(*words), stdin=subprocess.DEVNULL, stdout=said, stderr=said, timeout=120,
                              **self.identity()).returncode

    def words(self, *words):
        return [RUNTIME, *self.flags, *words]

    def identity(self):
        return {}

    def state(self):
        return json.loads(self.succeed("state", "box"))

    def status(self):
        return self.state()["status"]

    def wait_stopped(self):
        eventually(lambda: self.status() == "stopped", what="the container stops")
