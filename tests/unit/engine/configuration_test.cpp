// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"

#include <dray/core/fd.hpp>
#include <dray/engine/engine.hpp>

using namespace dray;

TEST_CASE("daemon.json", "[engine]") {
  auto directory = TempDir::create("/tmp", "dray-unit-");
  REQUIRE_OK(directory);
  std::string path = directory->path() + "/daemon.json";
  auto load = [&](const char* text) {
    REQUIRE_OK(write_file_atomically(path, text, 0600, Durability::none));
    return engine::load_configuration(path);
  };
  auto absent = engine::load_configuration(path);
  REQUIRE_OK(absent);
  CHECK(absent->root == "/var/lib/dray");
  auto good = load(R"({"data-root":"/srv/dray","insecure-registries":["r:5000"],"trust-host-ca":true})");
  REQUIRE_OK(good);
  CHECK(good->root == "/srv/dray");
  CHECK(good->insecure_registries == std::vector<std::string>{"r:5000"});
  CHECK(good->trust_host_ca);
  for (const char* text : {"", "[]", "{", R"({"data-root":7})", R"({"data-root":"relative"})",
                           R"({"trust-host-ca":"yes"})", R"({"insecure-registries":[1]})"}) {
    INFO(text);
    auto bad = load(text);
    REQUIRE_FALSE(bad);
    CHECK(bad.error().code() == ErrorCode::invalid_argument);
  }
  auto unknown = load(R"({"bogus-key":1})");
  REQUIRE_FALSE(unknown);
  CHECK(unknown.error().message().find("bogus-key") != std::string::npos);
}
