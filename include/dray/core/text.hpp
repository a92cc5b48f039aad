// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <dray/core/result.hpp>

// Text cut into parts, and parts laid out as text. White space and letters are ASCII's.

namespace dray {

/// All parts, empty ones too: "" has one, "a," two.
std::vector<std::string> split(std::string_view text, char separator);
/// The fields of a flag's "a,b", as Go's encoding/csv reads a line: a field in quotes may hold commas, and "" for a
/// quote.
Result<std::vector<std::string>> split_csv(std::string_view text);

std::string_view trim(std::string_view text);
std::string to_lower(std::string_view text);
/// The words Go's strconv.ParseBool takes.
std::optional<bool> parse_bool(std::string_view text);

/// Each cell but a row's last is filled up to its column's widest and `gap` more, at least to `least`. Widths count
/// UTF-8 characters, not bytes, so that "…" does not shift a column.
std::string align_columns(const std::vector<std::vector<std::string>>& rows, std::size_t gap, std::size_t least = 0);

}  // namespace dray
