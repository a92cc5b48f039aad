// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <dray/runtime/spec.hpp>

namespace dray::engine {

/// Devices by their CDI names ("vendor.com/class=name"), found in /etc/cdi and /var/run/cdi (Container Device Interface
/// 0.8, JSON). not_found for a `required` one that no file there describes, others are done without; unsupported for
/// edits that need a hook.
Result<void> add_cdi_devices(runtime::Spec& spec, const std::vector<std::string>& names,
                             const std::vector<std::string>& required);

}  // namespace dray::engine
