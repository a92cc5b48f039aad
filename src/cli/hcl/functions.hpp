// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "value.hpp"

// The functions that buildx gives to bake files, by subject; `try`, `can` and `convert` are the evaluator's.

namespace dray::cli::hcl {

constexpr int kAnyArguments = 1000;

struct Function {
  const char* name;
  int least, most;  ///< arguments
  Result<Value> (*call)(const List& arguments);
  bool takes_null = false;  ///< else a null argument is an error
};

/// The one of this name, or null.
const Function* find_function(std::string_view name);
std::vector<std::string> function_names();

// The tables, a file each.
const std::vector<Function>& text_functions();
const std::vector<Function>& pattern_functions();
const std::vector<Function>& encoding_functions();
const std::vector<Function>& number_functions();
const std::vector<Function>& list_functions();
const std::vector<Function>& object_functions();
const std::vector<Function>& format_functions();
const std::vector<Function>& time_functions();

// For those who write functions.

inline Failure wrong(std::string message) { return fail(ErrorCode::invalid_argument, std::move(message)); }
Result<List> to_list(const Value& value);
Result<Object> to_object(const Value& value);
Result<std::int64_t> to_integer(const Value& value);
Result<std::vector<std::string>> to_texts(const Value& list);

}  // namespace dray::cli::hcl
