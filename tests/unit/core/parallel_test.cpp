// SPDX-License-Identifier: Apache-2.0
#include <dray/core/parallel.hpp>

#include <atomic>
#include <vector>

#include "catch.hpp"

using namespace dray;

TEST_CASE("jobs run side by side, each once", "[core]") {
  std::vector<std::atomic<int>> done(100);
  std::atomic<int> idle{0};
  std::atomic<std::size_t> highest{0};
  const auto job = [&](std::size_t thread, std::size_t i) -> Result<void> {
    if (thread > highest) highest = thread;
    ++done[i];
    return {};
  };
  REQUIRE(run_parallel(done.size(), 4, job, {.failed = {}, .idle = [&] { ++idle; }}));
  for (const auto& count : done) CHECK(count == 1);
  CHECK(idle == 4);
  CHECK(highest < 4);
  CHECK(run_parallel(0, 4, job));
  CHECK(run_parallel(2, 0, job));  // the caller's thread does them
  CHECK(done[1] == 2);
}

TEST_CASE("the first error is returned, and nothing is begun after it", "[core]") {
  int begun = 0, told = 0;
  const auto job = [&](std::size_t, std::size_t i) -> Result<void> {
    ++begun;
    if (i == 2) return fail(ErrorCode::corrupt, "job 2");
    return {};
  };
  const auto result = run_parallel(10, 1, job, {.failed = [&] { ++told; }, .idle = {}});
  REQUIRE(!result);
  CHECK(result.error().message() == "job 2");
  CHECK(begun == 3);
  CHECK(told == 1);
}
