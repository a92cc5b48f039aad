// SPDX-License-Identifier: Apache-2.0
// Ports, signals, modes and paths, checked once so that everything below the plan can rely on them.
#include "plan/values.hpp"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <csignal>
#include <cstring>

#include <charconv>
#include <optional>

#include "dockerfile/text.hpp"

namespace dray::builder {

namespace {

Failure invalid(std::string message) { return fail(ErrorCode::invalid_argument, std::move(message)); }

template <typename Number>
bool parse_number(std::string_view text, Number& number, int base = 10) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  return error == std::errc() && end == text.data() + text.size();
}

std::optional<int> port_number(std::string_view text) {
  int number = 0;
  if (text.starts_with('+')) text.remove_prefix(1);
  if (!parse_number(text, number) || number < 0 || number > 65535) return std::nullopt;
  return number;
}

std::optional<std::pair<int, int>> port_range(std::string_view text) {
  const std::size_t dash = text.find('-');
  const auto first = port_number(text.substr(0, dash));
  const auto last = dash == std::string_view::npos ? first : port_number(text.substr(dash + 1));
  if (!first || !last || *last < *first) return std::nullopt;
  return std::pair(*first, *last);
}

bool is_address(std::string text) {
  if (text.starts_with('[') && text.ends_with(']')) text = text.substr(1, text.size() - 2);
  unsigned char buffer[16];
  return ::inet_pton(AF_INET, text.c_str(), buffer) == 1 || ::inet_pton(AF_INET6, text.c_str(), buffer) == 1;
}

/// "ip:host:container" was accepted once; only the container's part has a meaning here, but all must be right.
Result<void> check_host_part(std::string_view host, const std::pair<int, int>& container,
                             std::string_view container_text) {
  const std::size_t colon = host.rfind(':');
  const std::string_view ports = colon == std::string_view::npos ? host : host.substr(colon + 1);
  if (colon != std::string_view::npos && colon > 0) {
    const std::string address(host.substr(0, colon));
    if (!is_address(address)) return invalid("invalid IP address: " + address);
  }
  if (ports.empty()) return {};
  const auto range = port_range(ports);
  if (!range) return invalid("invalid hostPort: " + std::string(ports));
  if (container.first != container.second && range->second - range->first != container.second - container.first)
    return invalid("invalid ranges specified for container and host Ports: " + std::string(container_text) + " and " +
                   std::string(ports));
  return {};
}

}  // namespace

Result<std::vector<std::string>> parse_ports(const std::vector<std::string>& ports) {
  std::vector<std::string> parsed;
  for (const std::string& port : ports) {
    std::string_view rest = port;
    const std::size_t colon = rest.rfind(':');
    if (colon != std::string_view::npos) rest.remove_prefix(colon + 1);
    const std::size_t slash = rest.find('/');
    std::string protocol = slash == std::string_view::npos ? "" : to_lower(rest.substr(slash + 1));
    rest = rest.substr(0, slash);
    if (rest.empty()) return invalid("invalid port: \"" + port + "\": no port specified");
    if (protocol.empty()) protocol = "tcp";
    if (protocol != "tcp" && protocol != "udp" && protocol != "sctp")
      return invalid("invalid port: \"" + port + "\": invalid proto: " + protocol);
    const auto parsed_range = port_range(rest);
    if (!parsed_range) return invalid("invalid containerPort: " + std::string(rest));
    const auto range = *parsed_range;
    if (colon != std::string_view::npos) TRY(check_host_part(std::string_view(port).substr(0, colon), range, rest));
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

Result<void> check_mode(std::string_view text) {
  std::uint32_t mode = 0;
  if (text.empty() || (parse_number(text, mode, 8) && mode <= 07777)) return {};
  const auto bad = [text](const std::string& why) {
    return invalid("invalid chmod parameter: '" + std::string(text) + "'. " + why);
  };
  if (is_digit(text[0])) return bad("it should be octal string and between 0 and 07777");
  // [ugoa]*([-+=]([rwxXst]*|[ugo]))+, separated by commas
  const auto skip = [](std::string_view& rest, std::string_view letters) {
    rest.remove_prefix(std::min(rest.find_first_not_of(letters), rest.size()));
  };
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    std::string_view clause = text.substr(begin, end - begin);
    skip(clause, "ugoa");
    if (clause.empty()) return bad("a clause needs one of +, - and =");
    while (!clause.empty()) {
      if (!std::string_view("-+=").contains(clause[0])) return bad("it should be octal or symbolic, like u+rwX,go-w");
      clause.remove_prefix(1);
      if (!clause.empty() && std::string_view("ugo").contains(clause[0]))
        clause.remove_prefix(1);
      else
        skip(clause, "rwxXst");
    }
    begin = end + 1;
  }
  return {};
}

std::string clean_path(std::string_view path) { return dray::clean_path("/" + std::string(path)); }

}  // namespace dray::builder
