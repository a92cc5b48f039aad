# SPDX-License-Identifier: Apache-2.0
"""As much of util-linux's Python module libmount as crun's tests use."""


class Mount:
    def __init__(self, line):
        mount, _, file_system = line.partition(" - ")
        fields = mount.split()
        self.target, self.vfs_options = fields[4], fields[5]
        self.fs_options = file_system.split()[-1]


class Table:
    def __init__(self, file):
        with open(file) as lines:
            self.mounts = [Mount(line) for line in lines if " - " in line]

    def find_target(self, target):
        # The last one is on top.
        return next((mount for mount in reversed(self.mounts) if mount.target == target), None)
