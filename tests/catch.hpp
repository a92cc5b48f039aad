// SPDX-License-Identifier: Apache-2.0
#pragma once
// Catch2 of Debian 12 (2.13) and of newer systems (3.x) alike.
#if __has_include(<catch2/catch_test_macros.hpp>)
#include <catch2/catch_test_macros.hpp>
#else
#include <catch2/catch.hpp>
#endif

#include <dray/core/result.hpp>

/// REQUIRE that a Result holds a value; shows the error otherwise.
#define REQUIRE_OK(expression)                                                               \
  do {                                                                                       \
    const auto& require_ok_result_ = (expression);                                           \
    INFO((require_ok_result_ ? std::string("ok") : require_ok_result_.error().to_string())); \
    REQUIRE(require_ok_result_.has_value());                                                 \
  } while (false)
