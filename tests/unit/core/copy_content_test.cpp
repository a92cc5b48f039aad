// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <unistd.h>

#include <dray/core/copy_content.hpp>
#include <dray/core/process.hpp>

#include "catch.hpp"

using namespace dray;

namespace {

std::string copy_of(const TempDir& place, const std::string& path) {
  const FileDescriptor from = open_file(path, O_RDONLY).value();
  const std::string copy = place.path() + "/copy";
  const FileDescriptor to = open_file(copy, O_WRONLY | O_CREAT | O_TRUNC, 0600).value();
  REQUIRE_OK(copy_content(from, to, CancelToken()));
  return read_file(copy, 64u << 20).value();
}

}  // namespace

TEST_CASE("content of any size, also of files that do not tell it", "[core]") {
  const TempDir place = *TempDir::create("/var/tmp", "dray-content-");
  for (const std::size_t size : {0, 1, 65536, 65537, 3 << 20}) {
    std::string content(size, '\0');
    for (std::size_t i = 0; i < size; ++i) content[i] = static_cast<char>(i * 7 + i / 251);
    const std::string path = place.path() + "/file";
    REQUIRE_OK(write_all(open_file(path, O_WRONLY | O_CREAT | O_TRUNC, 0600).value(), content));
    CHECK(copy_of(place, path) == content);
  }
  // Its size is 0, and copy_file_range does not read it.
  CHECK(copy_of(place, "/proc/version") == read_file("/proc/version", 64u << 20).value());
}

TEST_CASE("of a file that grows, what was there", "[core]") {
  const TempDir place = *TempDir::create("/var/tmp", "dray-content-");
  const FileDescriptor from = open_file(place.path() + "/from", O_RDWR | O_CREAT, 0600).value();
  REQUIRE_OK(write_all(from, std::string(100'000, 'x')));
  struct stat status;
  REQUIRE(::fstat(from.get(), &status) == 0);
  REQUIRE_OK(write_all(from, std::string(100'000, 'y')));
  REQUIRE(::lseek(from.get(), 0, SEEK_SET) == 0);
  const FileDescriptor to = open_file(place.path() + "/to", O_WRONLY | O_CREAT, 0600).value();
  REQUIRE_OK(copy_content(from, to, status, CancelToken()));
  CHECK(read_file(place.path() + "/to", 1 << 20).value() == std::string(100'000, 'x'));
}

TEST_CASE("a copy stops where it is told to", "[core]") {
  const TempDir place = *TempDir::create("/var/tmp", "dray-content-");
  const FileDescriptor from = open_file(place.path() + "/from", O_RDWR | O_CREAT, 0600).value();
  REQUIRE_OK(write_all(from, std::string(1 << 20, 'x')));
  REQUIRE(::lseek(from.get(), 0, SEEK_SET) == 0);
  const FileDescriptor to = open_file(place.path() + "/to", O_WRONLY | O_CREAT, 0600).value();
  CancelToken cancel;
  cancel.cancel();
  const auto copied = copy_content(from, to, cancel);
  REQUIRE_FALSE(copied);
  CHECK(copied.error().code() == ErrorCode::cancelled);
}
