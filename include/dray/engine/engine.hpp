// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <dray/builder/builder.hpp>
#include <dray/core/progress.hpp>
#include <dray/store/store.hpp>

// The façade that all front ends (CLI now; API, compose, kube, CRI later) stand on. It wires runtime, network,
// registry-client and builder together; it prints nothing and reads no flags.

namespace dray::engine {

/// daemon.json's "builder": {"gc": {…}}: what the build cache may take. Applied after builds (docs/build-cache.md).
struct BuildCacheLimits {
  bool enabled = true;
  std::optional<std::uint64_t> max_used_space;  ///< bytes; default: a fifth of the disk, at least 10 GB
  std::uint64_t reserved_space = 2'000'000'000;
  std::optional<std::uint64_t> min_free_space;  ///< bytes; default: a tenth of the disk
  std::int64_t keep_seconds = 60 * 24 * 3600;   ///< what was not used for so long goes; 0 = never for this reason
};

/// Where state lives and what /etc/dray/daemon.json (docker's keys, plus "trust-host-ca") says.
struct Configuration {
  std::string root = "/var/lib/dray";
  std::string state = "/run/dray";
  std::optional<store::DriverWish> storage_driver;  ///< none: the store's; for a new one what its file system can do
  std::vector<std::string> insecure_registries;
  std::vector<std::pair<std::string, std::string>> registry_mirrors;  ///< registry, URL; asked in this order
  bool trust_host_ca = false;
  BuildCacheLimits build_cache;
};
/// Reads the configuration file (absent = defaults). An unknown key or wrong type is invalid_argument with the key's
/// name.
Result<Configuration> load_configuration(const std::string& path);

/// Opened store and configuration, shared by the functions of this part. Cheap to open (about 1 ms).
struct Context {
  Configuration configuration;
  std::shared_ptr<store::Store> store;
};
Result<Context> open(Configuration configuration);

}  // namespace dray::engine
