# SPDX-License-Identifier: Apache-2.0
"""A folder outside of every container that no attack may touch."""

import hashlib
import pathlib
import shutil


def digest(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


class CanaryMixin:
    """For test cases with a folder `scratch`."""

    CANARY_FILES = ("file",)

    def setUp(self):
        super().setUp()
        self.canary = self.scratch / "canary"
        shutil.rmtree(self.canary, ignore_errors=True)
        self.canary.mkdir()
        for name in self.CANARY_FILES:
            (self.canary / name).write_text("untouched")
        was = self.snapshot()
        self.addCleanup(lambda: self.assertEqual(was, self.snapshot(), "the canary was touched"))

    def snapshot(self):
        return [
            (
                str(path),
                path.stat().st_mode,
                path.stat().st_uid,
                path.stat().st_mtime_ns,
                path.read_text() if path.is_file() else "",
            )
            for path in (self.canary, *sorted(self.canary.rglob("*")))
        ]
