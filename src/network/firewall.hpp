// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <dray/network/network.hpp>

namespace dray::network {

/// The nftables table "ip dray", shared by all dray roots of the machine. Made in one transaction, so it exists whole or not at all:
///   set  addresses {container IPs in use}     an address is allocated by adding it exclusively
///   map  ports     {proto . port -> ip . port}, for all local addresses
///   map  ports_at  {address . proto . port -> ip . port}
///   chains prerouting, output (dnat by the maps), postrouting (masquerade)
class Firewall {
 public:
  /// `subnet` in host byte order.
  Firewall(std::string bridge, std::uint32_t subnet, int prefix_length) : bridge_(std::move(bridge)), subnet_(subnet), prefix_length_(prefix_length) {}

  Result<void> ensure();
  /// already_exists when another container has it.
  Result<void> claim_address(std::uint32_t address);
  Result<void> release_address(std::uint32_t address);
  Result<void> publish(std::uint32_t container_address, const std::vector<PortMapping>& ports);
  Result<void> withdraw(const std::vector<PortMapping>& ports);

 private:
  Result<bool> exists();
  std::string bridge_;
  std::uint32_t subnet_;
  int prefix_length_;
};

}  // namespace dray::network
