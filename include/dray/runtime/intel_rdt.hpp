// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <dray/core/result.hpp>
#include <dray/runtime/spec.hpp>

// linux.intelRdt: shares of the processor's last-level cache and memory bandwidth (Intel RDT, AMD QoS, Arm MPAM),
// through the kernel's resctrl file system (Documentation/filesystems/resctrl.rst). A container is in one group; that
// of its closID, which others may use as well, or one of its own. Every function takes the place of the mount or of
// the group.

namespace dray::runtime {

/// Where the host has mounted it; unsupported if nowhere.
Result<std::string> find_resctrl();
/// The same from the text of /proc/self/mountinfo; "" = nowhere.
std::string resctrl_mount_point(std::string_view mountinfo);

/// What the kernel and the processor offer.
struct RdtFeatures {
  bool cache = false, bandwidth = false;                             ///< to be shared out
  bool total_bytes = false, local_bytes = false, occupancy = false;  ///< to be counted
  bool counts_bandwidth() const { return total_bytes || local_bytes; }
};
RdtFeatures read_rdt_features(const std::string& resctrl);

/// A container's.
struct RdtGroup {
  std::string path;        ///< "/sys/fs/resctrl/<closID or id>"
  std::string monitoring;  ///< its own "…/mon_groups/<id>"; "" = none
  bool own = false;        ///< made by us for this container alone, so that it ends with it
};

/// Makes what is missing. With a closID and nothing to set, the group must be there. On failure nothing that was made
/// for the container alone is left.
Result<RdtGroup> create_rdt_group(const std::string& resctrl, const IntelRdt& rdt, const std::string& id);
/// The process, and what it will fork.
Result<void> enter_rdt_group(const RdtGroup& group, pid_t pid);
/// Each line ("L3:0=f;1=f") for the group as a whole. Errors have the kernel's explanation (info/last_cmd_status).
Result<void> set_rdt_schemata(const RdtGroup& group, const std::vector<std::string>& lines);
/// The lines of a configuration.
std::vector<std::string> rdt_schemata(const IntelRdt& rdt);
/// What is the container's alone. Absent = success.
Result<void> destroy_rdt_group(const RdtGroup& group);

struct RdtStats {
  struct Cache {
    std::string mask;
    std::uint64_t min_bits = 0, groups = 0;
  };
  struct Bandwidth {
    std::uint64_t granularity = 0, linear = 0, min = 0, groups = 0;
  };
  struct NodeBandwidth {
    std::uint64_t total = 0, local = 0;
  };
  RdtFeatures features;
  Cache cache;
  Bandwidth bandwidth;
  /// Of the whole machine and of the group.
  std::string cache_root, cache_group, bandwidth_root, bandwidth_group;
  std::vector<std::string> schemata;
  std::vector<NodeBandwidth> node_bandwidth;  ///< one a cache domain
  std::vector<std::uint64_t> node_occupancy;
};
Result<RdtStats> read_rdt_stats(const std::string& resctrl, const RdtGroup& group);

}  // namespace dray::runtime
