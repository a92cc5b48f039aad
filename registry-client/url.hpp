// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include <dray/core/result.hpp>

// URLs of registries: only http and https, no user information, compared by origin.

namespace dray::registry {

/// Scheme, host and port: credentials are valid for exactly one of these.
struct Origin {
  std::string scheme, host, port;
  bool operator==(const Origin&) const = default;
  std::string host_and_port()
      const;  ///< "example.org", "localhost:5000": the port only where it is not the scheme's own
};

/// invalid_argument for another scheme, control characters or an absent host.
Result<Origin> parse_origin(const std::string& url);

/// `location` as seen from `base` (RFC 3986 §5), as in the Location header: absolute, "/path", "path" or
/// "?query". User information is dropped. Refused: other schemes, and http seen from https (a downgrade).
Result<std::string> resolve_location(const std::string& base, const std::string& location);

/// Adds "key=value" to the query; the value is percent-encoded.
std::string with_query(std::string url, std::string_view key, std::string_view value);

/// localhost, 127.0.0.0/8 or ::1, with or without a port.
bool is_loopback(std::string_view host_and_port);
/// Whether `host_and_port` is named by `rule`: "host:port", "host" (any port) or an IPv4 network
/// ("10.0.0.0/8").
bool matches_insecure_rule(std::string_view host_and_port, std::string_view rule);

}  // namespace dray::registry
