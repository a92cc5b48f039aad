// SPDX-License-Identifier: Apache-2.0
// The corpus' tables of image references: the same names are refused, the others mean the same.
#include <cstdlib>

#include <nlohmann/json.hpp>

#include <dray/core/fd.hpp>
#include <dray/core/reference.hpp>

#include "catch.hpp"

using namespace dray;
using nlohmann::json;

namespace {

json table(const std::string& name) {
  const char* given = ::getenv("DRAY_CORPUS");
  const std::string folder = given != nullptr ? given : "../shared/corpus";
  auto text = read_file(folder + "/image-reference/" + name, 16u << 20);
  if (!text) WARN("no corpus: skipped");
  return text ? json::parse(*text) : json::array();
}

}  // namespace

TEST_CASE("corpus: image references", "[core]") {
  std::size_t compared = 0;
  for (const char* name : {"cases.json", "derived-normalized.json"}) {
    for (const json& test : table(name)) {
      const std::string api = test["api"], input = test["input"];
      // The others read a name without Docker Hub's defaults, or IDs, too: Dray has no such form of a name.
      if (api != "ParseNormalizedNamed" && api != "ParseDockerRef") continue;
      // A program without SHA-256 made the second table: it refuses each digest that is well-formed.
      if (test.value("error", "") == "unsupported digest algorithm" && input.find("@sha256:") != std::string::npos)
        continue;
      INFO(input);
      const auto reference = Reference::parse(input);
      ++compared;
      CHECK(reference.has_value() != test.contains("error"));
      if (!reference || test.contains("error")) continue;
      const std::string bare = reference->domain() + "/" + reference->repository();
      if (test.contains("domain")) CHECK(reference->domain() == test["domain"]);
      if (test.contains("path")) CHECK(reference->repository() == test["path"]);
      if (test.contains("with_default_tag")) CHECK(reference->canonical() == test["with_default_tag"]);
      if (test.contains("tag")) CHECK(reference->tag() == test["tag"]);
      if (test.contains("digest") && test["digest"] != "") CHECK(reference->digest()->to_string() == test["digest"]);
      if (test.contains("expected"))
        CHECK(bare + (reference->digest() ? "@" : ":") + reference->tag_or_digest() == test["expected"]);
    }
  }
  CHECK((compared == 0 || compared == 268));
}
