#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""dray run: exit codes, streams, flags that shape the process."""
import os
import pathlib
import subprocess
import time

from harness import BASE_IMAGE, DrayTestCase, Terminal, eventually, main


class Run(DrayTestCase):
    def test_exit_code_is_the_process_s(self):
        for code in (0, 7, 255):
            self.assertEqual(code, self.dray("run", "--rm", "--network", "none", BASE_IMAGE, "sh", "-c", f"exit {code}").code)

    def test_killed_by_signal_is_128_plus_n(self):
        # Under an init: the kernel protects PID 1 from signals it does not handle, in docker as well.
        self.assertEqual(128 + 9, self.dray("run", "--rm", "--init", BASE_IMAGE, "sh", "-c", "kill -9 $$").code)
        self.assertEqual(128 + 15, self.dray("run", "--rm", "--init", BASE_IMAGE, "sh", "-c", "kill -15 $$").code)

    def test_stdout_and_stderr_stay_apart(self):
        result = self.dray("run", "--rm", "--network", "none", BASE_IMAGE, "sh", "-c", "echo out; echo err >&2")
        self.assertEqual(("out\n", "err\n"), (result.out, result.err))

    def test_command_errors(self):
        self.fails(127, r'exec: "nosuch": executable file not found in \$PATH', "run", "--rm", BASE_IMAGE, "nosuch")
        self.fails(127, "no such file or directory", "run", "--rm", BASE_IMAGE, "/no/such")
        self.fails(126, "permission denied", "run", "--rm", BASE_IMAGE, "/etc/passwd")
        self.fails(126, "is a directory|permission denied", "run", "--rm", BASE_IMAGE, "/etc")

    def test_engine_errors(self):
        self.fails(125, "unknown flag: --nosuch", "run", "--nosuch", BASE_IMAGE)
        self.fails(125, "invalid reference format", "run", "--rm", "UPPER", "true")
        self.fails(125, "network nosuch not found", "run", "--rm", "--network", "nosuch", BASE_IMAGE, "true")
        self.fails(125, "requires at least 1 argument", "run")

    def test_name_in_use(self):
        self.ok("create", "--name", "taken", BASE_IMAGE, "true")
        self.fails(125, 'The container name "/taken" is already in use by container', "run", "--name", "taken", BASE_IMAGE, "true")

    def test_large_output_is_complete(self):
        out = self.run_in("seq 1 200000")
        self.assertEqual("".join(f"{i}\n" for i in range(1, 200001)), out)

    def test_stdin(self):
        result = self.dray("run", "--rm", "-i", "--network", "none", BASE_IMAGE, "sh", "-c", "wc -c", input="x" * 300000)
        self.assertEqual("300000\n", result.out)
        self.assertEqual("", self.run_in("cat"))

    def test_environment(self):
        listing = self.context({"list": "# comment\nFROM_FILE=file value\nINHERITED\n"}) / "list"
        out = self.ok("run", "--rm", "--network", "none", "-e", "A=1", "-e", "A=2", "-e", "OURS", "--env-file", listing,
                      BASE_IMAGE, "env", env={"OURS": "mine", "INHERITED": "too"}).splitlines()
        for line in ("A=2", "OURS=mine", "FROM_FILE=file value", "INHERITED=too", "HOME=/root"):
            self.assertIn(line, out)
        self.assertEqual(1, len([line for line in out if line.startswith("A=")]))
        self.assertTrue(any(line.startswith("PATH=") for line in out))

    def test_user_workdir_hostname(self):
        self.assertEqual("1000:1001 /var box\n", self.ok("run", "--rm", "--network", "none", "-u", "1000:1001", "-w", "/var", "-h", "box",
                         BASE_IMAGE, "sh", "-c", 'echo "$(id -u):$(id -g) $(pwd) $(hostname)"'))
        self.assertEqual("33\n", self.ok("run", "--rm", "--network", "none", "-u", "www-data", BASE_IMAGE, "id", "-u"))
        self.assertEqual("/made/on demand\n", self.ok("run", "--rm", "--network", "none", "-w", "/made/on demand", BASE_IMAGE, "pwd"))
        self.fails(125, "unable to find user nobodyhere", "run", "--rm", "-u", "nobodyhere", BASE_IMAGE, "true")

    def test_entrypoint(self):
        self.assertEqual("a b\n", self.ok("run", "--rm", "--network", "none", "--entrypoint", "echo", BASE_IMAGE, "a", "b"))

    def test_read_only_and_tmpfs(self):
        result = self.dray("run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/scratch:size=1m", BASE_IMAGE, "sh", "-c",
                           "touch /scratch/ok && touch /nope")
        self.assertIn("Read-only file system", result.err)
        self.assertNotEqual(0, result.code)

    def test_bind_and_named_volumes(self):
        folder = self.context({"file": "from the host\n"})
        self.assertEqual("from the host\n", self.ok("run", "--rm", "--network", "none", "-v", f"{folder}:/data", BASE_IMAGE, "cat", "/data/file"))
        self.fails(1, "Read-only file system", "run", "--rm", "--network", "none", "-v", f"{folder}:/data:ro", BASE_IMAGE, "touch", "/data/x")
        self.fails(125, "does not exist", "run", "--rm", "--mount", f"type=bind,source={folder}/nosuch,target=/x", BASE_IMAGE, "true")
        self.ok("run", "--rm", "--network", "none", "-v", "store:/data", BASE_IMAGE, "sh", "-c", "echo kept > /data/file")
        self.assertEqual("kept\n", self.ok("run", "--rm", "--network", "none", "-v", "store:/data", BASE_IMAGE, "cat", "/data/file"))
        self.assertIn("store", self.ok("volume", "ls", "-q").split())
        self.ok("volume", "rm", "store")

    def test_new_volume_gets_the_image_s_content(self):
        self.assertIn("debian_version", self.ok("run", "--rm", "--network", "none", "-v", "etc:/etc", BASE_IMAGE, "ls", "/etc"))
        self.ok("volume", "rm", "etc")

    def test_isolation_defaults(self):
        self.assertEqual("1\n", self.run_in("echo $$"))
        status = self.run_in("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status")
        self.assertIn("CapEff:\t00000000a80425fb", status)
        self.assertIn("CapBnd:\t00000000a80425fb", status)
        self.assertIn("CapInh:\t0000000000000000", status)
        self.assertIn("Seccomp:\t2", status)
        self.assertIn("NoNewPrivs:\t0", status)
        self.assertIn("NoNewPrivs:\t1", self.run_in("cat /proc/self/status", "--security-opt", "no-new-privileges"))
        self.assertEqual("lo\n", self.run_in("ls /sys/class/net"))
        self.assertNotIn("/dev/vda", self.run_in("ls /dev/*"))

    def test_capabilities(self):
        self.assertIn("CapEff:\t0000000000000000", self.run_in("cat /proc/self/status", "--cap-drop", "ALL"))
        self.assertIn("CapEff:\t0000000000001000", self.run_in("cat /proc/self/status", "--cap-drop", "ALL", "--cap-add", "NET_ADMIN"))
        self.fails(125, "(?i)nosuchcap", "run", "--rm", "--cap-add", "NOSUCHCAP", BASE_IMAGE, "true")

    def test_privileged(self):
        out = self.run_in("cat /proc/self/status; mount -t tmpfs none /mnt && echo mounted", "--privileged")
        self.assertIn("mounted", out)
        self.assertIn("Seccomp:\t0", out)

    def test_limits(self):
        result = self.dray("run", "--network", "none", "--name", "hog", "-m", "32m", BASE_IMAGE, "sh", "-c", "head -c 200m /dev/zero | tail > /dev/null; exit 0")
        memory = self.run_in("cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max", "-m", "64m")
        self.assertEqual(str(64 << 20), memory.strip())
        self.assertEqual("20", self.run_in("cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max", "--pids-limit", "20").strip())
        self.assertEqual("1024", self.run_in("ulimit -n", "--ulimit", "nofile=1024:2048").strip())
        self.assertTrue(self.inspect("hog", "State.OOMKilled"), result)

    def test_detached(self):
        identifier = self.ok("run", "-d", "--network", "none", BASE_IMAGE, "sh", "-c", "echo started; sleep 60").strip()
        self.assertRegex(identifier, "^[0-9a-f]{64}$")
        self.assertEqual("started\n", eventually(lambda: self.ok("logs", identifier)))
        self.assertIn(identifier[:12], self.ok("ps", "-q"))
        self.ok("rm", "-f", identifier)
        self.assertEqual("", self.ok("ps", "-aq"))

    def test_signals_are_forwarded(self):
        process = subprocess.Popen(self.command("run", "--rm", "--network", "none", BASE_IMAGE, "sh", "-c",
                                                'trap "echo got it; exit 5" TERM; echo ready; while :; do sleep 0.1; done'),
                                   stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        self.assertEqual("ready\n", process.stdout.readline())
        process.terminate()
        self.assertEqual("got it\n", process.stdout.readline())
        self.assertEqual(5, process.wait(10))
        process.stdout.close()

    def test_cidfile(self):
        path = self.scratch / "cid"
        self.ok("run", "--rm", "--network", "none", "--cidfile", path, BASE_IMAGE, "true")
        self.assertRegex(path.read_text(), "^[0-9a-f]{64}$")
        self.fails(125, "container ID file", "run", "--rm", "--cidfile", path, BASE_IMAGE, "true")


class Interactive(DrayTestCase):
    def test_tty(self):
        terminal = Terminal(self.command("run", "--rm", "-it", "--network", "none", BASE_IMAGE, "bash"))
        terminal.send("tty; stty size; echo $((40+2))\n")
        terminal.expect("/dev/(pts/0|console)")
        terminal.expect("24 80")
        terminal.expect("42")
        terminal.resize(40, 100)
        time.sleep(0.3)
        terminal.send("stty size\n")
        terminal.expect("40 100")
        terminal.send("exit 3\n")
        self.assertEqual(3, terminal.wait())

    def test_ctrl_c_reaches_the_process(self):
        terminal = Terminal(self.command("run", "--rm", "-it", "--network", "none", BASE_IMAGE, "bash"))
        terminal.send("sleep 100\n")
        time.sleep(0.5)
        terminal.send(b"\x03")
        terminal.send("echo code $?\n")
        terminal.expect("code 130")
        terminal.send("exit\n")
        terminal.wait()

    def test_detach_and_attach(self):
        terminal = Terminal(self.command("run", "-it", "--name", "shell", "--network", "none", BASE_IMAGE, "bash"))
        terminal.send("X=kept; echo ready\n")
        terminal.expect("\rready")
        terminal.send(b"\x10\x11")
        self.assertEqual(0, terminal.wait())
        self.assertIn("shell", self.ok("ps"))
        terminal = Terminal(self.command("attach", "shell"))
        terminal.send("echo =$X=\n")
        terminal.expect("=kept=")
        terminal.send("exit 4\n")
        self.assertEqual(4, terminal.wait())
        self.ok("rm", "shell")


if __name__ == "__main__":
    main()
