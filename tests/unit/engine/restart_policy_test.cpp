// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"

#include <unistd.h>

#include "container_state.hpp"

using namespace dray;
using namespace dray::engine;
using Kind = RestartPolicy::Kind;

TEST_CASE("--restart in Docker's words", "[engine]") {
  struct Row {
    const char* text;
    Kind kind;
    int retries;
  };
  for (const Row& row : {Row{"", Kind::no, 0}, Row{"no", Kind::no, 0}, Row{"no:0", Kind::no, 0},
                         Row{"always", Kind::always, 0}, Row{"always:", Kind::always, 0},
                         Row{"unless-stopped", Kind::unless_stopped, 0}, Row{"on-failure", Kind::on_failure, 0},
                         Row{"on-failure:0", Kind::on_failure, 0}, Row{"on-failure:5", Kind::on_failure, 5}}) {
    INFO(row.text);
    auto policy = parse_restart_policy(row.text);
    REQUIRE_OK(policy);
    CHECK(policy->kind == row.kind);
    CHECK(policy->maximum_retries == row.retries);
  }
  auto error = [](const char* text) { return parse_restart_policy(text).error().message(); };
  CHECK(error("always:2") == "maximum retry count cannot be used with restart policy 'always'");
  CHECK(error("unless-stopped:1") == "maximum retry count cannot be used with restart policy 'unless-stopped'");
  CHECK(error("on-failure:-1") == "maximum retry count cannot be negative");
  CHECK(error(":3") == "invalid restart policy format: no policy provided before colon");
  for (const char* text : {"on-failure:x", "on-failure:1x", "on-failure:99999999999", "on-failure:1:2"})
    CHECK(error(text) == "invalid restart policy format: maximum retry count must be an integer");
  CHECK(error("sometimes").starts_with("invalid restart policy 'sometimes'"));
}

TEST_CASE("a restart is due while the lock is held; a lost one is settled", "[engine]") {
  auto directory = TempDir::create("/tmp", "dray-unit-");
  REQUIRE_OK(directory);
  Context context;
  context.configuration.root = directory->path() + "/root";
  context.configuration.state = directory->path() + "/state";
  ContainerRecord record;
  record.id = "c1";
  record.options.restart = {Kind::on_failure, 3};
  auto again = parse_record(serialize([&] {
    ContainerRecord copy = record;
    copy.image_id = Digest::of("image");
    return copy;
  }()));
  REQUIRE_OK(again);
  CHECK(again->options.restart.kind == Kind::on_failure);
  CHECK(again->options.restart.maximum_retries == 3);

  REQUIRE_OK(make_directories(container_directory(context, "c1")));
  {
    auto lock = lock_container(context, "c1", 0);
    REQUIRE_OK(lock);
    CHECK_FALSE(is_active(context, record));
    REQUIRE_OK(write_file_atomically(exit_path(context, record), serialize(ExitState{1, false, "now", 2, 200}), 0600,
                                     Durability::none));
    CHECK(is_restarting(context, record));
    CHECK(is_active(context, record));
    CHECK(read_exit(context, record)->restart_count == 2);
    REQUIRE_OK(mark_stopped(context, record));
    CHECK(::access(stop_mark_path(context, "c1").c_str(), F_OK) == 0);
    clear_stop_mark(context, record);
    CHECK(::access(stop_mark_path(context, "c1").c_str(), F_OK) != 0);
  }
  CHECK_FALSE(is_restarting(context, record));  // the monitor was killed
  auto running = cancel_restart(context, record);
  REQUIRE_OK(running);
  CHECK_FALSE(running->has_value());
  settle_exit(context, record);
  auto exit = read_exit(context, record);
  REQUIRE(exit);
  CHECK(exit->restart_delay_ms == 0);
  CHECK(exit->restart_count == 2);
  CHECK(exit->exit_code == 1);

  record.options.restart = {};
  record.id = "c2";
  REQUIRE_OK(mark_stopped(context, record));  // nothing to write for a container without policy
  CHECK(::access(container_directory(context, "c2").c_str(), F_OK) != 0);
}
