// SPDX-License-Identifier: Apache-2.0
// Sizes and ages in the words of docker's tables.
#include <cmath>
#include <cstdio>
#include <ctime>

#include <dray/core/process.hpp>
#include <dray/core/text.hpp>

#include "table.hpp"

namespace dray::cli {

std::string human_size(std::uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1000 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, "%.3g%s", value, kUnits[unit]);
  return text;
}

std::string human_duration(std::int64_t seconds) {
  auto plural = [](std::int64_t count, const char* unit) {
    return std::to_string(count) + " " + unit + (count == 1 ? "" : "s");
  };
  if (seconds < 1) return "Less than a second";
  if (seconds == 1) return "1 second";
  if (seconds < 60) return plural(seconds, "second");
  std::int64_t minutes = seconds / 60;
  if (minutes == 1) return "About a minute";
  if (minutes < 60) return plural(minutes, "minute");
  std::int64_t hours = (seconds + 1800) / 3600;
  if (hours == 1) return "About an hour";
  if (hours < 48) return plural(hours, "hour");
  if (hours < 24 * 14) return plural(hours / 24, "day");
  if (hours < 24 * 60) return plural(hours / 24 / 7, "week");
  if (hours < 24 * 365 * 2) return plural(hours / 24 / 30, "month");
  return plural(hours / 24 / 365, "year");
}

std::string human_age(const std::string& rfc3339_time) {
  auto then = parse_time(rfc3339_time);
  if (!then || *then <= 0) return "N/A";
  return human_duration(static_cast<std::int64_t>(::time(nullptr)) - *then) + " ago";
}

Result<std::int64_t> parse_size(const std::string& text) {
  char* end = nullptr;
  double value = std::strtod(text.c_str(), &end);
  std::string unit = to_lower(end == nullptr ? "" : end);
  if (unit.size() > 1 && unit.back() == 'b') unit.pop_back();
  if (unit.size() > 1 && unit.back() == 'i') unit.pop_back();
  static constexpr std::string_view kUnits = "bkmgtp";
  std::size_t power = unit.empty() ? 0 : kUnits.find(unit);
  if (end == text.c_str() || !(value >= 0) || unit.size() > 1 || power == std::string_view::npos || std::isinf(value))
    return fail(ErrorCode::invalid_argument,
                "invalid size: \"" + text + "\": expected a number with b, k, m, g or t, such as 512m");
  double bytes = value * std::pow(1024.0, static_cast<double>(power));
  if (bytes >= 9.2e18) return fail(ErrorCode::invalid_argument, "invalid size: \"" + text + "\": too large");
  return static_cast<std::int64_t>(bytes);
}

}  // namespace dray::cli
