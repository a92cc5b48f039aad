#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A shell in a step of a build, and builds that are compared with themselves."""
import os

from harness import BASE_IMAGE, DrayTestCase, Terminal, main

STEPS = f"""FROM {BASE_IMAGE}
ENV COLOUR=blue
WORKDIR /work
RUN echo before > /before
RUN --mount=type=secret,id=s --mount=type=tmpfs,target=/fast echo half > /half && exit 7
RUN echo never
"""


class Shell(DrayTestCase):
    def folder(self):
        return self.context({"Dockerfile": STEPS, "secret": "hidden-word"})

    def arguments(self, folder, *flags):
        return ["build", "--network", "none", *flags, "--secret", f"id=s,src={folder}/secret", folder]

    def test_on_a_terminal(self):
        """The failed step's files, mounts, environment and directory; the build has failed all the same."""
        terminal = Terminal(self.command(*self.arguments(self.folder(), "--shell-on-failure")), columns=91)
        terminal.expect("a shell in")
        terminal.send("echo $(cat /before /half) $COLOUR $(pwd) $(cat /run/secrets/s)\n")
        terminal.expect("before half blue /work hidden-word")
        terminal.send("grep -c ' /fast tmpfs' /proc/mounts; tty; exit 3\n")
        terminal.expect("1\r")
        terminal.expect("/dev/")
        self.assertEqual(1, terminal.wait())
        self.assertIn(b"exit code: 7", terminal.output)

    def test_without_a_terminal(self):
        result = self.dray(*self.arguments(self.folder(), "--shell-on-failure"), input="cat /half; echo $COLOUR; kill -9 $$\n")
        self.assertEqual(1, result.code)
        self.assertIn("half\nblue\n", result.out)
        self.assertIn("exit code: 7", result.err)

    def test_at_a_line(self):
        """Instead of the RUN, also where it is in the cache; what it would do has not been done."""
        folder = self.folder()
        for _ in range(2):
            result = self.dray(*self.arguments(folder, "--shell-at", "4"), input="ls /before || echo not yet; touch /x\n")
            self.assertEqual(1, result.code)
            self.assertIn("not yet", result.out)
            self.assertIn("stopped before this step", result.err)
        self.dray(*self.arguments(folder))
        result = self.dray(*self.arguments(folder, "--shell-at", "5"), input="ls /x /before /half\n")
        self.assertEqual("/before\n", result.out)

    def test_bad_places(self):
        folder = self.folder()
        self.fails(1, "no RUN that this build needs", *self.arguments(folder, "--shell-at", "3"))
        self.fails(1, "a line of the Dockerfile", *self.arguments(folder, "--shell-at", "x"))

    def test_an_image_without_a_shell(self):
        folder = self.context({"Dockerfile": "FROM scratch\nCOPY Dockerfile /\nRUN [\"/Dockerfile\"]\n"})
        result = self.dray("build", "--network", "none", "--shell-at", "3", folder)
        self.assertEqual(1, result.code)
        self.assertIn("/bin/sh", result.err)


class Verify(DrayTestCase):
    def verify(self, lines, *flags, **options):
        folder = self.context({"Dockerfile": f"FROM {BASE_IMAGE}\n{lines}", "f": "F"})
        os.utime(folder / "f", (1000, 1000))  # else one test's file in the cache is older than the next one's
        return self.dray("build", "--network", "none", "--verify-reproducible", *flags, folder, **options)

    def test_the_same(self):
        result = self.verify("COPY f /f\nWORKDIR /w\nRUN touch -d @1000 /x && touch -d @1000 /\n", "-t", "good")
        self.assertEqual(0, result.code, result.err)
        self.assertIn("building again", result.err)
        self.ok("inspect", "good")

    def test_a_difference_has_a_name(self):
        result = self.verify("COPY f /f\nRUN cat /proc/sys/kernel/random/uuid > /etc/random\nRUN echo other > /y\n")
        self.assertEqual(1, result.code)
        self.assertRegex(result.err, r"Dockerfile:3.*not reproducible: .*RUN cat .*\"etc/random\" has another content")

    def test_times(self):
        lines = "RUN echo same > /x && date\n"
        result = self.verify(lines)
        self.assertEqual(1, result.code)
        self.assertRegex(result.err, r"has another time")
        levelled = self.verify(lines, "-o", "type=image,rewrite-timestamp=true,name=x", env={"SOURCE_DATE_EPOCH": "1000"})
        self.assertEqual(0, levelled.code, levelled.err)

    def test_a_context_that_is_gone(self):
        self.fails(1, "only once", "build", "--verify-reproducible", "-", input="FROM scratch\n")


if __name__ == "__main__":
    main()
