// SPDX-License-Identifier: Apache-2.0
// Ports, signals, modes and paths, checked once so that everything below the plan can rely on them.
#include "plan/values.hpp"

#include <csignal>
#include <cstring>

#include <charconv>

#include "dockerfile/text.hpp"

namespace dray::builder {

namespace {

Failure invalid(std::string message) { return fail(ErrorCode::invalid_argument, std::move(message)); }

template <typename Number>
bool parse_number(std::string_view text, Number& number, int base = 10) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  return error == std::errc() && end == text.data() + text.size();
}

Result<std::pair<int, int>> parse_range(std::string_view text) {
  const std::size_t dash = text.find('-');
  std::pair<int, int> range;
  if (!parse_number(text.substr(0, dash), range.first) ||
      !parse_number(dash == std::string_view::npos ? text : text.substr(dash + 1), range.second) || range.first < 0 ||
      range.second > 65535 || range.second < range.first)
    return invalid("invalid containerPort: " + std::string(text));
  return range;
}

}  // namespace

Result<std::vector<std::string>> parse_ports(const std::vector<std::string>& ports) {
  std::vector<std::string> parsed;
  for (const std::string& port : ports) {
    // "ip:host:container" was accepted once; only the container's part has a meaning here.
    std::string_view rest = port;
    if (const std::size_t colon = rest.rfind(':'); colon != std::string_view::npos) rest.remove_prefix(colon + 1);
    const std::size_t slash = rest.find('/');
    std::string protocol = slash == std::string_view::npos ? "" : to_lower(rest.substr(slash + 1));
    rest = rest.substr(0, slash);
    if (rest.empty()) return invalid("invalid port: \"" + port + "\": no port specified");
    if (protocol.empty()) protocol = "tcp";
    if (protocol != "tcp" && protocol != "udp" && protocol != "sctp")
      return invalid("invalid port: \"" + port + "\": invalid proto: " + protocol);
    const auto range = TRY(parse_range(rest));
    for (int number = range.first; number <= range.second; ++number)
      parsed.push_back(std::to_string(number) + "/" + protocol);
  }
  return parsed;
}

Result<void> check_signal(std::string_view text) {
  std::string name = to_upper(text);
  int number = 0;
  if (parse_number(std::string_view(name), number)) {
    if (number > 0) return {};
    return invalid("invalid signal: " + std::string(text));
  }
  if (name.starts_with("SIG")) name.erase(0, 3);
  if (name.starts_with("RTMIN") || name.starts_with("RTMAX")) {
    const std::string_view offset = std::string_view(name).substr(5);
    const char sign = name[3] == 'I' ? '+' : '-';
    if (offset.empty() || (offset[0] == sign && parse_number(offset.substr(1), number) && number > 0 && number <= 30))
      return {};
  }
  if (name == "IOT" || name == "CLD" || name == "UNUSED") return {};
  for (int signal = 1; signal < 32; ++signal) {
    const char* abbreviation = ::sigabbrev_np(signal);
    if (abbreviation != nullptr && name == abbreviation) return {};
  }
  return invalid("invalid signal: " + std::string(text));
}

Result<std::optional<std::uint32_t>> parse_mode(std::string_view text) {
  using Mode = std::optional<std::uint32_t>;
  if (text.empty()) return Mode();
  std::uint32_t mode = 0;
  if (parse_number(text, mode, 8) && mode <= 07777) return Mode(mode);
  if (is_digit(text[0]) || text[0] == '-')
    return invalid("invalid chmod parameter: '" + std::string(text) +
                   "'. it should be octal string and between 0 and 07777");
  return fail(ErrorCode::unsupported,
              "--chmod=" + std::string(text) + " is not supported: give the mode as an octal number");
}

std::string clean_path(std::string_view path) {
  std::vector<std::string_view> parts;
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    if (part == "..") {
      if (!parts.empty()) parts.pop_back();
    } else if (!part.empty() && part != ".") {
      parts.push_back(part);
    }
    begin = end + 1;
  }
  std::string clean;
  for (const std::string_view part : parts) clean.append("/").append(part);
  return clean.empty() ? "/" : clean;
}

std::string join_path(std::string_view directory, std::string_view path) {
  if (path.starts_with('/')) return clean_path(path);
  return clean_path(std::string(directory) + "/" + std::string(path));
}

}  // namespace dray::builder
