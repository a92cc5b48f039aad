// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/filter.h>

#include <string_view>
#include <vector>

#include <dray/core/result.hpp>
#include <dray/runtime/spec.hpp>

namespace dray::runtime {

/// The profile as a BPF program, ready for seccomp(SECCOMP_SET_MODE_FILTER).
Result<std::vector<sock_filter>> compile_seccomp(const Seccomp& profile);

/// Actions, operators, architectures, flags and argument indexes are ones that compile_seccomp knows: else
/// invalid_argument.
Result<void> check_seccomp(const Seccomp& profile);

/// The words of each kind that compile_seccomp takes, sorted.
enum class SeccompWord { action, op, architecture, flag };
std::vector<std::string_view> seccomp_words(SeccompWord kind);

/// compile_seccomp without the cache of set_seccomp_cache_directory().
Result<std::vector<sock_filter>> compile_seccomp_uncached(const Seccomp& profile);

}  // namespace dray::runtime
