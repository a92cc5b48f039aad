#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""dray-runtime for an ordinary user, as far as the machine at hand lets it; tests/vm has the rest."""

import fcntl
import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import tempfile
import threading

from oci_harness import RUNTIME, OciTestCase, main


class OrdinaryUser(OciTestCase):
    NOBODY = {"user": 65534, "group": 65534, "extra_groups": []}

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="nobody-", dir=self.scratch))
        rootfs, programs = self.folder / "rootfs", self.folder / "programs"
        for path in (rootfs, programs):
            path.mkdir()
        subprocess.run(["cp", "-a", f"{self.rootfs}/.", rootfs], check=True)
        for program in (RUNTIME, RUNTIME.parent / "dray-init"):
            shutil.copy(program, programs)
        subprocess.run(["chown", "-R", "65534:65534", self.folder], check=True)
        self.scratch.chmod(0o711)
        self.words = [str(programs / RUNTIME.name), "--root", str(self.folder / "state")]
        subprocess.run([*self.words, "spec", "--rootless"], cwd=self.folder, check=True, **self.NOBODY)
        self.spec = json.loads((self.folder / "config.json").read_text())
        self.spec["process"].update(terminal=False, args=["busybox", "true"])

    def run_as_nobody(self, *words):
        """On one CPU, where the child of a clone is often the faster one."""
        (self.folder / "config.json").write_text(json.dumps(self.spec))
        cpus = {min(os.sched_getaffinity(0))}
        result = subprocess.run(
            [*self.words, *words],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            preexec_fn=lambda: os.sched_setaffinity(0, cpus),
            **self.NOBODY,
        )
        if "creating a user namespace" in result.stderr:
            self.skipTest(result.stderr)
        return result

    def test_a_network_of_its_own(self):
        """The parent opens the child's network namespace, be the child faster or not."""
        self.spec["linux"]["namespaces"].append({"type": "network"})
        for round in range(12):
            result = self.run_as_nobody("run", f"box{round}")
            self.assertEqual((0, ""), (result.returncode, result.stdout), result.stderr)

    def test_seccomp_listener(self):
        """A user may not fetch the descriptor from the container's process, so that sends it."""
        path, got = self.folder / "seccomp.sock", {}

        def serve(listener):
            with listener.accept()[0] as connection:
                data, (number,), _, _ = socket.recv_fds(connection, 65536, 4)
            got["state"] = json.loads(data)
            request = bytearray(80)  # struct seccomp_notif
            fcntl.ioctl(number, 0xC0502100, request)
            answer = struct.pack("Qqii", struct.unpack_from("Q", request)[0], 0, -28, 0)
            fcntl.ioctl(number, 0xC0182101, bytearray(answer))
            os.close(number)

        rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}
        self.spec["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": str(path),
            "syscalls": [rule],
        }
        self.spec["process"]["args"] = ["sh", "-c", "mkdir /tmp/x 2>&1; true"]
        for terminal in (False, True):
            self.spec["process"]["terminal"] = terminal
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))
                path.chmod(0o777)
                listener.listen()
                thread = threading.Thread(target=serve, args=(listener,), daemon=True)
                thread.start()
                result = self.run_as_nobody("run", f"listened{terminal}")
                self.assertIn("No space left", result.stdout, result.stderr)
                thread.join(5)
            path.unlink()
            self.assertEqual(["seccompFd"], got.pop("state")["fds"])
        rule["names"] = ["sendmsg"]
        self.assertIn("sendmsg", self.run_as_nobody("run", "refused").stderr)
        rule["names"] = ["mkdir"]
        self.spec["linux"]["seccomp"]["syscalls"].append({"names": ["sendmsg"], "action": "SCMP_ACT_ERRNO"})
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            self.assertIn("must allow sendmsg", self.run_as_nobody("run", "silenced").stderr)

if __name__ == "__main__":
    main()
