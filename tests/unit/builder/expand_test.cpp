// SPDX-License-Identifier: Apache-2.0
// Expansion of words against BuildKit's tables.
#include <nlohmann/json.hpp>

#include "builder/dockerfile/shell_lex.hpp"
#include "corpus.hpp"

using namespace dray;
using namespace dray::builder;

namespace {

std::map<std::string, std::string> environment(const nlohmann::json& env) {
  std::map<std::string, std::string> variables;
  if (env.is_object()) return env.get<std::map<std::string, std::string>>();
  for (const std::string variable : env)
    variables[variable.substr(0, variable.find('='))] = variable.substr(variable.find('=') + 1);
  return variables;
}

Lookup lookup(const std::map<std::string, std::string>& variables) {
  return [&variables](std::string_view name) -> std::optional<std::string> {
    const auto found = variables.find(std::string(name));
    if (found == variables.end()) return std::nullopt;
    return found->second;
  };
}

const std::map<std::string, std::string> kVariables = {
    {"x", "a/b/c.tar.gz"}, {"empty", ""}, {"long", std::string(70'000, 'a')}};

std::string word(std::string_view text) {
  const auto result = ShellLex().word(text, lookup(kVariables));
  return result ? *result : "error: " + result.error().message();
}

}  // namespace

TEST_CASE("modifiers") {
  CHECK(word("${x#*/} ${x##*/} ${x%.*} ${x%%.*}") == "b/c.tar.gz c.tar.gz a/b/c.tar a/b/c");
  CHECK(word("${x/\\//-} ${x//\\//-}") == "a-b/c.tar.gz a-b-c.tar.gz");
  CHECK(word("${empty:-w}${empty-v}${none+u}${x:+t}") == "wt");
  CHECK(word("${none:?say so}").find("say so") != std::string::npos);
  CHECK(word("'$x' \"$empty\" \\$x") == "$x  $x");
}

TEST_CASE("names are letters of any script, digits and underscores") {
  const std::map<std::string, std::string> variables = {{"x", "1"}, {"größe", "2"}};
  CHECK(ShellLex().word("$x\u2013y $größe\u00a0", lookup(variables)).value_or("") == "1\u2013y 2\u00a0");
  CHECK(ShellLex().expand("a\u2003b", lookup(variables))->words == std::vector<std::string>{"a", "b"});
}

TEST_CASE("hostile words") {
  CHECK(word("${").starts_with("error"));
  CHECK(word("${x").starts_with("error"));
  CHECK(word("'").starts_with("error"));
  std::string deep, end;
  for (int i = 0; i < 10'000; ++i) deep += "${n:-";
  CHECK(word(deep).starts_with("error"));
  std::string wide;
  for (int i = 0; i < 100; ++i) wide += "$long";
  CHECK(word(wide).starts_with("error"));
  CHECK(word("\"" + wide + "\"").starts_with("error"));
  CHECK(word("${long#*b*b*b*b*b*b}").starts_with("error"));
}

TEST_CASE("corpus: words") {
  if (!corpus::present()) return;
  for (const char* file : {"process-word.json", "derived-word.json", "process-word-matches.json"}) {
    for (const auto& entry : corpus::json(std::string("shell-lex/") + file)) {
      if (entry.value("platform", "all") == "windows") continue;
      INFO(file << " " << entry.dump());
      const auto variables = environment(entry["env"]);
      const auto result = ShellLex().expand(entry["input"].get<std::string>(), lookup(variables));
      if (!entry.contains("expected")) {
        CHECK_FALSE(result);
        continue;
      }
      REQUIRE_OK(result);
      CHECK(result->text == entry["expected"].get<std::string>());
      if (entry.contains("unmatched")) CHECK(result->unmatched == entry["unmatched"].get<std::set<std::string>>());
    }
  }
  for (const char* file : {"process-words.json", "derived-words.json"}) {
    for (const auto& entry : corpus::json(std::string("shell-lex/") + file)) {
      INFO(file << " " << entry.dump());
      const auto variables = environment(entry["env"]);
      const auto result = ShellLex().expand(entry["input"].get<std::string>(), lookup(variables));
      if (!entry.contains("expected")) {
        CHECK_FALSE(result);
        continue;
      }
      REQUIRE_OK(result);
      CHECK(result->words == entry["expected"].get<std::vector<std::string>>());
    }
  }
}
