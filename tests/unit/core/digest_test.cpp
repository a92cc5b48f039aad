// SPDX-License-Identifier: Apache-2.0
#include <dray/core/digest.hpp>
#include <dray/core/process.hpp>

#include "catch.hpp"

using namespace dray;

TEST_CASE("digests of known texts", "[core]") {
  CHECK(Digest::of("").to_string() == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(Digest::of("abc").short_hex() == "ba7816bf8f01");
  Hasher hasher("sha512");
  hasher.update("abc");
  CHECK(hasher.finish().to_string().starts_with("sha512:ddaf35a193617aba"));
}

TEST_CASE("only well-formed digests parse", "[core]") {
  std::string good = "sha256:" + std::string(64, 'a');
  REQUIRE_OK(Digest::parse(good));
  for (std::string bad : std::vector<std::string>{"", "sha256:", "sha256:abc", "md5:" + std::string(32, 'a'),
                                                  "sha256:" + std::string(64, 'A'), "sha256:" + std::string(64, 'g'),
                                                  "sha256:" + std::string(65, 'a'), std::string(64, 'a'),
                                                  "sha256:../" + std::string(61, 'a')}) {
    CAPTURE(bad);
    CHECK_FALSE(Digest::parse(bad).has_value());
  }
}

TEST_CASE("times round-trip", "[core]") {
  CHECK(format_time(0) == "1970-01-01T00:00:00Z");
  CHECK(format_time(1700000000, 5) == "2023-11-14T22:13:20.000000005Z");
  CHECK(parse_time("2023-11-14T22:13:20.5Z") == 1700000000);
  CHECK(parse_time("2023-11-14T23:13:20+01:00") == 1700000000);
  CHECK_FALSE(parse_time("yesterday").has_value());
}
