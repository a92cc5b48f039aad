// SPDX-License-Identifier: Apache-2.0
// The forms of the kernel's statistics files. See statistics.hpp.

#include <algorithm>
#include <charconv>

#include "statistics.hpp"

namespace dray::runtime::cgroup {
namespace {

std::string_view next(std::string_view& text, char separator) {
  const std::size_t end = text.find(separator);
  const std::string_view field = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return field;
}

/// The next word; "" at the end.
std::string_view next_word(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t\n"), text.size()));
  const std::size_t end = std::min(text.find_first_of(" \t\n"), text.size());
  const std::string_view word = text.substr(0, end);
  text.remove_prefix(end);
  return word;
}

template <typename T>
std::optional<T> number(std::string_view text) {
  T value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// "8:0" into major and minor.
bool parse_device(std::string_view text, BlockIoCount& count) {
  const auto major = number<std::uint64_t>(next(text, ':'));
  const auto minor = number<std::uint64_t>(text);
  if (!major || !minor) return false;
  count.major = *major;
  count.minor = *minor;
  return true;
}

PressureLine parse_pressure_line(std::string_view line) {
  PressureLine out;
  while (!line.empty()) {
    std::string_view value = next_word(line);
    const std::string_view key = next(value, '=');
    if (key == "avg10") out.avg10 = number<double>(value).value_or(0);
    if (key == "avg60") out.avg60 = number<double>(value).value_or(0);
    if (key == "avg300") out.avg300 = number<double>(value).value_or(0);
    if (key == "total") out.total = number<std::uint64_t>(value).value_or(0);
  }
  return out;
}

}  // namespace

std::uint64_t parse_count(std::string_view text) {
  const std::string_view word = next_word(text);
  return word == "max" ? kNoLimit : number<std::uint64_t>(word).value_or(0);
}

std::map<std::string, std::uint64_t> parse_flat(std::string_view text) {
  std::map<std::string, std::uint64_t> out;
  while (!text.empty()) {
    std::string_view line = next(text, '\n');
    const std::string_view key = next_word(line), value = next_word(line);
    if (auto count = number<std::uint64_t>(value); count && !key.empty()) out[std::string(key)] = *count;
  }
  return out;
}

std::vector<std::uint64_t> parse_counts(std::string_view text) {
  std::vector<std::uint64_t> out;
  for (std::string_view word = next_word(text); !word.empty(); word = next_word(text))
    if (auto count = number<std::uint64_t>(word)) out.push_back(*count);
  return out;
}

std::vector<std::uint16_t> parse_list(std::string_view text) {
  std::vector<std::uint16_t> out;
  while (!text.empty()) {
    std::string_view range = next(text, ',');
    while (range.ends_with('\n')) range.remove_suffix(1);
    const bool has_end = range.find('-') != std::string_view::npos;
    const auto first = number<std::uint16_t>(next(range, '-'));
    const auto last = has_end ? number<std::uint16_t>(range) : first;
    if (!first || !last) continue;
    for (unsigned value = *first; value <= *last; ++value) out.push_back(static_cast<std::uint16_t>(value));
  }
  return out;
}

Pressure parse_pressure(std::string_view text) {
  Pressure out;
  while (!text.empty()) {
    std::string_view line = next(text, '\n');
    const std::string_view kind = next_word(line);
    if (kind == "some") out.some = parse_pressure_line(line);
    if (kind == "full") out.full = parse_pressure_line(line);
  }
  return out;
}

std::vector<BlockIoCount> parse_block_io(std::string_view text) {
  std::vector<BlockIoCount> out;
  while (!text.empty()) {
    std::string_view line = next(text, '\n');
    BlockIoCount count;
    if (!parse_device(next_word(line), count)) continue;
    std::string_view value = next_word(line);
    if (const std::string_view last = next_word(line); !last.empty()) {
      count.operation = value;
      value = last;
    }
    const auto parsed = number<std::uint64_t>(value);
    if (!parsed) continue;
    count.value = *parsed;
    out.push_back(std::move(count));
  }
  return out;
}

void parse_io_stat(std::string_view text, BlockIoStats& stats) {
  while (!text.empty()) {
    std::string_view line = next(text, '\n');
    BlockIoCount count;
    if (!parse_device(next_word(line), count)) continue;
    for (std::string_view value = next_word(line); !value.empty(); value = next_word(line)) {
      const std::string_view key = next(value, '=');
      const auto parsed = number<std::uint64_t>(value);
      const bool bytes = key == "rbytes" || key == "wbytes", operations = key == "rios" || key == "wios";
      if (!parsed || (!bytes && !operations)) continue;
      count.operation = key.starts_with('r') ? "Read" : "Write";
      count.value = *parsed;
      (bytes ? stats.service_bytes : stats.serviced).push_back(count);
    }
  }
}

std::vector<RdmaCount> parse_rdma(std::string_view text) {
  std::vector<RdmaCount> out;
  while (!text.empty()) {
    std::string_view line = next(text, '\n');
    RdmaCount count;
    count.device = next_word(line);
    bool any = false;
    for (std::string_view value = next_word(line); !value.empty(); value = next_word(line)) {
      const std::string_view key = next(value, '=');
      if (key == "hca_handle") count.hca_handles = parse_count(value);
      if (key == "hca_object") count.hca_objects = parse_count(value);
      any |= key == "hca_handle" || key == "hca_object";
    }
    if (any) out.push_back(std::move(count));
  }
  return out;
}

void parse_usage_all(std::string_view text, CpuStats& stats) {
  if (!next(text, '\n').starts_with("cpu user system")) return;
  while (!text.empty()) {
    std::string_view line = next(text, '\n');
    next_word(line);  // the CPU
    const auto user = number<std::uint64_t>(next_word(line)), system = number<std::uint64_t>(next_word(line));
    if (!user || !system) continue;
    stats.percpu_user.push_back(*user);
    stats.percpu_kernel.push_back(*system);
  }
}

std::string hugepage_size(std::string_view name) {
  constexpr std::string_view prefix = "hugepages-", suffix = "kB";
  if (!name.starts_with(prefix) || !name.ends_with(suffix) || name.size() <= prefix.size() + suffix.size()) return {};
  name.remove_prefix(prefix.size());
  name.remove_suffix(suffix.size());
  const auto size = number<std::uint64_t>(name);
  if (!size) return {};
  if (*size >= 1u << 20) return std::to_string(*size >> 20) + "GB";
  if (*size >= 1u << 10) return std::to_string(*size >> 10) + "MB";
  return std::to_string(*size) + "KB";
}

}  // namespace dray::runtime::cgroup
