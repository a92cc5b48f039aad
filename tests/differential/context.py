# SPDX-License-Identifier: Apache-2.0
"""The build context all cases share, and what they fetch: an HTTP server's folder and a git repository."""
import io
import os
import socket
import subprocess
import tarfile

OLD = 1_400_000_000  # a time no build has: a copied file must keep it


def write(path, content, mode=0o644):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(mode)


def archive(path, compression, extra=()):
    """A tar with a file, a directory, both kinds of link, a set-uid program and an owner."""
    with tarfile.open(path, f"w:{compression}") as tar:
        for name, kind, content, mode in (("packed", "dir", "", 0o750), ("packed/file", "file", "packed\n", 0o640),
                                          ("packed/suid", "file", "x", 0o4755), ("packed/link", "symlink", "file", 0o777),
                                          ("packed/hard", "hard", "packed/file", 0o640), *extra):
            entry = tarfile.TarInfo(name)
            entry.mode, entry.uid, entry.gid, entry.mtime = mode, 1234, 2345, OLD + 7
            if kind == "dir":
                entry.type = tarfile.DIRTYPE
            elif kind == "symlink":
                entry.type, entry.linkname = tarfile.SYMTYPE, content
            elif kind == "hard":
                entry.type, entry.linkname = tarfile.LNKTYPE, content
            data = content.encode() if kind == "file" else b""
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


def make(folder):
    write(folder / "a.txt", "a\n")
    write(folder / "b.txt", "b\n", 0o600)
    write(folder / "run.sh", "#!/bin/sh\necho ran\n", 0o755)
    write(folder / "with space.txt", "space\n")
    write(folder / "odd[1].txt", "bracket\n")
    write(folder / "empty", "")
    for name in ("one.c", "two.c", "one.h", "sub/three.c", "sub/deep/four.c", "sub/deep/four.h"):
        write(folder / "src" / name, f"{name}\n")
    write(folder / "ignored/secret", "no\n")
    write(folder / "ignored/kept", "yes\n")
    write(folder / "logs/a.log", "log\n")
    write(folder / ".hidden/file", "hidden\n")
    (folder / "emptydir").mkdir(mode=0o700)
    (folder / "sticky").mkdir()
    write(folder / "sticky/file", "s\n", 0o4711)
    (folder / "sticky").chmod(0o3777)
    os.symlink("a.txt", folder / "link-to-file")
    os.symlink("src", folder / "link-to-dir")
    os.symlink("/etc/hostname", folder / "link-absolute")
    os.symlink("../../../../etc/passwd", folder / "link-outside")
    os.symlink("nowhere", folder / "link-dangling")
    os.symlink("../a.txt", folder / "src/up")
    (folder / "links").mkdir()
    write(folder / "links/first", "hard\n")
    os.link(folder / "links/first", folder / "links/second")
    os.symlink("first", folder / "links/soft")
    os.mkfifo(folder / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
    os.chown(folder / "b.txt", 77, 88)
    for kind in ("gz", "bz2", "xz"):
        archive(folder / f"pack.tar.{kind}", kind)
    archive(folder / "pack.tar", "")
    write(folder / "not-a.tar.gz", "no archive\n")
    write(folder / ".dockerignore", "ignored\n!ignored/kept\n**/*.log\n")
    write(folder / "requirements.txt", "# none\n")
    for top, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.utime(os.path.join(top, name), (OLD, OLD), follow_symlinks=False)


def make_web(folder):
    folder.mkdir()
    archive(folder / "pack.tar.gz", "gz")
    write(folder / "data.txt", "from http\n")
    os.utime(folder / "data.txt", (OLD, OLD))
    os.utime(folder / "pack.tar.gz", (OLD, OLD))


def make_repository(folder):
    """<folder>/repo.git with a tag, a branch and a subdirectory."""
    work = folder / "work"
    work.mkdir(parents=True)
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    for name in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{name}_NAME": "t", f"GIT_{name}_EMAIL": "t@example.org", f"GIT_{name}_DATE": f"{OLD} +0000"}

    def git(*arguments, where=work):
        subprocess.run(["git", *arguments], cwd=where, env=environment, check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    write(work / "readme", "first\n")
    write(work / "tool", "#!/bin/sh\n", 0o755)
    write(work / "docs/page", "page\n")
    os.symlink("readme", work / "alias")
    git("add", "-A")
    git("commit", "-q", "-m", "first")
    git("tag", "v1")
    write(work / "readme", "second\n")
    git("commit", "-q", "-a", "-m", "second")
    git("clone", "-q", "--bare", str(work), str(folder / "repo.git"), where=folder)
