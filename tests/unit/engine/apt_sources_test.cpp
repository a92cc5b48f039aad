// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"

#include "apt_sources.hpp"

using namespace dray::engine;

TEST_CASE("sources of both formats", "[engine]") {
  auto old = parse_one_line_sources(
      "# comment\ndeb [arch=amd64 signed-by=/k.gpg] http://m.example/debian bookworm main contrib\ndeb-src http://m x "
      "main\n"
      "deb http://flat.example ./\n");
  REQUIRE(old.size() == 1);
  CHECK(old[0].uri == "http://m.example/debian");
  CHECK(old[0].components == "main contrib");
  auto deb822 = parse_deb822_sources(
      "Types: deb deb-src\n# snapshot\nURIs: http://m.example/debian\nSuites: bookworm\n bookworm-updates\nComponents: "
      "main\n\n"
      "Enabled: no\nTypes: deb\nURIs: http://off.example\nSuites: x\nComponents: main\n");
  REQUIRE(deb822.size() == 2);
  CHECK(deb822[1].suite == "bookworm-updates");
  CHECK(parse_deb822_sources("garbage\n: :\n\n\n").empty());
}

TEST_CASE("choice of sources", "[engine]") {
  std::vector<AptSource> host = {{"https://extra.example/apt", "tool", "stable"},
                                 {"http://m.example/debian", "bookworm", "main"},
                                 {"http://m.example/debian", "bookworm-updates", "main"},
                                 {"http://m.example/debian-security", "bookworm-security", "main"}};
  auto same = choose_sources(host, "bookworm");
  REQUIRE(same.size() == 3);
  CHECK(same[0] == "deb http://m.example/debian bookworm main");
  auto other = choose_sources(host, "trixie");
  REQUIRE(other.size() == 1);
  CHECK(other[0] == "deb http://m.example/debian trixie main");
  CHECK(choose_sources({}, "trixie").empty());
}
