// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/filter.h>

#include <optional>
#include <string>
#include <vector>

#include <dray/runtime/spec.hpp>

namespace dray::runtime {

/// All that a compiled filter depends on, as text; "" when there is no cache.
std::string seccomp_cache_key(const Seccomp& profile);
/// nullopt when it is not there, not ours alone (owner, mode 0600), or not whole.
std::optional<std::vector<sock_filter>> read_seccomp_cache(const std::string& key);
/// Best effort: without the file the next start compiles again.
void write_seccomp_cache(const std::string& key, const std::vector<sock_filter>& program);

}  // namespace dray::runtime
