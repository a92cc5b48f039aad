// SPDX-License-Identifier: Apache-2.0
// History must read like BuildKit's: people and scanners compare it. So Go's formatting is repeated here for
// the few types that occur.
#include "plan/wording.hpp"

#include "dockerfile/text.hpp"

namespace dray::builder {

std::string join(const std::vector<std::string>& list, std::string_view separator) {
  std::string text;
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (i > 0) text += separator;
    text += list[i];
  }
  return text;
}

std::string go_quote_list(const std::vector<std::string>& list) {
  std::vector<std::string> quoted;
  for (const std::string& text : list) quoted.push_back(go_quote(text));
  return go_list(quoted);
}

std::string go_list(const std::vector<std::string>& list) { return "[" + join(list, " ") + "]"; }

/// 1m30s
static std::string go_duration(long long nanoseconds) {
  if (nanoseconds == 0) return "0s";
  std::string text;
  unsigned long long rest = nanoseconds < 0 ? 0ull - static_cast<unsigned long long>(nanoseconds)
                                            : static_cast<unsigned long long>(nanoseconds);
  if (nanoseconds < 0) text = "-";
  // The fraction of the last unit, without trailing zeros.
  const auto with_fraction = [](unsigned long long value, unsigned long long unit, std::string_view name) {
    std::string number = std::to_string(value / unit);
    std::string digits = std::to_string(unit + value % unit).substr(1);
    while (!digits.empty() && digits.back() == '0') digits.pop_back();
    if (!digits.empty()) number += "." + digits;
    return number.append(name);
  };
  if (rest < 1'000) return text + std::to_string(rest) + "ns";
  if (rest < 1'000'000) return text + with_fraction(rest, 1'000, "\u00b5s");
  if (rest < 1'000'000'000) return text + with_fraction(rest, 1'000'000, "ms");
  const unsigned long long minutes = rest / 60'000'000'000ull;
  if (minutes >= 60) text += std::to_string(minutes / 60) + "h";
  if (minutes > 0) text += std::to_string(minutes % 60) + "m";
  return text + with_fraction(rest % 60'000'000'000ull, 1'000'000'000, "s");
}

std::string health_text(const HealthcheckInstruction& health) {
  return "{Test:" + go_list(health.test) + " Interval:" + go_duration(health.interval_ns) +
         " Timeout:" + go_duration(health.timeout_ns) + " StartPeriod:" + go_duration(health.start_period_ns) +
         " StartInterval:" + go_duration(health.start_interval_ns) + " Retries:" + std::to_string(health.retries) + "}";
}

std::string summarize_heredoc(std::string_view content) {
  content = trim(content);
  const std::size_t end = content.find('\n');
  if (end == std::string_view::npos) return std::string(content);
  std::string_view first = content.substr(0, end);
  if (first.ends_with('\r')) first.remove_suffix(1);
  return std::string(first) + "...";
}

}  // namespace dray::builder
