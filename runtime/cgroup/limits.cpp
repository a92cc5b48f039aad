// SPDX-License-Identifier: Apache-2.0
// What v1 and v2 share of turning limits into writes.

#include "limits.hpp"

#include <algorithm>
#include <cerrno>
#include <cmath>

#include "hierarchy.hpp"

namespace dray::runtime::cgroup {
namespace {

constexpr int kKernelUnsupported = 524;  // ENOTSUPP of the kernel's inside, which a few files leak

Error no_such_file(const Write& write) {
  return Error(ErrorCode::unsupported,
               "setting " + write.field + ": the kernel has no \"" + write.file + "\" on this host")
      .with_hint("leave it out");
}

Result<void> apply_one(FdRef directory, const Write& write) {
  Result<void> written = write_value(directory, write.file.c_str(), write.value);
  if (written) return {};
  const int number = written.error().error_number();
  const bool optional = write.kind == Write::Kind::if_present || write.kind == Write::Kind::if_supported;
  if (number == ENOENT && optional) return {};
  if (write.kind == Write::Kind::if_supported && (number == EOPNOTSUPP || number == kKernelUnsupported)) return {};
  // EPERM, EACCES: file creation is refused in a cgroup file system, some kernels say it this way.
  if (number == ENOENT && !file_exists(directory, write.file.c_str())) return Failure(no_such_file(write));
  return Failure(std::move(written).error().with_context("setting " + write.field));
}

}  // namespace

Result<void> apply_plan(FdRef directory, const Plan& plan) {
  std::vector<const Write*> waiting;
  for (const Write& write : plan) {
    Result<void> written = apply_one(directory, write);
    if (written) continue;
    if (write.kind != Write::Kind::may_wait || written.error().error_number() != EINVAL) return written;
    waiting.push_back(&write);
  }
  for (const Write* write : waiting) TRY(apply_one(directory, *write));
  return {};
}

Present read_present(FdRef directory) {
  return [directory](const char* file) -> std::optional<std::string> {
    auto text = read_value(directory, file);
    if (!text) return std::nullopt;
    return std::move(*text);
  };
}

std::vector<Need> needed_controllers(const Resources& r, bool unified) {
  std::vector<Need> needs;
  auto set = [](const auto& value) { return value && *value != 0; };
  if (set(r.memory_limit) || set(r.memory_swap) || set(r.memory_reservation) || r.memory_swappiness ||
      r.disable_oom_killer.value_or(false))
    needs.push_back({"memory", "memory limit"});
  if (set(r.cpu_shares) || set(r.cpu_period) || set(r.cpu_quota) || set(r.cpu_burst) || r.cpu_idle ||
      set(r.cpu_realtime_period) || set(r.cpu_realtime_runtime))
    needs.push_back({"cpu", "CPU limit"});
  if (!r.cpuset_cpus.empty() || !r.cpuset_mems.empty()) needs.push_back({"cpuset", "choice of CPUs or memory nodes"});
  if (r.pids_limit && (*r.pids_limit >= 0)) needs.push_back({"pids", "limit of processes"});
  const BlockIo& io = r.block_io;
  if (set(io.weight) || set(io.leaf_weight) || !io.weight_devices.empty() || !io.read_bps.empty() ||
      !io.write_bps.empty() || !io.read_iops.empty() || !io.write_iops.empty())
    needs.push_back({unified ? "io" : "blkio", "block I/O limit"});
  if (!r.hugepage_limits.empty()) needs.push_back({"hugetlb", "limit of huge pages"});
  if (!r.rdma.empty()) needs.push_back({"rdma", "RDMA limit"});
  if (set(r.network_class_id)) needs.push_back({"net_cls", "network class"});
  if (!r.network_priorities.empty()) needs.push_back({"net_prio", "network priority"});
  return needs;
}

Error missing_controller(const Need& need) {
  return Error(ErrorCode::unsupported, std::string("cgroup controller \"") + need.controller +
                                           "\" is not available on this host, so the " + need.limit +
                                           " cannot be enforced")
      .with_hint("leave the limit out, or enable the controller in the kernel");
}

Result<MemoryLimits> memory_limits(const Resources& r, std::string_view unlimited, std::int64_t current_limit) {
  MemoryLimits out;
  auto check = [](std::int64_t value, const char* what) -> Result<void> {
    if (value < -1)
      return fail(ErrorCode::invalid_argument, std::string("invalid ") + what + " " + std::to_string(value));
    return {};
  };
  std::int64_t limit = r.memory_limit.value_or(0), swap = r.memory_swap.value_or(0),
               low = r.memory_reservation.value_or(0);
  TRY(check(limit, "memory limit"));
  TRY(check(swap, "memory-swap limit"));
  TRY(check(low, "memory reservation"));
  if (limit != 0) out.limit = limit < 0 ? std::string(unlimited) : std::to_string(limit);
  if (low != 0) out.reservation = low < 0 ? std::string(unlimited) : std::to_string(low);
  // As runc: memory without limit that says nothing of swap means both.
  if (swap < 0 || (limit < 0 && swap == 0)) out.swap_total = out.swap_only = unlimited;
  if (swap <= 0) return out;
  const std::int64_t base = limit == 0 ? current_limit : limit;
  if (base < 0)
    return fail(ErrorCode::invalid_argument, "a memory-swap limit needs a memory limit, because it is the sum of both");
  if (swap < base)
    return fail(ErrorCode::invalid_argument,
                "memory-swap limit " + std::to_string(swap) + " is below the memory limit " + std::to_string(base));
  out.swap_total = std::to_string(swap);
  out.swap_only = std::to_string(swap - base);
  return out;
}

std::uint64_t weight_of_shares(std::uint64_t shares) {
  if (shares <= 2) return 1;
  if (shares >= 262144) return 10000;
  double l = std::log2(static_cast<double>(shares));
  double exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
  return static_cast<std::uint64_t>(std::ceil(std::pow(10.0, exponent)));
}

std::uint64_t io_weight_of_block_io_weight(std::uint64_t weight) {
  return 1 + (std::clamp<std::uint64_t>(weight, 10, 1000) - 10) * 9999 / 990;
}

std::string pids_max(std::int64_t limit) {
  return limit < 0 ? "max" : std::to_string(std::max<std::int64_t>(limit, 1));
}

}  // namespace dray::runtime::cgroup
