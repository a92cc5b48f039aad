#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""More attacks on containers of `dray`: races, other system call tables, numbers that wrap, terminals."""

import ctypes
import os
import pathlib
import shutil
import subprocess
import threading

from canary import CanaryMixin, digest
from harness import BASE_IMAGE, BUILD, DrayTestCase, Terminal, eventually, main

LIBC = ctypes.CDLL(None, use_errno=True)

PROBE = r"""
#include <cerrno>
#include <cstdio>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
static void say(const char* name, long result) { printf("%s %d\n", name, result < 0 ? errno : 0); }
int main() {
  say("AF_ALG", socket(38, SOCK_SEQPACKET, 0));
  say("AF_VSOCK", socket(40, SOCK_STREAM, 0));
  say("AF_INET", socket(2, SOCK_STREAM, 0));
  say("add_key", syscall(SYS_add_key, "user", "x", "y", 1, -3));
  say("x32_add_key", syscall(SYS_add_key | 0x40000000, "user", "x", "y", 1, -3));
  int result;
  asm volatile("int $0x80" : "=a"(result) : "a"(286), "b"(0), "c"(0), "d"(0), "S"(0), "D"(0) : "memory");
  errno = -result;
  say("i386_add_key", result < 0 ? -1 : 0);
  say("TIOCSTI", ioctl(0, TIOCSTI, "#"));
  char eleven = 11, *bytes = &eleven;
  say("TIOCLINUX", ioctl(0, 0x541C, bytes));
}
"""


class Confinement(CanaryMixin, DrayTestCase):
    """One class: the base image is loaded once."""

    def probe(self):
        compiler = shutil.which("c++") or self.skipTest("no compiler")
        program = self.scratch / "probe"
        if not program.exists():
            subprocess.run(
                [compiler, "-x", "c++", "-static", "-O1", "-o", program, "-"], input=PROBE, text=True, check=True
            )
        return program

    def test_sockets_and_other_tables(self):
        results = {}
        for words in (("-u", "1000"), ()):
            out = self.run_in("/probe; echo ended $?", "-v", f"{self.probe()}:/probe:ro", *words)
            results = dict(line.split() for line in out.splitlines() if not line.startswith("ended"))
            self.assertEqual(
                ("1", "1", "0", "1"), tuple(results[name] for name in ("AF_ALG", "AF_VSOCK", "AF_INET", "add_key")), out
            )
            # Not to be had by another number of the same call: refused, or unknown to the kernel.
            self.assertIn(results["x32_add_key"], ("1", "38"))
            self.assertIn(results["i386_add_key"], ("1", "38"))

    def test_the_caller_s_terminal_cannot_be_typed_on(self):
        """TIOCSTI and TIOCLINUX: without -t the container never has the terminal, run or exec."""
        probe = self.probe()
        self.ok(
            "run", "-d", "--name", "box", "--network", "none", "-v", f"{probe}:/probe:ro", BASE_IMAGE, "sleep", "100"
        )
        for words in (
            ("run", "--rm", "-i", "--network", "none", "-v", f"{probe}:/probe:ro", BASE_IMAGE, "/probe"),
            ("run", "--rm", "--network", "none", "-v", f"{probe}:/probe:ro", BASE_IMAGE, "/probe"),
            ("exec", "-i", "box", "/probe"),
            ("exec", "box", "/probe"),
        ):
            terminal = Terminal(self.command(*words))
            code = terminal.wait()
            text = terminal.output.decode()
            self.assertEqual(0, code, text)
            for name in ("TIOCSTI", "TIOCLINUX"):
                self.assertRegex(text, rf"{name} (1|5|25)\b")

    # -- users and their rights
    def status(self, *words):
        return dict(
            line.split(":\t", 1) for line in self.ok(*words, "cat", "/proc/self/status").splitlines() if ":\t" in line
        )

    def test_default_capabilities(self):
        """CVE-2022-29162, CVE-2022-24769: nothing inheritable."""
        base = ("run", "--rm", "--network", "none")
        fields = self.status(*base, BASE_IMAGE)
        self.assertEqual(
            ["0" * 16, "00000000a80425fb", "00000000a80425fb", "00000000a80425fb", "0" * 16],
            [fields[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")],
        )
        fields = self.status(*base, "-u", "1000", BASE_IMAGE)
        self.assertEqual(
            ["0" * 16, "0" * 16, "0" * 16, "00000000a80425fb", "0" * 16],
            [fields[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")],
        )
        self.ok("run", "-d", "--name", "box", "--network", "none", BASE_IMAGE, "sleep", "100")
        for words in ((), ("-u", "1000"), ("--privileged",), ("--privileged", "-u", "1000")):
            result = self.dray("exec", *words, "box", "grep", "CapInh", "/proc/self/status")
            if result.code == 0:
                self.assertEqual("CapInh:\t" + "0" * 16, result.out.strip(), words)

    def test_no_new_privileges(self):
        base = ("run", "--rm", "--network", "none", "-u", "1000")
        self.assertEqual("0", self.status(*base, BASE_IMAGE)["NoNewPrivs"])
        fields = self.status(*base, "--security-opt", "no-new-privileges", BASE_IMAGE)
        self.assertEqual(("1", "2"), (fields["NoNewPrivs"], fields["Seccomp"]))

    def test_cve_2024_40635_numbers_that_wrap(self):
        for user in ("4294967296", "4294967295", "2147483648:0", "-1", "18446744073709551616", "1:4294967296"):
            folder = self.context({"Dockerfile": f"FROM {BASE_IMAGE}\nUSER {user}\n"})
            if self.dray("build", "-t", "wrapped", folder).code == 0:
                result = self.dray("run", "--rm", "--network", "none", "wrapped", "id")
                self.assertNotEqual(0, result.code, user)
                self.assertNotIn("uid=", result.out)

    def test_kernel_parameters_of_the_host(self):
        before = (
            pathlib.Path("/proc/sys/kernel/core_pattern").read_text(),
            pathlib.Path("/proc/sys/net/ipv4/ip_forward").read_text(),
        )
        for words in (
            ("--sysctl", "kernel.core_pattern=x"),
            ("--sysctl", "vm.swappiness=1"),
            ("--sysctl", "kernel/core_pattern=x"),
            ("--sysctl", "net.../kernel.core_pattern=x"),
            ("--network", "host", "--sysctl", "net.ipv4.ip_forward=0"),
        ):
            result = self.dray("run", "--rm", *words, BASE_IMAGE, "true")
            self.assertEqual(125, result.code, f"{words}: {result}")
        self.assertEqual(
            before,
            (
                pathlib.Path("/proc/sys/kernel/core_pattern").read_text(),
                pathlib.Path("/proc/sys/net/ipv4/ip_forward").read_text(),
            ),
        )

    def test_memory_is_limited_and_the_end_is_told(self):
        self.assertEqual(
            137,
            self.dray(
                "run",
                "--name",
                "hungry",
                "--network",
                "none",
                "-m",
                "64m",
                BASE_IMAGE,
                "perl",
                "-e",
                '$x = "y" x 500_000_000; sleep 5',
            ).code,
        )
        self.assertEqual(
            (True, 137), (self.inspect("hungry", "State.OOMKilled"), self.inspect("hungry", "State.ExitCode"))
        )

    # -- mounts
    def test_cve_2021_30465_and_2024_45310_the_target_is_swapped(self):
        """A directory of a shared volume is swapped for a link to the host while a mount below it is made."""
        volume = self.scratch / "volume"
        (volume / "dir").mkdir(parents=True)
        (volume / "link").symlink_to("../" * 12 + str(self.canary)[1:])
        stop = threading.Event()

        def swap():
            while not stop.is_set():
                LIBC.renameat2(-100, os.fsencode(volume / "dir"), -100, os.fsencode(volume / "link"), 2)

        racer = threading.Thread(target=swap, daemon=True)
        racer.start()
        try:
            for i in range(int(os.environ.get("DRAY_RACE_ROUNDS", "30"))):
                result = self.dray(
                    "run",
                    "--rm",
                    "--network",
                    "none",
                    "-v",
                    f"{volume}:/vol",
                    "-v",
                    f"/etc/hostname:/vol/dir/{i % 4}/x",
                    "--tmpfs",
                    f"/vol/dir/t{i % 4}/y",
                    BASE_IMAGE,
                    "true",
                )
                self.assertIn(result.code, (0, 125), repr(result))
                self.assertEqual(["file"], os.listdir(self.canary))
        finally:
            stop.set()
            racer.join()

    def test_cve_2025_31133_dev_null_is_a_symlink(self):
        """A volume over /dev whose null is a link: what is masked stays masked by the real one."""
        pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text()
        volume = self.scratch / "dev"
        volume.mkdir()
        (volume / "null").symlink_to("/proc/sys/kernel/core_pattern")
        (volume / "console").symlink_to(f"{self.canary}/file")
        result = self.dray(
            "run",
            "--rm",
            "--network",
            "none",
            "-v",
            f"{volume}:/dev",
            BASE_IMAGE,
            "sh",
            "-c",
            "stat -c %t:%T /proc/kcore; echo x > /proc/kcore",
        )
        if result.code == 0:
            self.assertEqual("1:3\n", result.out)
        terminal = Terminal(
            self.command("run", "--rm", "-t", "--network", "none", "-v", f"{volume}:/dev", BASE_IMAGE, "true")
        )
        terminal.wait()
        self.assertEqual(pattern, pathlib.Path("/proc/sys/kernel/core_pattern").read_text())

    def test_read_only_is_so_for_what_is_mounted_below(self):
        top = self.scratch / "top"
        (top / "below").mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "dray-test", top / "below"], check=True)
        try:
            out = self.run_in(
                "(echo x > /top/file) 2>/dev/null && echo written; (echo x > /top/below/file) 2>/dev/null && "
                "echo written below; true",
                "-v",
                f"{top}:/top:ro",
            )
            self.assertEqual("", out)
        finally:
            subprocess.run(["umount", top / "below"], check=True)

    def test_links_of_images_still_work(self):
        """The regression trap: /var/run -> /run, absolute and relative links, a volume below them."""
        self.build(
            f"FROM {BASE_IMAGE}\nRUN rm -rf /var/run && ln -s /run /var/run && mkdir -p /opt/real && ln -s "
            "/opt/real /abs && ln -s ../opt/real /srv/rel\n",
            tag="linked",
        )
        file = self.scratch / "mounted"
        file.write_text("seen")
        out = self.run_in(
            "cat /run/x /opt/real/y /opt/real/z",
            "-v",
            f"{file}:/var/run/x",
            "-v",
            f"{file}:/abs/y",
            "-v",
            f"{file}:/srv/rel/z",
            "-w",
            "/abs",
            image="linked",
        )
        self.assertEqual("seenseenseen", out)
        self.ok("rmi", "linked")

    # -- programs of the host
    def test_cve_2019_5736_the_engine_cannot_be_overwritten(self):
        """A container that waits for commands to be executed in it and for their end; with a copy of the engine."""
        programs = [shutil.copy(BUILD / name, self.scratch) for name in ("dray", "dray-monitor", "dray-init")]
        before = [digest(program) for program in programs]
        hunter = """
            hold() { for i in 1 2 3 4 5 6 7 8; do echo evil >> /proc/$$/fd/9 && break; sleep 0.01; done; }
            own=$(stat -L -c %d:%i /bin/bash); cp /bin/true /tmp/up
            look() { [ $(stat -L -c %d:%i /proc/self/fd/9) = $own ] || hold; }
            while :; do for p in /proc/[0-9]*; do look 9< $p/exe; done; done 2> /dev/null
        """
        self.build(
            f"FROM {BASE_IMAGE}\nRUN printf '#!/proc/self/exe\\n' > /bin/trap; chmod 755 /bin/trap\n", tag="trap"
        )
        self.ok("run", "-d", "--name", "box", "--network", "none", "trap", "bash", "-c", hunter)
        eventually(lambda: self.dray("exec", "box", "test", "-e", "/tmp/up").code == 0)
        for _ in range(30):
            for command in ("trap", "true"):
                subprocess.run([programs[0], *self.command("exec", "box", command)[1:]], capture_output=True)
        self.ok("rm", "-f", "box")
        self.ok("rmi", "trap")
        self.assertEqual(before, [digest(program) for program in programs])

    def test_the_monitor_cannot_be_reached(self):
        """CVE-2020-15257: its socket is a file for root, and its memory is nobody's."""
        identifier = self.ok("run", "-d", "--network", "host", BASE_IMAGE, "sleep", "100").strip()
        folder = next(
            path
            for path in (self.state / "containers").iterdir()
            if identifier.startswith(path.name) or path.name.startswith(identifier)
        )
        for path in (self.state, self.state / "containers"):
            self.assertEqual(0, path.stat().st_mode & 0o066, path)
        self.assertEqual(0, folder.stat().st_mode & 0o077)

    def test_namespaces_of_a_container_that_has_ended(self):
        self.ok("run", "--name", "ended", "--network", "none", BASE_IMAGE, "true")
        for words in (("--network", "container:ended"), ("--pid", "container:ended"), ("--ipc", "container:ended")):
            result = self.dray("run", "--rm", *words, BASE_IMAGE, "true")
            self.assertNotEqual(0, result.code, words)

    def test_words_that_would_write_to_the_terminal(self):
        """Escapes in a command, a label, a container's error do not reach tables and messages."""
        escape = "\x1b]52;c;ZXZpbA==\x07"
        self.ok(
            "run",
            "-d",
            "--name",
            "box",
            "--network",
            "none",
            "--label",
            f"a={escape}",
            BASE_IMAGE,
            "sleep",
            "100",
            escape,
        )
        for words in (("ps", "-a", "--no-trunc"), ("ps", "-a")):
            self.assertNotIn("\x1b", self.ok(*words), words)
        result = self.dray("run", "--rm", "--network", "none", BASE_IMAGE, f"/no{escape}such")
        self.assertNotIn("\x1b", result.err)


if __name__ == "__main__":
    main()
