// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <dray/core/fd.hpp>
#include <dray/core/result.hpp>
#include <dray/runtime/spec.hpp>

// From the runtime-spec's resources to writes of the kernel's files. A plan is a pure value: which file gets which
// text, in which order. So the order, the part that is easy to get wrong, is tested without a kernel.

namespace dray::runtime::cgroup {

struct Write {
  enum class Kind {
    needed,
    if_present,    ///< a kernel without the file has nothing to limit
    if_supported,  ///< and where it has the file but refuses it, neither
    may_wait,      ///< EINVAL can mean that a later write has to come first: tried again after all others
  };
  std::string file, value;
  std::string field;  ///< the runtime-spec's name, for errors
  Kind kind = Kind::needed;

  bool operator==(const Write&) const = default;
};
using Plan = std::vector<Write>;

/// What a file of the cgroup holds now, without the final newline; nullopt = there is no such file.
using Present = std::function<std::optional<std::string>(const char* file)>;

/// Those of `resources` that one v1 controller has files for, without devices.
Result<Plan> plan_v1(std::string_view controller, const Resources& resources, const Present& present);
/// v2: all, without devices.
Result<Plan> plan_v2(const Resources& resources, const Present& present);

void plan_block_io_v1(const Resources& resources, const Present& present, Plan& plan);
Result<void> plan_block_io_v2(const Resources& resources, const Present& present, Plan& plan);
void plan_rdma(const Resources& resources, Plan& plan);

/// In order, stops at the first failure. The error names the field and the file.
Result<void> apply_plan(FdRef directory, const Plan& plan);
Present read_present(FdRef directory);

struct MemoryLimits {
  std::string limit, swap_total, swap_only, reservation;  ///< "" = not set; `unlimited` is the kernel's word for it
};
/// `current_limit` is the memory limit in force, -1 = none: a swap limit may be set alone later.
Result<MemoryLimits> memory_limits(const Resources& resources, std::string_view unlimited,
                                   std::int64_t current_limit = -1);

/// The controllers that the limits need, each with the limit's name for the user.
struct Need {
  const char* controller;
  const char* limit;
};
std::vector<Need> needed_controllers(const Resources& resources, bool unified);
Error missing_controller(const Need& need);

/// cpu.weight of v2 for shares of v1: 2 → 1, 1024 → 100, 262144 → 10000 (the curve of runc 1.3.2).
std::uint64_t weight_of_shares(std::uint64_t shares);
/// io.weight of v2 for blkio.weight of v1: 10…1000 → 1…10000.
std::uint64_t io_weight_of_block_io_weight(std::uint64_t weight);
/// pids.max: 0 would let nothing start, so it is 1 as in runc.
std::string pids_max(std::int64_t limit);

}  // namespace dray::runtime::cgroup
