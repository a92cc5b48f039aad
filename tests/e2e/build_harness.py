# SPDX-License-Identifier: Apache-2.0
"""For the tests of what `dray build` puts out: a small context for every platform, dray on a fresh store, archives that are read."""
import hashlib
import json
import os
import pathlib
import subprocess
import tarfile
import tempfile

from harness import DrayTestCase

DOCKERFILE = """FROM scratch
ARG TARGETARCH
LABEL arch=$TARGETARCH
COPY --chown=7:8 a /app/a
COPY --chmod=4755 a /app/setuid
WORKDIR /work/dir
COPY sub /data/
COPY <<EOF /inline
for $TARGETARCH
EOF
"""


class Archive:
    """An OCI layout in a tar."""

    def __init__(self, path):
        with tarfile.open(path) as tar:
            self.names = tar.getnames()
            self.files = {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}
            self.times = {member.mtime for member in tar}
        self.index = json.loads(self.files["index.json"])

    def blob(self, descriptor):
        data = self.files["blobs/" + descriptor["digest"].replace(":", "/")]
        assert "sha256:" + hashlib.sha256(data).hexdigest() == descriptor["digest"]
        assert len(data) == descriptor["size"]
        return data

    def document(self, descriptor):
        return json.loads(self.blob(descriptor))

    def top(self):
        return self.document(self.index["manifests"][0])


class OutputTestCase(DrayTestCase):
    needs_base = False

    def sources(self, dockerfile=DOCKERFILE):
        folder = self.context({"Dockerfile": dockerfile, "a": "hello\n", "sub/x": "x\n"})
        os.symlink("/etc/passwd", folder / "sub" / "link")
        for path in (folder / "a", folder / "sub" / "x", folder / "sub" / "link", folder / "sub"):
            os.utime(path, (1600000000, 1600000000), follow_symlinks=False)
        return folder

    def place(self):
        return pathlib.Path(tempfile.mkdtemp(dir=self.scratch))

    def elsewhere(self, *arguments, root=None, **options):
        """dray on a fresh root."""
        root = root or self.place()
        command = self.command(*arguments)
        command[command.index("--root") + 1] = str(root / "root")
        command[command.index("--state") + 1] = str(root / "state")
        process = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300,
                                 env={**os.environ, **options.get("env", {})})
        self.assertEqual(0, process.returncode, process.stderr)
        return process

    def steps(self, process):
        return [line for line in process.stderr.splitlines() if line.endswith("CACHED")]
