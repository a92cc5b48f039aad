#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""RUN --mount in all its forms, RUN --security and --network, what RUN steps are given by flags of dray build."""
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import tarfile
import threading
import time
import zlib

from harness import DrayTestCase, eventually, main, machine_state

HEAD = "FROM debian:bookworm\n"


def stored_bytes(root):
    """All that a build has stored: blobs unpacked, layers, the database with its log, whatever else is there."""
    for folder, _, names in os.walk(root):
        for name in names:
            path = pathlib.Path(folder, name)
            if path.is_symlink() or not path.is_file():
                continue
            data = path.read_bytes()
            yield path, data
            if data[:2] == b"\x1f\x8b":
                yield path, zlib.decompress(data, 31)
            if data[:4] == b"\x28\xb5\x2f\xfd":
                yield path, subprocess.run(["zstd", "-dc"], input=data, capture_output=True, check=True).stdout


class BuildMounts(DrayTestCase):
    def built(self, lines, files=None, *flags, tag="test", **options):
        """Builds; returns the progress text."""
        folder = self.context({"Dockerfile": HEAD + lines, **(files or {})})
        result = self.dray("build", "--network", "none", "--progress", "plain", "-t", tag, *flags, folder, **options)
        self.assertEqual(0, result.code, repr(result))
        return result.out + result.err

    def refused(self, pattern, lines, files=None, *flags, **options):
        folder = self.context({"Dockerfile": HEAD + lines, **(files or {})})
        return self.fails(1, pattern, "build", "--network", "none", "--progress", "plain", *flags, folder, **options)

    def test_bind_from_the_context(self):
        files = {"src/a": "A", "src/hidden": "H", "src/sub/b": "B", ".dockerignore": "src/hidden\n"}
        text = self.built("RUN --mount=target=/m,source=src cat /m/a /m/sub/b && ls /m && ! touch /m/new && ls -d /m\n"
                          "RUN --mount=type=bind,dst=/w,rw cp /w/src/a /w/copied && echo X > /w/src/a && cat /w/src/a /w/copied\n"
                          "RUN --mount=type=bind,src=src/a,target=/etc/one,readonly cat /etc/one; ! ls /m /w\n", files)
        self.assertIn("AB", text)
        self.assertNotIn("hidden", re.sub(r"transferring.*", "", text))
        self.assertEqual("gone\n", self.run_in("ls /m /w /etc/one 2>/dev/null || echo gone", image="test"))

    def test_bind_keeps_the_context_as_it_is(self):
        folder = self.context({"Dockerfile": HEAD + "RUN --mount=target=/w,rw rm -rf /w/* && echo new > /w/new\n", "keep": "K"})
        self.ok("build", "--network", "none", folder)
        self.assertEqual(["Dockerfile", "keep"], sorted(os.listdir(folder)))

    def test_bind_from_a_stage_and_an_image(self):
        text = self.built("RUN mkdir /d && echo stage > /d/f && ln -s /etc/hostname /d/link\n"
                          "FROM debian:bookworm AS two\nRUN echo two > /two\n"
                          "FROM debian:bookworm\n"
                          "RUN --mount=from=two,target=/s,source=/two cat /s && ! sh -c 'echo no > /s'\n"
                          "RUN --mount=from=two,target=/s,rw echo changed > /s/two && cat /s/two\n"
                          "RUN --mount=from=two,target=/s cat /s/two\n"
                          "RUN --mount=from=debian:bookworm,source=/etc/debian_version,target=/v cat /v\n")
        self.assertEqual(["two", "changed", "two"], re.findall(r"^#\d+ \S+ (two|changed)$", text, re.M))

    def test_the_key_of_a_bind_is_what_it_shows(self):
        lines = "RUN --mount=source=src,target=/m cat /m/a\n"
        first = self.context({"Dockerfile": HEAD + lines, "src/a": "A", "other": "1"})
        self.ok("build", "--network", "none", first)
        (first / "other").write_text("2")
        self.assertIn("CACHED", self.dray("build", "--network", "none", "--progress", "plain", first).err)
        (first / "src/a").write_text("B")
        self.assertNotIn("CACHED", self.dray("build", "--network", "none", "--progress", "plain", first).err)

    def test_what_is_written_to_a_bind_meanwhile(self):
        """Such a step is no step of the old content: it is run again, also when only a new file has appeared."""
        lines = "RUN --mount=source=src,target=/m echo ready && for n in $(seq 40); do test -e /m/new -o -s /m/a && break; sleep 0.05; done; ls /m > /seen\n"
        for name in ("a", "new", "hidden"):
            with self.subTest(name):
                folder = self.context({"Dockerfile": HEAD + lines + f"LABEL x={name}\n", "src/a": "", "src/sub/b": name, ".dockerignore": "src/hidden\n" * (name == "hidden")})
                build = self.command("build", "--network", "none", "--progress", "plain", folder)
                first = subprocess.Popen(build, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
                while "ready\n" not in (line := first.stderr.readline()):
                    self.assertTrue(line, "the build ended")
                (folder / "src" / name).write_text("X")
                first.stderr.read()
                self.assertEqual(0, first.wait())
                first.stderr.close()
                (folder / "src/a").write_text("")
                (folder / "src/new").unlink(missing_ok=True)
                again = subprocess.run(build, capture_output=True, text=True)
                self.assertEqual(0, again.returncode, again.stderr)
                self.assertEqual(name == "hidden", "CACHED" in again.stderr, again.stderr)

    def test_cache_mounts(self):
        self.built("RUN --mount=type=cache,target=/c echo one >> /c/log && cat /c/log\n")
        text = self.built("RUN --mount=type=cache,target=/c echo two >> /c/log && cat /c/log\n"
                          "RUN ! ls /c\n"
                          "RUN --mount=type=cache,id=/c,target=/other cat /other/log && rm /other/log\n"
                          "RUN --mount=type=cache,target=/o,id=owned,uid=7,gid=8,mode=0750 stat -c %u:%g:%a /o\n"
                          "RUN --mount=type=cache,target=/r,id=ro,ro ! touch /r/x\n")
        self.assertEqual(2, len(re.findall(r"one\n.* two", text)), text)
        self.assertIn("7:8:750", text)
        self.assertIn("/c", self.ok("builder", "cache-mount", "ls"))
        self.assertEqual("gone\n", self.run_in("ls -d /c /o 2>/dev/null || echo gone", image="test"))

    def test_cache_mount_with_content(self):
        lines = ("FROM debian:bookworm AS seed\nRUN mkdir /seed && echo S > /seed/f\n"
                 "FROM debian:bookworm\n"
                 "RUN --mount=type=cache,target=/c,from=seed,source=/seed cat /c/f && echo more >> /c/f\n")
        self.assertIn(" S", self.built(lines))
        self.assertIn("more", self.built(lines.replace("cat /c/f", "true && cat /c/f")))

    def test_locked_caches_take_turns(self):
        folder = self.context({f"Dockerfile.{n}": HEAD + f"RUN --mount=type=cache,id=turn,sharing=locked,target=/c "
                               f"mkdir /c/busy && sleep 1 && rmdir /c/busy # {n}\n" for n in range(3)})
        builds = [subprocess.Popen(self.command("build", "--network", "none", "-f", folder / f"Dockerfile.{n}", folder),
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for n in range(3)]
        for build in builds:
            output, _ = build.communicate(timeout=60)
            self.assertEqual(0, build.returncode, output.decode())

    def test_private_caches_are_apart(self):
        folder = self.context({f"Dockerfile.{n}": HEAD + f"RUN --mount=type=cache,id=own,sharing=private,target=/c "
                               f"touch /c/{n} && sleep 1 && ls /c | wc -l | grep -x 1\n" for n in range(2)})
        builds = [subprocess.Popen(self.command("build", "--network", "none", "-f", folder / f"Dockerfile.{n}", folder),
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for n in range(2)]
        for build in builds:
            output, _ = build.communicate(timeout=60)
            self.assertEqual(0, build.returncode, output.decode())

    def test_the_holder_of_a_cache_is_killed(self):
        folder = self.context({"Dockerfile.a": HEAD + "RUN --mount=type=cache,id=k,sharing=locked,target=/c sleep 100 # first\n",
                               "Dockerfile.b": HEAD + "RUN --mount=type=cache,id=k,sharing=locked,target=/c echo got it\n"})
        first = subprocess.Popen(self.command("build", "--network", "none", "--progress", "plain", "-f", folder / "Dockerfile.a", folder),
                                 stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        eventually(lambda: any((self.root / "cache-mounts").glob("*/data")) and list((self.state / "builds").glob("*")), what="the first step runs")
        second = subprocess.Popen(self.command("build", "--network", "none", "--progress", "plain", "-f", folder / "Dockerfile.b", folder),
                                  stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        line = ""
        while "waiting for the cache mount" not in line:
            line = second.stderr.readline()
            self.assertTrue(line, "the second build ended")
        first.kill()
        first.wait()
        first.stderr.close()
        self.assertIn("got it", second.stderr.read())
        self.assertEqual(0, second.wait(30))
        second.stderr.close()
        self.ok("system", "prune", "-f")

    def test_tmpfs(self):
        text = self.built("RUN --mount=type=tmpfs,target=/t,size=1m stat -f -c %T /t && ! head -c 2000000 /dev/zero > /t/big\n"
                          "RUN --mount=type=tmpfs,target=/var/tmp touch /var/tmp/x\n")
        self.assertIn("tmpfs", text)
        self.assertEqual("gone\n", self.run_in("ls /t /var/tmp/x 2>/dev/null || echo gone", image="test"))

    def lacks(self, path, data, sentinel):
        self.assertNotIn(sentinel.encode(), data, f"{path} holds the secret")
        return True

    def test_secrets_leave_no_trace(self):
        out = self.scratch / "secret-free"
        out.mkdir()
        sentinel = "sentinel-5f1e9c72"
        secret = self.scratch / "secret"
        secret.write_text(sentinel)
        text = self.built("RUN --mount=type=secret,id=s sha256sum < /run/secrets/s && stat -c %u:%g:%a /run/secrets/s\n"
                          "RUN --mount=type=secret,id=s,target=/etc/token,uid=3,gid=4,mode=0440 stat -c %u:%g:%a /etc/token && ! sh -c 'echo x >/etc/token'\n"
                          "RUN --mount=type=secret,id=v,env=TOKEN test ${#TOKEN} = 17 && ! ls /run/secrets\n"
                          "RUN --mount=type=secret,id=v,env=T,target=/x test \"$T\" = $(cat /x)\n"
                          "RUN --mount=type=secret,id=none ! ls /run/secrets/none && ls -A /run\n",
                          None, "--secret", f"id=s,src={secret}", "--secret", "id=v,env=BUILD_TOKEN", "--iidfile", out / "iid",
                          "--metadata-file", out / "metadata", "--provenance", "mode=max", "--sbom", "true",
                          "-o", f"type=oci,tar=false,dest={out}/layout", "-o", f"type=tar,dest={out}/files.tar",
                          "--cache-to", f"type=local,dest={out}/cache,mode=max,compression=zstd", env={"BUILD_TOKEN": sentinel})
        self.assertIn("0:0:400", text)
        self.assertIn("3:4:440", text)
        self.assertNotIn(sentinel, text)
        secret.unlink()
        looked_at = [path for folder in (self.root, self.state, out) for path, data in stored_bytes(folder) if self.lacks(path, data, sentinel)]
        for place in ("dray.db", "blobs", "snapshots", "layout/blobs", "cache/blobs", "files.tar", "metadata"):
            self.assertTrue([path for path in looked_at if f"/{place}" in str(path)], f"nothing was searched in {place}")
        self.assertNotIn(sentinel, self.ok("inspect", "test") + self.ok("history", "--no-trunc", "test"))
        self.assertEqual("gone\n", self.run_in("ls /run/secrets /etc/token /x 2>/dev/null || echo gone", image="test"))

    def test_a_secret_is_in_no_command_line(self):
        sentinel = "sentinel-command-line"
        secret = self.scratch / "secret"
        secret.write_text(sentinel)
        folder = self.context({"Dockerfile": HEAD + "RUN --mount=type=secret,id=s,env=S --mount=type=secret,id=s sleep 1\n"})
        build = subprocess.Popen(self.command("build", "--network", "none", "--secret", f"id=s,src={secret}", folder), stderr=subprocess.DEVNULL)
        seen = 0
        while build.poll() is None:
            for entry in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = entry.read_bytes()
                except OSError:
                    continue
                seen += b"sleep" in line
                self.assertNotIn(sentinel.encode(), line)
            time.sleep(0.05)
        self.assertEqual(0, build.returncode)
        self.assertGreater(seen, 0)

    def test_a_changed_secret_is_no_reason_to_run_again(self):
        secret = self.scratch / "secret"
        secret.write_text("one")
        folder = self.context({"Dockerfile": HEAD + "RUN --mount=type=secret,id=s cat /run/secrets/s | wc -c\n"})
        self.ok("build", "--network", "none", "--secret", f"id=s,src={secret}", folder)
        secret.write_text("another")
        self.assertIn("CACHED", self.dray("build", "--network", "none", "--progress", "plain", "--secret", f"id=s,src={secret}", folder).err)

    def test_missing_and_bad_secrets(self):
        self.refused(r"secret s: not found", "RUN --mount=type=secret,id=s,required true\n")
        self.refused(r"no such file", "RUN --mount=type=secret,id=s true\n", None, "--secret", "id=s,src=/nosuch")
        big = self.scratch / "big"
        big.write_bytes(b"x" * (500 * 1024 + 1))
        self.refused(r"larger than 500 KiB", "RUN --mount=type=secret,id=s true\n", None, "--secret", f"id=s,src={big}")
        self.refused(r"unknown key", "RUN true\n", None, "--secret", "id=s,file=x")
        self.refused(r"has no id", "RUN true\n", None, "--secret", "src=x")

    def test_ssh_agent(self):
        path = self.scratch / "agent.sock"
        questions, key = [], b"sentinel-key-77ab"
        identities = struct.pack(">BII", 12, 1, len(key)) + key + struct.pack(">I", 0)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()

        def serve():
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client:
                    while question := client.recv(4096):
                        questions.append(question)
                        client.sendall(struct.pack(">I", len(identities)) + identities)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        client = ("perl -MIO::Socket::UNIX -e '$s=IO::Socket::UNIX->new(Peer=>$ENV{SSH_AUTH_SOCK}) or die $!; "
                  "for (\"\\0\\0\\0\\1\\x0b\", \"\\0\\0\\0\\1\\x13\") { syswrite $s, $_; $r = \"\"; "
                  "sysread($s, $r, 99, length $r) while length($r) < 4 + unpack(\"N\", \"$r\\0\\0\\0\\0\"); print unpack(\"H*\", $r), \"\\n\" }'")
        text = self.built(f"RUN --mount=type=ssh {client} && stat -c %u:%a $SSH_AUTH_SOCK\n"
                          "RUN --mount=type=ssh,id=default,target=/agent,mode=0666,uid=9 stat -c %u:%a:%F /agent\n"
                          "RUN --mount=type=ssh,id=other ls /run/buildkit || echo none\n", None, "--ssh", f"default={path}")
        self.assertIn(identities.hex(), text)  # its keys
        self.assertIn("0000000105", text)  # REMOVE_ALL: refused
        self.assertIn("0:600", text)
        self.assertIn("9:666:socket", text)
        self.assertIn("none", text)
        self.assertEqual([b"\0\0\0\1\x0b"], questions)
        for folder in (self.root, self.state):
            for found, data in stored_bytes(folder):
                self.lacks(found, data, key.decode())
                self.assertNotIn(str(path).encode(), data, f"{found} names the agent's socket")
        listener.close()
        self.assertEqual("gone\n", self.run_in("ls /agent /run/buildkit 2>/dev/null || echo gone", image="test"))
        self.refused(r"ssh-add", "RUN --mount=type=ssh true\n", None, "--ssh", "default=/etc/passwd")
        self.refused(r"not found", "RUN --mount=type=ssh,required true\n")

    def test_mount_points_leave_no_trace(self):
        self.built("RUN --mount=type=tmpfs,target=/a/b/c --mount=type=tmpfs,target=/a/b/d true\n")
        history = [line.split() for line in self.ok("history", "--format", "{{.Size}}", "test").splitlines()]
        self.assertEqual(["0B"], history[0])
        self.assertEqual("gone\n", self.run_in("ls -d /a 2>/dev/null || echo gone", image="test"))

    def test_shebang_heredoc(self):
        text = self.built("RUN <<EOF\n#!/usr/bin/perl\nprint \"I am $0\\n\";\nEOF\n")
        self.assertIn("I am /dev/pipes/EOF", text)

    def test_insecure(self):
        look = "grep CapEff /proc/self/status; grep Seccomp: /proc/self/status; mount -t tmpfs none /mnt && echo mounted"
        self.refused(r"--allow security.insecure", f"RUN --security=insecure {look}\n")
        text = self.built(f"RUN --security=insecure {look}\nRUN grep Seccomp: /proc/self/status; ! mount -t tmpfs none /mnt\n", None,
                          "--allow", "security.insecure")
        self.assertIn("mounted", text)
        self.assertRegex(text, r"Seccomp:\t0\n(.*\n)*.*Seccomp:\t2")
        self.refused(r"RUN --network=host is not allowed", "RUN --network=host true\n")
        self.fails(1, "invalid --allow", "build", "--allow", "everything", "/")

    def test_limits_and_hosts(self):
        text = self.built("RUN cat /etc/hosts; ulimit -n; df -k --output=size /dev/shm | tail -1; cat /proc/self/cgroup\n", None,
                          "--add-host", "peer:10.9.8.7", "--add-host", "six=fd00::1", "--ulimit", "nofile=123:456", "--shm-size", "3m",
                          "--cgroup-parent", "/dray/ours")
        self.assertRegex(text, r"10\.9\.8\.7\s+peer")
        self.assertRegex(text, r"fd00::1\s+six")
        self.assertRegex(text, r"\b123\b")
        self.assertRegex(text, r"\b3072\b")
        for top in pathlib.Path("/sys/fs/cgroup").glob("**/dray/ours"):
            top.rmdir()
        self.refused(r"ulimit", "RUN true\n", None, "--ulimit", "nofile=x")

    def test_cdi_devices(self):
        specs = pathlib.Path("/var/run/cdi")
        specs.mkdir(parents=True, exist_ok=True)
        spec = specs / "dray-test.json"
        self.addCleanup(spec.unlink)
        spec.write_text(json.dumps({"cdiVersion": "0.6.0", "kind": "dray.test/null", "containerEdits": {"env": ["CLASS=yes"]}, "devices": [
            {"name": "one", "containerEdits": {"deviceNodes": [{"path": "/dev/one", "hostPath": "/dev/null"}], "env": ["DEVICE=one"]}},
            {"name": "hook", "containerEdits": {"hooks": [{"path": "/bin/true"}]}}]}))
        lines = "RUN --device=dray.test/null=one echo $CLASS $DEVICE > /dev/one && stat -c %F:%t:%T /dev/one && echo $CLASS-$DEVICE\n"
        syntax = "# syntax=docker/dockerfile:1-labs\n"
        folder = self.context({"Dockerfile": syntax + HEAD + lines})
        self.fails(1, "--allow device", "build", "--network", "none", folder)
        text = self.dray("build", "--network", "none", "--progress", "plain", "--allow", "device", folder).err
        self.assertIn("character special file:1:3", text)
        self.assertIn("yes-one", text)
        for wish, pattern in (("dray.test/null=hook", "not supported"), ("dray.test/null=no,required", "no CDI device")):
            folder = self.context({"Dockerfile": syntax + HEAD + f"RUN --device={wish} true\n"})
            self.fails(1, pattern, "build", "--network", "none", "--allow", "device", folder)

    def test_the_same_step_of_two_builds_runs_once(self):
        folder = self.context({"Dockerfile": HEAD + "RUN sleep 2 && cat /proc/sys/kernel/random/uuid > /id\n"})
        builds = [subprocess.Popen(self.command("build", "--network", "none", "--progress", "plain", "-t", f"same{n}", folder),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for n in range(2)]
        texts = [build.communicate(timeout=60)[1] for build in builds]
        self.assertEqual([0, 0], [build.returncode for build in builds], texts)
        self.assertEqual(1, sum("waiting for another build" in text for text in texts), texts)
        self.assertEqual(self.run_in("cat /id", image="same0"), self.run_in("cat /id", image="same1"))

    def test_a_waiting_build_takes_over_from_a_killed_one(self):
        folder = self.context({"Dockerfile": HEAD + "RUN sleep 3 && echo done > /id\n"})
        command = self.command("build", "--network", "none", "--progress", "plain", "-t", "over", folder)
        first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(lambda: list((self.state / "builds").glob("*")), what="the first runs")
        second = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while "waiting for another build" not in (line := second.stderr.readline()):
            self.assertTrue(line, "the second build ended")
        first.kill()
        first.wait()
        second.stderr.read()
        self.assertEqual(0, second.wait(60))
        second.stderr.close()
        self.ok("system", "prune", "-f")

    def test_cancel_leaves_nothing(self):
        folder = self.context({"Dockerfile": HEAD + "RUN --mount=type=cache,target=/c --mount=target=/w,rw --mount=type=tmpfs,target=/t sleep 100\n",
                               "f": "F", ".dockerignore": "x\n"})
        build = subprocess.Popen(self.command("build", "--network", "none", folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(lambda: list((self.state / "builds").glob("*")), what="the step runs")
        time.sleep(0.3)
        build.send_signal(signal.SIGINT)
        self.assertEqual(130, build.wait(10))
        self.assertEqual([], list((self.state / "builds").glob("*")))
        self.assertEqual([], list((self.root / "tmp").glob("*")))
        self.assertEqual([], list((self.root / "build-locks").glob("*")))
        self.assertIn("0", self.ok("builder", "cache-mount", "ls", "--format", "{{.Size}}"))


class BuildCache(DrayTestCase):
    def tree(self, lines, files=None):
        return self.context({"Dockerfile": HEAD + lines, **(files or {})})

    def plain(self, folder, *flags):
        result = self.dray("build", "--network", "none", "--progress", "plain", *flags, folder)
        self.assertEqual(0, result.code, repr(result))
        return result.err

    def test_content_decides(self):
        folder = self.tree("ARG UNUSED\nCOPY f /f\nRUN --network=none cat /f\n", {"f": "F"})
        self.plain(folder)
        (folder / "f").write_text("G")
        (folder / "f").write_text("F")
        # The ARG is in the environment of RUN, not in that of COPY.
        text = self.plain(folder, "--build-arg", "UNUSED=x")
        self.assertEqual(1, text.count("CACHED"), text)
        self.assertEqual(2, self.plain(folder).count("CACHED"))

    def test_link_is_not_made_again(self):
        files = {"f": "F"}
        folder = self.tree("RUN echo 1 > /below\nCOPY --link --chown=www-data f /x/f\n", files)
        self.plain(folder)
        (folder / "Dockerfile").write_text(HEAD + "RUN echo 2 > /below\nCOPY --link --chown=www-data f /x/f\n")
        text = self.plain(folder, "-t", "linked")
        self.assertEqual(1, text.count("CACHED"), text)
        self.assertEqual("2\n33:33 F", self.run_in("cat /below; stat -c %u:%g /x/f | tr '\\n' ' '; cat /x/f", image="linked"))

    def test_no_cache_filter(self):
        folder = self.context({"Dockerfile": "FROM debian:bookworm AS one\nRUN echo one > /1\nFROM debian:bookworm AS two\nRUN echo two > /2\n"
                               "FROM debian:bookworm\nCOPY --from=one /1 /1\nCOPY --from=two /2 /2\n"})
        self.plain(folder)
        text = self.plain(folder, "--no-cache-filter", "one")
        self.assertEqual(3, text.count("CACHED"), text)

    def test_du_and_prune(self):
        folder = self.tree("RUN head -c 300000 /dev/urandom > /a\nRUN --mount=type=cache,target=/c head -c 200000 /dev/urandom > /c/x\n")
        self.plain(folder, "-t", "kept")
        other = self.tree("RUN head -c 400000 /dev/urandom > /b\n")
        self.plain(other, "-t", "dropped")
        self.ok("rmi", "dropped")
        table = self.ok("builder", "du")
        self.assertRegex(table, r"^ID +RECLAIMABLE +SIZE +LAST ACCESSED")
        self.assertRegex(table, r"(?m)^[0-9a-f]{25}\* +true")
        self.assertRegex(table, r"(?m)^Total:")
        verbose = self.ok("builder", "du", "--verbose", "--filter", "type=exec.cachemount")
        self.assertIn("cache mount /c", verbose)
        self.assertNotIn("RUN", verbose)
        self.fails(1, "invalid filter", "builder", "du", "--filter", "colour=red")
        self.assertEqual("", self.ok("builder", "prune", "-f", "--filter", "until=24h").split("Total")[0])
        self.assertIn("Total:\t0B", self.ok("builder", "prune", "-f", "--max-used-space", "10gb"))
        removed = self.ok("builder", "prune", "-f")
        self.assertRegex(removed, r"Total:\t[1-9]")
        self.assertEqual("300000\n", self.run_in("wc -c < /a", image="kept"))
        # What the image has is still in the cache.
        self.assertEqual(2, self.plain(folder).count("CACHED"))
        self.ok("builder", "prune", "-a", "-f")
        self.assertEqual(0, self.plain(folder).count("CACHED"))

    def test_prune_during_a_build(self):
        folder = self.tree("RUN echo 1 > /a\nRUN sleep 2\nRUN cat /a\n")
        build = subprocess.Popen(self.command("build", "--network", "none", "-t", "during", folder), stderr=subprocess.PIPE, text=True)
        while build.poll() is None:
            self.assertIn(self.dray("builder", "prune", "-a", "-f").code, (0,))
            time.sleep(0.1)
        self.assertEqual(0, build.returncode, build.stderr.read())
        build.stderr.close()
        self.assertEqual("1\n", self.run_in("cat /a", image="during"))

    def test_limits_of_the_configuration(self):
        config = self.scratch / "daemon.json"
        config.write_text(json.dumps({"builder": {"gc": {"defaultMaxUsedSpace": "1MB", "defaultReservedSpace": 0, "defaultMinFreeSpace": 0}}}))
        for n in range(3):
            folder = self.tree(f"RUN head -c 600000 /dev/urandom > /x{n}\n")
            result = self.dray("--config", config, "build", "--network", "none", "-t", "limited", folder)
            self.assertEqual(0, result.code, repr(result))
            self.ok("rmi", "limited")
            time.sleep(1.1)  # what was used within the second the last build began in stays
        left = self.ok("builder", "du", "--verbose")
        self.assertNotIn("/x0", left)
        self.assertIn("/x2", left)  # what the last build used stays
        config.write_text('{"builder": {"gc": {"defaultMaxUsedSpace": "lots"}}}')
        self.fails(1, "builder.gc.defaultMaxUsedSpace", "--config", config, "builder", "du")
        config.write_text('{"builder": {"gc": {"policies": []}}}')
        self.fails(1, "unknown key", "--config", config, "builder", "du")

    def test_cache_mounts_travel(self):
        folder = self.tree("RUN --mount=type=cache,id=travel,target=/c echo packed > /c/file\n")
        self.plain(folder)
        archive = self.scratch / "cache.tar"
        self.ok("builder", "cache-mount", "export", "-o", archive, "travel")
        with tarfile.open(archive) as tar:
            self.assertEqual(["file"], tar.getnames())
        self.ok("builder", "cache-mount", "rm", "travel")
        self.fails(1, "no such cache mount", "builder", "cache-mount", "export", "-o", archive, "travel")
        self.ok("builder", "cache-mount", "import", "-i", archive, "travel")
        self.assertIn("packed", self.plain(self.tree("RUN --mount=type=cache,id=travel,target=/c cat /c/file\n")))


if __name__ == "__main__":
    main()
