#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Pulls that are interrupted, that meet, and that use several connections for one layer."""
import os
import signal
import subprocess
import time

from fake_registry import ImageOfLayers, digest
from harness import eventually, main
from registry_case import RegistryTestCase


class Transfers(RegistryTestCase):
    def partial(self):
        return list((self.root / "content" / "ingest").glob("partial-*"))

    def interrupt(self, registry, name, number):
        """Starts a pull and ends it by signal `number` when some megabytes have come."""
        pull = subprocess.Popen(self.command("pull", "-q", name), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        eventually(lambda: any(path.stat().st_size > 3 << 20 for path in self.partial()), what="some of the layer is there")
        if number == signal.SIGKILL:
            os.killpg(pull.pid, number)  # the helper too
        else:
            pull.send_signal(number)
        self.assertNotEqual(0, pull.wait(10))

    def test_interrupted_pull_goes_on(self):
        for number in (signal.SIGINT, signal.SIGKILL):
            image = ImageOfLayers([20 << 20], seed=number)
            registry = self.serve({"x:1": image}, rate=10e6)
            self.interrupt(registry, f"{registry.address}/x:1", number)
            had = max(path.stat().st_size for path in self.partial())
            registry.rate, before = None, len(registry.requests("GET"))
            self.ok("pull", f"{registry.address}/x:1")
            ranges = [request[2]["Range"] for request in registry.requests("GET")[before:] if "Range" in request[2]]
            self.assertTrue(ranges and int(ranges[0][len("bytes="):].split("-")[0]) >= had, ranges)
            self.check_store()

    def test_what_was_kept_is_not_believed(self):
        image = ImageOfLayers([8 << 20], seed=1)
        registry = self.serve({"x:1": image})
        name = digest(image.layers[0]).replace("sha256:", "partial-sha256-")
        (self.root / "content" / "ingest").mkdir(parents=True, exist_ok=True)
        self.ok("images")
        for kept in (os.urandom(5 << 20), os.urandom(9 << 20), image.layers[0]):
            (self.root / "content" / "ingest" / name).write_bytes(kept)
            self.ok("pull", f"{registry.address}/x:1")
            self.check_store()
            self.forget(f"{registry.address}/x:1")

    def test_a_gap_is_fetched_again(self):
        image = ImageOfLayers([8 << 20], seed=2)
        registry = self.serve({"x:1": image})
        self.ok("images")
        path = self.root / "content" / "ingest" / digest(image.layers[0]).replace("sha256:", "partial-sha256-")
        with open(path, "wb") as partial:  # as left by a kill while parts were in flight
            partial.write(image.layers[0][:3 << 20])
            partial.seek(5 << 20)
            partial.write(image.layers[0][5 << 20:6 << 20])
        self.ok("pull", f"{registry.address}/x:1")
        ranges = [request[2]["Range"] for request in registry.requests(f"GET /v2/x/blobs/{digest(image.layers[0])}")]
        self.assertEqual(1, len(ranges))
        self.assertLessEqual(int(ranges[0][len("bytes="):-1]), 3 << 20)
        self.assertGreater(int(ranges[0][len("bytes="):-1]), 2 << 20)
        self.check_store()

    def test_two_pulls_fetch_each_layer_once(self):
        image = ImageOfLayers([6 << 20, 5 << 20, 4 << 20], seed=3)
        registry = self.serve({"x:1": image, "y:1": image}, rate=5e6)
        pulls = [subprocess.Popen(self.command("pull", f"{registry.address}/{name}:1"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                 for name in ("x", "y", "x")]
        output = [pull.communicate(timeout=60)[0] for pull in pulls]
        self.assertEqual([0, 0, 0], [pull.returncode for pull in pulls], output)
        for layer in image.layers:
            self.assertEqual(1, len(registry.requests(f"/blobs/{digest(layer)}")))
        self.assertRegex("".join(output), "Waiting for another pull")
        self.check_store()

    def test_a_slow_large_layer_comes_over_several_connections(self):
        image = ImageOfLayers([64 << 20], seed=4)
        for ranges in (True, False):
            registry = self.serve({"x:1": image}, rate=12e6, ranges=ranges)
            started = time.monotonic()
            self.ok("pull", f"{registry.address}/x:1")
            elapsed = time.monotonic() - started
            self.assertEqual(ranges, registry.most_at_once > 1)
            print(f"ranges {ranges}: {elapsed:.1f} s, {registry.most_at_once} at once", flush=True)
            self.check_store()
            self.forget(f"{registry.address}/x:1")

    def test_a_registry_that_promises_ranges_and_gives_none(self):
        image = ImageOfLayers([40 << 20], seed=5)

        def fault(handler):
            del handler.headers["Range"]
        registry = self.serve({"x:1": image}, rate=30e6, fault=fault)
        self.ok("pull", f"{registry.address}/x:1")
        self.check_store()


if __name__ == "__main__":
    main()
