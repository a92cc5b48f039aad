// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <dray/runtime/cgroup_stats.hpp>

namespace dray::oci {

/// Lines of `events`, in the shape of runc's types.Event, which containerd reads.
std::string describe_stats(const std::string& id, const runtime::CgroupStats& stats);
std::string describe_oom(const std::string& id);

}  // namespace dray::oci
