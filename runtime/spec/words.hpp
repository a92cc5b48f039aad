// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <dray/core/result.hpp>

// The words of the runtime-spec, for checking and for `features`. All tables are sorted.

namespace dray::runtime {

std::span<const std::string_view> mount_option_words();
std::span<const std::string_view> memory_policy_modes();
std::span<const std::string_view> memory_policy_flags();
std::span<const std::string_view> namespace_words();
std::span<const std::string_view> hook_words();  ///< in the order of their calls

bool contains_word(std::span<const std::string_view> words, std::string_view word);

/// What the kernel takes as the name of a network interface (net/core/dev.c, dev_valid_name).
bool is_interface_name(std::string_view name);
/// "1.0.2-dev" and its like: semver.org's 2.0.0 with major version 1.
bool is_supported_version(std::string_view version);
/// The numbers of "0-3,7", each under 1024 as runc has it; nothing if it is malformed.
std::optional<std::vector<unsigned>> parse_number_list(std::string_view text);

}  // namespace dray::runtime
