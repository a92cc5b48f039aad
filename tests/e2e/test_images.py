#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""images, tag, rmi, history, inspect, save, load."""
import json
import subprocess
import tarfile

from harness import BASE_IMAGE, SOURCE, DrayTestCase, main


class Images(DrayTestCase):
    def test_listing_and_tags(self):
        self.ok("tag", BASE_IMAGE, "example.com/team/app:1.0")
        rows = [line.split()[:3] for line in self.ok("images").splitlines()]
        self.assertEqual(["REPOSITORY", "TAG", "IMAGE"], rows[0])
        identifier = self.inspect(BASE_IMAGE, "Id")
        self.assertIn(["debian", "bookworm", identifier[7:19]], rows)
        self.assertIn(["example.com/team/app", "1.0", identifier[7:19]], rows)
        self.assertEqual(identifier[7:19] + "\n", self.ok("images", "-q"))
        self.assertEqual("debian:bookworm\n", self.ok("images", "--format", "{{.Repository}}:{{.Tag}}", "debian"))
        self.assertEqual(identifier, self.inspect(identifier[7:13], "Id"))
        self.assertEqual("Untagged: example.com/team/app:1.0\n", self.ok("rmi", "example.com/team/app:1.0"))
        self.fails(1, "(?i)no such image", "rmi", "example.com/team/app:1.0")
        self.fails(1, "(?i)no such object", "inspect", "nosuch")

    def test_rmi_in_use_and_content(self):
        self.ok("build", "-t", "mine", self.context({"Dockerfile": "FROM debian:bookworm\nRUN echo x > /x\n"}))
        self.ok("create", "--name", "user", "mine", "true")
        self.fails(1, "(?i)conflict|in use|being used", "rmi", "mine")
        self.ok("rm", "user")
        self.assertIn("Deleted: sha256:", self.ok("rmi", "mine"))
        self.assertEqual("", self.run_in("true"))

    def test_history(self):
        self.ok("build", "-t", "mine", self.context({"Dockerfile": "FROM debian:bookworm\nENV A=b\nRUN echo x > /x\n"}))
        lines = self.ok("history", "--no-trunc", "mine").splitlines()
        self.assertIn("RUN /bin/sh -c echo x > /x # buildkit", lines[1])
        self.assertIn("ENV A=b", lines[2])
        self.ok("rmi", "mine")

    def test_save_and_load(self):
        archive = self.scratch / "image.tar"
        identifier = self.inspect(BASE_IMAGE, "Id")
        self.ok("save", "-o", archive, BASE_IMAGE)
        with tarfile.open(archive) as tar:
            names = tar.getnames()
            manifest = json.load(tar.extractfile("manifest.json"))
        self.assertIn("index.json", names)
        self.assertIn("oci-layout", names)
        self.assertEqual(["debian:bookworm"], manifest[0]["RepoTags"])
        self.ok("rmi", BASE_IMAGE)
        self.assertEqual("Loaded image: debian:bookworm\n", self.ok("load", "-q", "-i", archive))
        self.assertEqual(identifier, self.inspect(BASE_IMAGE, "Id"))
        self.assertEqual("ok\n", self.run_in("echo ok"))

    def test_damaged_archives_are_refused(self):
        archive = self.scratch / "image.tar"
        self.ok("save", "-o", archive, BASE_IMAGE)
        data = archive.read_bytes()
        self.ok("rmi", BASE_IMAGE)
        self.addCleanup(self.ok, "load", "-q", "-i", archive)
        before = self.ok("images", "--no-trunc")
        (self.scratch / "short.tar").write_bytes(data[: len(data) // 2])
        self.assertNotEqual(0, self.dray("load", "-i", self.scratch / "short.tar").code)
        middle = bytearray(data)
        middle[len(data) // 2] ^= 0xFF
        (self.scratch / "flipped.tar").write_bytes(middle)
        self.assertNotEqual(0, self.dray("load", "-i", self.scratch / "flipped.tar").code)
        (self.scratch / "noise.tar").write_bytes(b"not a tar at all" * 1000)
        self.assertNotEqual(0, self.dray("load", "-i", self.scratch / "noise.tar").code)
        self.fails(1, "nosuch", "load", "-i", "nosuch.tar")
        self.assertEqual(before, self.ok("images", "--no-trunc"))


if __name__ == "__main__":
    main()
