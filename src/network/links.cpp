// SPDX-License-Identifier: Apache-2.0
#include "links.hpp"

#include <arpa/inet.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bit>
#include <cstdio>
#include <cstring>

#include "netlink.hpp"

namespace dray::network {
namespace {

std::string network_order(std::uint32_t address) {
  address = htonl(address);
  return std::string(reinterpret_cast<const char*>(&address), 4);
}

bool interface_request(unsigned long request, const std::string& name, ifreq& data) {
  FileDescriptor fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  std::memset(&data, 0, sizeof data);
  std::strncpy(data.ifr_name, name.c_str(), IFNAMSIZ - 1);
  return ::ioctl(fd.get(), request, &data) == 0;
}

void add_address(MessageBuilder& batch, unsigned index, LinkAddress address, int tolerated) {
  ifaddrmsg header{};
  header.ifa_family = AF_INET;
  header.ifa_prefixlen = static_cast<unsigned char>(address.prefix_length);
  header.ifa_index = index;
  batch.begin(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &header, sizeof header);
  batch.expect("setting the address " + to_text(address.address), tolerated);
  batch.attribute(IFA_LOCAL, network_order(address.address));
  batch.attribute(IFA_ADDRESS, network_order(address.address));
  std::uint32_t mask = ~std::uint32_t{0} << (32 - address.prefix_length);
  batch.attribute(IFA_BROADCAST, network_order(address.address | ~mask));
  batch.finish();
}

struct RouteLine {
  std::string interface;
  LinkAddress destination;
};

/// /proc/net/route: interface, destination and mask as hexadecimal words in memory order.
std::vector<RouteLine> read_routes() {
  std::vector<RouteLine> routes;
  auto text = read_file("/proc/net/route", 4 << 20);
  if (!text) return routes;
  for (std::size_t start = 0; start < text->size();) {
    std::size_t end = std::min(text->find('\n', start), text->size());
    char interface[64];
    unsigned destination = 0, mask = 0;
    std::string line = text->substr(start, end - start);
    start = end + 1;
    if (std::sscanf(line.c_str(), "%63s %x %*s %*s %*s %*s %*s %x", interface, &destination, &mask) != 3) continue;
    routes.push_back({interface, {ntohl(destination), std::popcount(mask)}});
  }
  return routes;
}

}  // namespace

void add_link_up(MessageBuilder& batch, unsigned index) {
  ifinfomsg header{};
  header.ifi_index = static_cast<int>(index);
  header.ifi_flags = IFF_UP;
  header.ifi_change = IFF_UP;
  batch.begin(RTM_NEWLINK, NLM_F_ACK, &header, sizeof header);
  batch.expect("bringing up a network interface");
  batch.finish();
}

std::string to_text(std::uint32_t address) {
  in_addr raw{htonl(address)};
  char text[INET_ADDRSTRLEN];
  return ::inet_ntop(AF_INET, &raw, text, sizeof text);
}

std::optional<std::uint32_t> parse_address(const std::string& text) {
  in_addr raw{};
  if (::inet_pton(AF_INET, text.c_str(), &raw) != 1) return std::nullopt;
  return ntohl(raw.s_addr);
}

std::optional<LinkAddress> link_address(const std::string& name) {
  ifreq data;
  if (!interface_request(SIOCGIFADDR, name, data)) return std::nullopt;
  sockaddr_in address;
  std::memcpy(&address, &data.ifr_addr, sizeof address);
  if (!interface_request(SIOCGIFNETMASK, name, data)) return std::nullopt;
  sockaddr_in mask;
  std::memcpy(&mask, &data.ifr_netmask, sizeof mask);
  return LinkAddress{ntohl(address.sin_addr.s_addr), std::popcount(mask.sin_addr.s_addr)};
}

unsigned link_index(const std::string& name) { return ::if_nametoindex(name.c_str()); }

unsigned default_mtu() {
  for (const RouteLine& route : read_routes()) {
    ifreq data;
    if (route.destination.prefix_length == 0 && interface_request(SIOCGIFMTU, route.interface, data))
      return static_cast<unsigned>(data.ifr_mtu);
  }
  return 1500;
}

std::vector<LinkAddress> host_routes() {
  std::vector<LinkAddress> routes;
  for (const RouteLine& route : read_routes()) routes.push_back(route.destination);
  return routes;
}

Result<void> create_bridge(const std::string& name, LinkAddress address, unsigned mtu) {
  NetlinkSocket socket = TRY(NetlinkSocket::open(NETLINK_ROUTE));
  {
    MessageBuilder batch;
    ifinfomsg header{};
    header.ifi_flags = IFF_UP;
    header.ifi_change = IFF_UP;
    batch.begin(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &header, sizeof header);
    batch.expect("creating the bridge " + name, EEXIST);
    batch.text(IFLA_IFNAME, name);
    batch.u32(IFLA_MTU, mtu);
    std::size_t info = batch.open(IFLA_LINKINFO);
    batch.text(IFLA_INFO_KIND, "bridge");
    batch.close(info);
    batch.finish();
    TRY(socket.send(batch));
  }
  MessageBuilder batch;
  add_address(batch, link_index(name), address, EEXIST);
  return socket.send(batch);
}

Result<void> create_veth(const VethRequest& request) {
  NetlinkSocket socket = TRY(NetlinkSocket::open(NETLINK_ROUTE));
  MessageBuilder batch;
  ifinfomsg header{};
  header.ifi_flags = IFF_UP;
  header.ifi_change = IFF_UP;
  batch.begin(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &header, sizeof header);
  batch.expect("creating the network interface " + request.host_name);
  batch.text(IFLA_IFNAME, request.host_name);
  batch.u32(IFLA_MTU, request.mtu);
  batch.u32(IFLA_MASTER, link_index(request.bridge));
  std::size_t info = batch.open(IFLA_LINKINFO);
  batch.text(IFLA_INFO_KIND, "veth");
  std::size_t data = batch.open(IFLA_INFO_DATA);
  std::size_t peer = batch.open(VETH_INFO_PEER);
  ifinfomsg peer_header{};  // not up yet: veth refuses that before both ends exist
  batch.raw(&peer_header, sizeof peer_header);
  batch.text(IFLA_IFNAME, "eth0");
  batch.u32(IFLA_MTU, request.mtu);
  batch.attribute(IFLA_ADDRESS, request.mac);
  batch.u32(IFLA_NET_NS_FD, static_cast<std::uint32_t>(request.netns.get()));
  batch.close(peer);
  batch.close(data);
  batch.close(info);
  batch.finish();
  TRY(socket.send(batch));

  // A container that calls itself through its published port gets its own packet back: the bridge must send it out
  // where it came in.
  MessageBuilder hairpin;
  ifinfomsg port{};
  port.ifi_family = AF_BRIDGE;
  port.ifi_index = static_cast<int>(link_index(request.host_name));
  hairpin.begin(RTM_SETLINK, NLM_F_ACK, &port, sizeof port);
  hairpin.expect("setting the bridge port's hairpin mode");
  std::size_t information = hairpin.open(IFLA_PROTINFO);
  hairpin.attribute(IFLA_BRPORT_MODE, std::string_view("\x01", 1));
  hairpin.close(information);
  hairpin.finish();
  TRY(socket.send(hairpin));

  return in_namespace(request.netns, [&]() -> Result<void> {
    NetlinkSocket inside = TRY(NetlinkSocket::open(NETLINK_ROUTE));
    unsigned index = link_index("eth0");
    MessageBuilder setup;
    add_link_up(setup, link_index("lo"));
    add_link_up(setup, index);
    add_address(setup, index, request.address, 0);
    rtmsg route{};
    route.rtm_family = AF_INET;
    route.rtm_table = RT_TABLE_MAIN;
    route.rtm_protocol = RTPROT_BOOT;
    route.rtm_scope = RT_SCOPE_UNIVERSE;
    route.rtm_type = RTN_UNICAST;
    setup.begin(RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &route, sizeof route);
    setup.expect("setting the default route");
    setup.attribute(RTA_GATEWAY, network_order(request.gateway));
    setup.u32(RTA_OIF, index);
    setup.finish();
    return inside.send(setup);
  });
}

}  // namespace dray::network
