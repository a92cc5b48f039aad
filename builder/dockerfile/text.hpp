// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <dray/core/text.hpp>

// Small text helpers of the Dockerfile grammar. What is trimmed and what parts words is Unicode's white space (a
// no-break space comes with a command copied from a web page), what parts an instruction from its arguments is ASCII's:
// as BuildKit.

namespace dray::builder {

std::string_view trim_left(std::string_view text);
std::string_view trim(std::string_view text);
inline bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
/// The length in bytes of the white space character at the beginning; 0: there is none.
std::size_t space_length(std::string_view text);
/// The length in bytes of the letter (of any script) at the beginning; 0: there is none.
std::size_t letter_length(std::string_view text);
inline bool is_digit(char c) { return c >= '0' && c <= '9'; }
std::string to_upper(std::string_view text);
/// At runs of white space, at most `limit` parts (0: no limit).
std::vector<std::string> split_whitespace(std::string_view text, std::size_t limit = 0);
/// Go's %q: in quotes, with escapes for what cannot be seen.
std::string go_quote(std::string_view text);
/// The option nearest to what was typed, or "" when none is near enough to be meant.
std::string nearest(std::string_view typed, const std::vector<std::string>& options);
/// BuildKit's guess at a variable: case counts, at most two letters off; "" when it is one of the options.
std::string nearest_exactly(std::string_view typed, const std::vector<std::string>& options);
/// " (did you mean X?)", or "".
std::string did_you_mean(std::string_view typed, const std::vector<std::string>& options);

}  // namespace dray::builder
