// SPDX-License-Identifier: Apache-2.0
#include "criu_rpc.hpp"

#include "catch.hpp"

using namespace dray::oci::criu;

TEST_CASE("messages are protobuf's") {
  Message inner, outer;
  inner.text(1, "net");
  outer.number(1, 300);
  outer.flag(3, true);
  outer.message(39, inner);
  CHECK(outer.bytes() == std::string("\x08\xac\x02\x18\x01\xba\x02\x05\x0a\x03net"));
}

TEST_CASE("a notification") {
  Message notification, response;
  notification.text(1, "post-restore");
  notification.number(2, 4711);
  response.number(1, 6);
  response.flag(2, true);
  response.message(5, notification);
  auto parsed = parse_response(response.bytes());
  REQUIRE_OK(parsed);
  CHECK(parsed->type == 6);
  CHECK(parsed->success);
  CHECK(parsed->script == "post-restore");
  CHECK(parsed->pid == 4711);
}

TEST_CASE("a failure, with fields of a later version") {
  Message response;
  response.number(1, 2);
  response.flag(2, false);
  response.number(7, 17);
  response.text(9, "no");
  response.text(900, "later");
  auto parsed = parse_response(response.bytes());
  REQUIRE_OK(parsed);
  CHECK_FALSE(parsed->success);
  CHECK(parsed->error_number == 17);
  CHECK(parsed->error_message == "no");
}

TEST_CASE("features") {
  Message features, response;
  features.flag(1, true);
  response.number(1, 9);
  response.flag(2, true);
  response.message(8, features);
  auto parsed = parse_response(response.bytes());
  REQUIRE_OK(parsed);
  CHECK(parsed->memory_tracking);
  CHECK_FALSE(parsed->lazy_pages);
}

TEST_CASE("damaged answers are refused") {
  using namespace std::string_literals;
  for (const std::string& bytes : {""s, "\x08"s, "\x08\xff"s, "\x4a\x7fshort"s, "\x0b"s, "\x09\x01"s,
                                   "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"s,
                                   "\x4a\xff\xff\xff\xff\xff\xff\xff\xff\x7fx"s}) {
    INFO(bytes.size());
    CHECK_FALSE(parse_response(bytes).has_value());
  }
}
