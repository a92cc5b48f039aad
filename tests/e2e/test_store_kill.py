#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9 at random moments over load, rmi, prune and build running together; then `system check` finds nothing wrong, and
prune leaves nothing that nobody refers to. $DRAY_KILL_SECONDS (20) and $DRAY_KILL_SEED set how long and which moments."""
import os
import random
import subprocess
import threading
import time

from harness import BASE_IMAGE, DrayTestCase, eventually, main

SECONDS = float(os.environ.get("DRAY_KILL_SECONDS", "20"))
SEED = int(os.environ.get("DRAY_KILL_SEED", "1"))


class KilledTogether(DrayTestCase):
    def test_store_survives(self):
        folders = [self.context({"Dockerfile": f"FROM {BASE_IMAGE}\nCOPY data /data\nRUN head -c 200000 /dev/urandom > /random; rm /data\n"
                                               f"RUN echo {i} > /end\n", "data": os.urandom(500_000)}) for i in range(2)]
        self.ok("build", "-t", "stored", folders[0])
        archive = self.scratch / "stored.tar"
        self.ok("save", "-o", archive, "stored")
        workers = [
            lambda pick: ["load", "-q", "-i", archive],
            lambda pick: pick.choice([["rmi", "-f", "stored"], ["rmi", "-f", "built"], ["tag", "stored", "built"]]),
            lambda pick: pick.choice([["system", "prune", "-f"], ["image", "prune", "-f"], ["builder", "prune", "-f"]]),
            lambda pick: ["build", *pick.choice([[], ["--no-cache"]]), "-t", "built", pick.choice(folders)],
        ]
        ends, kills, failures = time.monotonic() + SECONDS, [0], []
        longest = (0.5, 0.15, 0.3, 1.5)

        def work(number):
            pick = random.Random(SEED * 100 + number)
            while time.monotonic() < ends:
                process = subprocess.Popen(self.command(*workers[number](pick)), stdin=subprocess.DEVNULL,
                                           stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
                try:
                    errors = process.communicate(timeout=pick.random() * longest[number])[1]
                    if b"corrupt" in errors or b"damaged" in errors:
                        failures.append(errors)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.communicate()
                    kills[0] += 1

        threads = [threading.Thread(target=work, args=(number,)) for number in range(len(workers))]
        for thread in threads:
            thread.start()
        checks = 0
        while time.monotonic() < ends:  # beside them: it must not take work in flight for damage
            result = self.dray("system", "check")
            self.assertEqual(0, result.code, repr(result))
            checks += 1
            time.sleep(0.5)
        for thread in threads:
            thread.join()
        print(f"{kills[0]} kills, {checks} checks beside them")
        self.assertEqual([], failures)
        self.assertGreater(kills[0], SECONDS)
        self.ok("system", "check", "-q")
        eventually(lambda: self.dray("system", "prune", "-f").code == 0, 20, "prune finds the store idle")
        after = self.ok("system", "check")
        self.assertIn("nothing is wrong", after)
        self.assertNotIn("Nothing refers to", after)
        for folder in ("tmp", "containers", "content/ingest"):
            self.assertEqual([], list((self.root / folder).glob("*")))
        self.ok("load", "-q", "-i", archive)
        self.assertEqual("0\n", self.run_in("cat /end", image="stored"))


if __name__ == "__main__":
    main()
