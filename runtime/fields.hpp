// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

// The lists that the kernel's files hold.

namespace dray::runtime {

/// Cuts what stands before the first `separator`, or all, off `text`.
inline std::string_view next_field(std::string_view& text, char separator) {
  const std::size_t end = text.find(separator);
  const std::string_view field = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return field;
}

inline bool has_field(std::string_view list, char separator, std::string_view wanted) {
  while (!list.empty())
    if (next_field(list, separator) == wanted) return true;
  return false;
}

}  // namespace dray::runtime
