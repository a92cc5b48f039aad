#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`dray builder ast` and `dray builder plan --stub-bases` over every Dockerfile of the corpus ($DRAY_CORPUS, by default beside the
checkout). The documents are compared whole; nothing is built."""
import json
import os
import pathlib
import subprocess
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor

from harness import DRAY, SOURCE, main, skip_all

CORPUS = pathlib.Path(os.environ.get("DRAY_CORPUS", SOURCE.parent / "shared" / "corpus"))
READING = ("parse_ok", "escape", "parser_warnings", "instructions", "targets", "targets_error", "lint", "lint_error")
PLAN = ("config", "history", "ops", "author", "error")


class Dockerfiles(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        if not CORPUS.is_dir():
            skip_all("no corpus (set DRAY_CORPUS)")
        scratch = tempfile.TemporaryDirectory(dir="/var/tmp", prefix="dray-e2e-")
        cls.addClassCleanup(scratch.cleanup)
        cls.scratch = pathlib.Path(scratch.name)

    def dray(self, *arguments):
        return subprocess.run([DRAY, "--root", self.scratch / "root", "--state", self.scratch / "state", *arguments], capture_output=True)

    def all_same(self, cases, difference):
        """No case has a difference; the counts are printed."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = {str(case): text for case, text in zip(cases, pool.map(difference, cases)) if text}
        print(f"{len(cases) - len(found)} of {len(cases)} the same")
        self.assertEqual({}, found)

    def documents(self, folder):
        """The names of what differs in the three documents of a folder."""
        file = folder / "Dockerfile"
        tree = self.dray("builder", "ast", file)
        shown = tree.returncode == 0 and tree.stdout == (folder / "result").read_bytes()
        context = [folder] if (folder / ".dockerignore").exists() else []
        made = self.dray("builder", "plan", "--stub-bases", "--platform", "linux/amd64", file, *context)
        got = json.loads(made.stdout)
        different = [] if shown else ["result"]
        for name, fields in (("expected.json", READING), ("plan.json", PLAN)):
            wanted = json.loads((folder / name).read_text())
            different += [f"{name}: {field}" for field in fields if wanted.get(field) != got.get(field)]
        if (made.returncode != 0) != ("error" in json.loads((folder / "plan.json").read_text())):
            different.append("exit code")
        return different

    def test_real(self):
        self.all_same(sorted(path.parent for path in (CORPUS / "dockerfiles-real").glob("*/Dockerfile")), self.documents)

    def test_of_buildkits_own_tests(self):
        self.all_same(sorted(path.parent for path in (CORPUS / "dockerfiles-buildkit-inline").glob("*/Dockerfile")), self.documents)

    def test_of_the_parser(self):
        folders = sorted(path.parent for path in (CORPUS / "dockerfile-parser/testfiles").glob("*/Dockerfile"))

        def difference(folder):
            return self.dray("builder", "ast", folder / "Dockerfile").stdout != (folder / "result").read_bytes()

        self.all_same(folders, difference)

    def test_what_is_refused(self):
        def accepted(file):
            done = self.dray("builder", "ast", file)
            return done.returncode == 0 or not done.stderr.startswith(b"dray: ")

        self.all_same(sorted((CORPUS / "dockerfile-parser/testfiles-negative").glob("*/Dockerfile")), accepted)
        for case in json.loads((CORPUS / "dockerfile-parser/instruction-errors.json").read_text()):
            file = self.scratch / "Dockerfile"
            file.write_text("FROM scratch\n" + case["dockerfile"])
            done = self.dray("builder", "plan", "--stub-bases", file)
            self.assertIn(case["error_contains"], json.loads(done.stdout)["error"])
            self.assertNotEqual(0, done.returncode)

    def test_checks(self):
        def difference(number):
            case, folder = cases[number], self.scratch / f"check{number}"
            folder.mkdir()
            (folder / "Dockerfile").write_text(case["dockerfile"])
            if "dockerignore" in case:
                (folder / ".dockerignore").write_text(case["dockerignore"])
            arguments = [text for key, value in case.get("build_args", {}).items() for text in ("--build-arg", f"{key}={value}")]
            got = json.loads(self.dray("builder", "plan", "--stub-bases", *arguments, folder / "Dockerfile", folder).stdout)
            found, wanted = (sorted((w["rule"], w["detail"]) for w in list) for list in (got["lint"], case["check_warnings"]))
            return found != wanted and {"id": case["id"], "wanted": wanted, "found": found}

        cases = json.loads((CORPUS / "dockerfile-lint/cases.json").read_text())
        self.all_same(range(len(cases)), difference)


if __name__ == "__main__":
    main()
