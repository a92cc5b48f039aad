# SPDX-License-Identifier: Apache-2.0
"""distribution-spec's conformance program (the runner of 2026), against registries instead of runtimes.

$DRAY_DISTRIBUTION_SPEC (or distribution-spec/ in the cache) is a checkout of github.com/opencontainers/distribution-spec, at 967efdc
or later: its module is not in the Go module proxy. Run as a program, this file starts $RUNTIME as a registry and the suite against it.
"""
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

from suite import CACHE, NotHere, Test, Verdict, need, one_line, step, timed_out

FOLDER = pathlib.Path(os.environ.get("DRAY_DISTRIBUTION_SPEC", CACHE / "distribution-spec"))
PROGRAM = CACHE / "distribution-conformance"
REFERENCES = ("docker-registry",)
TTY = False
ONE_CGROUP_VERSION = False
# Everything but sparse: a manifest whose blobs are not there is refused, which the spec allows.
EVERYTHING = {"OCI_VERSION": "dev", "OCI_API_BLOBS_UPLOAD_CANCEL": "true", "OCI_API_BLOBS_DIGEST_HEADER": "true",
              "OCI_API_MANIFESTS_DIGEST_HEADER": "true", "OCI_API_MANIFESTS_TAG_PARAM": "true"}
MODES = {"1.1": {"OCI_VERSION": "1.1"}, "everything": EVERYTHING}


def prepare():
    need("go")
    if PROGRAM.exists():
        return
    if not (FOLDER / "conformance/go.mod").exists():
        raise NotHere(f"{FOLDER} is no checkout of distribution-spec; see README.md")
    tree = CACHE / "distribution-spec-build"
    shutil.rmtree(tree, ignore_errors=True)
    for name in ("conformance", "specs-go"):
        shutil.copytree(FOLDER / name, tree / name)
    step(["go", "mod", "edit", "-replace", "github.com/opencontainers/distribution-spec/specs-go=../specs-go"], cwd=tree / "conformance")
    step(["go", "build", "-o", PROGRAM, "."], cwd=tree / "conformance")


def environment(runtime):
    return {"RUNTIME": str(runtime.program)}


def tests():
    return [Test(mode, mode, [sys.executable, __file__, mode], timeout=600) for mode in MODES]


def verdict(outcome):
    if outcome.code is None:
        return timed_out(outcome)
    lines = re.findall(r"^ *OCI Conformance Test(?:/(.*))?: (Pass|FAIL|Skip|Error|Disabled)$", outcome.output, re.M)
    by_word = {word: [name or "all" for name, said in lines if said == word] for word in ("Pass", "FAIL", "Skip", "Error", "Disabled")}
    failed = by_word["FAIL"] + by_word["Error"]
    counts = {"passed": len(by_word["Pass"]), "failed": len(failed), "skipped": len(by_word["Skip"])}
    if failed or outcome.code != 0 or not by_word["Pass"]:
        # The first is the sum of all.
        return Verdict("not ok", one_line("; ".join(failed[1:]) or outcome.output[-150:]), counts, failed, by_word["Pass"])
    return Verdict("ok", points=counts)


def serve(program, folder, port):
    if program.name != "docker-registry":
        return [program, "registry", "serve", "--listen", f"127.0.0.1:{port}", "--storage", folder / "storage"]
    (folder / "config.yml").write_text(f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}/storage}}, delete: {{enabled: true}}}}\n"
                                       f"http: {{addr: '127.0.0.1:{port}'}}\n")
    return [program, "serve", folder / "config.yml"]


def main():
    folder = pathlib.Path(os.environ["TMPDIR"])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with open(folder / "log", "w") as log:
        registry = subprocess.Popen(serve(pathlib.Path(os.environ["RUNTIME"]), folder, port), stdout=log, stderr=log)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        return subprocess.run([PROGRAM], cwd=folder, env={**os.environ, "OCI_REGISTRY": f"127.0.0.1:{port}", "OCI_TLS": "disabled",
                                                          "OCI_REPO1": "c/one", "OCI_REPO2": "c/two", **MODES[sys.argv[1]]}).returncode
    finally:
        registry.send_signal(signal.SIGTERM)
        registry.wait()


if __name__ == "__main__":
    sys.exit(main())
