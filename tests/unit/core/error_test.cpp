// SPDX-License-Identifier: Apache-2.0
#include <cerrno>

#include "catch.hpp"

using namespace dray;

namespace {
Result<int> failing() { return fail(ErrorCode::not_found, "no such thing"); }
Result<int> with_context() { return TRY_CTX(failing(), "looking for \"x\""); }
Result<std::string> converts() {
  int value = TRY(with_context());
  return std::to_string(value);
}
}  // namespace

TEST_CASE("errors carry code, contexts, location and hint", "[core]") {
  auto result = converts();
  REQUIRE_FALSE(result.has_value());
  Error error = std::move(result).error().with_location("Dockerfile:3").with_location("outer:1").with_hint("try y");
  CHECK(error.code() == ErrorCode::not_found);
  CHECK(error.to_string() == "Dockerfile:3: looking for \"x\": no such thing\ntry y");
}

TEST_CASE("errno maps to codes, and a copy does not change with the original", "[core]") {
  Error full = Error::from_errno(ENOSPC, "writing");
  Error copy = full;
  full = std::move(full).with_context("outer");
  CHECK(copy.message() == "writing: no space left on device");
  CHECK(copy.code() == ErrorCode::no_space);
  CHECK(copy.error_number() == ENOSPC);
}
