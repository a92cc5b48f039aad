// SPDX-License-Identifier: Apache-2.0
#include "progress_step.hpp"

#include <cstdio>

namespace dray::builder {

void report_status(ProgressSink& progress, int id, const std::string& text) {
  progress.report({.kind = ProgressEvent::Kind::status, .id = id, .text = text});
}

std::string short_size(std::uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  if (bytes < 1000) return std::to_string(bytes) + "B";
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; value >= 999.5 && unit + 1 < std::size(kUnits); ++unit) value /= 1000;
  char text[32];
  std::snprintf(text, sizeof text, value < 10 ? "%.2f%s" : value < 100 ? "%.1f%s" : "%.0f%s", value, kUnits[unit]);
  return text;
}

}  // namespace dray::builder
