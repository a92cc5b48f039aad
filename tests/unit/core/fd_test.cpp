// SPDX-License-Identifier: Apache-2.0
#include <dray/core/directory_lock.hpp>
#include <dray/core/fd.hpp>
#include <dray/core/process.hpp>
#include <dray/core/thread.hpp>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>

#include "catch.hpp"
#include "failing_call.hpp"

using namespace dray;
namespace fs = std::filesystem;

TEST_CASE("atomic files appear whole or not at all", "[core]") {
  TempDir folder = *TempDir::create("/tmp", "dray-unit-");
  std::string path = folder.path() + "/f";
  REQUIRE_OK(write_file_atomically(path, "one", 0640, Durability::fsync));
  REQUIRE_OK(write_file_atomically(path, "two", 0640, Durability::none));
  CHECK(*read_file(path) == "two");
  CHECK_FALSE(write_file_atomically(folder.path() + "/no/f", "x", 0640, Durability::none).has_value());
  CHECK(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()) == 1);
  CHECK_FALSE(read_file(path, 2).has_value());
}

TEST_CASE("a tree is removed without following symlinks", "[core]") {
  TempDir folder = *TempDir::create("/tmp", "dray-unit-");
  fs::create_directories(folder.path() + "/keep/x");
  fs::create_directories(folder.path() + "/go/a/b");
  fs::create_directory_symlink(folder.path() + "/keep", folder.path() + "/go/a/link");
  FileDescriptor fd = *open_file(folder.path(), O_RDONLY | O_DIRECTORY);
  REQUIRE_OK(remove_tree(fd, "go"));
  REQUIRE_OK(remove_tree(fd, "go"));
  CHECK(fs::exists(folder.path() + "/keep/x"));
  CHECK_FALSE(fs::exists(folder.path() + "/go"));
}

TEST_CASE("a tree of any depth is removed with few descriptors", "[core]") {
  TempDir folder = *TempDir::create("/tmp", "dray-unit-");
  fs::create_directories(folder.path() + "/keep/x");
  fs::create_directories(folder.path() + "/go");
  {
    FileDescriptor at = *open_file(folder.path() + "/go", O_RDONLY | O_DIRECTORY);
    for (int depth = 0; depth < 2000; ++depth) {
      REQUIRE(::mkdirat(at.get(), "d", 0700) == 0);
      if (depth % 100 == 0) {
        REQUIRE(::symlinkat((folder.path() + "/keep").c_str(), at.get(), "link") == 0);
        REQUIRE(::mkdirat(at.get(), "e", 0500) == 0);
        REQUIRE_OK(open_file_at(at, "file", O_WRONLY | O_CREAT, 0600));
      }
      at = *open_file_at(at, "d", O_RDONLY | O_DIRECTORY);
    }
  }
  const FileDescriptor fd = *open_file(folder.path(), O_RDONLY | O_DIRECTORY);
  struct rlimit limit;
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
  const struct rlimit few = {100, limit.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
  const auto removed = remove_tree(fd, "go");
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &limit) == 0);
  REQUIRE_OK(removed);
  CHECK(*list_directory(fd) == std::vector<std::string>{"keep"});
  CHECK(fs::exists(folder.path() + "/keep/x"));
}

TEST_CASE("a directory that can't be read is no empty one", "[core]") {
  TempDir folder = *TempDir::create("/tmp", "dray-unit-");
  fs::create_directories(folder.path() + "/a/b");
  fs::create_directories(folder.path() + "/a/a");
  CHECK(*list_directory(folder.path() + "/a") == std::vector<std::string>{"a", "b"});
  CHECK(list_directory(folder.path() + "/no").error().code() == ErrorCode::not_found);
  int listed = 0, removed = 0;
  test::with_failing_call(SYS_getdents64, EIO, [&] {
    const auto names = list_directory(folder.path());
    listed = names ? 0 : names.error().error_number();
    const auto gone = remove_tree(FdRef(AT_FDCWD), folder.path() + "/a");
    removed = gone ? 0 : gone.error().error_number();
  });
  CHECK(listed == EIO);
  CHECK(removed == EIO);
  CHECK(fs::exists(folder.path() + "/a/b"));
}

TEST_CASE("a thread that can't be started is an error", "[core]") {
  int number = 0;
  test::with_failing_call(SYS_clone3, EAGAIN, [&] {
    auto thread = start_thread([] {});
    number = thread ? 0 : thread.error().error_number();
    if (thread) thread->join();
  });
  CHECK(number == EAGAIN);
}

TEST_CASE("a directory's lock excludes, and leaves nothing in it", "[core]") {
  TempDir folder = *TempDir::create("/tmp", "dray-unit-");
  const FileDescriptor other = *open_file(folder.path(), O_RDONLY | O_DIRECTORY);
  {
    const DirectoryLock lock = *DirectoryLock::acquire(folder.path());
    CHECK(::flock(other.get(), LOCK_EX | LOCK_NB) != 0);
    CHECK(fs::is_empty(folder.path()));
  }
  CHECK(::flock(other.get(), LOCK_EX | LOCK_NB) == 0);
  CHECK_FALSE(DirectoryLock::acquire(folder.path() + "/none"));
}

TEST_CASE("locks exclude, and end with their owner", "[core]") {
  TempDir folder = *TempDir::create("/tmp", "dray-unit-");
  std::string path = folder.path() + "/lock";
  {
    auto held = FileLock::acquire(path, FileLock::Mode::exclusive);
    REQUIRE_OK(held);
    auto second = FileLock::try_acquire(path, FileLock::Mode::shared);
    REQUIRE_FALSE(second.has_value());
    CHECK(second.error().code() == ErrorCode::in_use);
  }
  REQUIRE_OK(FileLock::try_acquire(path, FileLock::Mode::exclusive));
}

TEST_CASE("helper programs run and report how they ended", "[core]") {
  auto child = ChildProcess::spawn({.argv = {"sh", "-c", "exit 3"}, .env = std::nullopt});
  REQUIRE_OK(child);
  CHECK(child->wait()->exit_code() == 3);
  auto killed = ChildProcess::spawn({.argv = {"sleep", "100"}, .env = std::nullopt});
  REQUIRE_OK(killed);
  killed->signal(15);
  CHECK(killed->wait()->exit_code() == 128 + 15);
  CHECK_FALSE(ChildProcess::spawn({.argv = {"no-such-program-here"}, .env = std::nullopt}).has_value());
}
