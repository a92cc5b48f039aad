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

TEST_CASE("fields are read as Go's encoding/csv reads a line", "[core]") {
  CHECK(split_csv("a,\"b,\"\"c\",") == std::vector<std::string>{"a", "b,\"c", ""});
  CHECK(split_csv("type=bind,\"src=/a,b\"") == std::vector<std::string>{"type=bind", "src=/a,b"});
  CHECK(split_csv("a\"b").error().message() == "bare \" in non-quoted-field");
  CHECK(split_csv("\"a").error().message() == "extraneous or missing \" in quoted-field");
  CHECK(split_csv("\"a\"b").error().message() == "extraneous or missing \" in quoted-field");
  CHECK_FALSE(split_csv(""));
}

TEST_CASE("white space goes, letters become lower, words become truth", "[core]") {
  CHECK(trim(" \t a b\r\n") == "a b");
  CHECK(trim(" \n").empty());
  CHECK(trim("\v\fa ") == "a");
  CHECK(to_lower("AbZ[\xc3\x84") == "abz[\xc3\x84");
  CHECK(parse_bool("T") == true);
  CHECK(parse_bool("0") == false);
  CHECK_FALSE(parse_bool("yes").has_value());
  CHECK_FALSE(parse_bool("").has_value());
}

TEST_CASE("columns are as wide as their widest cell, in characters", "[core]") {
  CHECK(align_columns({{"A", "B", "C"}, {"…x", "", "y"}, {"long"}}, 2) == "A     B  C\n…x       y\nlong\n");
  CHECK(align_columns({{"A", "B"}, {"eleven char", "x"}}, 1, 4) == "A           B\neleven char x\n");
  CHECK(align_columns({{"A", "B"}}, 1, 4) == "A   B\n");
  CHECK(align_columns({}, 3).empty());
}
