// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include <dray/runtime/cgroup_stats.hpp>
#include <dray/runtime/intel_rdt.hpp>

namespace dray::oci {

/// Lines of `events`, in the shape of runc's types.Event, which containerd reads.
std::string describe_stats(const std::string& id, const runtime::CgroupStats& stats,
                           const std::optional<runtime::RdtStats>& rdt);
std::string describe_oom(const std::string& id);

}  // namespace dray::oci
