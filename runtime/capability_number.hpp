// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>

namespace dray::runtime {

/// The kernel's number of "CAP_NET_RAW" (linux/capability.h); none for a name that this version does not know.
std::optional<int> capability_number(std::string_view name);

}  // namespace dray::runtime
