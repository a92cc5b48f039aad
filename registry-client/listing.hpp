// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace dray::registry {

/// Pages of one list; more means that the registry goes round in circles.
inline constexpr int kMaxPages = 10000;

/// The target of a Link header with rel="next" (RFC 8288), or "".
std::string next_link(std::string_view header);

}  // namespace dray::registry
