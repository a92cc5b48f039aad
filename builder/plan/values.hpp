// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <dray/core/result.hpp>

// Values of instructions that have a grammar of their own, and paths.

namespace dray::builder {

/// EXPOSE: "8000-8002/udp" as "8000/udp", …
Result<std::vector<std::string>> parse_ports(const std::vector<std::string>& ports);
/// STOPSIGNAL: SIGTERM, TERM, 15, RTMIN+3.
Result<void> check_signal(std::string_view text);
/// --chmod: octal, or symbolic as chmod(1) has it ("u+rwX,go-w").
Result<void> check_mode(std::string_view text);
/// An octal --chmod; symbolic ones are unsupported.

/// path.Join("/", path): absolute, no "." or "..", no trailing "/".
std::string clean_path(std::string_view path);
/// path.Clean: as it is written, absolute or relative; "." for nothing.
std::string clean_written(std::string_view path);
/// `path` below `directory` unless it is absolute.
std::string join_path(std::string_view directory, std::string_view path);

}  // namespace dray::builder
