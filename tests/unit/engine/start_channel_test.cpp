// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"

#include <thread>

#include <dray/core/process.hpp>

#include "start_channel.hpp"

using namespace dray;
using namespace dray::engine;

namespace {

Result<std::string> pass_on(const Result<std::string>& outcome) {
  Pipe pipe = std::move(*make_pipe());
  std::thread sender([&] {
    REQUIRE_OK(send_outcome(pipe.write_end, outcome));
    pipe.write_end.reset();
  });
  auto received = receive_outcome(pipe.read_end);
  sender.join();
  return received;
}

}  // namespace

TEST_CASE("the outcome of a start crosses processes", "[engine]") {
  CHECK(pass_on(std::string("2026-01-02T03:04:05Z")).value() == "2026-01-02T03:04:05Z");
  auto failed = pass_on(Failure(Error(ErrorCode::command_not_found, "exec: \"x\"").with_hint("try y")));
  REQUIRE_FALSE(failed);
  CHECK(failed.error().code() == ErrorCode::command_not_found);
  CHECK(failed.error().message() == "exec: \"x\"");
  CHECK(failed.error().hint() == "try y");
  CHECK(pass_on(Failure(Error(ErrorCode::internal, std::string(200'000, 'x')))).error().message().size() == 200'000);
}

TEST_CASE("a starting process that dies is an error", "[engine]") {
  Pipe pipe = std::move(*make_pipe());
  REQUIRE_OK(write_all(pipe.write_end, "7"));
  pipe.write_end.reset();
  auto gone = receive_outcome(pipe.read_end);
  REQUIRE_FALSE(gone);
  CHECK(gone.error().code() == ErrorCode::unavailable);
}
