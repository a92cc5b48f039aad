// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include <dray/core/copy_directory.hpp>
#include <dray/core/fd.hpp>

using namespace dray;

TEST_CASE("copies a tree, hostile links included", "[core]") {
  auto directory = TempDir::create("/tmp", "dray-unit-");
  REQUIRE_OK(directory);
  std::string from = directory->path() + "/from", to = directory->path() + "/to";
  REQUIRE_OK(make_directories(from + "/sub/deep"));
  REQUIRE_OK(make_directories(to));
  REQUIRE_OK(write_file_atomically(from + "/sub/file", "content", 0640, Durability::none));
  REQUIRE(::chmod((from + "/sub/file").c_str(), 0640) == 0);
  REQUIRE(::link((from + "/sub/file").c_str(), (from + "/sub/deep/again").c_str()) == 0);
  REQUIRE(::symlink("/etc/passwd", (from + "/escape").c_str()) == 0);
  REQUIRE(::symlink("../../../..", (from + "/sub/up").c_str()) == 0);
  REQUIRE(::mkfifo((from + "/fifo").c_str(), 0600) == 0);
  REQUIRE(::chmod(from.c_str(), 0711) == 0);
  auto source = open_file(from, O_RDONLY | O_DIRECTORY), target = open_file(to, O_RDONLY | O_DIRECTORY);
  REQUIRE_OK(source);
  REQUIRE_OK(target);
  REQUIRE_OK(copy_directory(*source, *target));
  CHECK(read_file(to + "/sub/deep/again").value() == "content");
  struct stat first, second, link, top, fifo;
  REQUIRE(::stat((to + "/sub/file").c_str(), &first) == 0);
  REQUIRE(::stat((to + "/sub/deep/again").c_str(), &second) == 0);
  CHECK(first.st_ino == second.st_ino);
  CHECK((first.st_mode & 07777) == 0640);
  REQUIRE(::lstat((to + "/escape").c_str(), &link) == 0);
  CHECK(S_ISLNK(link.st_mode));
  REQUIRE(::lstat((to + "/sub/up").c_str(), &link) == 0);
  CHECK(S_ISLNK(link.st_mode));
  REQUIRE(::lstat((to + "/fifo").c_str(), &fifo) == 0);
  CHECK(S_ISFIFO(fifo.st_mode));
  REQUIRE(::stat(to.c_str(), &top) == 0);
  CHECK((top.st_mode & 07777) == 0711);
}

TEST_CASE("a deep tree needs neither stack nor descriptors", "[core]") {
  const TempDir directory = TempDir::create("/tmp", "dray-unit-").value();
  const FileDescriptor top = open_file(directory.path(), O_RDONLY | O_DIRECTORY).value();
  REQUIRE(::mkdirat(top.get(), "from", 0755) == 0);
  REQUIRE(::mkdirat(top.get(), "to", 0755) == 0);
  FileDescriptor at = open_file_at(top, "from", O_RDONLY | O_DIRECTORY).value();
  const auto deeper = [&](int levels) {
    for (int i = 0; i < levels; ++i) {
      REQUIRE(::mkdirat(at.get(), "d", 0755) == 0);
      at = open_file_at(at, "d", O_RDONLY | O_DIRECTORY).value();
    }
  };
  deeper(1500);
  const FileDescriptor from = open_file_at(top, "from", O_RDONLY | O_DIRECTORY).value();
  const FileDescriptor to = open_file_at(top, "to", O_RDONLY | O_DIRECTORY).value();
  REQUIRE_OK(copy_directory(from, to));
  FileDescriptor made = open_file_at(to, ".", O_RDONLY | O_DIRECTORY).value();
  for (int i = 0; i < 1500; ++i) made = open_file_at(made, "d", O_RDONLY | O_DIRECTORY).value();
  REQUIRE(::mkdirat(top.get(), "again", 0755) == 0);
  deeper(1000);  // no path is that long
  CHECK_FALSE(copy_directory(from, open_file_at(top, "again", O_RDONLY | O_DIRECTORY).value()).has_value());
  // Deeper than TempDir removes with the descriptors of a test.
  CHECK(std::system(("rm -rf " + directory.path() + "/*").c_str()) == 0);
}

TEST_CASE("holes stay holes, what is to be skipped is left out", "[core]") {
  const TempDir directory = TempDir::create("/var/tmp", "dray-unit-").value();
  const std::string from = directory.path() + "/from", to = directory.path() + "/to";
  REQUIRE_OK(make_directories(from + "/sub/kept"));
  REQUIRE_OK(make_directories(from + "/gone/deep"));
  REQUIRE_OK(make_directories(to));
  {
    const FileDescriptor sparse = open_file(from + "/sparse", O_WRONLY | O_CREAT, 0644).value();
    REQUIRE(::pwrite(sparse.get(), "middle", 6, 4 << 20) == 6);
    REQUIRE(::ftruncate(sparse.get(), 16 << 20) == 0);
    REQUIRE_OK(open_file(from + "/sub/skipped", O_WRONLY | O_CREAT, 0644));
    const FileDescriptor hole = open_file(from + "/hole", O_WRONLY | O_CREAT, 0644).value();
    REQUIRE(::ftruncate(hole.get(), 1 << 20) == 0);
  }
  const FileDescriptor source = open_file(from, O_RDONLY | O_DIRECTORY).value();
  const FileDescriptor target = open_file(to, O_RDONLY | O_DIRECTORY).value();
  REQUIRE_OK(
      copy_directory(source, target, [](const std::string& path) { return path == "gone" || path == "sub/skipped"; }));
  CHECK(list_directory(to).value() == std::vector<std::string>{"hole", "sparse", "sub"});
  CHECK(list_directory(to + "/sub").value() == std::vector<std::string>{"kept"});
  CHECK(read_file(to + "/sparse", 32u << 20).value() == read_file(from + "/sparse", 32u << 20).value());
  struct stat sparse, hole;
  REQUIRE(::stat((to + "/sparse").c_str(), &sparse) == 0);
  REQUIRE(::stat((to + "/hole").c_str(), &hole) == 0);
  CHECK(sparse.st_blocks * 512 < (1 << 20));
  CHECK(hole.st_size == (1 << 20));
}

TEST_CASE("entries are linked where they can be, else copied, and keep their names together", "[core]") {
  const TempDir here = TempDir::create("/var/tmp", "dray-unit-").value();
  const TempDir there = TempDir::create("/dev/shm", "dray-unit-").value();  // another file system: no links to it
  REQUIRE_OK(write_file_atomically(here.path() + "/a", "text", 0640, Durability::none));
  REQUIRE(::link((here.path() + "/a").c_str(), (here.path() + "/b").c_str()) == 0);
  const FileDescriptor source = open_file(here.path(), O_RDONLY | O_DIRECTORY).value();
  struct stat status;
  REQUIRE(::fstatat(source.get(), "a", &status, 0) == 0);
  REQUIRE_OK(make_directories(here.path() + "/to"));
  for (const std::string& place : {here.path() + "/to", there.path()}) {
    const FileDescriptor target = open_file(place, O_RDONLY | O_DIRECTORY).value();
    EntryCopier copier(target, EntryCopier::Files::link);
    for (const char* name : {"a", "b"}) REQUIRE_OK(copier.add(source, name, status, target, name));
    struct stat first, second;
    REQUIRE(::fstatat(target.get(), "a", &first, 0) == 0);
    REQUIRE(::fstatat(target.get(), "b", &second, 0) == 0);
    CHECK(first.st_ino == second.st_ino);
    CHECK((first.st_ino == status.st_ino) == (place != there.path()));
    CHECK(read_file(place + "/b").value() == "text");
  }
}
