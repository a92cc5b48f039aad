// SPDX-License-Identifier: Apache-2.0
// COPY and ADD into a directory that stands for a root filesystem.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <dray/core/rooted_path.hpp>
#include <dray/core/tar.hpp>

#include "builder/ops/destination.hpp"
#include "builder/ops/ops.hpp"
#include "catch.hpp"

using namespace dray;
using namespace dray::builder;

namespace {

struct Bench {
  TempDir directory = *TempDir::create("/tmp", "dray-copy-test-");
  std::string from = directory.path() + "/from", to = directory.path() + "/to";
  bool is_context = true;
  CancelToken cancel;

  Bench() {
    REQUIRE_OK(make_directories(from));
    REQUIRE_OK(make_directories(to));
  }
  void sh(const std::string& command) {
    INFO(command);
    REQUIRE(std::system(("cd " + directory.path() + " && " + command).c_str()) == 0);
  }
  /// `meanwhile` comes between the list of the files and their copies.
  Result<void> copy(CopyOp op, const std::function<void()>& meanwhile = {}) {
    const FileDescriptor source = TRY(open_file(from, O_RDONLY | O_DIRECTORY));
    const FileDescriptor root = TRY(open_file(to, O_RDONLY | O_DIRECTORY));
    const SourceTree tree{.root = source, .is_context = is_context};
    const CopyContent content = TRY(read_copy_content(tree, op, 1, nullptr, cancel));
    if (meanwhile) meanwhile();
    return copy_sources(root, op, parts_of(tree, content.sources), cancel);
  }
  Result<void> copy(const std::string& path, const std::string& destination,
                    const std::function<void()>& meanwhile = {}) {
    CopyOp op;
    op.paths = {path};
    op.destination = destination;
    return copy(std::move(op), meanwhile);
  }
  std::string read(const std::string& path) {
    const auto text = read_file(to + path);
    return text ? *text : "<none>";
  }
  struct stat status(const std::string& path) {
    struct stat result = {};
    INFO(path);
    REQUIRE(::lstat((to + path).c_str(), &result) == 0);
    return result;
  }
  bool exists(const std::string& path) {
    struct stat result = {};
    return ::lstat((to + path).c_str(), &result) == 0;
  }
  mode_t mode(const std::string& path) { return status(path).st_mode & 07777; }
};

}  // namespace

TEST_CASE("COPY: links in the destination's path are followed in the root") {
  Bench bench;
  bench.sh(
      "echo F >from/f && mkdir -p to/real/dir && ln -s /real/dir to/abs && ln -s real to/rel && ln -s /new/name to/none"
      " && echo old >to/real/file && ln -s ../../../../real/file to/out && ln -s loop to/loop");
  REQUIRE_OK(bench.copy("/f", "/abs"));
  CHECK(bench.read("/real/dir/f") == "F\n");
  REQUIRE_OK(bench.copy("/f", "/rel/x/y"));
  CHECK(bench.read("/real/x/y") == "F\n");
  REQUIRE_OK(bench.copy("/f", "/none"));
  CHECK(bench.read("/new/name") == "F\n");
  CHECK(S_ISLNK(bench.status("/none").st_mode));
  REQUIRE_OK(bench.copy("/f", "/out"));
  CHECK(bench.read("/real/file") == "F\n");
  CHECK(S_ISLNK(bench.status("/out").st_mode));
  CHECK_FALSE(bench.copy("/f", "/loop"));
  CHECK_FALSE(bench.copy("/f", "/real/file/"));
  CHECK_FALSE(bench.copy("/f", "/real/file/below"));
}

TEST_CASE("COPY: what is in the way below the destination") {
  Bench bench;
  bench.sh(
      "mkdir -p from/d/sub from/e && echo F >from/d/sub/f && echo G >from/e/sub && mkdir -p to/x to/y/sub && "
      "ln -s /elsewhere to/x/sub && mkdir to/elsewhere && mkdir to/z && ln -s /elsewhere/f to/z/sub");
  const auto onto_link = bench.copy("/d", "/x");
  REQUIRE_FALSE(onto_link);
  CHECK(onto_link.error().message().find("cannot copy to non-directory") == 0);
  CHECK_FALSE(bench.exists("/elsewhere/f"));
  CHECK_FALSE(bench.copy("/e", "/y"));
  REQUIRE_OK(bench.copy("/e", "/z"));
  CHECK(S_ISREG(bench.status("/z/sub").st_mode));
}

TEST_CASE("COPY: directories' modes and times") {
  Bench bench;
  bench.sh(
      "mkdir -p from/d/sub && chmod 700 from/d from/d/sub && echo F >from/d/sub/f && "
      "touch -d @1000 from/d/sub/f && touch -d @2000 from/d/sub && touch -d @3000 from/d && mkdir -m 711 to/old && "
      "mkdir -m 755 to/old/sub");
  REQUIRE_OK(bench.copy("/d", "/new"));
  CHECK(bench.mode("/new") == 0755);
  CHECK(bench.status("/new").st_mtime == 3000);
  CHECK(bench.mode("/new/sub") == 0700);
  CHECK(bench.status("/new/sub").st_mtime == 2000);
  CHECK(bench.status("/new/sub/f").st_mtime == 1000);
  REQUIRE_OK(bench.copy("/d", "/old"));
  CHECK(bench.mode("/old") == 0711);
  CHECK(bench.mode("/old/sub") == 0700);
  CopyOp op;
  op.paths = {"/d"};
  op.destination = "/made/here/";
  op.chmod = "u+x,go-rwx";
  REQUIRE_OK(bench.copy(op));
  CHECK(bench.mode("/made/here") == 0755);
  CHECK(bench.mode("/made/here/sub/f") == 0700);
  op.destination = "/octal/here/";
  op.chmod = "750";
  REQUIRE_OK(bench.copy(op));
  CHECK(bench.mode("/octal") == 0750);
  CHECK(bench.mode("/octal/here/sub/f") == 0750);
}

TEST_CASE("COPY: wildcards") {
  Bench bench;
  bench.sh(
      "cd from && mkdir -p a/x b/x c .h && echo 1 >a/x/f && echo 2 >b/x/g && ln -s a link && touch 'a[b' "
      "'back\\slash' .h/f"
      " && ln -s ../a/x c/x && echo one >1.txt && echo two >2.txt");
  REQUIRE_OK(bench.copy("/*/x", "/all/"));
  CHECK(bench.exists("/all/f"));
  CHECK(bench.exists("/all/g"));
  REQUIRE_OK(bench.copy("/*/x/f", "/direct/"));
  CHECK(bench.exists("/direct/f"));
  CHECK_FALSE(bench.exists("/direct/x"));
  bench.sh("rm -r from/a/x from/a && mkdir -p from/real/x && echo 3 >from/real/x/h && ln -sfn real from/link");
  REQUIRE_OK(bench.copy("/l*/x/h", "/followed/"));  // not through a link that a wildcard named
  CHECK_FALSE(bench.exists("/followed"));
  REQUIRE_OK(bench.copy("/link/x/*", "/named/"));
  CHECK(bench.exists("/named/h"));
  REQUIRE_OK(bench.copy("/a[[]b", "/set/"));
  CHECK(bench.exists("/set/a[b"));
  REQUIRE_OK(bench.copy("/back\\slash", "/literal/"));
  CHECK(bench.exists("/literal/back\\slash"));
  // As BuildKit: one after the other under the one name.
  REQUIRE_OK(bench.copy("/?.txt", "/last"));
  CHECK(bench.read("/last") == "two\n");
}

TEST_CASE("COPY --parents") {
  Bench bench;
  bench.sh(
      "cd from && mkdir -p x/a/deep x/b y && chmod 751 x/a && echo 1 >x/a/one.c && echo 2 >x/a/deep/two.c && "
      "echo 3 >x/b/three.h && echo 4 >y/four.c && touch -d @5000 x/a");
  CopyOp op;
  op.parents = true;
  op.destination = "/p/";
  op.paths = {"/x/a/one.c"};
  REQUIRE_OK(bench.copy(op));
  CHECK(bench.read("/p/x/a/one.c") == "1\n");
  CHECK(bench.mode("/p/x/a") == 0751);
  CHECK(bench.status("/p/x/a").st_mtime == 5000);
  CHECK_FALSE(bench.exists("/p/x/a/deep"));
  CHECK_FALSE(bench.exists("/p/x/b"));

  op.destination = "/pivot/";
  op.paths = {"/x/./a/one.c", "/x/./b"};
  REQUIRE_OK(bench.copy(op));
  CHECK(bench.exists("/pivot/a/one.c"));
  CHECK(bench.exists("/pivot/b/three.h"));

  op.destination = "/glob/";
  op.paths = {"/**/*.c"};
  REQUIRE_OK(bench.copy(op));
  for (const char* path : {"/glob/x/a/one.c", "/glob/x/a/deep/two.c", "/glob/y/four.c"}) CHECK(bench.exists(path));
  CHECK_FALSE(bench.exists("/glob/x/b"));

  op.destination = "/some/";
  op.paths = {"/x/*"};
  op.exclude = {"x/a/deep", "**/*.h"};
  REQUIRE_OK(bench.copy(op));
  CHECK(bench.exists("/some/x/a/one.c"));
  CHECK_FALSE(bench.exists("/some/x/a/deep"));
  CHECK_FALSE(bench.exists("/some/x/b/three.h"));

  op.exclude = {};
  op.paths = {"/x/nosuch"};
  const auto missing = bench.copy(op);
  REQUIRE_FALSE(missing);
  CHECK(missing.error().message() == "failed to compute cache key: \"/x/nosuch\": not found");
  op.paths = {"/x/*.nosuch"};
  REQUIRE_OK(bench.copy(op));
}

TEST_CASE("COPY: hard links, holes, FIFOs, sockets, attributes") {
  Bench bench;
  if (::geteuid() != 0) return;
  bench.sh(
      "cd from && mkdir d && echo F >d/f && ln d/f d/g && mkfifo d/pipe && mknod d/null c 1 3 && truncate -s 64M "
      "d/holes && "
      "echo end >>d/holes && python3 -c \"import socket;s=socket.socket(socket.AF_UNIX);s.bind('d/socket')\"");
  REQUIRE(::setxattr((bench.from + "/d/f").c_str(), "user.mine", "1", 1, 0) == 0);
  REQUIRE_OK(bench.copy("/d", "/d"));
  CHECK(bench.status("/d/f").st_ino == bench.status("/d/g").st_ino);
  CHECK(S_ISFIFO(bench.status("/d/pipe").st_mode));
  CHECK(S_ISCHR(bench.status("/d/null").st_mode));
  CHECK(S_ISREG(bench.status("/d/socket").st_mode));
  CHECK(bench.status("/d/socket").st_size == 0);
  CHECK(bench.status("/d/holes").st_size == (64 << 20) + 4);
  CHECK(bench.status("/d/holes").st_blocks < 1024);
  bench.sh("cmp from/d/holes to/d/holes");
  CHECK(::getxattr((bench.to + "/d/f").c_str(), "user.mine", nullptr, 0) < 0);
  bench.is_context = false;
  REQUIRE_OK(bench.copy("/d", "/stage"));
  CHECK(::getxattr((bench.to + "/stage/f").c_str(), "user.mine", nullptr, 0) == 1);
}

TEST_CASE("COPY: a large tree, by several threads") {
  Bench bench;
  if (::geteuid() != 0) return;
  // Directories below and between files, names of one file far apart, links, and something in the way of some.
  bench.sh(
      "mkdir -p from/t to/t/d3 && cd from/t && for d in $(seq 30); do mkdir -p d$d/e$d; "
      "for f in $(seq 20); do echo $d $f > d$d/$f; done; echo $d > d$d/e$d/deep; ln -s $d d$d/link; done; "
      "for f in $(seq 150); do echo $f > z$f; done; ln d1/1 d30/again; ln d1/1 a; chmod 700 d7 d8/3; chmod 4755 d9/9; "
      "find . -mindepth 1 -exec touch -h -d '@1000000' {} + && touch -d @3 . && cd ../../to/t && ln -s /nowhere d3/5 "
      "&& "
      "echo old > z7 && ln z7 ../kept");
  REQUIRE_OK(bench.copy("/t", "/t"));
  const std::string list = "find . -type d -printf '%p %m %t\\n' -o -printf '%p %y %m %n %s %l %t\\n' | sort";
  bench.sh("(cd from/t && " + list + ") > a && (cd to/t && " + list + ") > b && diff a b");
  bench.sh("diff -r --no-dereference from/t to/t");
  CHECK(bench.status("/t/a").st_ino == bench.status("/t/d30/again").st_ino);
  CHECK(bench.status("/t/a").st_nlink == 3);
  CHECK(bench.read("/kept") == "old\n");
  bench.sh("rm to/t/d15/7 && mkdir to/t/d15/7");
  const auto in_the_way = bench.copy("/t", "/t");
  REQUIRE_FALSE(in_the_way);
  CHECK(in_the_way.error().message().find("cannot copy a file over the directory \"d15/7\"") != std::string::npos);
  bench.sh("mkdir outside && cp -r from/t/d5 outside && echo secret > outside/d5/1");
  const auto swapped = bench.copy("/t", "/u", [&] {
    bench.sh(
        "rm -r from/t/d5 && ln -s ../../outside/d5 from/t/d5 && rm from/t/d6/1 && ln -s ../../../outside/d5/1 "
        "from/t/d6/1");
  });
  CHECK_FALSE(swapped);
  bench.sh("! grep -r secret to && rm from/t/d5 from/t/d6/1 && echo 6 1 > from/t/d6/1");
  const auto cancelled = bench.copy("/t", "/v", [&] { bench.cancel.cancel(); });
  REQUIRE_FALSE(cancelled);
  CHECK(cancelled.error().code() == ErrorCode::cancelled);
  CHECK_FALSE(bench.exists("/v/z1"));
}

TEST_CASE("resolve_links") {
  Bench bench;
  bench.sh(
      "cd to && mkdir -p a/b && ln -s /a/b l1 && ln -s ../../../l1 a/l2 && ln -s / a/b/root && ln -s missing/../x "
      "a/l3");
  const FileDescriptor root = *open_file(bench.to, O_RDONLY | O_DIRECTORY);
  CHECK(*resolve_links(root, "/l1/f") == "/a/b/f");
  CHECK(*resolve_links(root, "/a/l2") == "/a/b");
  CHECK(*resolve_links(root, "/a/l2/root/l1/") == "/a/b");
  CHECK(*resolve_links(root, "/no/such") == "/no/such");
  CHECK(*resolve_links(root, "/a/l3") == "/a/x");
  CHECK(*resolve_links(root, "/../..") == "/");
}

TEST_CASE("a whiteout deletes a name of its directory and nothing else") {
  const TempDir directory = TempDir::create("/tmp", "dray-unit-").value();
  const FileDescriptor root = open_file(directory.path(), O_RDONLY | O_DIRECTORY).value();
  const auto unpack = [&](const std::string& name) {
    REQUIRE_OK(make_directories(directory.path() + "/d/sub"));
    REQUIRE_OK(write_file_atomically(directory.path() + "/d/file", "", 0644, Durability::none));
    tar::Entry entry;
    entry.path = "d/" + name;
    entry.mode = 0644;
    const FileDescriptor file = open_file(directory.path() + "/archive", O_RDWR | O_CREAT | O_TRUNC, 0600).value();
    const auto archive = make_fd_sink(FdRef(file));
    tar::Writer writer(*archive);
    REQUIRE_OK(writer.add(entry, nullptr));
    REQUIRE_OK(writer.finish());
    REQUIRE(::lseek(file.get(), 0, SEEK_SET) == 0);
    const auto source = make_fd_source(FdRef(file));
    ExtractOptions options;
    options.keep_owner = false;
    options.is_layer = true;
    const CancelToken cancel;
    const auto done = extract_archive(root, "/", *source, options, cancel);
    return done ? std::string() : done.error().message();
  };
  for (const char* name : {".wh.", ".wh..", ".wh..."}) {
    CHECK(unpack(name).find("a whiteout of no name") != std::string::npos);
    CHECK(::access((directory.path() + "/d/sub").c_str(), F_OK) == 0);
  }
  CHECK(unpack(".wh.file").empty());
  CHECK(::access((directory.path() + "/d/file").c_str(), F_OK) != 0);
  CHECK(::access((directory.path() + "/d/sub").c_str(), F_OK) == 0);
  CHECK(unpack(".wh..wh..opq").empty());
  CHECK(::access((directory.path() + "/d/sub").c_str(), F_OK) != 0);
}
