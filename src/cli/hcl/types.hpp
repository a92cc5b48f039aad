// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "budget.hpp"
#include "syntax.hpp"

namespace dray::cli::hcl {

/// A type as a variable declares it.
struct Type {
  enum class Kind { any, string, number, boolean, list, set, map, tuple, object };
  Kind kind = Kind::any;
  std::vector<Type> inner;            ///< of list, set, map: one; of a tuple: each item's
  std::map<std::string, Type> items;  ///< of an object
  bool optional = false;              ///< as an object's item
  std::optional<Value> otherwise;     ///< of an optional one that is missing
};

/// string, list(number), object({a = optional(string, "x")}), …
Result<Type> read_type(const Expression& expression);
/// As it is written: "map(list(string))".
std::string to_text(const Type& type);
/// The value as that type, or why it is none. null is of each type.
Result<Value> convert(const Value& value, const Type& type, Budget& budget);
/// A value written as text in the environment, or given with --var: CSV for lists and maps.
Result<Value> read_override(const std::string& text, const Type& type, Budget& budget);

/// RFC 4180's records; at most 100,000 fields.
Result<std::vector<std::vector<std::string>>> read_csv(const std::string& text);

}  // namespace dray::cli::hcl
