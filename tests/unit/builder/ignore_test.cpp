// SPDX-License-Identifier: Apache-2.0
// .dockerignore patterns against moby/patternmatcher's tables.
#include <nlohmann/json.hpp>

#include "builder/context/ignore.hpp"
#include "corpus.hpp"

using namespace dray;
using namespace dray::builder;

TEST_CASE("the last pattern that matches decides, and its line is known") {
  const auto patterns = IgnorePatterns::parse("# no\n*.log\nnode_modules/\n!keep/*.log\n\n/build\n");
  REQUIRE_OK(patterns);
  CHECK(patterns->match("a.log").line == 2);
  CHECK(patterns->excluded("node_modules/x/y.js"));
  CHECK_FALSE(patterns->excluded("src/a.log"));
  CHECK_FALSE(patterns->excluded("keep/a.log"));
  CHECK(patterns->excluded("build/out"));
  CHECK_FALSE(patterns->excluded("src/build"));
}

TEST_CASE("directories that may hold exceptions") {
  const auto patterns = IgnorePatterns::parse("*\n!src/main/*.c\n!docs\n");
  REQUIRE_OK(patterns);
  CHECK(patterns->may_reinclude("src"));
  CHECK(patterns->may_reinclude("src/main"));
  CHECK_FALSE(patterns->may_reinclude("src/test"));
  CHECK_FALSE(patterns->may_reinclude("node_modules"));
  CHECK_FALSE(patterns->excluded("docs/a"));
  CHECK_FALSE(IgnorePatterns().may_reinclude("x"));
}

TEST_CASE("bad and hostile patterns") {
  CHECK_FALSE(IgnorePatterns::parse("ok\n[a-\n"));
  CHECK(IgnorePatterns::parse("ok\n[a-\n").error().location() == ".dockerignore:2");
  CHECK_FALSE(IgnorePatterns::parse("!"));
  CHECK_FALSE(IgnorePatterns::parse("a\\"));
  CHECK_FALSE(IgnorePatterns::parse(std::string(5000, 'a')));
  std::string stars;
  for (int i = 0; i < 500; ++i) stars += "*a";
  const auto patterns = IgnorePatterns::parse(stars + "b");
  REQUIRE_OK(patterns);
  CHECK_FALSE(patterns->excluded(std::string(4000, 'a')));
}

TEST_CASE("corpus: matches") {
  if (!corpus::present()) return;
  for (const char* file : {"pattern-match.json", "derived-match.json"}) {
    for (const auto& entry : corpus::json(std::string("dockerignore/") + file)) {
      INFO(entry.dump());
      const auto patterns = IgnorePatterns::from_list(entry["patterns"].get<std::vector<std::string>>());
      if (entry.contains("error") || !entry.contains("match")) {
        CHECK_FALSE(patterns);
        continue;
      }
      if (entry.value("api", "all") == "Matches") continue;
      REQUIRE_OK(patterns);
      CHECK(patterns->excluded(entry["path"].get<std::string>()) == entry["match"].get<bool>());
    }
  }
}

TEST_CASE("corpus: the lines of an ignore file") {
  if (!corpus::present()) return;
  for (const auto& entry : corpus::json("dockerignore/ignorefile-parse.json")) {
    INFO(entry.dump());
    CHECK(IgnorePatterns::read_lines(entry["content"].get<std::string>()) ==
          entry["expected"].get<std::vector<std::string>>());
  }
}
