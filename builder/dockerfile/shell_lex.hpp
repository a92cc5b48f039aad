// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dray/core/result.hpp>

namespace dray::builder {

/// A variable's value, or nullopt if it is not set.
using Lookup = std::function<std::optional<std::string>(std::string_view name)>;

struct Expansion {
  std::string text;                 ///< as one word
  std::vector<std::string> words;   ///< split at unquoted spaces
  std::set<std::string> unmatched;  ///< variables that were not set
};

/// Which variables an expansion asked for, in that order, each once; also where it fails.
class VariableUse {
 public:
  /// `variables` with this as its record; this must outlive it.
  Lookup record(Lookup variables) {
    return [this, variables = std::move(variables)](std::string_view name) {
      auto value = variables(name);
      auto& list = value ? set : unset;
      if (std::find(list.begin(), list.end(), name) == list.end()) list.emplace_back(name);
      return value;
    };
  }
  std::vector<std::string> set, unset;
};

/// Variables, quotes and escapes in a Dockerfile's words, as BuildKit's shell lexer does. The result is at
/// most 1 MiB.
class ShellLex {
 public:
  explicit ShellLex(char escape = '\\') : escape_(escape) {}
  bool raw_quotes = false;   ///< quotes stay in the result
  bool raw_escapes = false;  ///< escapes stay in the result
  bool skip_quotes = false;  ///< quotes are ordinary characters
  bool skip_unset = false;   ///< $x stays as it is where x is not set

  Result<Expansion> expand(std::string_view text, const Lookup& lookup) const;
  Result<std::string> word(std::string_view text, const Lookup& lookup) const;

 private:
  char escape_;
};

/// ${x#p} and friends. Patterns know "*", "?" and "\".
enum class TrimEnd { prefix, suffix };
Result<std::string> trim_pattern(std::string_view value, std::string_view pattern, TrimEnd end, bool longest);
Result<std::string> replace_pattern(std::string_view value, std::string_view pattern, std::string_view replacement,
                                    bool all);

}  // namespace dray::builder
