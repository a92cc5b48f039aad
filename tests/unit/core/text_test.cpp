// SPDX-License-Identifier: Apache-2.0
#include <dray/core/text.hpp>

#include "catch.hpp"

using namespace dray;

TEST_CASE("text is split into all of its parts", "[core]") {
  using Parts = std::vector<std::string>;
  CHECK(split("", ',') == Parts{""});
  CHECK(split("a,,b", ',') == Parts{"a", "", "b"});
  CHECK(split("a,", ',') == Parts{"a", ""});
}

TEST_CASE("columns are as wide as their widest cell, in characters", "[core]") {
  CHECK(align_columns({{"A", "B", "C"}, {"…x", "", "y"}, {"long"}}, 2) == "A     B  C\n…x       y\nlong\n");
  CHECK(align_columns({{"A", "B"}, {"eleven char", "x"}}, 1, 4) == "A           B\neleven char x\n");
  CHECK(align_columns({{"A", "B"}}, 1, 4) == "A   B\n");
  CHECK(align_columns({}, 3).empty());
}
