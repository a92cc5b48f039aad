// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mount_stubs.hpp"

using namespace dray;
using namespace dray::engine;

namespace {
bool exists(const std::string& path) {
  struct stat status;
  return ::lstat(path.c_str(), &status) == 0;
}
runtime::Mount mount(const char* destination, const char* type, const char* source) {
  runtime::Mount result;
  result.destination = destination;
  result.type = type;
  result.source = source;
  return result;
}
}  // namespace

TEST_CASE("mount points of a build step leave no trace", "[engine]") {
  auto directory = TempDir::create("/tmp", "dray-unit-");
  REQUIRE_OK(directory);
  std::string root = directory->path();
  REQUIRE_OK(make_directories(root + "/usr"));
  REQUIRE(::symlink("usr/run/resolv.conf", (root + "/dangling").c_str()) == 0);
  REQUIRE(::symlink("../../../../../tmp", (root + "/out").c_str()) == 0);
  struct timespec old[2] = {{1000, 5}, {1000, 5}};
  REQUIRE(::utimensat(AT_FDCWD, root.c_str(), old, 0) == 0);
  auto fd = open_file(root, O_PATH | O_DIRECTORY);
  REQUIRE_OK(fd);
  MountStubs stubs(*fd);
  REQUIRE_OK(stubs.make({mount("/proc", "proc", "proc"), mount("/proc/sys", "bind", "/dev"),
                         mount("/etc/resolv.conf", "bind", "/etc/passwd"), mount("/etc/hosts", "bind", "/etc/passwd"),
                         mount("/dangling", "bind", "/etc/passwd"), mount("/usr", "bind", "/usr"),
                         mount("/out/dray-unit-stub-never", "bind", "/etc/passwd")}));
  CHECK(exists(root + "/tmp/dray-unit-stub-never"));
  CHECK(exists(root + "/proc"));
  CHECK_FALSE(exists(root + "/proc/sys"));
  CHECK(exists(root + "/etc/hosts"));
  CHECK(exists(root + "/usr/run/resolv.conf"));
  CHECK_FALSE(exists("/tmp/dray-unit-stub-never"));
  // The step wrote something of its own.
  REQUIRE_OK(write_file_atomically(root + "/etc/hostname", "x", 0644, Durability::none));
  stubs.remove();
  CHECK_FALSE(exists(root + "/proc"));
  CHECK_FALSE(exists(root + "/etc/hosts"));
  CHECK_FALSE(exists(root + "/usr/run"));
  CHECK(exists(root + "/etc/hostname"));
  CHECK(exists(root + "/usr"));
  CHECK_FALSE(exists(root + "/tmp"));
  struct stat status;
  REQUIRE(::stat(root.c_str(), &status) == 0);
  CHECK(status.st_mtim.tv_sec == 1000);
}
