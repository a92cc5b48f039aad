// SPDX-License-Identifier: Apache-2.0
// --ulimit of run, create and build.
#include <algorithm>
#include <charconv>

#include <dray/engine/containers.hpp>

namespace dray::engine {

Result<runtime::Rlimit> parse_ulimit(const std::string& text) {
  static constexpr std::string_view kNames[] = {"as",      "core",     "cpu",        "data",   "fsize", "locks",
                                                "memlock", "msgqueue", "nice",       "nofile", "nproc", "rss",
                                                "rtprio",  "rttime",   "sigpending", "stack"};
  std::size_t equals = text.find('=');
  std::string name = text.substr(0, equals);
  if (equals == std::string::npos || std::find(std::begin(kNames), std::end(kNames), name) == std::end(kNames))
    return fail(ErrorCode::invalid_argument,
                "invalid ulimit argument: \"" + text + "\": expected type=soft[:hard], such as nofile=1024:2048");
  std::string values = text.substr(equals + 1);
  std::size_t colon = values.find(':');
  auto number = [&](const std::string& digits) -> Result<std::uint64_t> {
    if (digits == "-1" || digits == "unlimited") return ~std::uint64_t{0};
    std::uint64_t value = 0;
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc() || end != digits.data() + digits.size())
      return fail(ErrorCode::invalid_argument, "invalid ulimit argument: \"" + text + "\"");
    return value;
  };
  runtime::Rlimit limit;
  limit.type = "RLIMIT_";
  for (char c : name) limit.type += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  limit.soft = TRY(number(values.substr(0, colon)));
  limit.hard = colon == std::string::npos ? limit.soft : TRY(number(values.substr(colon + 1)));
  if (limit.soft > limit.hard)
    return fail(ErrorCode::invalid_argument,
                "ulimit soft limit must be less than or equal to hard limit: \"" + text + "\"");
  return limit;
}

}  // namespace dray::engine
