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
#include <dray/store/database.hpp>

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
  std::string host_interface;       ///< the veth's host end
  std::vector<PortMapping> ports;   ///< host_port filled in
};

/// The default bridge network: interface dray0 with a /16 that collides with no route of the host (IPv4 only; a dray0 that exists is
/// taken as it is, so several roots share it). Set up on first use, idempotently: rtnetlink for the link, one nftables table
/// "ip dray" (masquerade, maps for published ports), net.ipv4.ip_forward. Endpoints have a row in the database; that an address is
/// free is decided by the kernel (an exclusive element of the table). Safe to use from several processes at once.
/// A firewall of the host whose FORWARD policy is "drop" must itself accept traffic of dray0.
class Bridge {
 public:
  static Result<std::unique_ptr<Bridge>> open(std::shared_ptr<store::Database> db, const std::string& state_directory);
  ~Bridge();

  /// Makes a veth pair whose peer is born as eth0 in the network namespace `netns`, addresses and brings up both ends and lo,
  /// default route, publishes `ports`. `reserved` receives listening sockets that hold the host ports (given to the
  /// monitor, which keeps them until the container ends). in_use: "port is already allocated". On failure all is undone.
  struct Attachment {
    Endpoint endpoint;
    std::vector<FileDescriptor> port_reservations;
  };
  Result<Attachment> attach(FdRef netns, const std::string& container_id, const std::vector<PortMapping>& ports);
  /// Undoes attach: ports unpublished, link and lease removed. Never heard of it = success.
  Result<void> detach(const std::string& container_id);
  /// Removes leases, links and rules of containers that are not in `alive` (after kill -9 or reboot).
  Result<void> recover(const std::vector<std::string>& alive);

 private:
  struct State;
  explicit Bridge(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Brings up lo in the namespace (for --network none).
Result<void> bring_up_loopback(FdRef netns);

/// Content of a container's /etc/resolv.conf from the host's: loopback name servers dropped (they point to the host
/// itself; when none is left, systemd-resolved's upstream file is used, then public ones); --dns wins.
struct DnsOptions {
  std::vector<std::string> servers, search, options;
};
Result<std::string> make_resolv_conf(const DnsOptions& options, bool host_network);
/// /etc/hosts: localhost lines, the container's own address and name, --add-host entries ("name:ip", ip may be "host-gateway").
Result<std::string> make_hosts_file(const std::string& hostname, const std::string& ip_address,
                                    const std::vector<std::string>& add_hosts, const std::string& gateway);

}  // namespace dray::network
