// SPDX-License-Identifier: Apache-2.0
// The links of the bridge network. A veth pair is one message, its far end born where it belongs; what the far end
// needs is a batch sent from inside the container's namespace.
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

std::string mac_of(std::uint32_t address) { return std::string("\x02\x42", 2) + network_order(address); }

std::optional<LinkState> link_state(const std::string& name) {
  ifreq data;
  if (!interface_request(SIOCGIFADDR, name, data)) return std::nullopt;
  sockaddr_in address;
  std::memcpy(&address, &data.ifr_addr, sizeof address);
  if (!interface_request(SIOCGIFNETMASK, name, data)) return std::nullopt;
  sockaddr_in mask;
  std::memcpy(&mask, &data.ifr_netmask, sizeof mask);
  if (!interface_request(SIOCGIFFLAGS, name, data)) return std::nullopt;
  return LinkState{{ntohl(address.sin_addr.s_addr), std::popcount(mask.sin_addr.s_addr)},
                   (data.ifr_flags & IFF_UP) != 0};
}

unsigned link_index(const std::string& name) { return ::if_nametoindex(name.c_str()); }

unsigned default_mtu() {
  constexpr unsigned kUsual = 1500;
  // Where would a packet to the world go? One question, however many routes there are.
  constexpr std::uint32_t kSomewhere = 0x01010101;
  auto socket = NetlinkSocket::open(NETLINK_ROUTE);
  if (!socket) return kUsual;
  rtmsg header{};
  header.rtm_family = AF_INET;
  header.rtm_dst_len = 32;
  MessageBuilder question;
  question.begin(RTM_GETROUTE, NLM_F_ACK, &header, sizeof header);
  question.expect("looking up the default route");
  question.attribute(RTA_DST, network_order(kSomewhere));
  question.finish();
  std::optional<std::uint32_t> index;
  auto answered = socket->ask(question, [&](std::uint16_t type, std::string_view content) {
    if (type != RTM_NEWROUTE || content.size() < sizeof(rtmsg)) return;
    if (auto out = find_attribute(content.substr(sizeof(rtmsg)), RTA_OIF)) index = number_of(*out);
  });
  char name[IF_NAMESIZE];
  ifreq data;
  if (!answered || !index || ::if_indextoname(*index, name) == nullptr) return kUsual;
  if (!interface_request(SIOCGIFMTU, name, data)) return kUsual;
  return std::min(static_cast<unsigned>(data.ifr_mtu), 65535u);
}

Result<std::vector<LinkAddress>> host_routes() {
  NetlinkSocket socket = TRY(NetlinkSocket::open(NETLINK_ROUTE));
  rtmsg header{};
  header.rtm_family = AF_INET;
  MessageBuilder question;
  question.begin(RTM_GETROUTE, NLM_F_ACK | NLM_F_DUMP, &header, sizeof header);
  question.expect("reading the host's routes");
  question.finish();
  std::vector<LinkAddress> routes;
  TRY(socket.ask(question, [&](std::uint16_t type, std::string_view content) {
    rtmsg route;
    if (type != RTM_NEWROUTE || content.size() < sizeof route) return;
    std::memcpy(&route, content.data(), sizeof route);
    auto destination = find_attribute(content.substr(sizeof route), RTA_DST);
    auto raw = destination ? number_of(*destination) : std::nullopt;
    if (raw) routes.push_back({ntohl(*raw), route.rtm_dst_len});  // without one it is a default route
  }));
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
    batch.attribute(IFLA_ADDRESS, mac_of(address.address));
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

Result<void> bring_up(const std::string& name) {
  NetlinkSocket socket = TRY(NetlinkSocket::open(NETLINK_ROUTE));
  MessageBuilder batch;
  add_link_up(batch, link_index(name));
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

  // A container that calls itself through its published port gets its own packet back: the bridge must send it out where it came in.
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

Result<void> delete_link(const std::string& name) {
  NetlinkSocket socket = TRY(NetlinkSocket::open(NETLINK_ROUTE));
  MessageBuilder batch;
  ifinfomsg header{};
  batch.begin(RTM_DELLINK, NLM_F_ACK, &header, sizeof header);
  batch.expect("removing the network interface " + name, ENODEV);
  batch.text(IFLA_IFNAME, name);
  batch.finish();
  return socket.send(batch);
}

}  // namespace dray::network
