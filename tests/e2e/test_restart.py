#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""--restart: what the monitor does at a container's end, and that stop, rm, start and kill -9 meet it well."""
import os
import pathlib
import signal
import subprocess
import time

from harness import BASE_IMAGE, DrayTestCase, eventually, fetch, free_port, main


def monitor_of(identifier):
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"dray-monitor\0" in command and identifier.encode() in command:
                return int(entry.name)
    return None


class Restart(DrayTestCase):
    def start(self, policy, script, *flags):
        return self.ok("run", "-d", "--network", "none", "--restart", policy, *flags, BASE_IMAGE, "sh", "-c", script).strip()

    def restarting(self, identifier):
        return self.inspect(identifier, "State.Restarting")

    def in_back_off(self, script="exit 3"):
        """A container that ends at once, in a wait long enough to do something with."""
        identifier = self.start("always", script)
        eventually(lambda: self.inspect(identifier, "RestartCount") >= 3 and self.restarting(identifier))
        return identifier

    def exited(self, identifier):
        state = self.inspect(identifier, "State")
        self.assertEqual(("exited", False, False, 0), (state["Status"], state["Running"], state["Restarting"], state["Pid"]))
        return state["ExitCode"]

    def test_words(self):
        for arguments, pattern in ((("--restart", "always", "--rm"), "conflicting options: cannot specify both --restart and --rm"),
                                   (("--restart", "always:3"), "maximum retry count cannot be used with restart policy 'always'"),
                                   (("--restart", "on-failure:-1"), "maximum retry count cannot be negative"),
                                   (("--restart", "on-failure:x"), "maximum retry count must be an integer"),
                                   (("--restart", "often"), "invalid restart policy 'often'")):
            self.fails(125, pattern, "run", *arguments, BASE_IMAGE, "true")
        self.assertEqual("", self.ok("ps", "-aq"))
        self.ok("run", "--rm", "--restart", "no", "--network", "none", BASE_IMAGE, "true")
        name = self.ok("create", "--restart", "on-failure:7", BASE_IMAGE, "true").strip()
        self.assertEqual({"Name": "on-failure", "MaximumRetryCount": 7}, self.inspect(name, "HostConfig.RestartPolicy"))

    def test_on_failure_restarts_so_often(self):
        identifier = self.start("on-failure:2", "echo run; exit 3")
        self.assertEqual("run\nrun\nrun\n", self.dray("logs", "-f", identifier, timeout=20).out, "logs -f goes on over restarts")
        eventually(lambda: self.inspect(identifier, "State.Status") == "exited")
        self.assertEqual(3, self.exited(identifier))
        self.assertEqual(2, self.inspect(identifier, "RestartCount"))
        time.sleep(0.2)
        self.assertEqual("run\n" * 3, self.ok("logs", identifier))
        # A start by the user counts anew; success is no failure.
        self.ok("start", identifier)
        eventually(lambda: self.inspect(identifier, "RestartCount") == 2 and self.inspect(identifier, "State.Status") == "exited")
        self.assertEqual(6, self.ok("logs", identifier).count("run"))
        good = self.start("on-failure", "exit 0")
        self.assertEqual("0\n", self.ok("wait", good))
        time.sleep(0.2)
        self.assertEqual((0, 0), (self.exited(good), self.inspect(good, "RestartCount")))

    def test_always_after_success_and_what_shows_it(self):
        attached = self.dray("run", "--name", "loop", "--network", "none", "--restart", "always", BASE_IMAGE, "sh", "-c", "echo once; exit 0")
        self.assertEqual((0, "once\n"), (attached.code, attached.out), "an attached run ends with the first end, as Docker's")
        eventually(lambda: self.inspect("loop", "RestartCount") >= 3 and self.restarting("loop"))
        self.assertRegex(self.ok("ps", "--format", "{{.State}}: {{.Status}}"), r"^restarting: Restarting \(0\) \S.* ago\n$")
        state = self.inspect("loop", "State")
        self.assertEqual(("restarting", True, 0), (state["Status"], state["Running"], state["Pid"]))
        self.fails(1, "is restarting, wait until", "exec", "loop", "true")
        self.fails(1, "attach to a restarting container", "attach", "loop")
        self.fails(1, "container is restarting: stop the container", "rm", "loop")
        self.assertEqual("0\n", self.ok("wait", "loop"))
        self.ok("stop", "loop")
        self.assertEqual(0, self.exited("loop"))
        count = self.inspect("loop", "RestartCount")
        time.sleep(0.5)
        self.assertEqual(count, self.inspect("loop", "RestartCount"), "stopped is stopped")
        self.assertEqual("", self.ok("ps", "-q"))
        self.assertIsNone(monitor_of(self.inspect("loop", "Id")))

    def test_stop_kill_and_restart_of_a_running_one(self):
        for verb in (("stop", "-t", "0"), ("kill",), ("kill", "-s", "TERM")):
            identifier = self.start("always", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done")
            eventually(lambda: "ready" in self.ok("logs", identifier))
            self.ok(*verb, identifier)
            eventually(lambda: self.inspect(identifier, "State.Status") == "exited")
            time.sleep(0.3)
            self.exited(identifier)
        self.ok("restart", identifier)
        self.assertEqual(0, self.inspect(identifier, "RestartCount"))
        # Its own end is followed by a restart, also after a stop and a start.
        os.kill(self.inspect(identifier, "State.Pid"), signal.SIGKILL)
        eventually(lambda: self.inspect(identifier, "RestartCount") == 1 and self.inspect(identifier, "State.Status") == "running")
        self.ok("exec", identifier, "true")

    def test_verbs_in_the_wait(self):
        stopped = self.in_back_off()
        started = time.monotonic()
        self.ok("kill", stopped)
        self.assertLess(time.monotonic() - started, 5)
        self.assertEqual(3, self.exited(stopped))
        removed = self.in_back_off()
        self.ok("rm", "-f", removed)
        self.assertNotIn(removed[:12], self.ok("ps", "-aq"))
        again = self.in_back_off("test -e /go && exec sleep 1000; touch /go.$$; ls /go.* | wc -l; [ $(ls /go.* | wc -l) -lt 4 ] || touch /go; exit 3")
        self.ok("start", again)
        eventually(lambda: self.inspect(again, "State.Status") == "running" and self.inspect(again, "State.Pid") > 0)
        self.ok("restart", "-t", "0", again)
        eventually(lambda: self.inspect(again, "State.Status") == "running" and self.inspect(again, "State.Pid") > 0)

    def test_rm_force_at_any_moment(self):
        for pause in (0, 0.1, 0.15, 0.25):
            identifier = self.start("always", "exit 1")
            time.sleep(pause)
            self.ok("rm", "-f", identifier)
        self.assertEqual("", self.ok("ps", "-aq"))

    def test_a_killed_monitor(self):
        waiting = self.in_back_off()
        os.kill(eventually(lambda: monitor_of(waiting)), signal.SIGKILL)
        eventually(lambda: not self.restarting(waiting))
        # Killed in the wait or in the restart: either way it has ended, and says so.
        self.assertIn(self.exited(waiting), (3, 137))
        running = self.start("unless-stopped", "exec sleep 1000")
        os.kill(eventually(lambda: monitor_of(running)), signal.SIGKILL)
        self.assertEqual(137, eventually(lambda: self.inspect(running, "State.Status") == "exited" and self.exited(running)))
        kept = self.start("unless-stopped", "exec sleep 1000")
        stopped = self.start("unless-stopped", "exec sleep 1000", "--name", "stopped")
        once = self.start("on-failure", "exit 0", "--name", "once")
        self.ok("create", "--restart", "always", "--name", "never", BASE_IMAGE, "true")
        self.ok("stop", "-t", "0", stopped)
        pid = self.inspect(kept, "State.Pid")
        names = self.ok("system", "start-containers").split()
        self.assertEqual({self.inspect(waiting, "Name")[1:], self.inspect(running, "Name")[1:]}, set(names))
        self.assertEqual(("running", pid), (self.inspect(running, "State.Status"), self.inspect(kept, "State.Pid")))
        self.exited(stopped)
        self.exited(once)
        self.assertEqual("created", self.inspect("never", "State.Status"))

    def test_killed_at_any_moment(self):
        for pause in (0.1, 0.13, 0.16, 0.2):
            identifier = self.start("always", "exit 1")
            time.sleep(pause)
            for entry in pathlib.Path("/proc").iterdir():
                if entry.name.isdigit():
                    try:
                        if identifier.encode() in (entry / "cmdline").read_bytes():
                            os.kill(int(entry.name), signal.SIGKILL)
                    except OSError:
                        pass
            # One that was forked between the look and the kill may go on: it is whole, then.
            self.assertIn(self.inspect(identifier, "State.Status"), ("exited", "running", "restarting"))
            self.ok("rm", "-f", identifier)

    def test_port_and_log_are_kept(self):
        port = free_port()
        script = "use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalPort => 80, Listen => 5, ReuseAddr => 1); " \
                 "my $c = $s->accept; while (<$c>) { last if /^\\r?\\n$/ } print $c \"hello\\n\"; print STDOUT \"served\\n\"; exit 1"
        identifier = self.ok("run", "-d", "-p", f"{port}:80", "--restart", "on-failure", BASE_IMAGE, "perl", "-e", script).strip()
        for served in (1, 2):
            self.assertEqual("hello\n", fetch("127.0.0.1", port))
            eventually(lambda: self.inspect(identifier, "RestartCount") >= served)
        eventually(lambda: self.ok("logs", identifier) == "served\n" * 2)
        self.ok("rm", "-f", identifier)


if __name__ == "__main__":
    main()
