// SPDX-License-Identifier: Apache-2.0
#include <dray/flags/flags.hpp>
#include "catch.hpp"

using namespace dray;

namespace {
struct Parsed {
  bool interactive = false, terminal = false, remove = false;
  std::string name;
  std::vector<std::string> env, words;
  Result<Flags::Outcome> outcome = Flags::Outcome::run;
};
Parsed parse(const std::vector<std::string>& arguments) {
  Parsed parsed;
  Flags flags("dray run", "IMAGE", "test");
  flags.flag("-i,--interactive", parsed.interactive, "");
  flags.flag("-t,--tty", parsed.terminal, "");
  flags.flag("--rm", parsed.remove, "");
  flags.option("--name", parsed.name, "");
  flags.list("-e,--env", parsed.env, "");
  flags.trailing(parsed.words, 1);
  parsed.outcome = flags.parse(arguments);
  return parsed;
}
}  // namespace

TEST_CASE("flags as docker users write them", "[cli]") {
  auto parsed =
      parse({"-it", "--rm", "-e", "A=1", "--env=B=2", "-eC=3", "--name", "x", "image", "sh", "-c", "echo -i", "--rm"});
  REQUIRE_OK(parsed.outcome);
  CHECK((parsed.interactive && parsed.terminal && parsed.remove));
  CHECK(parsed.env == std::vector<std::string>{"A=1", "B=2", "C=3"});
  CHECK(parsed.words == std::vector<std::string>{"image", "sh", "-c", "echo -i", "--rm"});
  CHECK(parse({"--rm=false", "image"}).remove == false);
  CHECK(parse({"--name", "a", "--name", "b", "image"}).name == "b");
  CHECK(parse({"--", "image", "-x"}).words == std::vector<std::string>{"image", "-x"});
  CHECK(parse({"image", "cmd", "--", "x"}).words == std::vector<std::string>{"image", "cmd", "--", "x"});
}

TEST_CASE("what is wrong is refused by name", "[cli]") {
  CHECK(parse({"--nosuch", "image"}).outcome.error().message() == "unknown flag: --nosuch");
  CHECK(parse({"-z", "image"}).outcome.error().message() == "unknown shorthand flag: 'z' in -z");
  CHECK(parse({}).outcome.error().message() == "\"dray run\" requires at least 1 argument");
  CHECK_FALSE(parse({"--name"}).outcome.has_value());
}
