// SPDX-License-Identifier: Apache-2.0
// A device of the host becomes one of a container (runtime-spec config-linux.md §netdevices).
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include <dray/network/network.hpp>

#include "links.hpp"
#include "netlink.hpp"

namespace dray::network {
namespace {

constexpr const char* kMoving = "fail to move network device to network namespace as ";

// What is needed to set an address again, as the kernel told it.
struct DeviceAddress {
  ifaddrmsg header{};
  std::string local, peer, broadcast;
};

// Only what somebody configured and what means the same elsewhere: an address that was learned, or whose scope is a
// link or the host, belongs to the namespace that the device leaves.
bool goes_along(const ifaddrmsg& header, std::string_view attributes) {
  std::uint32_t flags = header.ifa_flags;
  if (auto wide = find_attribute(attributes, IFA_FLAGS); wide.size() == sizeof flags)
    std::memcpy(&flags, wide.data(), sizeof flags);
  return (flags & IFA_F_PERMANENT) != 0 && header.ifa_scope == RT_SCOPE_UNIVERSE;
}

Result<std::vector<DeviceAddress>> read_addresses(NetlinkSocket& socket, unsigned index) {
  std::vector<DeviceAddress> addresses;
  MessageBuilder request;
  ifaddrmsg all{};
  request.begin(RTM_GETADDR, NLM_F_ACK | NLM_F_DUMP, &all, sizeof all);
  request.expect("fail to get ip addresses");
  request.finish();
  TRY(socket.dump(request, [&](std::string_view payload) {
    DeviceAddress address;
    if (payload.size() < sizeof address.header) return;
    std::memcpy(&address.header, payload.data(), sizeof address.header);
    payload.remove_prefix(NLMSG_ALIGN(sizeof address.header));
    if (address.header.ifa_index != index || !goes_along(address.header, payload)) return;
    address.peer = find_attribute(payload, IFA_ADDRESS);
    address.local = find_attribute(payload, IFA_LOCAL);
    if (address.local.empty()) address.local = address.peer;  // IPv6 has it only where there is a peer
    address.broadcast = find_attribute(payload, IFA_BROADCAST);
    addresses.push_back(std::move(address));
  }));
  return addresses;
}

void add_address(MessageBuilder& batch, unsigned index, const DeviceAddress& address) {
  ifaddrmsg header{};
  header.ifa_family = address.header.ifa_family;
  header.ifa_prefixlen = address.header.ifa_prefixlen;
  header.ifa_index = index;
  // IPv6 makes some by itself (of the MAC address), and may have come to the same.
  batch.begin(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, &header, sizeof header);
  batch.expect("fail to set up an address");
  batch.attribute(IFA_LOCAL, address.local);
  batch.attribute(IFA_ADDRESS, address.peer);
  if (!address.broadcast.empty()) batch.attribute(IFA_BROADCAST, address.broadcast);
  batch.finish();
}

bool is_up(const std::string& name) {
  FileDescriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strncpy(request.ifr_name, name.c_str(), IFNAMSIZ - 1);
  return ::ioctl(socket.get(), SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_UP) != 0;
}

Result<void> set_down(NetlinkSocket& socket, unsigned index) {
  MessageBuilder batch;
  ifinfomsg header{};
  header.ifi_index = static_cast<int>(index);
  header.ifi_change = IFF_UP;
  batch.begin(RTM_NEWLINK, NLM_F_ACK, &header, sizeof header);
  batch.expect("fail to set link down");
  batch.finish();
  return socket.send(batch);
}

// Name and namespace in one message, so that a device whose present name is taken in there can go as well.
Result<void> change_namespace(NetlinkSocket& socket, unsigned index, const std::string& name, FdRef netns) {
  MessageBuilder batch;
  ifinfomsg header{};
  header.ifi_index = static_cast<int>(index);
  batch.begin(RTM_NEWLINK, NLM_F_ACK, &header, sizeof header);
  batch.expect(kMoving + name);
  batch.text(IFLA_IFNAME, name);
  batch.u32(IFLA_NET_NS_FD, static_cast<std::uint32_t>(netns.get()));
  batch.finish();
  return socket.send(batch);
}

}  // namespace

Result<void> move_device(const std::string& name, const std::string& new_name, FdRef netns) {
  const std::string& final_name = new_name.empty() ? name : new_name;
  const unsigned index = link_index(name);
  if (index == 0)
    return fail(ErrorCode::not_found, "link not found for interface " + name + " on runtime namespace: Link not found");
  NetlinkSocket socket = TRY(NetlinkSocket::open(NETLINK_ROUTE));
  // The kernel would move it first and then fail to rename it.
  TRY(in_namespace(netns, [&]() -> Result<void> {
    if (link_index(final_name) == 0) return {};
    return Failure(Error::from_errno(EEXIST, kMoving + final_name));
  }));
  // Before it goes down, which takes addresses of IPv6 away.
  const auto addresses = TRY(read_addresses(socket, index));
  const bool was_up = is_up(name);
  TRY(set_down(socket, index));
  if (auto moved = change_namespace(socket, index, final_name, netns); !moved) {
    if (was_up) {
      MessageBuilder undo;
      for (const auto& address : addresses) add_address(undo, index, address);
      add_link_up(undo, index);
      if (auto undone = socket.send(undo); !undone)
        return Failure(std::move(moved).error().with_cleanup_failure(undone.error()));
    }
    return moved;
  }
  return in_namespace(netns, [&]() -> Result<void> {
    NetlinkSocket inside = TRY(NetlinkSocket::open(NETLINK_ROUTE));
    const unsigned inside_index = link_index(final_name);  // its number may have been taken in there
    if (inside_index == 0)
      return fail(ErrorCode::not_found, "link not found for interface " + final_name + " on the container's namespace");
    MessageBuilder batch;
    for (const auto& address : addresses) add_address(batch, inside_index, address);
    add_link_up(batch, inside_index);
    return inside.send(batch);
  });
}

}  // namespace dray::network
