// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <dray/engine/engine.hpp>
#include <dray/runtime/spec.hpp>

namespace dray::engine {

/// --trust-host-ca: what a process needs to trust the host's certificate authorities.
struct HostCa {
  std::vector<runtime::Mount> mounts;
  std::vector<std::string> env;  ///< defaults: a variable that is set already stays
};
enum class HostCaPlaces {
  variables,           ///< build steps: a mount over the image's bundle would make update-ca-certificates fail (EBUSY)
  variables_and_files  ///< containers: also over the bundles that the image has
};
Result<HostCa> make_host_ca(const Context& context, FdRef rootfs, HostCaPlaces places);
void apply_host_ca(const HostCa& trust, runtime::Spec& spec);

}  // namespace dray::engine
