// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"

#include <signal.h>
#include <unistd.h>

#include <set>

#include "container_state.hpp"

using namespace dray;
using namespace dray::engine;

TEST_CASE("signals by name and number", "[engine]") {
  CHECK(parse_signal("SIGTERM").value() == SIGTERM);
  CHECK(parse_signal("term").value() == SIGTERM);
  CHECK(parse_signal("9").value() == SIGKILL);
  CHECK(parse_signal("RTMIN+3").value() == SIGRTMIN + 3);
  for (const char* text : {"", "0", "65", "999", "SIG", "SIGNOPE", "-9", "9x", "RTMAX+1"}) {
    INFO(text);
    CHECK_FALSE(parse_signal(text));
  }
}

TEST_CASE("running is a held lock", "[engine]") {
  auto directory = TempDir::create("/tmp", "dray-unit-");
  REQUIRE_OK(directory);
  Context context;
  context.configuration.root = directory->path() + "/root";
  context.configuration.state = directory->path() + "/state";
  CHECK_FALSE(find_running(context, "c1"));
  {
    auto lock = lock_container(context, "c1", 0);
    REQUIRE_OK(lock);
    std::string path = container_state_directory(context, "c1") + "/running.json";
    REQUIRE_OK(write_file_atomically(
        path, serialize(RunningState{::getpid(), read_process_stat(::getpid())->start_ticks, "now"}), 0600,
        Durability::none));
    auto running = find_running(context, "c1");
    REQUIRE(running);
    CHECK(running->pid == ::getpid());
    CHECK(open_process(*running));
    running->start_ticks += 1;  // the number now belongs to another process
    CHECK_FALSE(open_process(*running));
    auto second = lock_container(context, "c1", 5);
    REQUIRE_FALSE(second);
    CHECK(second.error().code() == ErrorCode::in_use);
  }
  CHECK_FALSE(find_running(context, "c1"));  // running.json, but nobody holds the lock
}

TEST_CASE("generated names", "[engine]") {
  std::set<std::string> names;
  for (int i = 0; i < 50; ++i) {
    std::string name = make_container_name();
    CHECK(name.find('_') != std::string::npos);
    names.insert(name);
  }
  CHECK(names.size() > 20);
}
