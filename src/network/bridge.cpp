// SPDX-License-Identifier: Apache-2.0
// Endpoints of containers on dray0. No file or table says which addresses are in use: the interfaces do, by their
// names, for several dray roots on one machine, and after any crash.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdlib>

#include <dray/network/network.hpp>

#include "firewall.hpp"
#include "links.hpp"
#include "netlink.hpp"

namespace dray::network {
namespace {

constexpr const char* kBridge = "dray0";
constexpr const char* kSubnets[] = {"172.29.0.0", "172.30.0.0", "172.31.0.0", "10.88.0.0", "10.89.0.0", "192.168.0.0"};
constexpr int kPrefixLength = 16;
constexpr int kTries = 4096;
constexpr int kVanished = 8;  ///< names that were taken and, when looked at, free

bool overlaps(LinkAddress a, LinkAddress b) {
  if (a.prefix_length == 0 || b.prefix_length == 0) return false;  // the default route is everywhere
  int shorter = std::min(a.prefix_length, b.prefix_length);
  std::uint32_t mask = ~std::uint32_t{0} << (32 - shorter);
  return (a.address & mask) == (b.address & mask);
}

Result<LinkAddress> choose_subnet() {
  auto routes = host_routes();
  for (const char* text : kSubnets) {
    LinkAddress candidate{*parse_address(text), kPrefixLength};
    if (std::none_of(routes.begin(), routes.end(), [&](const auto& route) { return overlaps(route, candidate); }))
      return candidate;
  }
  return fail(ErrorCode::in_use, "no free subnet for the bridge: the host has routes into all of Dray's candidates");
}

/// A sysctl that is right already is not written: /proc/sys may be read-only where it was set up for us.
Result<void> set_sysctl(const std::string& path, const std::string& value) {
  auto current = read_file(path, 64);
  if (current && current->starts_with(value)) return {};
  FileDescriptor fd = TRY(open_file(path, O_WRONLY));
  return write_all(fd, value);
}

/// The name of the veth that carries an address: unique by the kernel's word, so making it is taking the address.
std::string interface_of(std::uint32_t address) {
  char name[16];
  std::snprintf(name, sizeof name, "veth%08x", address);
  return name;
}

/// Holds the host port: nobody else can bind it while the container runs, and a port in use is found out here.
Result<FileDescriptor> reserve(PortMapping& port) {
  bool is_tcp = port.protocol == "tcp";
  FileDescriptor fd(::socket(AF_INET, (is_tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return fail_errno("opening a socket");
  int on = 1;
  // A connection in TIME_WAIT of a former container is no reason to refuse the port.
  if (is_tcp) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port.host_port);
  ::inet_pton(AF_INET, port.host_ip.empty() ? "0.0.0.0" : port.host_ip.c_str(), &address.sin_addr);
  auto* raw = reinterpret_cast<sockaddr*>(&address);
  if (::bind(fd.get(), raw, sizeof address) != 0 || (is_tcp && ::listen(fd.get(), 1) != 0)) {
    std::string where = (port.host_ip.empty() ? "0.0.0.0" : port.host_ip) + ":" + std::to_string(port.host_port);
    if (errno == EADDRINUSE) return fail(ErrorCode::in_use, "Bind for " + where + " failed: port is already allocated");
    return fail_errno("publishing " + where);
  }
  socklen_t length = sizeof address;
  if (::getsockname(fd.get(), raw, &length) != 0) return fail_errno("publishing a port");
  port.host_port = ntohs(address.sin_port);
  return fd;
}

/// dray0 with its address, forwarding, the firewall table. Returns the bridge's address.
Result<LinkAddress> ensure_bridge(const std::string& state_directory) {
  auto existing = link_address(kBridge);
  if (!existing) {
    TRY(make_directories(state_directory, 0700));
    FileLock lock = TRY(FileLock::acquire(state_directory + "/network.lock", FileLock::Mode::exclusive));
    existing = link_address(kBridge);
    if (!existing) {
      LinkAddress chosen = TRY(choose_subnet());
      chosen.address += 1;
      TRY_CTX(create_bridge(kBridge, chosen, default_mtu()), "setting up the bridge network");
      existing = link_address(kBridge);
      if (!existing) return fail(ErrorCode::internal, "the bridge dray0 has no address");
    }
    TRY_CTX(set_sysctl("/proc/sys/net/ipv4/ip_forward", "1"), "enabling forwarding");
    TRY_CTX(set_sysctl(std::string("/proc/sys/net/ipv4/conf/") + kBridge + "/route_localnet", "1"),
            "enabling published ports on localhost");
  }
  TRY(Firewall(kBridge, existing->address, existing->prefix_length).ensure());
  return *existing;
}

/// Which address was given last. Not locked, not synced: at worst an address is tried that is in use.
class LastAddress {
 public:
  explicit LastAddress(const std::string& state_directory) : path_(state_directory + "/last_address") {}
  std::uint32_t read() const {
    auto text = read_file(path_, 32);
    return text ? static_cast<std::uint32_t>(std::strtoul(text->c_str(), nullptr, 10)) : 1;
  }
  void write(std::uint32_t host_part) const {
    FileDescriptor file(::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (file.valid()) (void)write_all(file, std::to_string(host_part));
  }

 private:
  std::string path_;
};

/// Makes the veth with the next free address, which is put into `request`.
Result<void> take_address(VethRequest& request, LinkAddress subnet, const std::string& state_directory) {
  const std::uint32_t mask = ~std::uint32_t{0} << (32 - subnet.prefix_length);
  const std::uint32_t base = subnet.address & mask, size = ~mask;
  const LastAddress last(state_directory);
  std::uint32_t candidate = last.read();
  int vanished = 0;
  for (int tries = 0; tries < kTries; ++tries) {
    candidate = candidate + 1 >= size ? 2 : candidate + 1;  // .0 is the network, .1 the bridge, the last one broadcast
    const std::uint32_t address = base + candidate;
    if (address == subnet.address) continue;
    request.host_name = interface_of(address);
    request.address = {address, subnet.prefix_length};
    // 02:42 and the address, as Docker: locally administered, and known from the address.
    request.mac = {'\x02',
                   '\x42',
                   static_cast<char>(address >> 24),
                   static_cast<char>(address >> 16),
                   static_cast<char>(address >> 8),
                   static_cast<char>(address)};
    auto made = create_veth(request);
    if (made) {
      last.write(candidate);
      return {};
    }
    if (made.error().error_number() != EEXIST) return made;
    // The name is free: its veth went meanwhile, with its container. Or it is the namespace that has an eth0.
    if (link_index(request.host_name) == 0 && ++vanished > kVanished) return made;
  }
  return fail(ErrorCode::in_use, "no free address in the bridge network");
}

}  // namespace

Result<Attachment> attach_to_bridge(FdRef netns, const std::vector<PortMapping>& ports,
                                    const std::string& state_directory) {
  const LinkAddress subnet = TRY(ensure_bridge(state_directory));
  Attachment attachment;
  Endpoint& endpoint = attachment.endpoint;
  endpoint.network = "bridge";
  endpoint.ports = ports;
  // Before anything exists: a port in use is the likeliest failure.
  for (PortMapping& port : endpoint.ports) {
    FileDescriptor reservation = TRY(reserve(port));
    attachment.port_reservations.push_back(std::move(reservation));
  }
  VethRequest request;
  request.bridge = kBridge;
  request.netns = netns;
  request.gateway = subnet.address;
  request.mtu = default_mtu();
  TRY_CTX(take_address(request, subnet, state_directory), "connecting to the bridge network");
  const std::uint32_t address = request.address.address;
  // Ports of the address's former owner, whose monitor was killed, would lead to this container.
  TRY_CTX(Firewall::withdraw([&](std::uint32_t other) { return other == address; }),
          "connecting to the bridge network");
  TRY_CTX(Firewall(kBridge, subnet.address, subnet.prefix_length).publish(address, endpoint.ports),
          "connecting to the bridge network");
  endpoint.host_interface = request.host_name;
  endpoint.host_index = link_index(request.host_name);
  char text[32];
  std::snprintf(text, sizeof text, "02:42:%02x:%02x:%02x:%02x", address >> 24, (address >> 16) & 255,
                (address >> 8) & 255, address & 255);
  endpoint.mac_address = text;
  endpoint.ip_address = to_text(address);
  endpoint.gateway = to_text(subnet.address);
  endpoint.prefix_length = subnet.prefix_length;
  return attachment;
}

Result<void> withdraw_ports(const Endpoint& endpoint) {
  const auto address = parse_address(endpoint.ip_address);
  if (endpoint.ports.empty() || !address) return {};
  const unsigned index = link_index(endpoint.host_interface);
  if (index != 0 && index != endpoint.host_index) return {};  // another container's now, which has withdrawn ours
  return Firewall::withdraw([&](std::uint32_t other) { return other == *address; });
}

Result<void> withdraw_stale_ports() {
  return Firewall::withdraw([](std::uint32_t address) { return link_index(interface_of(address)) == 0; });
}

}  // namespace dray::network
