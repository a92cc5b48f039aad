#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Attacks on the runtime, by their published names. Each: a clear error or harmless success, the canary untouched, nothing left."""
import io
import os
import pathlib
import subprocess
import tarfile

from harness import BASE_IMAGE, DrayTestCase, main


class Attack(DrayTestCase):
    def setUp(self):
        super().setUp()
        self.canary = self.scratch / "canary"
        self.canary.mkdir(exist_ok=True)
        (self.canary / "file").write_text("untouched")
        os.chmod(self.canary, 0o755)
        was = self.snapshot()
        self.addCleanup(lambda: self.assertEqual(was, self.snapshot(), "the canary was touched"))

    def snapshot(self):
        return [(path.name, path.stat().st_mode, path.stat().st_uid, path.read_text() if path.is_file() else "") for path in sorted(self.canary.rglob("*"))]

    def image(self, script, tag="attack"):
        """An image made by a script run as root on debian."""
        self.build(f"FROM debian:bookworm\nRUN <<EOF\n{script}\nEOF\n", tag=tag)
        return tag


class Descriptors(Attack):
    def test_no_descriptor_leaks_into_run_or_exec(self):
        """fd leaks of any kind, also those that the caller had open."""
        spare = [os.open("/etc", os.O_RDONLY) for _ in range(50)]
        try:
            for fd in spare:
                os.set_inheritable(fd, True)
            out = subprocess.run(self.command("run", "--rm", "--network", "none", BASE_IMAGE, "ls", "/proc/self/fd"), capture_output=True, text=True,
                                 close_fds=False, stdin=subprocess.DEVNULL).stdout
            self.assertEqual(["0", "1", "2", "3"], out.split())  # 3 is ls reading the directory
            self.ok("run", "-d", "--name", "box", "--network", "none", BASE_IMAGE, "sleep", "100")
            out = subprocess.run(self.command("exec", "box", "ls", "/proc/self/fd"), capture_output=True, text=True, close_fds=False, stdin=subprocess.DEVNULL).stdout
            self.assertEqual(["0", "1", "2", "3"], out.split())
            out = self.ok("exec", "box", "ls", "/proc/1/fd")
            self.assertEqual(["0", "1", "2"], out.split())
        finally:
            for fd in spare:
                os.close(fd)

    def test_cve_2024_21626_workdir_through_a_descriptor(self):
        for fd in (3, 5, 7, 8, 9, 12, 20):
            for flags in (("-w", f"/proc/self/fd/{fd}"),):
                result = self.dray("run", "--rm", "--network", "none", *flags, BASE_IMAGE, "cat", "../../../../etc/hostname")
                self.assertNotEqual(0, result.code, fd)
                self.assertNotIn(pathlib.Path("/etc/hostname").read_text().strip() or "\0", result.out)
        self.image("ln -s /proc/self/fd/7 /a")
        self.assertNotEqual(0, self.dray("run", "--rm", "--network", "none", "-w", "/a", "attack", "ls").code)
        self.ok("run", "-d", "--name", "box", "--network", "none", BASE_IMAGE, "sleep", "100")
        for fd in (3, 6, 7, 8, 10):
            self.assertNotEqual(0, self.dray("exec", "-w", f"/proc/self/fd/{fd}", "box", "ls").code)
        folder = self.context({"Dockerfile": "FROM debian:bookworm\nWORKDIR /proc/self/fd/7\nRUN cat ../../../../etc/hostname\n"})
        self.assertNotEqual(0, self.dray("build", folder).code)


class Links(Attack):
    def test_cve_2019_19921_proc_is_a_symlink(self):
        self.image("mkdir -p /elsewhere && rm -rf /x; mkdir /x")
        archive = self.scratch / "rootfs.tar"
        for name in ("proc", "sys", "dev"):
            with tarfile.open(archive, "w") as tar:
                link = tarfile.TarInfo(name)
                link.type, link.linkname = tarfile.SYMTYPE, str(self.canary)
                tar.addfile(link)
                for directory in ("bin", str(self.canary)[1:]):
                    info = tarfile.TarInfo(directory)
                    info.type, info.mode = tarfile.DIRTYPE, 0o755
                    tar.addfile(info)
                tar.add("/bin/busybox", "bin/sh") if os.path.exists("/bin/busybox") else None
            folder = self.context({"Dockerfile": "FROM scratch\nADD rootfs.tar /\n", "rootfs.tar": archive.read_bytes()})
            self.ok("build", "-t", "links", folder)
            self.fails(125, "ordinary directory|not a directory|symlink", "run", "--rm", "--network", "none", "links", "/bin/sh", "-c", "true")

    def test_etc_files_are_symlinks(self):
        for name in ("hosts", "resolv.conf", "hostname"):
            self.image(f"rm -rf /t; mkdir -p /t; true", "plain")
            folder = self.context({"Dockerfile": f"FROM debian:bookworm\nRUN rm -f /etc/{name}; ln -s {self.canary}/{name} /etc/{name} || true\n"})
            self.dray("build", "-t", "etclink", folder)
            self.dray("run", "--rm", "etclink", "cat", f"/etc/{name}")

    def test_absolute_symlinks_inside_images_still_work(self):
        """The regression trap: refusing every symlink breaks real images."""
        self.image("mkdir -p /data/real && ln -s /data/real /link && ln -s /run /var/runlink")
        self.assertEqual("ok\n", self.ok("run", "--rm", "--network", "none", "-v", "vol:/link/inside", "attack", "sh", "-c", "test -d /data/real/inside && echo ok"))
        self.ok("volume", "rm", "vol")

    def test_volume_over_proc_is_refused(self):
        """CVE-2019-16884."""
        for target in ("/proc", "/proc/self/attr", "/proc/sys", "//proc/."):
            self.fails(125, "(?i)proc", "run", "--rm", "--network", "none", "-v", f"{self.canary}:{target}", BASE_IMAGE, "true")


class Users(Attack):
    def test_cve_2026_30892_user_parsing(self):
        self.ok("run", "-d", "--name", "box", "--network", "none", BASE_IMAGE, "sleep", "100")
        for text, expected in (("1", "1:1"), ("1:2", "1:2"), ("root", "0:0"), ("www-data", "33:33"), ("daemon:www-data", "1:33")):
            self.assertEqual(expected, self.ok("exec", "-u", text, "box", "sh", "-c", 'echo "$(id -u):$(id -g)"').strip(), text)
        for text in ("0x1", "-1", "4294967295", "4294967296", "1abc", "nosuch", "2147483648:0", "1:nosuch", "18446744073709551616"):
            for command in (("exec", "-u", text, "box", "id"), ("run", "--rm", "--network", "none", "-u", text, BASE_IMAGE, "id")):
                result = self.dray(*command)
                self.assertNotEqual(0, result.code, f"{text}: {result}")
                self.assertNotIn("uid=0", result.out)

    def test_hostile_passwd_files(self):
        """CVE-2024-9676 and CVE-2026-47262: a FIFO, a device, a huge file must not hang or exhaust us."""
        for script in ("rm /etc/passwd; mkfifo /etc/passwd", "rm /etc/passwd; ln -s /proc/kmsg /etc/passwd", "truncate -s 2G /etc/passwd",
                       f"rm /etc/passwd; ln -s ../../../../..{self.canary}/file /etc/passwd"):
            self.image(script)
            result = self.dray("run", "--rm", "--network", "none", "-u", "someone", "attack", "id", timeout=20)
            self.assertNotEqual(0, result.code)

    def test_groups_are_not_inherited(self):
        """CVE-2022-36109, CVE-2023-25173."""
        self.image("groupadd -g 5001 a; groupadd -g 5002 b; useradd -u 5000 -G a,b u")
        self.assertEqual({"5000", "5001", "5002"}, set(self.ok("run", "--rm", "--network", "none", "-u", "u", "attack", "id", "-G").split()))
        self.assertEqual(["5001"], self.ok("run", "--rm", "--network", "none", "-u", "u:a", "attack", "id", "-G").split())
        self.assertEqual(["0"], self.ok("run", "--rm", "--network", "none", "-u", "1234", "attack", "id", "-G").split())

    def test_home_is_set_once(self):
        out = self.ok("run", "--rm", "--network", "none", BASE_IMAGE, "env")
        self.assertEqual(1, out.count("HOME="))


class Confinement(Attack):
    def test_masked_and_readonly_paths(self):
        script = ("for f in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts; do test -e $f && test -s $f && head -c1 $f | grep -q . && echo readable $f; done;"
                  "for d in /proc/acpi /proc/scsi /sys/firmware /sys/devices/virtual/powercap; do test -d $d && ls -A $d | grep -q . && echo listed $d; done;"
                  "for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger; do (echo x > $f) 2>/dev/null && echo written $f; done;"
                  "umount /proc/kcore 2>/dev/null && echo unmounted; mount -o remount,rw /proc/sys 2>/dev/null && echo remounted; true")
        self.assertEqual("", self.run_in(script))

    def test_seccomp_blocks_what_docker_blocks(self):
        probe = ("perl -e 'for my $n ([248,\"add_key\"],[250,\"keyctl\"],[321,\"bpf\"],[323,\"userfaultfd\"],[425,\"io_uring_setup\"],[298,\"perf_event_open\"],[304,\"open_by_handle_at\"],"
                 "[246,\"kexec_load\"],[175,\"init_module\"],[165,\"mount\"],[155,\"pivot_root\"],[169,\"reboot\"],[167,\"swapon\"]) "
                 "{ $! = 0; syscall($n->[0],0,0,0,0,0); printf \"%s %d\\n\", $n->[1], $!; } $!=0; syscall(435,0,0); printf \"clone3 %d\\n\", $!; $!=0; syscall(272,0x10000000); printf \"unshare %d\\n\", $!;'")
        for line in self.run_in(probe).splitlines():
            name, error = line.split()
            self.assertEqual("38" if name == "clone3" else "1", error, name)

    def test_no_new_privileges_and_device_access(self):
        self.fails(1, "/x: Operation not permitted", "run", "--rm", "--network", "none", BASE_IMAGE, "sh", "-c", "mknod /x b 254 0 && cat /x")
        self.assertEqual("", self.run_in("head -c 1 /dev/mem 2>/dev/null; true"))
        self.assertEqual("NoNewPrivs:\t1\n", self.run_in("grep NoNewPrivs /proc/self/status", "--security-opt", "no-new-privileges"))

    def test_release_agent(self):
        """CVE-2022-0492."""
        self.fails(32, "permission denied|not permitted", "run", "--rm", "--network", "none", BASE_IMAGE, "sh", "-c", "mkdir /c && mount -t cgroup -o memory none /c")
        self.fails(1, "Read-only file system", "run", "--rm", "--network", "none", BASE_IMAGE, "sh", "-c", "mkdir /sys/fs/cgroup/memory/x || mkdir /sys/fs/cgroup/x")

    def test_no_abstract_sockets(self):
        """CVE-2020-15257."""
        self.ok("run", "-d", "--network", "host", BASE_IMAGE, "sleep", "100")
        self.assertNotIn("dray", " ".join(line.split()[-1] for line in pathlib.Path("/proc/net/unix").read_text().splitlines() if "@" in line))

    def test_fork_bomb_is_limited(self):
        result = self.dray("run", "--rm", "--network", "none", "--pids-limit", "30", BASE_IMAGE, "sh", "-c", "for i in $(seq 100); do sleep 5 & done 2>&1 | tail -1; wait", timeout=60)
        self.assertRegex(result.out + result.err, "(?i)cannot fork|resource temporarily|retry")


if __name__ == "__main__":
    main()
