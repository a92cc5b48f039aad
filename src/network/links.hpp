// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <dray/core/fd.hpp>

namespace dray::network {

class MessageBuilder;

// Interfaces, addresses and routes through rtnetlink. IPv4 addresses are in host byte order.

/// An existing interface's IPv4 address; nullopt if there is no such interface or it has none.
struct LinkAddress {
  std::uint32_t address = 0;
  int prefix_length = 0;
};
std::optional<LinkAddress> link_address(const std::string& name);
/// 0 = does not exist.
unsigned link_index(const std::string& name);
/// MTU of the interface of the default route, 1500 without one.
unsigned default_mtu();
/// Destinations of the host's IPv4 routes.
std::vector<LinkAddress> host_routes();

Result<void> create_bridge(const std::string& name, LinkAddress address, unsigned mtu);

struct VethRequest {
  std::string host_name, bridge;
  FdRef netns;
  std::string mac;  ///< 6 bytes, of the container's end
  LinkAddress address;
  std::uint32_t gateway = 0;
  unsigned mtu = 1500;
};
/// One message makes both ends, the peer as eth0 in `netns`; a second batch in there brings up lo and sets address and
/// route. EEXIST: an interface `host_name` exists.
Result<void> create_veth(const VethRequest& request);
/// Adds a message that brings up interface `index`.
void add_link_up(MessageBuilder& batch, unsigned index);

std::string to_text(std::uint32_t address);
std::optional<std::uint32_t> parse_address(const std::string& text);

}  // namespace dray::network
