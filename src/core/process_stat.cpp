// SPDX-License-Identifier: Apache-2.0
// Processes and signals by their names.
#include <signal.h>

#include <cstdlib>
#include <cstring>

#include <dray/core/process.hpp>

namespace dray {

std::optional<ProcessStat> read_process_stat(pid_t pid) {
  auto text = read_file("/proc/" + std::to_string(pid) + "/stat", 4096);
  if (!text) return std::nullopt;
  // Field 2 is the command in parentheses and may hold anything; counting starts after the last one.
  std::size_t position = text->rfind(')');
  if (position == std::string::npos || position + 2 >= text->size()) return std::nullopt;
  ProcessStat stat;
  stat.state = (*text)[position + 2];
  for (int field = 2; field < 22 && position != std::string::npos; ++field) position = text->find(' ', position + 1);
  if (position == std::string::npos) return std::nullopt;
  stat.start_ticks = std::strtoull(text->c_str() + position + 1, nullptr, 10);
  return stat;
}

std::string read_boot_id() {
  auto text = read_file("/proc/sys/kernel/random/boot_id", 256);
  if (!text) return "";
  return text->substr(0, text->find('\n'));
}

Result<int> parse_signal(std::string_view text) {
  std::string name(text);
  if (!name.empty() && name.find_first_not_of("0123456789") == std::string::npos && name.size() < 4) {
    int number = std::atoi(name.c_str());
    if (number >= 1 && number <= SIGRTMAX) return number;
    return fail(ErrorCode::invalid_argument, "Invalid signal: " + name);
  }
  for (char& c : name) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
  if (name.starts_with("SIG")) name = name.substr(3);
  for (int number = 1; number < SIGRTMIN; ++number) {
    const char* abbreviation = ::sigabbrev_np(number);
    if (abbreviation != nullptr && name == abbreviation) return number;
  }
  if (name.starts_with("RTMIN") || name.starts_with("RTMAX")) {
    int base = name.starts_with("RTMIN") ? SIGRTMIN : SIGRTMAX;
    int number = base + std::atoi(name.c_str() + 5);
    if (number >= SIGRTMIN && number <= SIGRTMAX) return number;
  }
  return fail(ErrorCode::invalid_argument, "Invalid signal: " + std::string(text));
}

}  // namespace dray
