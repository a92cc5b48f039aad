// SPDX-License-Identifier: Apache-2.0
// Docker's -p grammar: [host_ip:][host_port[-end]:]container_port[-end][/protocol].
#include <arpa/inet.h>

#include <charconv>

#include <dray/core/text.hpp>
#include <dray/network/network.hpp>

namespace dray::network {
namespace {

struct PortRange {
  std::uint32_t first = 0, last = 0;
  std::uint32_t count() const { return last - first + 1; }
};

std::optional<PortRange> parse_range(std::string_view text) {
  auto number = [](std::string_view digits) -> std::optional<std::uint32_t> {
    std::uint32_t value = 0;
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc() || end != digits.data() + digits.size() || value > 65535) return std::nullopt;
    return value;
  };
  std::size_t dash = text.find('-');
  auto first = number(text.substr(0, dash));
  auto last = dash == std::string_view::npos ? first : number(text.substr(dash + 1));
  if (!first || !last || *last < *first) return std::nullopt;
  return PortRange{*first, *last};
}

}  // namespace

Result<std::vector<PortMapping>> parse_port_mapping(std::string_view text) {
  auto invalid = [&](std::string_view why) {
    return fail(ErrorCode::invalid_argument, "invalid publish \"" + std::string(text) + "\": " + std::string(why));
  };
  std::string_view rest = text;
  std::string protocol = "tcp";
  if (auto slash = rest.rfind('/'); slash != std::string_view::npos) {
    protocol = to_lower(rest.substr(slash + 1));
    if (protocol != "tcp" && protocol != "udp")
      return invalid("invalid proto: " + protocol + " (tcp and udp are supported)");
    rest = rest.substr(0, slash);
  }
  std::string_view container = rest, host, address;
  if (auto colon = rest.rfind(':'); colon != std::string_view::npos) {
    container = rest.substr(colon + 1);
    rest = rest.substr(0, colon);
    host = rest;
    if (auto second = rest.rfind(':'); second != std::string_view::npos) {
      host = rest.substr(second + 1);
      address = rest.substr(0, second);
      in_addr raw{};
      if (address.starts_with('[') || address.find(':') != std::string_view::npos)
        return invalid("IPv6 addresses are not supported yet");
      if (::inet_pton(AF_INET, std::string(address).c_str(), &raw) != 1)
        return invalid("invalid IP address: " + std::string(address));
    }
  }
  if (container.empty()) return invalid("no port specified");
  auto container_range = parse_range(container);
  if (!container_range || container_range->first == 0)
    return invalid("invalid containerPort: " + std::string(container));
  PortRange host_range{0, 0};
  if (!host.empty()) {
    auto parsed = parse_range(host);
    if (!parsed) return invalid("invalid hostPort: " + std::string(host));
    host_range = *parsed;
    bool one_of_range = container_range->count() == 1 && host_range.count() > 1;
    if (one_of_range) return invalid("a range of host ports for one container port is not supported");
    if (host_range.count() != container_range->count())
      return invalid("invalid ranges specified for container and host Ports: " + std::string(container) + " and " +
                     std::string(host));
  }
  std::vector<PortMapping> mappings;
  for (std::uint32_t i = 0; i < container_range->count(); ++i) {
    PortMapping mapping;
    mapping.host_ip = address;
    mapping.host_port = static_cast<std::uint16_t>(host_range.first == 0 ? 0 : host_range.first + i);
    mapping.container_port = static_cast<std::uint16_t>(container_range->first + i);
    mapping.protocol = protocol;
    mappings.push_back(std::move(mapping));
  }
  return mappings;
}

}  // namespace dray::network
