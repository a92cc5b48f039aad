// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <dray/core/fd.hpp>
#include <dray/core/result.hpp>

namespace dray::network {

/// -p [host_ip:]host_port:container_port[/proto]. host_port 0 = the kernel picks (32768…60999).
struct PortMapping {
  std::string host_ip;  ///< "" = 0.0.0.0
  std::uint16_t host_port = 0, container_port = 0;
  std::string protocol = "tcp";  ///< tcp or udp
};
/// Docker's -p grammar, ranges included ("8000-8005:80-85"). invalid_argument with Docker's wording.
Result<std::vector<PortMapping>> parse_port_mapping(std::string_view text);

/// An endpoint of a container on a bridge.
struct Endpoint {
  std::string network;  ///< "bridge"
  std::string ip_address, gateway, mac_address;
  int prefix_length = 16;
  std::string host_interface;      ///< the veth's host end
  unsigned host_index = 0;         ///< its interface index: an address, and so the name, may come again
  std::vector<PortMapping> ports;  ///< host_port filled in
};

// The default bridge network: interface dray0 with a /16 that collides with no route of the host (IPv4 only; a dray0
// that exists is taken as it is, so several roots share it). Set up on first use, idempotently: rtnetlink for the link,
// one nftables table "ip dray" (masquerade, maps for published ports), net.ipv4.ip_forward. All state is the kernel's:
// an address is in use while the interface named after it exists, which the kernel removes with the container's network
// namespace, however that ends. Only published ports must be withdrawn. Safe to use from several processes at once, and
// in a forked process. A firewall of the host whose FORWARD policy is "drop" must itself accept traffic of dray0.

struct Attachment {
  Endpoint endpoint;
  /// Listening sockets that hold the host ports; to be kept until the container ends.
  std::vector<FileDescriptor> port_reservations;
};
/// Makes a veth pair whose peer is born as eth0 in the network namespace `netns`, addresses and brings up both ends and
/// lo, sets the default route, publishes `ports`. in_use: "port is already allocated". What a failure leaves goes with
/// `netns`. `state_directory` remembers the last address given, so that one is not soon given again.
Result<Attachment> attach_to_bridge(FdRef netns, const std::vector<PortMapping>& ports,
                                    const std::string& state_directory);
/// Withdraws the ports of an endpoint whose container has ended. Repeating it is success.
Result<void> withdraw_ports(const Endpoint& endpoint);
/// Withdraws the ports of all endpoints that are gone (after kill -9 of what should have withdrawn them).
Result<void> withdraw_stale_ports();

/// Brings up lo in the namespace (for --network none). Without privilege as the owner of its user namespace.
Result<void> bring_up_loopback(FdRef netns);

/// Moves a device of our own namespace to `netns` and brings it up there, with its MTU, its MAC address and its
/// permanent addresses of global scope; "" as new name = the same. not_found without such a device, already_exists if
/// the name is taken in `netns` (then the device stays as it was).
Result<void> move_device(const std::string& name, const std::string& new_name, FdRef netns);

/// Content of a container's /etc/resolv.conf from the host's: loopback name servers dropped (they point to the host
/// itself; when none is left, systemd-resolved's upstream file is used, then public ones); --dns wins.
struct DnsOptions {
  std::vector<std::string> servers, search, options;
};
Result<std::string> make_resolv_conf(const DnsOptions& options, bool host_network);
/// /etc/hosts: localhost lines, the container's own address and name, --add-host entries ("name:ip", ip may be
/// "host-gateway").
Result<std::string> make_hosts_file(const std::string& hostname, const std::string& ip_address,
                                    const std::vector<std::string>& add_hosts, const std::string& gateway);

}  // namespace dray::network
