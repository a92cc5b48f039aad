// SPDX-License-Identifier: Apache-2.0
#include <dray/core/base64.hpp>

#include "catch.hpp"

using namespace dray;

TEST_CASE("base64 in both directions, strict and lenient", "[core]") {
  std::string bytes;
  for (int i = 0; i < 256; ++i) {
    CHECK(decode_base64(encode_base64(bytes)) == bytes);
    bytes += static_cast<char>(i * 89);
  }
  CHECK(encode_base64("user:pass") == "dXNlcjpwYXNz");
  CHECK(decode_base64("dXNlcg") == "user");  // without its padding
  for (const char* odd : {"dXNl\ncg==", "dXNl=cg", "dX-_"}) {
    CHECK_FALSE(decode_base64(odd));
    CHECK(decode_base64(odd, Base64::lenient));
  }
  CHECK(decode_base64("-_=\r\n8", Base64::lenient) == decode_base64("+/8"));
  for (const char* bad : {"a b", "a%", "\xff", "a,"}) CHECK_FALSE(decode_base64(bad, Base64::lenient));
}
