// SPDX-License-Identifier: Apache-2.0
// RFC 3339 times, always UTC: what image configs, logs and inspect carry.
#include <time.h>

#include <cstdio>

#include <dray/core/process.hpp>

namespace dray {

std::string format_time(std::int64_t seconds_since_epoch, std::uint32_t nanoseconds) {
  time_t seconds = seconds_since_epoch;
  struct tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[64];
  std::size_t length = ::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  std::string result(text, length);
  if (nanoseconds != 0) {
    std::snprintf(text, sizeof text, ".%09u", nanoseconds);
    result += text;
  }
  return result + "Z";
}

std::string format_time_now() {
  struct timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return format_time(now.tv_sec, static_cast<std::uint32_t>(now.tv_nsec));
}

std::optional<std::int64_t> parse_time(std::string_view text) {
  struct tm parts{};
  std::string copy(text);
  const char* rest = ::strptime(copy.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (rest == nullptr) return std::nullopt;
  if (*rest == '.') {
    ++rest;
    while (*rest >= '0' && *rest <= '9') ++rest;
  }
  std::int64_t offset = 0;
  if (*rest == '+' || *rest == '-') {
    int hours = 0, minutes = 0;
    if (std::sscanf(rest + 1, "%2d:%2d", &hours, &minutes) != 2) return std::nullopt;
    offset = (hours * 3600 + minutes * 60) * (*rest == '-' ? -1 : 1);
  } else if (*rest != 'Z' && *rest != '\0') {
    return std::nullopt;
  }
  return static_cast<std::int64_t>(::timegm(&parts)) - offset;
}

}  // namespace dray
