#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Hooks of dray-runtime: where and when they run, and what fails."""

import json
import os
import subprocess
import time

from oci_harness import OciTestCase, main


class Hooks(OciTestCase):
    def record(self, log, name):
        """A hook that writes its name, where it runs and the state it got."""
        return {
            "path": "/bin/sh",
            "args": [
                "sh",
                "-c",
                f'echo "{name} $(readlink /proc/self/ns/mnt) $(cat | tr -d "\\n") $PWD $LD_PRELOAD-$OWN" >> {log}',
            ],
            "env": ["PATH=/bin:/usr/bin:/sbin", f"OWN={name}"],
        }

    def test_all_six(self):
        log = self.scratch / "hooks.log"
        rootfs = self.own_rootfs()
        inside = f"/{log.relative_to('/')}"
        (rootfs / log.parent.relative_to("/")).mkdir(parents=True)
        kinds = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
        config = self.config(
            "sleep 100", root={"path": str(rootfs)}, hooks={kind: [self.record(log, kind)] for kind in kinds}
        )
        # The environment of the container (CVE-2025-23266) is not that of its hooks.
        config["process"]["env"].append("LD_PRELOAD=/evil.so")
        config["mounts"].append({"destination": inside, "type": "bind", "source": str(log), "options": ["bind"]})
        log.touch()
        bundle, name = self.bundle(config), self.new_id()
        self.ok("create", "--bundle", bundle, name)
        self.ok("start", name)
        self.ok("delete", "-f", name)
        host = os.readlink("/proc/self/ns/mnt")
        seen = {}
        for line in log.read_text().splitlines():
            kind, namespace, rest = line.split(" ", 2)
            document, end = json.JSONDecoder().raw_decode(rest)
            seen[kind] = (namespace == host, document, rest[end:])
        self.assertEqual(list(kinds), list(seen))
        self.assertEqual([True, True, False, False, True, True], [seen[kind][0] for kind in kinds])
        self.assertEqual(
            ["creating", "creating", "creating", "created", "running", "stopped"],
            [seen[kind][1]["status"] for kind in kinds],
        )
        for kind in kinds:
            document = seen[kind][1]
            self.assertEqual((name, str(bundle)), (document["id"], document["bundle"]), kind)
            self.assertTrue(seen[kind][2].endswith(f" -{kind}"), f"{kind}: {seen[kind][2]}")
            if kind != "poststop":
                self.assertGreater(document["pid"], 0)

    def test_a_hook_that_fails_stops_the_container(self):
        for kind in ("prestart", "createRuntime", "createContainer"):
            self.refuse(
                self.config(hooks={kind: [{"path": "/bin/sh", "args": ["sh", "-c", "echo broken >&2; exit 3"]}]}),
                rf"{kind} hook #0: exit status 3.*broken",
            )
        for kind in ("startContainer", "poststart"):
            config = self.config(
                "sleep 100", hooks={kind: [{"path": "/bin/sh", "args": ["sh", "-c", "echo broken >&2; exit 3"]}]}
            )
            self.fails(
                rf"{kind} hook #0: exit status 3.*broken", "run", "-d", "--bundle", self.bundle(config), self.new_id()
            )
            for name in self.ids():
                self.assertEqual("stopped", self.state(name)["status"])
                self.ok("delete", name)
            self.nothing_left()

    def test_a_failing_poststop_hook_is_a_warning(self):
        marker = self.scratch / "second"
        config = self.config(
            hooks={"poststop": [{"path": "/bin/false"}, {"path": "/bin/sh", "args": ["sh", "-c", f"touch {marker}"]}]}
        )
        result = self.runtime("run", "--bundle", self.bundle(config), self.new_id())
        self.assertEqual(0, result.code)
        self.assertRegex(result.err, "level=warning.*poststop hook #0")
        self.assertTrue(marker.exists())
        self.nothing_left()

    def test_a_hanging_hook_is_ended(self):
        for kind in ("prestart", "createRuntime", "createContainer"):
            began = time.monotonic()
            self.refuse(
                self.config(
                    hooks={
                        kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"sleep 50 # {self.scratch}"], "timeout": 1}]
                    }
                ),
                "timeout",
            )
            self.assertLess(time.monotonic() - began, 4)
        config = self.config(
            "sleep 100", hooks={"startContainer": [{"path": "/bin/sleep", "args": ["sleep", "50"], "timeout": 1}]}
        )
        self.fails("timeout", "run", "-d", "--bundle", self.bundle(config), self.new_id())

    def test_signals_of_the_caller(self):
        """Who ignores SIGCHLD hears nothing of a hook's end; what the foreground blocks, hooks must not inherit."""
        failing = self.bundle(self.config(hooks={"prestart": [{"path": "/bin/false"}]}))
        command = ["env", "--ignore-signal=CHLD", *self.command("run", "--bundle", failing, self.new_id())]
        self.assertEqual(1, subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode)
        log = self.scratch / "signals.log"
        for kind in ("prestart", "createContainer"):
            hook = {"path": "/bin/sh", "args": ["sh", "-c", f"grep -E '^Sig(Blk|Ign)' /proc/self/status > {log}"]}
            self.ok("run", "--bundle", self.bundle(self.config(hooks={kind: [hook]})), self.new_id())
            self.assertEqual(["SigBlk:", "0" * 16, "SigIgn:", "0" * 16], log.read_text().split())
        dying = {"path": "/bin/sh", "args": ["sh", "-c", "kill -TERM $$"]}
        bundle = self.bundle(self.config(hooks={"createContainer": [dying]}))
        self.fails("createContainer hook #0: signal", "run", "--bundle", bundle, self.new_id())
        self.nothing_left()

    def test_a_start_hook_that_talks_and_does_not_listen(self):
        hook = {"path": "/bin/sh", "args": ["sh", "-c", "head -c 300000 /dev/zero"]}
        config = self.config("echo ran", hooks={"startContainer": [hook]}, annotations={"large": "x" * 200_000})
        self.assertEqual("ran\n", self.ok("run", "--bundle", self.bundle(config), self.new_id(), timeout=20))

    def test_a_hook_that_cannot_be_started(self):
        self.refuse(self.config(hooks={"prestart": [{"path": "/nosuch"}]}), "prestart hook #0.*/nosuch")
        self.refuse(self.config(hooks={"prestart": [{"path": "relative"}]}), "relative|absolute")

if __name__ == "__main__":
    main()
