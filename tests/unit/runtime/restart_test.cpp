// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"

#include <fcntl.h>

#include <chrono>

#include <dray/core/fd.hpp>

#include "monitor/restart.hpp"

using namespace dray::monitor;

TEST_CASE("which ends a policy answers with a restart", "[runtime]") {
  struct Row {
    RestartRule rule;
    bool after_success, after_failure;
  };
  for (const Row& row :
       {Row{{RestartRule::never, 0, 0, 0}, false, false}, Row{{RestartRule::always, 0, 0, 0}, true, true},
        Row{{RestartRule::always, 0, 1000000, 60'000}, true, true},
        Row{{RestartRule::on_failure, 0, 0, 0}, false, true}, Row{{RestartRule::on_failure, 0, 99, 0}, false, true},
        Row{{RestartRule::on_failure, 2, 0, 0}, false, true}, Row{{RestartRule::on_failure, 2, 1, 100}, false, true},
        Row{{RestartRule::on_failure, 2, 2, 200}, false, false},
        Row{{RestartRule::on_failure, 2, 3, 400}, false, false}, Row{{9, 0, 0, 0}, false, false}}) {
    INFO("policy " << row.rule.policy << ", max " << row.rule.max << ", count " << row.rule.count);
    CHECK(wants_restart(row.rule, 0) == row.after_success);
    CHECK(wants_restart(row.rule, 1) == row.after_failure);
    CHECK(wants_restart(row.rule, 137) == row.after_failure);
  }
}

TEST_CASE("the wait doubles up to a minute, and starts anew after ten seconds of running", "[runtime]") {
  int delay = 0;
  for (int expected : {100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000}) {
    delay = next_delay_ms(delay, 50);
    CHECK(delay == expected);
  }
  CHECK(next_delay_ms(delay, 9'999) == 60'000);
  CHECK(next_delay_ms(delay, 10'000) == 100);
  CHECK(next_delay_ms(2147483647, 0) == 60'000);
  CHECK(next_delay_ms(-1, 0) == 100);
}

TEST_CASE("the wait ends when its time is over, or with the user's wish", "[runtime]") {
  auto directory = dray::TempDir::create("/tmp", "dray-unit-");
  REQUIRE_OK(directory);
  const std::string mark = directory->path() + "/stopped";
  using Clock = std::chrono::steady_clock;
  auto begin = Clock::now();
  CHECK(await_restart(mark.c_str(), 60));
  CHECK(Clock::now() - begin >= std::chrono::milliseconds(59));
  REQUIRE_OK(dray::open_file(mark, O_WRONLY | O_CREAT, 0600));
  begin = Clock::now();
  CHECK_FALSE(await_restart(mark.c_str(), 60'000));
  CHECK(Clock::now() - begin < std::chrono::seconds(10));
}
