// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"

#include <sys/socket.h>

#include "start_channel.hpp"

using namespace dray;
using namespace dray::engine;

TEST_CASE("messages with descriptors, and errors across processes", "[engine]") {
  int pair[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
  FileDescriptor a(pair[0]), b(pair[1]);
  REQUIRE_OK(send_message(a, StartMessage::Kind::network, "text", {0, 1}));
  auto message = receive_message(b);
  REQUIRE_OK(message);
  CHECK(message->kind == StartMessage::Kind::network);
  CHECK(message->text == "text");
  CHECK(message->fds.size() == 2);
  Error error = parse_error(serialize_error(Error(ErrorCode::command_not_found, "exec: \"x\"").with_hint("try y")));
  CHECK(error.code() == ErrorCode::command_not_found);
  CHECK(error.message() == "exec: \"x\"");
  CHECK(error.hint() == "try y");
  REQUIRE_OK(send_message(a, StartMessage::Kind::failed, std::string(200'000, 'x'), {}));
  CHECK(receive_message(b)->text.size() == 60'000);
  a.reset();
  auto gone = receive_message(b);
  REQUIRE_FALSE(gone);
  CHECK(gone.error().code() == ErrorCode::unavailable);
}
