#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# guest: small
"""The unit tests of the parts that speak to the kernel, on Debian's kernel and cgroup v2. Tests that need what a guest
has not are skipped by themselves."""
import pathlib
import sys

from guest import GuestTestCase, command, main

# They look at the clock, and a machine in software is some ten times slower.
TIMED = '~"opening an existing store is cheap"~"kill -9 while unpacking leaves garbage that is removed"'
PROGRAMS = sorted(pathlib.Path("/payload/bin").glob("unit-*"))


class Unit(GuestTestCase):
    def test_unit(self):
        if not PROGRAMS:
            self.skipTest("no unit tests are built")
        for program in PROGRAMS:
            with self.subTest(program.name):
                result = command(program, *([TIMED] if program.name == "unit-store" else []), cwd="/tmp", timeout=300)
                print(f"    {program.name}: {' '.join(result.out.splitlines()[-2:])}")
                self.assertIn(result.code, (0, 77), result.out[-6000:] + result.err[-2000:])


if __name__ == "__main__":
    sys.exit(main())
