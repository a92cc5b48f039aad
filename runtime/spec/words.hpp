// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <dray/core/result.hpp>

// The words of the runtime-spec, for checking and for `features`. All tables but those of limits and scheduling are
// sorted.

namespace dray::runtime {

std::span<const std::string_view> mount_option_words();
std::span<const std::string_view> namespace_words();
std::span<const std::string_view> hook_words();  ///< in the order of their calls

/// A name and what the kernel knows it by.
struct Word {
  std::string_view name;
  unsigned value;
};
std::span<const Word> memory_policy_modes();  ///< set_mempolicy(2)
std::span<const Word> memory_policy_flags();
std::span<const Word> scheduler_policies();  ///< sched_setattr(2)
std::span<const Word> scheduler_flags();
std::span<const Word> io_priority_classes();  ///< ioprio_set(2)
std::span<const Word> resource_limits();      ///< setrlimit(2)
std::optional<unsigned> find_word(std::span<const Word> words, std::string_view name);

bool contains_word(std::span<const std::string_view> words, std::string_view word);

/// What the kernel takes as the name of a network interface (net/core/dev.c, dev_valid_name).
bool is_interface_name(std::string_view name);
/// "1.0.2-dev" and its like: semver.org's 2.0.0 with major version 1.
bool is_supported_version(std::string_view version);

}  // namespace dray::runtime
