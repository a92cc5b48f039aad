// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <dray/network/network.hpp>

namespace dray::network {

/// The nftables table "ip dray", shared by all dray roots of the machine. Made in one transaction, so it exists whole
/// or not at all:
///   map  ports     {proto . port -> ip . port}, for all local addresses
///   map  ports_at  {address . proto . port -> ip . port}
///   chains prerouting, output (dnat by the maps), postrouting (masquerade)
class Firewall {
 public:
  /// `subnet` in host byte order.
  Firewall(std::string bridge, std::uint32_t subnet, int prefix_length)
      : bridge_(std::move(bridge)), subnet_(subnet), prefix_length_(prefix_length) {}

  Result<void> ensure();
  /// A former owner's element for the same port is replaced: who has reserved the port is its owner.
  Result<void> publish(std::uint32_t container_address, const std::vector<PortMapping>& ports);
  /// Withdraws all published ports that lead to an address of which `gone` is true.
  static Result<void> withdraw(const std::function<bool(std::uint32_t address)>& gone);

 private:
  Result<bool> exists();
  std::string bridge_;
  std::uint32_t subnet_;
  int prefix_length_;
};

}  // namespace dray::network
