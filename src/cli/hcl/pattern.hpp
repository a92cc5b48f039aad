// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <dray/core/result.hpp>

#include "budget.hpp"

namespace dray::cli::hcl {

/// A regular expression of RE2's syntax. The time to match is the product of the lengths of pattern and text, whatever
/// they are: there is no backtracking.
class Pattern {
 public:
  struct Span {
    std::size_t begin = std::string_view::npos, end = std::string_view::npos;
    bool matched() const { return begin != std::string_view::npos; }
  };
  struct Match {
    std::vector<Span> groups;  ///< 0: the whole
  };

  static Result<Pattern> compile(std::string_view text);
  /// The leftmost match that begins at `from` or later.
  Result<std::optional<Match>> search(std::string_view text, std::size_t from, Budget& budget) const;
  std::size_t groups() const { return groups_; }  ///< without the whole
  const std::map<std::string, std::size_t>& names() const { return names_; }

  using Ranges = std::vector<std::pair<char32_t, char32_t>>;
  struct Instruction {
    enum class Kind {
      set,
      any,
      jump,
      fork,
      save,
      begin_text,
      end_text,
      begin_line,
      end_line,
      boundary,
      no_boundary,
      match
    };
    Kind kind = Kind::match;
    std::size_t first = 0, second = 0;     ///< of jump, fork (first is preferred), save
    std::shared_ptr<const Ranges> ranges;  ///< of set; shared by its repetitions
    bool negated = false;
  };

 private:
  std::vector<Instruction> program_;
  std::size_t groups_ = 0;
  std::map<std::string, std::size_t> names_;
};

}  // namespace dray::cli::hcl
