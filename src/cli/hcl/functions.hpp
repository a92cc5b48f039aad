// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "budget.hpp"
#include "value.hpp"

// The functions that buildx gives to bake files, by subject; `try`, `can` and `convert` are the evaluator's.

namespace dray::cli::hcl {

constexpr int kAnyArguments = 1000;

/// The arguments of a call, and what it may spend.
class Call {
 public:
  Call(const List& list, Budget& to_spend) : budget(to_spend), list_(list) {}
  const Value& operator[](std::size_t index) const { return list_[index]; }
  std::size_t size() const { return list_.size(); }
  List::const_iterator begin() const { return list_.begin(); }
  List::const_iterator end() const { return list_.end(); }

  Budget& budget;

 private:
  const List& list_;
};
using Arguments = const Call&;

struct Function {
  const char* name;
  int least, most;  ///< arguments
  Result<Value> (*call)(Arguments);
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

// For those who write functions. What a function makes in proportion to its arguments is paid for already; what can
// grow beyond them spends of the budget while it is built.

inline Failure wrong(std::string message) { return fail(ErrorCode::invalid_argument, std::move(message)); }
Result<List> to_list(const Value& value);
Result<Object> to_object(const Value& value);
Result<std::int64_t> to_integer(const Value& value);
Result<std::vector<std::string>> to_texts(const Value& list);

}  // namespace dray::cli::hcl
