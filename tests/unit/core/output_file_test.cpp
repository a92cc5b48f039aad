// SPDX-License-Identifier: Apache-2.0
#include <dray/core/output_file.hpp>
#include <dray/core/process.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "catch.hpp"

using namespace dray;
namespace fs = std::filesystem;

namespace {

std::size_t count(const std::string& directory) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(directory), fs::directory_iterator()));
}

}  // namespace

TEST_CASE("an output file has its name when it is whole", "[core]") {
  TempDir folder = *TempDir::create("/tmp", "dray-unit-");
  const std::string path = folder.path() + "/f";
  REQUIRE_OK(write_output_file(path, "one", 0600));
  {
    OutputFile broken = *OutputFile::create(path);
    REQUIRE_OK(broken.sink().write(std::as_bytes(std::span(std::string_view("half")))));
    CHECK(*read_file(path) == "one");
  }
  CHECK(*read_file(path) == "one");
  OutputFile synced = *OutputFile::create(path, 0644, Durability::fsync);
  REQUIRE_OK(synced.sink().write(std::as_bytes(std::span(std::string_view("two")))));
  REQUIRE_OK(synced.commit());
  CHECK(*read_file(path) == "two");
  CHECK(count(folder.path()) == 1);
  CHECK_FALSE(write_output_file(folder.path(), "x"));
  CHECK_FALSE(write_output_file(folder.path() + "/no/f", "x"));
  CHECK(count(folder.path()) == 1);
}

TEST_CASE("a device, a FIFO or a pipe stays what it is and gets the bytes", "[core]") {
  TempDir folder = *TempDir::create("/tmp", "dray-unit-");
  const std::string fifo = folder.path() + "/fifo";
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  REQUIRE(::symlink("fifo", (folder.path() + "/link").c_str()) == 0);
  const FileDescriptor reader = *open_file(fifo, O_RDONLY | O_NONBLOCK);
  for (const std::string& name : {fifo, folder.path() + "/link"}) {
    REQUIRE_OK(write_output_file(name, "bytes"));
    CHECK(*read_all(reader, 100) == "bytes");
    CHECK(fs::is_fifo(fifo));
  }
  CHECK(fs::is_symlink(folder.path() + "/link"));
  CHECK(count(folder.path()) == 2);
  Pipe pipe = *make_pipe();
  REQUIRE_OK(write_output_file(descriptor_path(pipe.write_end), "piped"));
  pipe.write_end.reset();
  CHECK(*read_all(pipe.read_end, 100) == "piped");
}

TEST_CASE("links to a file, or to none, stay links", "[core]") {
  TempDir folder = *TempDir::create("/tmp", "dray-unit-");
  fs::create_directory(folder.path() + "/sub");
  fs::create_symlink("sub/second", folder.path() + "/first");
  fs::create_symlink("../file", folder.path() + "/sub/second");
  for (const char* text : {"into nothing", "over a file"}) {
    REQUIRE_OK(write_output_file(folder.path() + "/first", text));
    CHECK(*read_file(folder.path() + "/file") == text);
    CHECK(fs::is_symlink(folder.path() + "/first"));
    CHECK(fs::is_symlink(folder.path() + "/sub/second"));
  }
  fs::create_symlink("loop", folder.path() + "/loop");
  CHECK_FALSE(write_output_file(folder.path() + "/loop", "x"));
}

TEST_CASE("a file that has lost its name is written through its descriptor", "[core]") {
  TempDir folder = *TempDir::create("/tmp", "dray-unit-");
  const std::string path = folder.path() + "/f";
  const FileDescriptor open = *open_file(path, O_RDWR | O_CREAT, 0600);
  ::unlink(path.c_str());
  REQUIRE_OK(write_output_file(descriptor_path(open), "text"));
  CHECK(*read_all(open, 100) == "text");
  CHECK(count(folder.path()) == 0);
}
