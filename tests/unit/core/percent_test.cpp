// SPDX-License-Identifier: Apache-2.0
#include <dray/core/percent.hpp>

#include "catch.hpp"

using namespace dray;

TEST_CASE("percent escapes, and what is none", "[core]") {
  CHECK(percent_decode(percent_encode("a/b c+%\"")) == "a/b c+%\"");
  CHECK(percent_encode("a:b~", ":") == "a:b~");
  CHECK(percent_encode("a:b~") == "a%3Ab~");
  CHECK(percent_decode("%41%2f%e4+", {.plus_is_space = true}) == "A/\xe4 ");
  for (const char* bad : {"%", "x%2", "%zz", "%0x", "%-1", "% 1"}) {
    const auto decoded = percent_decode(bad);
    REQUIRE_FALSE(decoded);
    CHECK(decoded.error().code() == ErrorCode::invalid_argument);
    CHECK(percent_decode(bad, {.keeps_bad_escapes = true}) == bad);
  }
  CHECK(percent_decode("%41%zz%42", {.keeps_bad_escapes = true}) == "A%zzB");
}
