// SPDX-License-Identifier: Apache-2.0
#include <dray/core/rooted_path.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "catch.hpp"

using namespace dray;
namespace fs = std::filesystem;

namespace {

struct Tree {
  TempDir outer = *TempDir::create("/tmp", "dray-unit-");
  fs::path base = outer.path(), root = base / "root", canary = base / "canary";
  FileDescriptor fd;
  Tree() {
    fs::create_directories(root / "dir");
    fs::create_directories(canary);
    std::ofstream(root / "file") << "inside";
    std::ofstream(canary / "file") << "outside";
    fs::create_symlink(canary, root / "absolute");
    fs::create_symlink("../canary", root / "relative");
    fs::create_symlink("/dir", root / "dirlink");
    fs::create_symlink("/proc/self/fd/0", root / "magic");
    fd = *open_file(root, O_PATH | O_DIRECTORY);
  }
};

}  // namespace

TEST_CASE("symlinks do not lead out of the root", "[core]") {
  Tree tree;
  for (const char* path : {"absolute/file", "relative/file", "/absolute/file", "../canary/file",
                           "dir/../../canary/file", "../../../../../../etc/passwd"}) {
    CAPTURE(path);
    CHECK_FALSE(open_in_root(tree.fd, path, O_RDONLY).has_value());
    CHECK_FALSE(open_beneath(tree.fd, path, O_RDONLY).has_value());
    CHECK_FALSE(read_regular_file_in_root(tree.fd, path, 1000).has_value());
  }
  CHECK(*read_regular_file_in_root(tree.fd, "../../file", 1000) == "inside");
}

TEST_CASE("absolute symlinks inside the root work, as images need them", "[core]") {
  Tree tree;
  REQUIRE_OK(make_directories_in_root(tree.fd, "/dirlink/a/b", 0711));
  CHECK(fs::is_directory(tree.root / "dir/a/b"));
  CHECK((fs::status(tree.root / "dir/a/b").permissions() & fs::perms::all) == fs::perms(0711));
  REQUIRE_OK(stat_in_root(tree.fd, "dirlink/a", FollowLast::yes));
  CHECK(S_ISLNK(stat_in_root(tree.fd, "dirlink", FollowLast::no)->st_mode));
}

TEST_CASE("directories are never made outside", "[core]") {
  Tree tree;
  (void)make_directories_in_root(tree.fd, "/absolute/new");
  (void)make_directories_in_root(tree.fd, "/relative/new");
  (void)make_directories_in_root(tree.fd, "/../canary/new");
  CHECK_FALSE(fs::exists(tree.canary / "new"));
}

TEST_CASE("only regular files are read", "[core]") {
  Tree tree;
  REQUIRE(::mkfifo((tree.root / "fifo").c_str(), 0600) == 0);
  CHECK_FALSE(read_regular_file_in_root(tree.fd, "fifo", 1000).has_value());
  CHECK_FALSE(read_regular_file_in_root(tree.fd, "dir", 1000).has_value());
  CHECK_FALSE(read_regular_file_in_root(tree.fd, "magic", 1000).has_value());
  CHECK_FALSE(read_regular_file_in_root(tree.fd, "file", 3).has_value());
  CHECK_FALSE(open_in_root(tree.fd, std::string("a\0b", 3), O_RDONLY).has_value());
}

TEST_CASE("paths are cleaned as text", "[core]") {
  CHECK(clean_path("/a/./b//../c/") == "/a/c");
  CHECK(clean_path("/../..") == "/");
  CHECK(clean_path("a/../..") == "..");
  CHECK(clean_path("") == ".");
  CHECK(join_path("/a/b", "../c") == "/a/c");
  CHECK(join_path("/a", "/b") == "/b");
  CHECK(split_path("/c") == std::pair<std::string, std::string>{"/", "c"});
}
