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
