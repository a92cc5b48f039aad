// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include <dray/core/result.hpp>

namespace dray::cli {

/// --since, --until and the filter until=: RFC 3339, a date, seconds since 1970, or a duration before now ("10m",
/// "1h30m").
Result<std::int64_t> parse_moment(const std::string& text);

}  // namespace dray::cli
