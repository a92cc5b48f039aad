#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""dray build: instructions, cache, context, errors."""
import io
import json
import os
import pathlib
import re
import signal
import subprocess
import tarfile
import time

from harness import BASE_IMAGE, DrayTestCase, eventually, main


def tar_bytes(files, mode="w"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mtime = 1000000000
            archive.addfile(info, io.BytesIO(content.encode()))
    return buffer.getvalue()


class Instructions(DrayTestCase):
    def run_image(self, *command, image="test"):
        return self.ok("run", "--rm", "--network", "none", image, *command)

    def test_config_instructions(self):
        self.build("""
            FROM debian:bookworm
            LABEL a=1 b="two words"
            ENV X=1 Y="a b"
            ENV Z old form
            WORKDIR /a
            WORKDIR b
            USER 1000:1000
            EXPOSE 80 53/udp 7000-7001
            VOLUME ["/data"]
            STOPSIGNAL SIGQUIT
            SHELL ["/bin/bash", "-c"]
            ENTRYPOINT ["echo"]
            CMD ["hello"]
        """)
        config = self.inspect("test", "Config")
        self.assertEqual({"a": "1", "b": "two words"}, config["Labels"])
        self.assertEqual({"X=1", "Y=a b", "Z=old form"}, {e for e in config["Env"] if e[0] in "XYZ"})
        self.assertEqual(("/a/b", "1000:1000", "SIGQUIT"), (config["WorkingDir"], config["User"], config["StopSignal"]))
        self.assertEqual({"80/tcp", "53/udp", "7000/tcp", "7001/tcp"}, set(config["ExposedPorts"]))
        self.assertEqual((["echo"], ["hello"], ["/bin/bash", "-c"]), (config["Entrypoint"], config["Cmd"], config["Shell"]))
        self.assertEqual("hello\n", self.run_image())

    def test_run_forms(self):
        self.build('FROM debian:bookworm\nRUN echo shell > /a && \\\n    echo more >> /a\nRUN ["sh", "-c", "echo $0 exec > /b", "arg"]\n'
                   "RUN <<EOF\necho heredoc > /c\nEOF\n")
        self.assertEqual("shell\nmore\narg exec\nheredoc\n", self.run_image("cat", "/a", "/b", "/c"))

    def test_args_and_expansion(self):
        self.build("ARG BASE=debian:bookworm\nFROM $BASE\nARG NAME=world\nARG UNSET\nENV DIR=/opt/${NAME}\nWORKDIR $DIR\n"
                   "RUN echo ${NAME} ${UNSET:-default} ${NAME:+set} \\$NAME > out\n", None, "--build-arg", "NAME=moon")
        self.assertEqual("moon default set $NAME\n", self.run_image("cat", "/opt/moon/out"))
        self.assertNotIn("NAME", json.dumps(self.inspect("test", "Config")["Env"]))

    def test_copy(self):
        self.build("FROM debian:bookworm\nCOPY a.txt b.txt /files/\nCOPY dir /copied\nCOPY *.md /md/\nCOPY --chown=33:33 --chmod=640 a.txt /owned\n"
                   "COPY --chown=www-data:www-data a.txt /byname\nCOPY a.txt relative/new.txt\nCOPY link /link\n",
                   {"a.txt": "A\n", "b.txt": "B\n", "dir/sub/x": "x\n", "dir/y": "y\n", "1.md": "1", "2.md": "2", "skip.txt": "no",
                    "link": lambda path: os.symlink("a.txt", path)})
        out = self.run_image("sh", "-c", "cat /files/*; ls -R /copied /md; stat -c '%u:%g %a' /owned /byname; cat /relative/new.txt; readlink /link || cat /link")
        self.assertIn("A\nB\n", out)
        self.assertIn("sub\ny\n", out)
        self.assertIn("1.md\n2.md\n", out)
        self.assertIn("33:33 640\n33:33 644\nA\n", out)

    def test_add_unpacks_archives(self):
        self.build("FROM debian:bookworm\nADD plain.tar /plain/\nADD packed.tar.gz /packed\nADD packed.tar.xz /xz/\nCOPY plain.tar /asis/\nADD note.txt /\n",
                   {"plain.tar": tar_bytes({"f": "plain"}), "packed.tar.gz": tar_bytes({"d/f": "gz"}, "w:gz"),
                    "packed.tar.xz": tar_bytes({"f": "xz"}, "w:xz"), "note.txt": "note"})
        self.assertEqual("plaingzxznote", self.run_image("sh", "-c", "cat /plain/f /packed/d/f /xz/f /note.txt; test -f /asis/plain.tar"))

    def test_stages(self):
        folder = self.build("FROM debian:bookworm AS one\nRUN echo one > /one\nFROM one AS two\nRUN echo two > /two\nFROM debian:bookworm AS unused\nRUN exit 1\n"
                            "FROM scratch AS final\nCOPY --from=one /one /\nCOPY --from=1 /two /\nCOPY --from=debian:bookworm /bin/true /true\nCMD [\"/true\"]\n")
        self.ok("build", "-t", "two", "--target", "two", folder)
        self.assertEqual("one\ntwo\n", self.run_image("cat", "/one", "/two", image="two"))
        self.assertEqual(1, self.inspect("test")["RootFS"]["Layers"].__len__() - 2)
        self.fails(1, "(?i)nosuch", "build", "--target", "nosuch", folder)

    def test_dockerignore(self):
        self.build("FROM debian:bookworm\nCOPY . /ctx/\n", {".dockerignore": "# comment\n*.log\n!keep.log\nnode_modules\n**/*.tmp\n", "a.log": "", "keep.log": "",
                   "node_modules/x": "", "deep/er/f.tmp": "", "deep/f": "", "app": ""})
        self.assertEqual("/ctx/.dockerignore\n/ctx/Dockerfile\n/ctx/app\n/ctx/deep/f\n/ctx/keep.log\n", self.run_image("sh", "-c", "find /ctx -type f | sort"))

    def test_context_from_stdin(self):
        archive = tar_bytes({"Dockerfile": "FROM debian:bookworm\nCOPY f /f\n", "f": "from tar"}, "w:gz")
        process = subprocess.run(self.command("build", "-t", "test", "-"), input=archive, capture_output=True)
        self.assertEqual(0, process.returncode, process.stderr)
        self.assertEqual("from tar", self.run_image("cat", "/f"))
        self.ok("build", "-t", "test", "-", input="FROM debian:bookworm\nRUN echo bare > /f\n")
        self.assertEqual("bare\n", self.run_image("cat", "/f"))
        folder = self.context({"f": "with context"})
        self.ok("build", "-t", "test", "-f", "-", folder, input="FROM debian:bookworm\nCOPY f /f\n")
        self.assertEqual("with context", self.run_image("cat", "/f"))

    def test_options(self):
        folder = self.context({"Other": "FROM debian:bookworm\nRUN echo x\n"})
        iid = self.scratch / "iid"
        quiet = self.dray("build", "-q", "-f", folder / "Other", "--iidfile", iid, "-t", "x:1", "-t", "x:2", "--label", "k=v", folder)
        self.assertRegex(quiet.out, "^sha256:[0-9a-f]{64}\n$")
        self.assertEqual("", quiet.err)
        self.assertEqual(quiet.out.strip(), iid.read_text())
        self.assertEqual(self.inspect("x:1", "Id"), self.inspect("x:2", "Id"))
        self.assertEqual("v", self.inspect("x:1", "Config")["Labels"]["k"])

    def test_deletions_are_whiteouts(self):
        self.build("FROM debian:bookworm\nRUN mkdir /d && touch /d/a /d/b\nRUN rm /d/a && rm -rf /usr/share/doc && mkdir /usr/share/doc\n")
        self.assertEqual("b\n", self.run_image("ls", "/d"))
        self.assertEqual("", self.run_image("ls", "/usr/share/doc"))


class Cache(DrayTestCase):
    def steps(self, folder, *flags):
        """[(title, cached?)] of the numbered steps."""
        err = self.dray("build", "--progress", "plain", "-t", "cached", *flags, folder)
        self.assertEqual(0, err.code, repr(err))
        titles = dict(re.findall(r"^#(\d+) (\[(?:[\w-]+ )?\d+/\d+\] .*)$", err.err, re.M))
        cached = set(re.findall(r"^#(\d+) CACHED$", err.err, re.M))
        return [(re.sub(r"^\[.*?\] ", "", title), number in cached) for number, title in titles.items() if "FROM" not in title]

    def test_only_what_changed_runs_again(self):
        folder = self.context({"Dockerfile": "FROM debian:bookworm\nRUN echo 1 > /1\nCOPY a /a\nRUN cat /a > /2\nCOPY b /b\n", "a": "1", "b": "1"})
        self.assertEqual([False] * 4, [hit for _, hit in self.steps(folder)])
        first = self.inspect("cached", "Id")
        self.assertEqual([True] * 4, [hit for _, hit in self.steps(folder)])
        self.assertEqual(first, self.inspect("cached", "Id"))
        os.utime(folder / "a")
        self.assertEqual([True] * 4, [hit for _, hit in self.steps(folder)], "a touched file is no change")
        (folder / "b").write_text("2")
        self.assertEqual([True, True, True, False], [hit for _, hit in self.steps(folder)])
        (folder / "a").write_text("2")
        self.assertEqual([True, False, False], [hit for _, hit in self.steps(folder)][:3])
        (folder / "a").chmod(0o755)
        self.assertEqual([True, False], [hit for _, hit in self.steps(folder)][:2], "a changed mode is a change")
        self.assertEqual([False] * 4, [hit for _, hit in self.steps(folder, "--no-cache")])

    def test_instruction_and_argument_changes(self):
        folder = self.context({"Dockerfile": "FROM debian:bookworm\nARG V=1\nRUN echo $V > /v\nRUN true\n"})
        self.steps(folder)
        self.assertEqual([True, True], [hit for _, hit in self.steps(folder)])
        self.assertFalse(self.steps(folder, "--build-arg", "V=2")[0][1])
        self.assertEqual("2\n", self.ok("run", "--rm", "--network", "none", "cached", "cat", "/v"))
        (folder / "Dockerfile").write_text("FROM debian:bookworm\nARG V=1\nRUN echo $V > /v\nRUN true && true\n")
        self.assertEqual([True, False], [hit for _, hit in self.steps(folder)])


class Errors(DrayTestCase):
    def build_fails(self, pattern, dockerfile, files=None, *flags):
        folder = self.context({"Dockerfile": dockerfile, **(files or {})})
        before = self.ok("images", "-a", "-q", "--no-trunc")
        result = self.fails(1, pattern, "build", "-t", "broken", *flags, folder)
        self.assertEqual(before, self.ok("images", "-a", "-q", "--no-trunc"))
        self.assertEqual([], list(self.root.glob("tmp/*")))
        return result

    def test_unknown_instruction(self):
        self.build_fails(r"Dockerfile:2.*(?i:unknown instruction).*RUNN", "FROM debian:bookworm\nRUNN true\n")

    def test_missing_source(self):
        self.build_fails(r"Dockerfile:2.*nosuch", "FROM debian:bookworm\nCOPY nosuch /\n")
        self.build_fails(r"Dockerfile:2.*hidden[\s\S]*dockerignore", "FROM debian:bookworm\nCOPY hidden /\n", {"hidden": "", ".dockerignore": "hidden\n"})

    def test_source_outside_the_context(self):
        self.build_fails(r"Dockerfile:2.*secret", "FROM debian:bookworm\nCOPY ../secret /\n")
        self.build_fails(r"Dockerfile:2", "FROM debian:bookworm\nCOPY out /\n", {"sub": lambda p: os.mkdir(p), "out/": lambda p: os.symlink("/etc", str(p).rstrip("/"))})

    def test_failing_run(self):
        result = self.build_fails(r"Dockerfile:2.*exit code: 3", "FROM debian:bookworm\nRUN echo the reason; exit 3\n", None, "--progress", "plain")
        self.assertIn("the reason", result.err)

    def test_missing_base(self):
        self.build_fails(r"localhost:1/nosuch", "FROM localhost:1/nosuch\n")

    def test_missing_dockerfile_and_context(self):
        self.fails(1, "Dockerfile", "build", self.context({"x": ""}))
        self.fails(1, "nosuch", "build", self.scratch / "nosuch")

    def test_empty_and_syntax(self):
        self.build_fails(r"(?i)empty|no FROM|FROM", "\n")
        self.build_fails(r"Dockerfile:1", "RUN true\nFROM debian:bookworm\n")
        self.build_fails(r"Dockerfile:2", "FROM debian:bookworm\nCOPY onlyone\n")

    def test_ctrl_c_leaves_nothing(self):
        folder = self.context({"Dockerfile": "FROM debian:bookworm\nRUN echo begun; sleep 100\n"})
        process = subprocess.Popen(self.command("build", "-t", "never", "--progress", "plain", folder), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                   stdin=subprocess.DEVNULL, text=True)
        for line in process.stderr:
            if line.rstrip().endswith("begun") and "RUN" not in line:
                break
        process.send_signal(signal.SIGINT)
        self.assertEqual(130, process.wait(15))
        process.stderr.close()
        self.assertNotIn("never", self.ok("images"))


if __name__ == "__main__":
    main()
