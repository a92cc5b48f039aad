// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <dray/runtime/spec.hpp>

namespace dray::engine {

/// --device HOST[:CONTAINER[:rwm]]; a directory stands for the devices in it.
Result<void> add_devices(runtime::Spec& spec, const std::vector<std::string>& wishes);
/// --privileged: every device of the host, and the right to use any.
Result<void> add_all_devices(runtime::Spec& spec);

}  // namespace dray::engine
