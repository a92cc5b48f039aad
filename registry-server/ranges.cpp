// SPDX-License-Identifier: Apache-2.0
#include "ranges.hpp"

#include <algorithm>
#include <charconv>

namespace dray::registry_server {

std::optional<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t number = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || rest != text.data() + text.size()) return std::nullopt;
  return number;
}

RangeAnswer parse_range(std::string_view header, std::uint64_t total) {
  constexpr std::string_view kUnit = "bytes=";
  RangeAnswer whole;
  if (!header.starts_with(kUnit)) return whole;
  header.remove_prefix(kUnit.size());
  const std::size_t dash = header.find('-');
  if (dash == std::string_view::npos) return whole;
  const std::string_view left = header.substr(0, dash), right = header.substr(dash + 1);
  const auto first = parse_number(left), last = parse_number(right);
  if ((!left.empty() && !first) || (!right.empty() && !last) || (left.empty() && right.empty())) return whole;

  RangeAnswer answer{RangeAnswer::Kind::partial, {}};
  if (left.empty()) {  // the last N bytes
    answer.slice.size = std::min(*last, total);
    answer.slice.first = total - answer.slice.size;
    if (answer.slice.size == 0) answer.kind = RangeAnswer::Kind::unsatisfiable;
    return answer;
  }
  if (*first >= total || (last && *last < *first)) return {RangeAnswer::Kind::unsatisfiable, {}};
  answer.slice.first = *first;
  answer.slice.size = (last ? std::min(*last, total - 1) : total - 1) - *first + 1;
  return answer;
}

std::optional<Slice> parse_chunk_range(std::string_view header) {
  const std::size_t dash = header.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto first = parse_number(header.substr(0, dash)), last = parse_number(header.substr(dash + 1));
  if (!first || !last || *last < *first || *last - *first == UINT64_MAX) return std::nullopt;
  return Slice{*first, *last - *first + 1};
}

}  // namespace dray::registry_server
