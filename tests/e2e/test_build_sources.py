#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sources by http and git, remote and named build contexts: a real http server and git daemon on loopback."""
import hashlib
import http.server
import io
import json
import os
import subprocess
import tarfile
import threading
import time

from harness import DrayTestCase, eventually, free_port, main, require


class Site(http.server.ThreadingHTTPServer):
    """Serves what `pages` says, and remembers what it was asked."""

    def __init__(self):
        self.pages, self.requests = {}, []
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.base = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append((self.path, dict(self.headers)))
        page = self.server.pages.get(self.path.split("?")[0])
        if page is None:
            return self.send_error(404)
        if isinstance(page, str):
            self.send_response(302)
            self.send_header("Location", page)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        tag = '"' + hashlib.sha256(page).hexdigest() + '"'
        self.send_response(304 if self.headers.get("If-None-Match") == tag else 200)
        self.send_header("ETag", tag)
        if "undated" not in self.path:
            self.send_header("Last-Modified", "Thu, 01 Jan 1970 00:16:40 GMT")
        self.send_header("Content-Disposition", "attachment; filename=../../evil")
        if self.headers.get("If-None-Match") == tag:
            return self.end_headers()
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_):
        pass


def tar_bytes(files, mode="w:gz"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 2000
            archive.addfile(info, io.BytesIO(content.encode()))
    return buffer.getvalue()


class Sources(DrayTestCase):
    needs_base = False

    @classmethod
    def setUpClass(cls):
        require("git")
        super().setUpClass()
        cls.site = Site()

    @classmethod
    def tearDownClass(cls):
        cls.site.shutdown()
        cls.site.server_close()
        super().tearDownClass()

    def files(self, image="test"):
        """The image's files: name -> (tar member, content)."""
        path = self.scratch / "image.tar"
        self.ok("save", "-o", path, image)
        found = {}
        with tarfile.open(path) as outer:
            for layer in json.load(outer.extractfile("manifest.json"))[0]["Layers"]:
                with tarfile.open(fileobj=io.BytesIO(outer.extractfile(layer).read())) as inner:
                    for member in inner:
                        data = inner.extractfile(member).read().decode(errors="replace") if member.isfile() else None
                        found[member.name.strip("/")] = (member, data)
        return found

    def make(self, dockerfile, *arguments, files=None):
        return self.dray("build", "-t", "test", *arguments, self.context({"Dockerfile": dockerfile, **(files or {})}))

    def good(self, *arguments, **named):
        result = self.make(*arguments, **named)
        self.assertEqual(0, result.code, result.err)
        return result.err

    def bad(self, *arguments, **named):
        result = self.make(*arguments, **named)
        self.assertNotEqual(0, result.code)
        return result.err


class Http(Sources):
    def test_file(self):
        self.site.pages["/dir/file.txt"] = b"hello"
        text = f"FROM scratch\nADD {self.site.base}/dir/file.txt?x=1 /here/\n"
        self.good(text)
        member, content = self.files()["here/file.txt"]
        self.assertEqual(("hello", 0o600, 1000, 0), (content, member.mode, member.mtime, member.uid))
        self.assertNotIn("evil", " ".join(self.files()))
        before = self.inspect("test", "Id")
        self.site.requests.clear()
        self.good(text)
        self.assertEqual(before, self.inspect("test", "Id"))
        self.assertIn("If-None-Match", self.site.requests[0][1])
        self.site.pages["/dir/file.txt"] = b"changed"
        self.good(text)
        self.assertEqual("changed", self.files()["here/file.txt"][1])

    def test_checksum(self):
        self.site.pages["/c"] = b"pinned"
        good = "sha256:" + hashlib.sha256(b"pinned").hexdigest()
        self.good(f"FROM scratch\nADD --checksum={good} {self.site.base}/c /c\n")
        self.site.requests.clear()
        self.good(f"FROM scratch\nADD --checksum={good} {self.site.base}/c /c\n")
        self.assertEqual([], self.site.requests)
        self.assertIn("digest mismatch", self.bad(f"FROM scratch\nADD --checksum=sha256:{'0' * 64} {self.site.base}/c /d\n"))

    def test_archives_stay_packed_unless_asked(self):
        self.site.pages["/a.tar.gz"] = tar_bytes({"f": "F"})
        self.good(f"FROM scratch\nADD {self.site.base}/a.tar.gz /packed/\nADD --unpack {self.site.base}/a.tar.gz /open/\n")
        self.assertIn("packed/a.tar.gz", self.files())
        self.assertEqual("F", self.files()["open/f"][1])

    def test_redirects(self):
        self.site.pages["/loop"] = "/loop"
        self.site.pages["/there"], self.site.pages["/back"] = self.site.base + "/back", "/there?again"
        self.site.pages["/file"] = "file:///etc/passwd"
        for start in ("/loop", "/there"):
            self.fails(1, "more than 10 redirects", "build", self.site.base + start)
            self.assertIn("more than 10 redirects", self.bad("FROM scratch\nCOPY --from=c . /\n", "--build-context", f"c={self.site.base}{start}"))
        self.assertIn("only http and https", self.dray("build", self.site.base + "/file").err)
        self.assertIn("more than 10 redirects", self.bad(f"FROM scratch\nADD {self.site.base}/loop /x\n"))
        self.assertIn("only http and https", self.bad(f"FROM scratch\nADD {self.site.base}/file /x\n"))
        self.assertIn("404", self.bad(f"FROM scratch\nADD {self.site.base}/none /x\n"))

    def test_contexts(self):
        self.site.pages["/context.tar.gz"] = tar_bytes({"Dockerfile": "FROM scratch\nCOPY f /g\n", "sub/D": "FROM scratch\nCOPY f /h\n", "f": "F"})
        self.site.pages["/Dockerfile"] = f"FROM scratch\nADD {self.site.base}/context.tar.gz /c\n".encode()
        self.ok("build", "-t", "test", self.site.base + "/context.tar.gz")
        self.assertEqual("F", self.files()["g"][1])
        self.ok("build", "-t", "test", "-f", "sub/D", self.site.base + "/context.tar.gz")
        self.assertIn("h", self.files())
        self.ok("build", "-t", "test", self.site.base + "/Dockerfile")
        self.assertIn("c", self.files())

    def test_the_time_of_a_context(self):
        self.site.pages["/dated.tar.gz"] = self.site.pages["/undated.tar.gz"] = tar_bytes({"Dockerfile": "FROM scratch\nCOPY f /g\n", "f": "F"})
        self.site.pages["/Dockerfile"] = b"FROM scratch\nLABEL a=b\n"
        for name, created in (("dated.tar.gz", "00:16:40"), ("undated.tar.gz", "00:33:20"), ("Dockerfile", "00:16:40")):
            self.ok("build", "-t", "test", "--build-arg", "SOURCE_DATE_EPOCH=context", f"{self.site.base}/{name}")
            self.assertIn(f"1970-01-01T{created}", self.inspect("test", "Created"))


class Git(Sources):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.base = cls.scratch / "git"
        cls.base.mkdir()
        cls.port = free_port()
        cls.daemon = subprocess.Popen(["git", "daemon", "--export-all", "--reuseaddr", "--listen=127.0.0.1",
                                       f"--port={cls.port}", f"--base-path={cls.base}", str(cls.base)],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        cls.sub = cls.repository("sub", {"s": "S"})
        cls.commit = cls.repository("app", {"Dockerfile": "FROM scratch\nCOPY f /g\n", "f": "F", "dir/Dockerfile": "FROM scratch\nCOPY . /d/\n", "dir/x": "X"})
        cls.git("app", "tag", "-a", "-m", "one", "v1")
        cls.git("app", "checkout", "-q", "-b", "other")
        (cls.base / "app/f").write_text("OTHER")
        cls.git("app", "-c", "protocol.file.allow=always", "submodule", "add", "-q", f"git://127.0.0.1:{cls.port}/sub", "mod")
        cls.git("app", "commit", "-q", "-a", "-m", "two")
        cls.git("app", "checkout", "-q", "master")
        cls.url = f"git://127.0.0.1:{cls.port}/app"

    @classmethod
    def tearDownClass(cls):
        cls.daemon.terminate()
        cls.daemon.wait()
        super().tearDownClass()

    @classmethod
    def git(cls, name, *arguments):
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
        command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-C", str(cls.base / name), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.strip()

    @classmethod
    def repository(cls, name, files):
        for path, content in files.items():
            file = cls.base / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        cls.git(name, "-c", "init.defaultBranch=master", "init", "-q")
        cls.git(name, "add", ".")
        cls.git(name, "commit", "-q", "-m", "one")
        return cls.git(name, "rev-parse", "HEAD")

    def test_context(self):
        eventually(lambda: self.git("app", "ls-remote", self.url))
        self.ok("build", "-t", "test", self.url)
        self.assertEqual("F", self.files()["g"][1])
        self.ok("build", "-t", "test", self.url + "#other")
        self.assertEqual("OTHER", self.files()["g"][1])
        self.ok("build", "-t", "test", self.url + "#v1:dir")
        self.assertEqual("X", self.files()["d/x"][1])
        self.ok("build", "-t", "test", f"{self.url}?branch=other&subdir=dir")
        self.ok("build", "-t", "test", f"{self.url}?tag=v1&checksum={self.commit}")
        self.ok("build", "-t", "test", f"{self.url}#{self.commit}")
        refused = self.dray("build", "-t", "test", f"{self.url}?tag=v1&checksum=0000000")
        self.assertIn("expected checksum to match", refused.err)
        self.assertIn("does not contain ref", self.dray("build", self.url + "#nosuch").err)

    def test_add(self):
        self.good(f"FROM scratch\nADD {self.url}#other /src\nADD --keep-git-dir=true {self.url}#v1 /kept\n")
        found = self.files()
        self.assertEqual(("OTHER", "S"), (found["src/f"][1], found["src/mod/s"][1]))
        self.assertIn("kept/.git/HEAD", found)
        self.assertFalse([name for name in found if name.startswith("src/") and ".git/" in name or name == "src/.git"])
        log = self.good(f"FROM scratch\nADD {self.url}#other /src\nADD --keep-git-dir=true {self.url}#v1 /kept\n")
        self.assertNotIn("warning", log.lower())

    def test_add_of_several_kinds(self):
        """A file of the context, a URL and a repository in one ADD; each has its part in the cache's key."""
        site = Site()
        self.addCleanup(site.server_close)
        self.addCleanup(site.shutdown)
        site.pages["/page.tar.gz"] = tar_bytes({"packed": "P"})
        text = f"FROM scratch\nADD local {site.base}/page.tar.gz {self.url}#v1:dir own.tar.gz /all/\n"
        files = {"local": "L", "own.tar.gz": tar_bytes({"unpacked": "U"})}
        self.good(text, files=files)
        found = self.files()
        self.assertEqual(("L", "X", "U"), (found["all/local"][1], found["all/x"][1], found["all/unpacked"][1]))
        self.assertIn("all/page.tar.gz", found)
        self.assertNotIn("all/packed", found)
        self.assertIn("CACHED", self.good(text, files=files))
        self.good(text, files={**files, "local": "other"})
        self.assertEqual("other", self.files()["all/local"][1])
        site.pages["/page.tar.gz"] = b"no archive"
        self.good(text, files=files)
        self.assertEqual("no archive", self.files()["all/page.tar.gz"][1])

    def test_from_a_repository(self):
        self.good("FROM base\nCOPY local /local\n", "--build-context", f"base={self.url}#v1:dir", files={"local": "L"})
        found = self.files()
        self.assertEqual(("X", "L", 0), (found["x"][1], found["local"][1], found["x"][0].uid))

    def test_the_epoch_of_a_context(self):
        seconds = int(self.git("app", "show", "--no-patch", "--format=%ct", "master"))
        self.ok("build", "-t", "test", "--build-arg", "SOURCE_DATE_EPOCH=context", self.url)
        self.assertEqual(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)), self.inspect("test", "Created"))
        declared = "ARG SOURCE_DATE_EPOCH=context\nFROM scratch\nARG SOURCE_DATE_EPOCH\nLABEL t=$SOURCE_DATE_EPOCH\n"
        self.assertEqual(0, self.dray("build", "-t", "test", "-f", "-", self.url, input=declared).code)
        self.assertEqual(str(seconds), self.inspect("test", "Config.Labels.t"))
        self.assertEqual(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)), self.inspect("test", "Created"))

    def test_tags_by_longer_names(self):
        eventually(lambda: self.git("app", "ls-remote", self.url))
        for name in ("tags/v1", "refs/tags/v1", "heads/other"):
            self.ok("build", "-t", "test", f"{self.url}#{name}")
        self.ok("build", "-t", "test", f"{self.url}?ref=tags/v1&checksum={self.commit}")

    def test_git_directories_are_the_same_each_time(self):
        text = f"FROM scratch\nADD --keep-git-dir=true {self.url}#other /kept\n"
        self.good(text)
        found = self.files()
        first = {name: data for name, (_, data) in found.items() if not name.endswith((".pack", ".idx", ".rev"))}
        self.assertIn("kept/.git/index", first)
        self.assertIn("kept/.git/modules/mod/index", first)
        self.assertFalse([name for name in first if "/logs" in name or name.endswith("FETCH_HEAD")])
        time.sleep(1.1)  # an index has seconds
        self.good(text, "--no-cache")
        found = self.files()
        self.assertEqual(first, {name: data for name, (_, data) in found.items() if name in first})

    def test_passwords_stay_with_their_host(self):
        away, base = Site(), self.site.base.removeprefix("http://")
        self.addCleanup(away.server_close)
        self.addCleanup(away.shutdown)
        self.site.pages["/moved.git/info/refs"] = away.base + "/moved.git/info/refs?service=git-upload-pack"
        secret = self.scratch / "token"
        secret.write_text("SENTINEL")
        for url, arguments in ((f"http://user:SENTINEL@{base}/moved.git", ()),
                               (f"http://{base}/moved.git", ("--secret", f"id=GIT_AUTH_TOKEN.{base},src={secret}"))):
            self.site.requests.clear()
            error = self.bad(f"FROM scratch\nADD {url} /x\n", *arguments, "--progress=plain")
            self.assertTrue(self.site.requests[0][1]["Authorization"].lower().startswith("basic "))
            self.assertEqual([], away.requests)
            self.assertNotIn("SENTINEL", "".join(line for line in error.splitlines() if "|" not in line))
        self.site.requests.clear()
        error = self.bad(f"FROM scratch\nADD http://{base}/moved.git /x\n", "--secret", f"id=GIT_AUTH_TOKEN,src={secret}")
        self.assertIn("not sent unencrypted", error)
        self.assertEqual([], self.site.requests)
        self.bad(f"FROM scratch\nADD http://{base}/moved.git /x\n")  # without a secret git may go there
        self.assertEqual([None], [headers.get("Authorization") for _, headers in away.requests])

    def test_options_are_not_injected(self):
        marker = self.scratch / "owned"
        for url in (f"{self.url}#--upload-pack=touch {marker}", f"{self.url}#-x", f"{self.url}#a..b",
                    f"ssh://-oProxyCommand=touch%20{marker}/x", f"ext::sh -c touch% {marker}", f"{self.url}\n--upload-pack=x"):
            self.assertNotEqual(0, self.dray("build", "-t", "test", url).code, url)
            if " " not in url and "\n" not in url:
                self.bad(f"FROM scratch\nADD {url} /x\n")
            self.bad("FROM scratch\nCOPY --from=c . /\n", "--build-context", f"c={url}")
        for query in ("ref=--upload-pack=touch%20" + str(marker), "branch=-x", "tag=--exec=x", f"subdir=--output={marker}", "checksum=--help"):
            self.assertNotEqual(0, self.dray("build", "-t", "test", f"{self.url}?{query}").code, query)
        self.assertFalse(marker.exists())

    def test_hostile_repositories(self):
        secret = self.scratch / "secret"
        secret.write_text("SENTINEL")
        self.repository("evil", {"Dockerfile": "FROM scratch\nCOPY link /out\n", "ok": "1"})
        os.symlink(secret, self.base / "evil/link")
        os.symlink("/etc", self.base / "evil/up")
        self.git("evil", "add", ".")
        self.git("evil", "commit", "-q", "-m", "links")
        url = f"git://127.0.0.1:{self.port}/evil"
        self.assertNotEqual(0, self.dray("build", "-t", "test", url).code)
        self.assertNotEqual(0, self.dray("build", "-t", "test", url + "?subdir=up").code)
        self.assertNotEqual(0, self.dray("build", "-t", "test", url + "?subdir=../../../../etc").code)
        (self.base / "evil/.gitmodules").write_text(f'[submodule "m"]\n\tpath = m\n\turl = {self.base}/sub\n')
        self.git("evil", "update-index", "--add", "--cacheinfo", f"160000,{self.sub},m")
        self.git("evil", "add", ".gitmodules")
        self.git("evil", "commit", "-q", "-m", "module of the host")
        refused = self.dray("build", "-t", "test", url)
        self.assertNotEqual(0, refused.code)
        self.assertIn("not allowed", refused.err)


class Named(Sources):
    def test_directory(self):
        other = self.context({"keep": "K", "secret": "S", ".dockerignore": "secret\n"})
        self.good("FROM scratch\nCOPY --from=other . /o/\n", "--build-context", f"other={other}")
        found = self.files()
        self.assertEqual("K", found["o/keep"][1])
        self.assertNotIn("o/secret", found)
        self.assertIn(".dockerignore:1", self.bad("FROM scratch\nCOPY --from=other secret /\n", "--build-context", f"other={other}"))

    def test_from_a_directory(self):
        other = self.context({"keep": "K", "secret": "S", ".dockerignore": "secret\n"})
        self.good("FROM other\nCOPY f /f\n", "--build-context", f"other={other}", files={"f": "F"})
        found = self.files()
        self.assertEqual(("K", "F"), (found["keep"][1], found["f"][1]))
        self.assertNotIn("secret", found)

    def test_an_oci_layout(self):
        self.good("FROM scratch\nCOPY f /\n", files={"f": "LAYOUT"})
        layout = self.scratch / "layout"
        self.ok("image", "copy", "-q", "local:test", f"oci:{layout}:v1")
        self.good("FROM base\nCOPY --from=base f /again\n", "--build-context", f"base=oci-layout://{layout}:v1")
        self.assertEqual("LAYOUT", self.files()["again"][1])
        self.assertNotIn("dray-oci-layout", self.ok("images"))
        index = json.loads((layout / "index.json").read_text())
        digest = index["manifests"][0]["digest"]
        config = json.loads((layout / "blobs" / digest.replace(":", "/")).read_text())["config"]["digest"]
        for value in (f"{layout}@{digest}", f"{layout}:v1@{digest}"):
            self.good("FROM base\nCOPY --from=base f /pinned\n", "--build-context", f"base=oci-layout://{value}")
            self.assertEqual("LAYOUT", self.files()["pinned"][1])
        (layout / "index.json").write_text(json.dumps({**index, "manifests": []}))  # named by nobody, but there
        self.good("FROM base\nCOPY f /unlisted\n", "--build-context", f"base=oci-layout://{layout}@{digest}", files={"f": "F"})
        (layout / "index.json").write_text(json.dumps(index))
        for value, message in ((f"{layout}:none", "none"), (f"{layout}", "latest"), (f"{self.scratch}/nothing", "no OCI layout"), (f"{layout}@sha256:{'0' * 64}", "0000"),
                               (f"{layout}@sha256:12", "digest"), (f"{layout}@{config}", "manifest")):
            self.assertIn(message, self.bad("FROM base\n", "--build-context", f"base=oci-layout://{value}"))

    def test_others(self):
        self.good("FROM scratch\nCOPY f /\n", "-t", "img", files={"f": "IMAGE"})
        self.ok("tag", "test", "local/img:1")
        self.good("FROM base\nCOPY --from=base f /again\n", "--build-context", "base=docker-image://local/img:1")
        self.assertEqual("IMAGE", self.files()["again"][1])
        for value in ("base=nope://x", "base=oci-layout:///x", "=x", "base"):
            self.assertNotEqual(0, self.make("FROM scratch\n", "--build-context", value).code, value)


if __name__ == "__main__":
    main()
