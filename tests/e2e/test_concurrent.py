#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The same thing by several processes at once: the same pull, build, name, load, removal."""
import subprocess

from harness import BASE_IMAGE, DrayTestCase, Registry, Result, base_archive, main, require


class AtOnce(DrayTestCase):
    def at_once(self, *commands, timeout=120):
        """Starts all, waits for all. Returns their results."""
        processes = [subprocess.Popen(self.command(*command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                     for command in commands]
        results = []
        for process in processes:
            out, err = process.communicate(timeout=timeout)
            results.append(Result(subprocess.CompletedProcess(process.args, process.returncode, out, err)))
        return results

    def all_ok(self, *commands):
        results = self.at_once(*commands)
        for result in results:
            self.assertEqual(0, result.code, result)
        return results

    def left_over(self):
        """What is in the work folders once all is done."""
        folders = (self.root / "content" / "ingest", self.root / "tmp")
        return [str(path) for folder in folders if folder.exists() for path in folder.iterdir()]

    def test_pulls_of_one_image(self):
        require("docker-registry")
        registry = Registry(self.scratch)
        self.addCleanup(registry.stop)
        self.build(f"FROM {BASE_IMAGE}\nRUN echo pulled > /file\nRUN head -c 5m /dev/urandom > /noise\n", tag=f"{registry.address}/app:1")
        name = f"{registry.address}/app:1"
        identifier = self.inspect(name, "Id")
        self.ok("push", name)
        for count in (2, 6):
            self.ok("rmi", name)
            self.ok("system", "prune", "-a", "-f")
            self.all_ok(*[("pull", name)] * count)
            self.assertEqual(identifier, self.inspect(name, "Id"))
            self.assertEqual([], self.left_over())
            self.assertEqual("pulled\n", self.run_in("cat /file", image=name))
        # Each `run` pulls what is missing.
        self.ok("rmi", name)
        self.ok("system", "prune", "-a", "-f")
        results = self.all_ok(*[("run", "--rm", "--network", "none", name, "cat", "/file")] * 3)
        self.assertEqual(["pulled\n"] * 3, [result.out for result in results])
        self.ok("rmi", name)
        self.ok("load", "-q", "-i", base_archive())

    def test_builds_of_one_dockerfile(self):
        folder = self.context({"Dockerfile": f"FROM {BASE_IMAGE} AS one\nRUN echo one > /one; head -c 3m /dev/urandom > /noise\nFROM {BASE_IMAGE}\nCOPY --from=one /one /one\n"
                               "COPY file /file\nRUN cat /one /file > /both\n", "file": "content\n"})
        for round_ in range(3):
            self.all_ok(*[("build", *(["--no-cache"] if round_ else []), "-t", f"same:{number % 2}", folder) for number in range(4)])
            for tag in (0, 1):
                self.assertEqual("one\ncontent\n", self.run_in("cat /both", image=f"same:{tag}"))
            self.assertEqual([], self.left_over())
        # Once all is cached, all give the same image.
        self.all_ok(*[("build", "-t", f"same:{number}", folder) for number in range(4)])
        self.assertEqual(1, len({self.inspect(f"same:{number}", "Id") for number in range(4)}))
        self.ok("rmi", *[f"same:{number}" for number in range(4)])

    def test_one_name(self):
        for _ in range(3):
            results = self.at_once(*[("run", "-d", "--name", "one", "--network", "none", BASE_IMAGE, "sleep", "100")] * 6)
            self.assertEqual([0] + [125] * 5, sorted(result.code for result in results), results)
            for result in results:
                if result.code:
                    self.assertIn('The container name "/one" is already in use by container', result.err)
            self.assertEqual(1, len(self.ok("ps", "-aq").split()))
            self.assertEqual("ok\n", self.ok("exec", "one", "echo", "ok"))
            self.ok("rm", "-f", "one")
            self.assertEqual([], list((self.root / "containers").iterdir()), "the refused ones left a folder")

    def test_loads_of_one_archive(self):
        self.ok("rmi", BASE_IMAGE)
        self.ok("system", "prune", "-a", "-f")
        self.all_ok(*[("load", "-q", "-i", base_archive())] * 3)
        self.assertEqual("ok\n", self.run_in("echo ok"))
        self.assertEqual([], self.left_over())

    def test_removals(self):
        self.ok("run", "-d", "--name", "gone", "--network", "none", BASE_IMAGE, "sleep", "100")
        results = self.at_once(*[("rm", "-f", "gone")] * 4)
        # As in docker: whoever comes late is told that there is none, or that it is being removed; `rm -f` of none is no error.
        self.assertIn(0, [result.code for result in results], results)
        self.assertEqual("", self.ok("ps", "-aq"))
        self.build(f"FROM {BASE_IMAGE}\nRUN echo x > /x\n", tag="gone:1")
        results = self.at_once(*[("rmi", "gone:1")] * 4)
        self.assertIn(0, [result.code for result in results], results)
        self.assertEqual("ok\n", self.run_in("echo ok"))

    def test_prune_beside_builds_and_runs(self):
        folder = self.context({"Dockerfile": f"FROM {BASE_IMAGE}\nRUN echo kept > /kept\n"})
        for _ in range(3):
            results = self.at_once(("build", "--no-cache", "-t", "beside", folder), ("system", "prune", "-f"), ("run", "--rm", "--network", "none", BASE_IMAGE, "echo", "ran"),
                                   ("system", "prune", "-f"))
            for result in (results[0], results[2]):
                self.assertEqual(0, result.code, result)
            self.assertEqual("kept\n", self.run_in("cat /kept", image="beside"))
        self.ok("rmi", "beside")


if __name__ == "__main__":
    main()
