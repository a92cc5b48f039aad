# SPDX-License-Identifier: Apache-2.0
"""The runtimes under test, and how they are called in tables and files."""
import dataclasses
import os
import pathlib
import re
import shutil
import subprocess

import runc_bats
from suite import NotHere

REFERENCES = ("runc-", "crun-", "docker-registry")


@dataclasses.dataclass
class Runtime:
    program: pathlib.Path
    label: str                              # runc-1.5.1, crun-1.8.1, else the program's name
    version: str
    refuses_two_cgroup_versions: bool

    @staticmethod
    def of(path):
        program = shutil.which(path)
        if program is None:
            raise NotHere(f"{path}: no such program")
        done = subprocess.run([program, "--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        first = (done.stdout.strip() or "unknown").splitlines()[0]
        known = re.match(r"(runc|crun) version ([0-9.]+)", first)
        label = f"{known[1]}-{known[2]}" if known else pathlib.Path(program).name
        return Runtime(pathlib.Path(os.path.abspath(program)), label, first, label.startswith("crun-"))


def is_reference(label):
    return label.startswith(REFERENCES)


def find(paths):
    if paths:
        return [Runtime.of(path) for path in paths]
    return [Runtime.of(str(path)) for path in (runc_bats.RUNC, "runc", "crun") if shutil.which(str(path))]
