// SPDX-License-Identifier: Apache-2.0
#include "moment.hpp"

#include <charconv>
#include <ctime>

#include <dray/core/process.hpp>

namespace dray::cli {

Result<std::int64_t> parse_moment(const std::string& text) {
  if (auto time = parse_time(text)) return *time;
  if (auto date = parse_time(text + "T00:00:00Z")) return *date;
  std::int64_t total = 0;
  const char* at = text.data();
  const char* end = at + text.size();
  bool has_unit = false;
  while (at < end) {
    std::int64_t number = 0;
    auto [rest, error] = std::from_chars(at, end, number);
    if (error != std::errc() || number < 0) break;
    at = rest;
    if (at == end && !has_unit) return number;
    static constexpr std::pair<char, std::int64_t> kUnits[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    std::int64_t factor = 0;
    for (const auto& [unit, seconds] : kUnits)
      if (at < end && *at == unit) factor = seconds;
    if (factor == 0) break;
    total += number * factor;
    has_unit = true;
    ++at;
  }
  if (at != end || !has_unit)
    return fail(ErrorCode::invalid_argument,
                "invalid time: \"" + text + "\": expected RFC 3339, seconds since 1970, or a duration such as 10m");
  return static_cast<std::int64_t>(::time(nullptr)) - total;
}

}  // namespace dray::cli
