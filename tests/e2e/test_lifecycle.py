#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""create, start, stop, kill, restart, rm, wait, logs, exec, ps, inspect."""
import json
import subprocess
import time

from harness import BASE_IMAGE, DrayTestCase, Terminal, eventually, main


class Lifecycle(DrayTestCase):
    def start(self, script="while :; do sleep 0.1; done", *flags):
        return self.ok("run", "-d", "--network", "none", *flags, BASE_IMAGE, "sh", "-c", script).strip()

    def test_create_start_wait(self):
        identifier = self.ok("create", "--name", "job", "--network", "none", BASE_IMAGE, "sh", "-c", "echo ran; exit 9").strip()
        self.assertEqual("created", self.inspect("job", "State.Status"))
        self.assertEqual("job\n", self.ok("start", "job"))
        self.assertEqual("9\n", self.ok("wait", "job"))
        self.assertEqual(("exited", 9), (self.inspect("job", "State.Status"), self.inspect("job", "State.ExitCode")))
        self.assertEqual("ran\n", self.ok("logs", identifier[:6]))
        attached = self.dray("start", "-a", "job")
        self.assertEqual((9, "ran\n"), (attached.code, attached.out))
        self.assertEqual("job\n", self.ok("rm", "job"))
        self.fails(1, "(?i)no such container", "start", "job")

    def test_stop_is_graceful_then_kills(self):
        polite = self.start('trap "exit 0" TERM; echo ready; while :; do sleep 0.05; done')
        eventually(lambda: "ready" in self.ok("logs", polite))
        self.ok("stop", polite)
        self.assertEqual(0, self.inspect(polite, "State.ExitCode"))
        deaf = self.start('trap "" TERM; echo ready; while :; do sleep 0.05; done')
        eventually(lambda: "ready" in self.ok("logs", deaf))
        started = time.monotonic()
        self.ok("stop", "-t", "1", deaf)
        self.assertLess(time.monotonic() - started, 8)
        self.assertEqual(137, self.inspect(deaf, "State.ExitCode"))

    def test_kill_and_restart(self):
        identifier = self.start('trap "echo usr1" USR1; echo ready; while :; do sleep 0.05; done')
        eventually(lambda: "ready" in self.ok("logs", identifier))
        self.ok("kill", "-s", "USR1", identifier)
        eventually(lambda: "usr1" in self.ok("logs", identifier))
        pid = self.inspect(identifier, "State.Pid")
        self.ok("restart", "-t", "0", identifier)
        self.assertNotEqual(pid, self.inspect(identifier, "State.Pid"))
        self.ok("kill", identifier)
        self.assertEqual("137\n", self.ok("wait", identifier))
        self.fails(1, "(?i)not running", "kill", identifier)
        self.fails(1, "(?i)invalid signal", "kill", "-s", "NOSUCH", identifier)

    def test_rm(self):
        identifier = self.start()
        self.fails(1, "(?i)running", "rm", identifier)
        self.ok("rm", "-f", identifier)
        self.assertEqual("", self.ok("ps", "-aq"))

    def test_auto_remove_after_detach(self):
        self.ok("run", "-d", "--rm", "--network", "none", BASE_IMAGE, "true")
        eventually(lambda: self.ok("ps", "-aq") == "")

    def test_files_survive_a_restart(self):
        self.ok("run", "--name", "keep", "--network", "none", BASE_IMAGE, "sh", "-c", "echo $(cat /count 2>/dev/null)x > /count; cat /count")
        attached = self.dray("start", "-a", "keep")
        self.assertEqual("xx\n", attached.out)

    def test_logs(self):
        identifier = self.start("for i in 1 2 3; do echo out $i; echo err $i >&2; sleep 0.05; done")
        self.ok("wait", identifier)
        result = self.dray("logs", identifier)
        self.assertEqual(("out 1\nout 2\nout 3\n", "err 1\nerr 2\nerr 3\n"), (result.out, result.err))
        self.assertEqual(1, sum(len(text.splitlines()) for text in (lambda r: (r.out, r.err))(self.dray("logs", "--tail", "1", identifier))))
        self.assertRegex(self.dray("logs", "-t", identifier).out, r"^\d{4}-\d\d-\d\dT[\d:.]+Z out 1\n")
        self.assertEqual("", self.dray("logs", "--until", "1h", identifier).out)
        self.assertIn("out 1", self.dray("logs", "--since", "1h", identifier).out)

    def test_follow(self):
        identifier = self.start("for i in 1 2 3; do echo line $i; sleep 0.2; done")
        self.assertEqual("line 1\nline 2\nline 3\n", self.dray("logs", "-f", identifier, timeout=20).out)

    def test_ps(self):
        identifier = self.start("sleep 100", "--name", "shown", "-l", "role=db")
        self.ok("create", "--name", "idle", BASE_IMAGE, "true")
        table = self.ok("ps").splitlines()
        self.assertEqual("CONTAINER ID IMAGE COMMAND CREATED STATUS PORTS NAMES".split(), table[0].split())
        self.assertEqual(2, len(table))
        self.assertIn("Up ", table[1])
        self.assertEqual({"shown", "idle"}, set(self.ok("ps", "-a", "--format", "{{.Names}}").split()))
        self.assertEqual("shown\n", self.ok("ps", "-f", "label=role=db", "--format", "{{.Names}}"))
        self.assertEqual("idle\n", self.ok("ps", "-a", "-f", "status=created", "--format", "{{.Names}}"))
        self.assertEqual(identifier + "\n", self.ok("ps", "-q", "--no-trunc"))
        self.assertEqual("shown", json.loads(self.ok("ps", "--format", "json"))["Names"])
        self.assertEqual("/shown true\n", self.ok("inspect", "-f", "{{.Name}} {{.State.Running}}", "shown"))

    def test_two_at_once(self):
        processes = [subprocess.Popen(self.command("run", "--rm", BASE_IMAGE, "echo", i), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) for i in range(8)]
        self.assertEqual([f"{i}\n" for i in range(8)], [process.communicate(timeout=60)[0] for process in processes])


class Exec(DrayTestCase):
    def setUp(self):
        super().setUp()
        self.ok("run", "-d", "--name", "box", "--network", "none", "-e", "A=image", BASE_IMAGE, "sleep", "1000")

    def test_exec(self):
        self.assertEqual("hi\n", self.ok("exec", "box", "echo", "hi"))
        self.assertEqual(7, self.dray("exec", "box", "sh", "-c", "exit 7").code)
        self.assertEqual("33 /var b image\n", self.ok("exec", "-u", "www-data", "-w", "/var", "-e", "B=b", "box", "sh", "-c", 'echo "$(id -u) $(pwd) $B $A"'))
        self.assertEqual("6\n", self.ok("exec", "-i", "box", "wc", "-c", input="123456"))
        self.assertIn("sleep", self.ok("exec", "box", "cat", "/proc/1/cmdline"))

    def test_exec_is_confined_like_the_container(self):
        status = self.ok("exec", "box", "cat", "/proc/self/status")
        self.assertIn("CapEff:\t00000000a80425fb", status)
        self.assertIn("Seccomp:\t2", status)
        cgroups = self.ok("exec", "box", "cat", "/proc/self/cgroup"), self.ok("exec", "box", "cat", "/proc/1/cgroup")
        self.assertEqual(cgroups[1], cgroups[0])

    def test_errors(self):
        self.fails(127, "executable file not found", "exec", "box", "nosuch")
        self.fails(1, "(?i)no such container", "exec", "nosuch", "true")
        self.ok("kill", "box")
        self.ok("wait", "box")
        self.fails(1, "(?i)not running", "exec", "box", "true")

    def test_detached(self):
        self.ok("exec", "-d", "box", "sh", "-c", "sleep 0.2; echo done > /flag")
        eventually(lambda: self.dray("exec", "box", "cat", "/flag").out == "done\n")

    def test_terminal(self):
        terminal = Terminal(self.command("exec", "-it", "box", "bash"), rows=30, columns=90)
        terminal.send("stty size; tty\n")
        terminal.expect("30 90")
        terminal.expect("/dev/pts/")
        terminal.send("exit 6\n")
        self.assertEqual(6, terminal.wait())


if __name__ == "__main__":
    main()
