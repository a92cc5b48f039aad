#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""dray build --check and --call, warnings and progress of builds, dray bake: with images that start from nothing."""
import base64
import json
import re

from harness import DrayTestCase, Terminal, main

WARNS = "FROM scratch as base\nCOPY a /\n"


class Checks(DrayTestCase):
    needs_base = False

    def test_check(self):
        folder = self.context({"Dockerfile": WARNS, "a": "1"})
        result = self.dray("build", "--check", folder)
        self.assertEqual(1, result.code)
        self.assertEqual("""Check complete, 1 warning has been found!

WARNING: FromAsCasing - https://docs.docker.com/go/dockerfile/rule/from-as-casing/
'as' and 'FROM' keywords' casing do not match
Dockerfile:1
--------------------
   1 | >>> FROM scratch as base
   2 |     COPY a /
   3 |     
--------------------
""", result.out)
        self.assertEqual("", self.ok("images", "-q"))
        good = self.context({"Dockerfile": "FROM scratch\nCOPY a /\n"})
        self.assertEqual("Check complete, no warnings found.\n", self.ok("build", "--check", good))
        found = json.loads(self.dray("build", "--call=check,format=json", folder).out)
        self.assertEqual(["FromAsCasing"], [warning["ruleName"] for warning in found["warnings"]])
        bad = self.context({"Dockerfile": "FROM scratch\nCOPI a /\n"})
        self.fails(1, "unknown instruction: COPI(.|\n)*>>> COPI", "build", "--check", bad)

    def test_stages_that_are_not_needed_are_only_checked(self):
        folder = self.context({"Dockerfile": "FROM scratch AS one\nWORKDIR x\nFROM scratch\nCOPY a /\n", "a": "1"})
        self.assertNotIn("WARN", self.dray("build", "--progress=plain", folder).err)
        self.assertIn("WorkdirRelativePath", self.dray("build", "--check", folder).out)

    def test_warnings_of_a_build(self):
        folder = self.context({"Dockerfile": WARNS, "a": "1"})
        short = "FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)"
        result = self.dray("build", "--progress=plain", folder)
        self.assertEqual(0, result.code, result)
        self.assertIn(f"#1 WARN: {short}\n", result.err)
        self.assertTrue(result.err.endswith(f"\n 1 warning found (use --debug to expand):\n - {short}\n"), result.err)
        self.assertIn("More info: https://docs.docker.com/", self.dray("build", "--debug", folder).err)
        self.assertNotIn("WARN", self.dray("build", "--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=all", folder).err)
        self.fails(1, "lint violation found for rules: FromAsCasing", "build", "--build-arg",
                   "BUILDKIT_DOCKERFILE_CHECK=error=true", folder)

    def test_the_cache_counts_how_often_it_is_used(self):
        folder = self.context({"Dockerfile": "FROM scratch\nCOPY a /counted\n", "a": "once"})
        for _ in range(3):
            self.ok("build", "-q", folder)
        self.assertEqual("3\n", self.ok("builder", "du", "--format", "{{.UsageCount}}", "--filter", "description~=counted$"))
        self.assertRegex(self.ok("builder", "du", "--verbose", "--filter", "description~=counted$"), "Usage count: +3\nLast used: +\\S")
        self.fails(1, "has no parents", "builder", "prune", "-f", "--filter", "parents=x")

    def test_an_error_shows_its_lines(self):
        folder = self.context({"Dockerfile": "FROM scratch\nCOPY nothing /\n"})
        self.fails(1, "(?s)Dockerfile:2\n-+\n   1 \\|     FROM scratch\n   2 \\| >>> COPY nothing /\n", "build", folder)

    def test_targets_and_outline(self):
        folder = self.context({"Dockerfile": """# VERSION says which
ARG VERSION=1
# base has the tools
FROM scratch AS base
# last is what is shipped
FROM base AS last
ARG VERSION
ARG OTHER=x
COPY a /
""", "a": "1"})
        self.assertEqual("TARGET         DESCRIPTION\nbase           has the tools\nlast (default) is what is shipped\n",
                         self.ok("build", "--call=targets", folder))
        self.assertEqual("TARGET:      last\nDESCRIPTION: is what is shipped\n\n"
                         "BUILD ARG   VALUE   DESCRIPTION\nVERSION     1       says which\nOTHER       x       \n\n",
                         self.ok("build", "--call=outline", folder))
        targets = json.loads(self.ok("build", "--call=targets,format=json", folder))["targets"]
        self.assertEqual([("base", None), ("last", True)], [(t["name"], t.get("default")) for t in targets])

    def test_rawjson_and_files(self):
        folder = self.context({"Dockerfile": WARNS, "a": "1"})
        result = self.dray("build", "-t", "raw:1", "--progress=rawjson", "--metadata-file", folder / "meta", "--iidfile",
                           folder / "id", folder)
        self.assertEqual(0, result.code, result)
        objects = [json.loads(line) for line in result.err.splitlines()]
        names = {v["name"] for o in objects for v in o.get("vertexes", [])}
        self.assertIn("[internal] load build definition from Dockerfile", names)
        shorts = [base64.b64decode(w["short"]) for o in objects for w in o.get("warnings", [])]
        self.assertTrue(shorts[0].startswith(b"FromAsCasing:"), shorts)
        meta = json.loads((folder / "meta").read_text())
        self.assertEqual((folder / "id").read_text(), meta["containerimage.config.digest"])
        self.assertEqual("docker.io/library/raw:1", meta["image.name"])
        self.ok("rmi", "raw:1")

    def test_terminal_view(self):
        folder = self.context({"Dockerfile": WARNS, "a": "1"})
        terminal = Terminal(self.command("build", folder))
        terminal.expect(r"\[\+\] Building [0-9.]+s \(\d+/\d+\) FINISHED")
        terminal.expect("COPY a /")
        terminal.expect("1 warning found")
        self.assertEqual(0, terminal.wait())

    def test_check_looks_at_build_contexts(self):
        self.build("FROM scratch\nENV KNOWN=1\nCOPY Dockerfile /\n", tag="low:1")
        folder = self.context({"Dockerfile": "FROM base\nLABEL a=$KNOWN b=$UNKNOWN\n"})
        flags = ("--build-context", "base=docker-image://low:1")
        self.assertRegex(self.fails(1, "(?s).*", "build", "--check", *flags, folder).out, r"1 warning(.|\n)*'\$UNKNOWN'")
        self.ok("build", "--call=outline", *flags, folder)
        self.ok("rmi", "low:1")

    def test_refused(self):
        folder = self.context({"Dockerfile": WARNS})
        self.fails(1, "unknown --call", "build", "--call=dance", folder)
        self.fails(1, "invalid progress mode", "build", "--progress=loud", folder)
        self.fails(1, "needs a terminal", "build", "--progress=tty", folder)


class Bake(DrayTestCase):
    needs_base = False

    def test_targets_side_by_side(self):
        folder = self.context({
            "docker-bake.json": json.dumps({
                "variable": {"TAG": {"default": "1"}},
                "group": {"default": {"targets": ["one", "two"]}},
                "target": {"one": {"tags": ["one:${TAG}"], "args": {"N": "1"}},
                           "two": {"inherits": ["one"], "tags": ["two:${TAG}"], "args": {"N": "2"}}}}),
            "Dockerfile": "FROM scratch\nARG N\nLABEL n=$N\nCOPY Dockerfile /\n"})
        result = self.dray("bake", "--progress=plain", "--metadata-file", "meta", cwd=folder, env={"TAG": "7"})
        self.assertEqual(0, result.code, result)
        self.assertIn("[one internal] load build definition from Dockerfile", result.err)
        self.assertEqual("1", self.inspect("one:7", "Config.Labels.n"))
        self.assertEqual("2", self.inspect("two:7", "Config.Labels.n"))
        self.assertEqual({"one", "two"}, set(json.loads((folder / "meta").read_text())))
        self.ok("rmi", "one:7", "two:7")

    def test_hcl(self):
        folder = self.context({
            "docker-bake.hcl": """
variable "TAG" {
  default = "1"
}
function "label" {
  params = [n]
  result = "n${n * 2}"
}
group "default" {
  targets = ["app"]
}
target "app" {
  name = "app-${n}"
  matrix = { n = [1, 2] }
  tags = ["app-${n}:${TAG}"]
  args = { N = label(n) }
  contexts = { low = "target:low" }
}
target "low" {
  dockerfile-inline = <<-EOT
    FROM scratch
    COPY Dockerfile /low
    EOT
}
""",
            "docker-bake.override.hcl": 'target "app-2" {\n  args = { N = "over" }\n}\n',
            "Dockerfile": "FROM scratch\nARG N\nLABEL n=$N\nCOPY --from=low /low /\n"})
        result = self.dray("bake", "--progress=plain", cwd=folder, env={"TAG": "7"})
        self.assertEqual(0, result.code, result)
        self.assertEqual("n2", self.inspect("app-1:7", "Config.Labels.n"))
        self.assertEqual("over", self.inspect("app-2:7", "Config.Labels.n"))
        (folder / "printed.json").write_text(self.ok("bake", "--print", cwd=folder))
        self.assertEqual((folder / "printed.json").read_text(), self.ok("bake", "--print", "--file", "printed.json", cwd=folder))
        self.ok("rmi", "app-1:7", "app-2:7")
        (folder / "docker-bake.override.hcl").write_text('target "x" {\n  tags = [uper("a")]\n}\n')
        self.fails(1, "docker-bake.override.hcl:2: there is no function \"uper\"\n.*upper(.|\n)*2 . >>>   tags", "bake", cwd=folder)

    def test_call(self):
        folder = self.context({
            "my.hcl": """
target "default" {
  description = "The application"
  contexts = { base = "target:low" }
  dockerfile-inline = "FROM base\\nMAINTAINER me\\n"
  tags = ["app:1"]
}
target "low" {
  dockerfile-inline = "# LOW is low\\nARG LOW=1\\nFROM scratch AS x\\nARG LOW\\nCOPY my.hcl /\\n"
}
target "asks" {
  inherits = ["low"]
  call = "outline"
}
"""})
        env = {"BUILDX_BAKE_FILE": "my.hcl"}
        more = ("--set", "low.tags=low:1", "--set", "low.cache-to=type=local,dest=cache", "--set", "low.output=out")
        checked = self.fails(1, "(?s).*", "bake", "--check", *more, cwd=folder, env=env)
        self.assertRegex(checked.out, r"^default\nThe application\n\nCheck complete, 1 warning has been found!\n\nWARNING: MaintainerDeprecated(.|\n)*"
                         r"\n\nlow\n\nCheck complete, no warnings found\.\n$")
        answers = json.loads(self.fails(1, "(?s).*", "bake", "--call=check,format=json", cwd=folder, env=env).out)["target"]
        self.assertEqual("MaintainerDeprecated", answers["default"]["check"]["warnings"][0]["ruleName"])
        self.assertEqual(["app:1"], answers["default"]["build"]["tags"])
        outline = self.ok("bake", "asks", cwd=folder, env=env)
        self.assertRegex(outline, r"^asks\n\nTARGET: +x\n\nBUILD ARG +VALUE +DESCRIPTION\nLOW +1")
        self.assertEqual("", self.ok("images", "-aq"))
        self.assertEqual(["my.hcl"], [path.name for path in folder.iterdir()])
        # What is pushed is what was asked for, and has its own name only; nothing temporary stays, whatever fails.
        self.fails(1, "(?s)target default: .*pushing app:1", "bake", "--push", *more[:2], cwd=folder, env=env)
        self.assertEqual("app:1\n", self.ok("images", "--format", "{{.Repository}}:{{.Tag}}"))
        self.ok("rmi", "app:1")
        self.ok("bake", "default", "low", *more, cwd=folder, env=env)
        self.assertEqual("app:1\n", self.ok("images", "--format", "{{.Repository}}:{{.Tag}}"))
        self.assertTrue((folder / "out/my.hcl").exists())
        self.assertIn("low", self.ok("bake", "--list=targets", cwd=folder, env=env))
        self.fails(1, "unknown --call", "bake", "--call=dance", cwd=folder, env=env)
        self.fails(1, "other.hcl.*no such file", "bake", "--list=targets", cwd=folder, env={"BUILDX_BAKE_FILE": "other.hcl"})
        self.ok("system", "prune", "-af")

    def test_compose_print_and_errors(self):
        folder = self.context({"compose.yaml": "services:\n  web:\n    build: .\n    image: web:1\n",
                               "Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
        printed = json.loads(self.ok("bake", "--print", "--set", "web.args.A=1", cwd=folder))
        self.assertEqual({"tags": ["web:1"], "context": ".", "args": {"A": "1"}, "dockerfile": "Dockerfile"},
                         printed["target"]["web"])
        self.fails(1, "no target or group", "bake", "nothing", cwd=folder)
        self.ok("bake", cwd=folder)
        self.ok("rmi", "web:1")

    def test_a_bake_file_does_not_grant_itself_rights(self):
        folder = self.context({
            "in/docker-bake.json": json.dumps({"target": {"default": {
                "context": "ctx", "output": ["type=local,dest=../out"], "network": "host",
                "secret": ["id=s,src=../secret"]}}}),
            "in/ctx/Dockerfile": "FROM scratch\nCOPY Dockerfile /\n", "secret": "x"})
        here, out = folder / "in", folder / "out"
        real = folder.resolve()
        flags = ["--allow", f"fs.read={real}/secret", "--allow", f"fs.write={real}/out", "--allow", "network.host"]
        self.fails(1, re.escape("add " + " ".join(flags)), "bake", cwd=here)
        self.fails(1, "network.host", "bake", *flags[:4], cwd=here)
        self.fails(1, "invalid --allow \"fs\"", "bake", "--allow", "fs", cwd=here)
        self.assertFalse(out.exists())
        self.ok("bake", *flags, cwd=here)
        self.assertEqual(["Dockerfile"], [path.name for path in out.iterdir()])
        self.ok("bake", "--set", "*.network=default", "--set", "*.secret=id=s,src=../secret", "--set", "*.output=../out2", cwd=here)
        self.assertTrue((folder / "out2" / "Dockerfile").exists())
        result = self.dray("bake", "--set", "*.network=none", cwd=here, env={"BUILDX_BAKE_ENTITLEMENTS_FS": "0"})
        self.assertEqual(0, result.code, result)


if __name__ == "__main__":
    main()
