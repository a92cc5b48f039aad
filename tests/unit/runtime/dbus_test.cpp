// SPDX-License-Identifier: Apache-2.0
// The D-Bus protocol: the bytes of messages, and those that are broken.
#include "catch.hpp"

#include <bit>

#include "cgroup/dbus.hpp"

using namespace dray;
using namespace dray::runtime;
using namespace std::string_literals;

TEST_CASE("D-Bus messages have the bytes of the specification") {
  if (std::endian::native != std::endian::little) return;
  dbus::Message call;
  call.type = dbus::Message::call;
  call.serial = 1;
  call.path = "/a";
  call.member = "M";
  call.signature = "s";
  dbus::Writer body;
  body.string("hi");
  call.body = body.bytes();
  const std::string bytes =
      "l\1\0\1"
      "\7\0\0\0"
      "\1\0\0\0"
      "\x27\0\0\0"
      "\1\1o\0"
      "\2\0\0\0/a\0\0\0\0\0\0"
      "\3\1s\0"
      "\1\0\0\0M\0\0\0\0\0\0\0"
      "\x8\1g\0"
      "\1s\0\0"
      "\2\0\0\0hi\0"s;
  REQUIRE(dbus::marshal(call) == bytes);
  auto parsed = dbus::unmarshal(bytes);
  REQUIRE_OK(parsed);
  REQUIRE(parsed->member == "M");
  REQUIRE(parsed->path == "/a");
  REQUIRE(dbus::Reader(parsed->body).string().value() == "hi");

  dbus::Writer properties;
  properties.byte(1);
  properties.properties({{"A", true}, {"B", std::uint64_t(2)}});
  REQUIRE(properties.bytes() ==
          "\1\0\0\0"
          "\x28\0\0\0"
          "\1\0\0\0A\0"
          "\1b\0"
          "\0\0\0"
          "\1\0\0\0"
          "\1\0\0\0B\0"
          "\1t\0"
          "\0\0\0\0\0\0\0"
          "\2\0\0\0\0\0\0\0"s);
}

TEST_CASE("malformed D-Bus messages are refused") {
  dbus::Message call;
  call.type = dbus::Message::signal;
  call.serial = 9;
  call.path = "/a/b";
  call.interface = "x.y";
  call.member = "M";
  call.body = "body";
  const std::string good = dbus::marshal(call);
  REQUIRE_OK(dbus::unmarshal(good));
  for (std::size_t size = 0; size < good.size(); ++size) REQUIRE(!dbus::unmarshal(good.substr(0, size)));
  for (std::size_t at = 0; at < good.size(); ++at)
    for (int byte : {0, 1, 0x7f, 0x80, 0xff}) {
      std::string bad = good;
      bad[at] = static_cast<char>(byte);
      (void)dbus::unmarshal(bad);  // an error or not; the sanitizers judge
    }
  std::string huge = good;
  huge[7] = '\x7f';
  REQUIRE(!dbus::message_size(huge));
  REQUIRE(!dbus::Reader("\xff\xff\xff\xff"s).string());
  REQUIRE(!dbus::Reader("\x4\0\0\0abcd"s).string());
  REQUIRE(!dbus::Reader("").byte());
}
