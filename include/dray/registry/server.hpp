// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include <dray/core/progress.hpp>
#include <dray/core/result.hpp>

// The embedded registry (OCI distribution-spec v1.1). Linked only into dray-registry-server: `dray` must start without
// its HTTP and TLS libraries.

namespace dray::registry {

struct ServerOptions {
  std::string listen = "127.0.0.1:5000";  ///< HOST:PORT, [IPv6]:PORT or :PORT; port 0 = any free one
  std::string storage;                    ///< a folder of its own
  std::string tls_certificate, tls_key;   ///< PEM files; both or none
  std::string htpasswd;                   ///< file of users with bcrypt hashes; "" = everybody may do everything
  std::string proxy;                      ///< URL of the registry to be a pull-through cache of
  bool insecure = false;                  ///< plain http on other addresses than loopback
};

using LogLine = std::function<void(const std::string& line)>;  ///< may be called from any thread

/// Serves until `cancel` is set; then requests under way may end (ten seconds at most).
Result<void> serve(const ServerOptions& options, const CancelToken& cancel, const LogLine& log);

struct Garbage {
  std::uint64_t blobs = 0, bytes = 0;
};
/// Removes blobs that no manifest of their repository has named for an hour. in_use while a registry serves the folder.
Result<Garbage> collect_registry_garbage(const std::string& storage);

}  // namespace dray::registry
