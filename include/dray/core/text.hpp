// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

// Text cut into parts, and parts laid out as text.

namespace dray {

/// All parts, empty ones too: "" has one, "a," two.
std::vector<std::string> split(std::string_view text, char separator);

/// Each cell but a row's last is filled up to its column's widest and `gap` more, at least to `least`. Widths count
/// UTF-8 characters, not bytes, so that "…" does not shift a column.
std::string align_columns(const std::vector<std::vector<std::string>>& rows, std::size_t gap, std::size_t least = 0);

}  // namespace dray
