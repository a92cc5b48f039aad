// SPDX-License-Identifier: Apache-2.0
#include <dray/core/tree_size.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <dray/core/fd.hpp>

#include "catch.hpp"

using namespace dray;

TEST_CASE("a tree's size has hard links once, and nothing of what is not there", "[core]") {
  const TempDir folder = *TempDir::create("/tmp", "dray-tree-size-");
  const std::string file = folder.path() + "/file";
  CHECK(*tree_size(folder.path(), CancelToken()) == 0);
  REQUIRE(write_file_atomically(file, std::string(100'000, 'x'), 0644, Durability::none));
  const std::uint64_t one = *tree_size(folder.path(), CancelToken());
  CHECK(one >= 100'000);
  REQUIRE(::link(file.c_str(), (folder.path() + "/link").c_str()) == 0);
  CHECK(*tree_size(folder.path(), CancelToken()) == one);
  CHECK(*tree_size(folder.path() + "/no", CancelToken()) == 0);
  CancelToken cancelled;
  cancelled.cancel();
  CHECK(tree_size(folder.path(), cancelled).error().code() == ErrorCode::cancelled);
}

TEST_CASE("a directory that is too deep does not hide its siblings", "[core]") {
  const TempDir folder = *TempDir::create("/tmp", "dray-tree-size-");
  std::string path = folder.path();
  for (int depth = 1; depth < 500; ++depth) REQUIRE(::mkdir((path += "/d").c_str(), 0700) == 0);
  REQUIRE(::mkdir((path + "/a").c_str(), 0700) == 0);
  REQUIRE(::mkdir((path + "/a/too-deep").c_str(), 0700) == 0);
  REQUIRE(::mkdir((path + "/b").c_str(), 0700) == 0);
  REQUIRE(write_file_atomically(path + "/b/file", std::string(10'000'000, 'x'), 0644, Durability::none));
  CHECK(*tree_size(folder.path(), CancelToken()) >= 10'000'000);
}
