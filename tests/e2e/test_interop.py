#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Images between Dray and docker, podman, buildah, skopeo: through a registry and through archives, both manifest formats."""
import hashlib
import json
import subprocess

from harness import BASE_IMAGE, DrayTestCase, Registry, eventually, main, require
from peers import Buildah, Docker, Podman, processes_of

OCI = "application/vnd.oci.image.manifest.v1+json"
SCHEMA2 = "application/vnd.docker.distribution.manifest.v2+json"

# The same context for everyone's builder. Layers with each kind of entry, one that deletes, one that makes a directory opaque.
DOCKERFILE = """FROM {base}
LABEL plain=yes words="two words"
ENV GREETING="hello from the image"
COPY prepare report /opt/
RUN sh /opt/prepare one
RUN sh /opt/prepare two
EXPOSE 8080/tcp
STOPSIGNAL SIGQUIT
WORKDIR /data/work
USER 1000:1001
ENTRYPOINT ["/bin/sh", "/opt/report"]
CMD ["default", "two words"]
"""
PREPARE = """set -e
umask 022
case $1 in
one)
  mkdir -p /data/work /data/deleted/deep /data/replaced
  cd /data
  echo private > secret; chown 33:34 secret; chmod 640 secret
  echo linked > file; ln file hardlink; ln -s ../data/file symlink; ln -s /nowhere dangling
  cp /usr/bin/id setuid-id; chmod 4755 setuid-id
  mkdir sticky; chmod 3777 sticky; chown 5:6 sticky
  mkfifo pipe; chmod 600 pipe; chown 1000:1001 pipe
  : > "$(printf 'n\\303\\244me with space')"
  echo > deleted/deep/file; echo > gone; echo > replaced/old
  chown -h 7:8 symlink
  cp /bin/true capable
  # cap_net_raw=ep, in the form that the kernel stores; minbase has no setcap.
  perl -e '($f, $n, $v) = ("capable", "security.capability", pack("VVVVV", 0x02000001, 0x2000, 0, 0, 0)); syscall(188, $f, $n, $v, 20, 0) == 0 or die $!'
  ;;
two)
  cd /data
  rm -r gone deleted replaced
  mkdir replaced; echo > replaced/new
  ;;
esac
"""
REPORT = """echo "arguments: $# $*"
echo "greeting: $GREETING"
echo "runs as $(id -u):$(id -g) in $(pwd)"
cd /data
stat -c '%n %A %u:%g' secret file hardlink symlink dangling setuid-id sticky pipe work n*space
echo "symlink to $(readlink symlink), reads $(cat symlink), dangling to $(readlink dangling)"
[ file -ef hardlink ] && echo "hard link with $(stat -c %h file) names"
echo "setuid gives $(./setuid-id -u)"
echo "capability $(perl -e '($f, $n, $v) = ("capable", "security.capability", " " x 20); syscall(191, $f, $n, $v, 20) == 20 or die $!; print unpack("H*", $v)')"
echo "left:" * replaced/*
exit 7
"""
REPORTED = """greeting: hello from the image
runs as 1000:1001 in /data/work
secret -rw-r----- 33:34
file -rw-r--r-- 0:0
hardlink -rw-r--r-- 0:0
symlink lrwxrwxrwx 7:8
dangling lrwxrwxrwx 0:0
setuid-id -rwsr-xr-x 0:0
sticky drwxrwsrwt 5:6
pipe prw------- 1000:1001
work drwxr-xr-x 0:0
näme with space -rw-r--r-- 0:0
symlink to ../data/file, reads linked, dangling to /nowhere
hard link with 2 names
setuid gives 0
capability 0100000200200000000000000000000000000000
left: capable dangling file hardlink näme with space pipe replaced secret setuid-id sticky symlink work replaced/new
"""


def config_of(document):
    """What must arrive of a config, from the `inspect` of any engine. Labels and variables that a builder adds are its own."""
    config = document["Config"]
    return {"env": [entry for entry in config["Env"] if entry.startswith("GREETING=")], "cmd": config["Cmd"], "entrypoint": config["Entrypoint"],
            "user": config["User"], "folder": config["WorkingDir"], "stop": config["StopSignal"], "ports": list(config["ExposedPorts"]),
            "labels": {name: value for name, value in config["Labels"].items() if name in ("plain", "words")},
            "system": (document["Os"], document["Architecture"])}


class Interop(DrayTestCase):
    @classmethod
    def setUpClass(cls):
        require("docker-registry", "skopeo")
        super().setUpClass()
        # Class clean-ups, unlike tearDownClass, also run when this function fails half-way; the folder goes last.
        cls.addClassCleanup(super().tearDownClass)
        cls.registry = Registry(cls.scratch)
        cls.addClassCleanup(cls.registry.stop)
        cls.peers = {}
        for kind in (Podman, Buildah, Docker):
            cls.peers[kind] = kind(cls.scratch / kind.__name__.lower())
            cls.addClassCleanup(cls.peers[kind].stop)
        folder = cls.context(cls, {"Dockerfile": DOCKERFILE.format(base=BASE_IMAGE), "prepare": PREPARE, "report": REPORT})
        cls.ours, cls.base = f"{cls.registry.address}/ours:1", f"{cls.registry.address}/base:1"
        for command in (("build", "-q", "-t", cls.ours, folder), ("tag", BASE_IMAGE, cls.base), ("push", cls.ours), ("push", cls.base)):
            done = cls.dray(*command)
            if done.code != 0:
                raise AssertionError(f"dray {' '.join(map(str, command))}: {done}")

    @classmethod
    def tearDownClass(cls):
        pass

    def setUp(self):
        super().setUp()
        self.daemons = processes_of(self.scratch)
        self.addCleanup(self.settle)

    def settle(self):
        """Before the leak check: nothing of a peer runs but the daemon, whose mounts are its own."""
        eventually(lambda: processes_of(self.scratch).keys() <= self.daemons.keys(), 10, "the peers' processes end")
        for peer in self.peers.values():
            peer.settle()

    def peer(self, kind):
        peer = self.peers[kind]
        if peer.missing:
            self.skipTest(peer.missing)
        return peer

    def skopeo(self, *arguments):
        return subprocess.run(["skopeo", *map(str, arguments)], check=True, capture_output=True, text=True).stdout

    def raw_manifest(self, name):
        return self.skopeo("inspect", "--tls-verify=false", "--raw", f"docker://{name}")

    def check_run(self, code, out, arguments="arguments: 2 default two words\n"):
        self.assertEqual(arguments + REPORTED, out)
        self.assertEqual(7, code)

    def runs_in_dray(self, name):
        result = self.dray("run", "--rm", "--network", "none", name)
        self.check_run(result.code, result.out)
        result = self.dray("run", "--rm", "--network", "none", name, "other")
        self.check_run(result.code, result.out, "arguments: 1 other\n")

    def runs_in(self, peer, name):
        done = peer.call(*peer.run_flags(), name)
        self.check_run(done.returncode, done.stdout + ("" if done.returncode == 7 else done.stderr))

    def peer_inspect(self, peer, name):
        return json.loads(peer.ok("image", "inspect", name))[0]

    def same_image(self, mine, theirs):
        """The image is the same, to the ID and to each layer."""
        self.assertEqual(config_of(mine), config_of(theirs))
        self.assertEqual(mine["RootFS"]["Layers"], theirs["RootFS"]["Layers"])
        self.assertEqual(mine["Id"].removeprefix("sha256:"), theirs["Id"].removeprefix("sha256:"))

    def taken_by(self, peer, name):
        """A peer pulls the name, has the same image, runs it."""
        tls = [] if isinstance(peer, Docker) else ["--tls-verify=false"]
        peer.ok("pull", "-q", *tls, name)
        self.same_image(self.inspect(name), self.peer_inspect(peer, name))
        self.runs_in(peer, name)
        peer.ok("rmi", name)

    def taken_by_dray(self, name, media_type, config):
        """Dray pulls what a peer pushed, runs it, and pushes it to another name byte for byte."""
        raw = self.raw_manifest(name)
        manifest = json.loads(raw)
        self.assertEqual(media_type, manifest["mediaType"])
        pulled = self.ok("pull", name)
        self.assertIn("Digest: sha256:" + hashlib.sha256(raw.encode()).hexdigest(), pulled)
        document = self.inspect(name)
        self.assertEqual(manifest["config"]["digest"], document["Id"])
        self.assertEqual(config, config_of(document))
        self.assertEqual(len(manifest["layers"]), len(document["RootFS"]["Layers"]))
        self.runs_in_dray(name)
        self.ok("tag", name, name + "-back")
        self.ok("push", name + "-back")
        self.assertEqual(raw, self.raw_manifest(name + "-back"))

    def peer_context(self):
        return self.context({"Dockerfile": DOCKERFILE.format(base=self.base), "prepare": PREPARE, "report": REPORT})

    def wanted(self):
        return config_of(self.inspect(self.ours))

    # Through a registry.

    def test_ours_in_the_registry(self):
        self.runs_in_dray(self.ours)
        raw = self.raw_manifest(self.ours)
        manifest = json.loads(raw)
        self.assertEqual(OCI, manifest["mediaType"])
        self.assertEqual(OCI.replace("manifest", "config"), manifest["config"]["mediaType"])
        document = json.loads(self.skopeo("inspect", "--tls-verify=false", f"docker://{self.ours}"))
        self.assertEqual("sha256:" + hashlib.sha256(raw.encode()).hexdigest(), document["Digest"])
        self.assertEqual(len(self.inspect(self.ours)["RootFS"]["Layers"]), len(document["Layers"]))
        config = json.loads(self.skopeo("inspect", "--tls-verify=false", "--config", f"docker://{self.ours}"))
        filled = [entry for entry in config["history"] if not entry.get("empty_layer")]
        self.assertEqual(len(filled), len(config["rootfs"]["diff_ids"]))

    def test_podman_takes_ours(self):
        self.taken_by(self.peer(Podman), self.ours)

    def test_docker_takes_ours(self):
        self.taken_by(self.peer(Docker), self.ours)

    def buildah_pushes(self, form, media_type):
        buildah = self.peer(Buildah)
        name = f"{self.registry.address}/buildah:{form}"
        buildah.ok("bud", "-q", "--tls-verify=false", "--format", "docker" if form == "v2s2" else form, "--layers", "-t", name, self.peer_context())
        buildah.ok("push", "-q", "--tls-verify=false", "--format", form, name)
        self.taken_by_dray(name, media_type, self.wanted())
        for kind in (Podman, Docker):
            if not self.peers[kind].missing:
                self.taken_by(self.peers[kind], name + "-back")

    def test_buildah_pushes_oci(self):
        self.buildah_pushes("oci", OCI)

    def test_buildah_pushes_schema2(self):
        self.buildah_pushes("v2s2", SCHEMA2)

    def docker_builds(self, docker, name):
        docker.ok("build", "-q", "--network", "none", "-t", name, self.peer_context())

    def test_docker_pushes_schema2(self):
        docker = self.peer(Docker)
        name = f"{self.registry.address}/docker:1"
        self.docker_builds(docker, name)
        docker.ok("push", name)
        self.taken_by_dray(name, SCHEMA2, self.wanted())
        self.same_image(self.inspect(name), self.peer_inspect(docker, name))
        for kind in (Podman, Docker):
            if not self.peers[kind].missing:
                self.taken_by(self.peers[kind], name + "-back")

    # Through archives.

    def saved(self):
        archive = self.scratch / "ours.tar"
        if not archive.exists():
            self.ok("save", "-o", archive, self.ours)
        return archive

    def test_skopeo_reads_our_archive(self):
        document = self.inspect(self.ours)
        for transport in ("docker-archive", "oci-archive"):
            raw = json.loads(self.skopeo("inspect", "--raw", f"{transport}:{self.saved()}"))
            self.assertEqual(len(document["RootFS"]["Layers"]), len(raw["layers"]))
            config = json.loads(self.skopeo("inspect", "--config", f"{transport}:{self.saved()}"))
            self.assertEqual(document["RootFS"]["Layers"], config["rootfs"]["diff_ids"])
            self.assertEqual("1000:1001", config["config"]["User"])

    def loaded_by(self, peer):
        self.assertIn(self.ours, peer.ok("load", "-i", self.saved()))
        self.same_image(self.inspect(self.ours), self.peer_inspect(peer, self.ours))
        self.runs_in(peer, self.ours)
        peer.ok("rmi", self.ours)

    def test_podman_loads_our_archive(self):
        self.loaded_by(self.peer(Podman))

    def test_docker_loads_our_archive(self):
        self.loaded_by(self.peer(Docker))

    def dray_loads(self, archive, name, theirs):
        out = self.ok("load", "-q", "-i", archive)
        self.assertEqual(f"Loaded image: {name}\n", out)
        self.same_image(theirs, self.inspect(name))
        self.runs_in_dray(name)
        self.ok("rmi", name)

    def test_dray_loads_docker_s_archive(self):
        docker = self.peer(Docker)
        name = "saved-by-docker:1"
        self.docker_builds(docker, name)
        archive = self.scratch / "docker.tar"
        docker.ok("save", "-o", archive, name)
        self.dray_loads(archive, name, self.peer_inspect(docker, name))

    def test_dray_loads_podman_s_archives(self):
        podman = self.peer(Podman)
        name = f"{self.registry.address}/podman:1"
        podman.ok("build", "-q", "--tls-verify=false", "-t", name, self.peer_context())
        for form in ("docker-archive", "oci-archive"):
            archive = self.scratch / f"podman-{form}.tar"
            podman.ok("save", "--format", form, "-o", archive, name)
            config = json.loads(self.skopeo("inspect", "--config", f"{form}:{archive}"))
            self.assertEqual(f"Loaded image: {name}\n", self.ok("load", "-q", "-i", archive))
            document = self.inspect(name)
            self.assertEqual(self.wanted(), config_of(document))
            self.assertEqual(config["rootfs"]["diff_ids"], document["RootFS"]["Layers"])
            self.runs_in_dray(name)
            self.ok("rmi", name)


if __name__ == "__main__":
    main()
