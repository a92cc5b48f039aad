// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <dray/core/fd.hpp>
#include <dray/core/result.hpp>

namespace dray::registry_server {

/// "127.0.0.1:5000" -> host and port; "[::1]:5000" without the brackets; ":5000" = every address.
struct ListenAddress {
  std::string host, port;
};
Result<ListenAddress> parse_listen_address(const std::string& text);

/// Of a "Host" header, with or without a port: localhost, 127.0.0.0/8, [::1], or `listen_host`.
bool is_host_of_loopback(const std::string& header, const std::string& listen_host);

struct Listener {
  FileDescriptor socket;
  std::string address;    ///< as it came out: "127.0.0.1:5000"
  bool loopback = false;  ///< reachable from this machine only
};
Result<Listener> listen_on(const std::string& address);

}  // namespace dray::registry_server
