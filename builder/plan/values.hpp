// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <dray/core/result.hpp>
#include <dray/core/rooted_path.hpp>

// Values of instructions that have a grammar of their own, and paths.

namespace dray::builder {

/// EXPOSE: "8000-8002/udp" as "8000/udp", …
Result<std::vector<std::string>> parse_ports(const std::vector<std::string>& ports);
/// STOPSIGNAL: SIGTERM, TERM, 15, RTMIN+3.
Result<void> check_signal(std::string_view text);
/// --chmod: octal, or symbolic as chmod(1) has it ("u+rwX,go-w").
Result<void> check_mode(std::string_view text);
/// An octal --chmod; symbolic ones are unsupported.

/// path.Join("/", path), where core's clean_path leaves a relative path relative: absolute, no "." or "..", no trailing
/// "/".
std::string clean_path(std::string_view path);

}  // namespace dray::builder
