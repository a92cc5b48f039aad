// SPDX-License-Identifier: Apache-2.0
// The writes of each v1 controller. See limits.hpp.

#include <charconv>

#include "limits.hpp"

namespace dray::runtime::cgroup {
namespace {

using enum Write::Kind;

// The kernel shows "no limit" as the largest multiple of the page size.
constexpr std::int64_t kV1Unlimited = INT64_MAX / 65536 * 65536;

std::int64_t read_limit(const std::optional<std::string>& text) {
  std::int64_t value = -1;
  if (text) std::from_chars(text->data(), text->data() + text->size(), value);
  return value >= kV1Unlimited ? -1 : value;
}

Result<void> plan_memory(const Resources& r, const Present& present, Plan& plan) {
  const bool swap_is_set = r.memory_swap.value_or(0) != 0;
  // What is there now matters only for a swap limit: in a fresh cgroup both are unlimited.
  const std::int64_t now = swap_is_set ? read_limit(present("memory.limit_in_bytes")) : -1;
  const MemoryLimits limits = TRY(memory_limits(r, "-1", now));
  Plan both;
  if (!limits.limit.empty()) both.push_back({"memory.limit_in_bytes", limits.limit, "memory.limit"});
  // Without swap accounting (swapaccount=0) the file is missing: there is nothing to limit it with, as in Docker.
  if (!limits.swap_total.empty())
    both.push_back({"memory.memsw.limit_in_bytes", limits.swap_total, "memory.swap", if_present});
  // memory <= memory + swap must hold after each write. The sum goes first where it is not below the limit in force.
  if (both.size() == 2) {
    const bool raises = limits.swap_total == "-1" || (now >= 0 && now <= *r.memory_swap);
    if (raises) std::swap(both[0], both[1]);
  }
  plan.insert(plan.end(), both.begin(), both.end());
  if (!limits.reservation.empty())
    plan.push_back({"memory.soft_limit_in_bytes", limits.reservation, "memory.reservation"});
  // The kernel gave these two up (5.16, 6.x); the runtime-spec says not to use them. They still come in old bundles.
  if (r.memory_kernel.value_or(0) != 0)
    plan.push_back({"memory.kmem.limit_in_bytes", std::to_string(*r.memory_kernel), "memory.kernel", if_supported});
  if (r.memory_kernel_tcp.value_or(0) != 0)
    plan.push_back(
        {"memory.kmem.tcp.limit_in_bytes", std::to_string(*r.memory_kernel_tcp), "memory.kernelTCP", if_supported});
  if (r.disable_oom_killer)
    plan.push_back({"memory.oom_control", *r.disable_oom_killer ? "1" : "0", "memory.disableOOMKiller",
                    *r.disable_oom_killer ? needed : if_supported});
  if (r.memory_swappiness) {
    if (*r.memory_swappiness > 100)
      return fail(ErrorCode::invalid_argument, "invalid memory swappiness value: " +
                                                   std::to_string(*r.memory_swappiness) + " (valid range is 0-100)");
    plan.push_back({"memory.swappiness", std::to_string(*r.memory_swappiness), "memory.swappiness"});
  }
  return {};
}

Result<void> plan_cpu(const Resources& r, Plan& plan) {
  // An idle group has no shares: they are set while it is not.
  if (r.cpu_idle && *r.cpu_idle == 0) plan.push_back({"cpu.idle", "0", "cpu.idle", if_present});
  if (const std::uint64_t shares = r.cpu_shares.value_or(0); shares != 0) {
    // The kernel would cut it silently.
    if (shares < 2) return fail(ErrorCode::invalid_argument, "the minimum allowed cpu-shares is 2");
    if (shares > 262144) return fail(ErrorCode::invalid_argument, "the maximum allowed cpu-shares is 262144");
    plan.push_back({"cpu.shares", std::to_string(shares), "cpu.shares"});
  }
  // The parent's share of CPU bounds quota/period, and quota bounds burst. Whether the period or the quota has to come
  // first depends on the values in force; the kernel knows.
  const bool quota = r.cpu_quota.value_or(0) != 0;
  if (r.cpu_period.value_or(0) != 0)
    plan.push_back({"cpu.cfs_period_us", std::to_string(*r.cpu_period), "cpu.period", quota ? may_wait : needed});
  if (r.cpu_burst)
    plan.push_back({"cpu.cfs_burst_us", std::to_string(*r.cpu_burst), "cpu.burst",
                    *r.cpu_burst == 0 ? if_present
                    : quota           ? may_wait
                                      : needed});
  if (quota) plan.push_back({"cpu.cfs_quota_us", std::to_string(*r.cpu_quota), "cpu.quota"});
  if (r.cpu_idle && *r.cpu_idle != 0) plan.push_back({"cpu.idle", std::to_string(*r.cpu_idle), "cpu.idle"});
  const bool runtime = r.cpu_realtime_runtime.value_or(0) != 0;
  if (r.cpu_realtime_period.value_or(0) != 0)
    plan.push_back({"cpu.rt_period_us", std::to_string(*r.cpu_realtime_period), "cpu.realtimePeriod",
                    runtime ? may_wait : needed});
  if (runtime) plan.push_back({"cpu.rt_runtime_us", std::to_string(*r.cpu_realtime_runtime), "cpu.realtimeRuntime"});
  return {};
}

void plan_hugetlb(const Resources& r, Plan& plan) {
  for (const HugepageLimit& limit : r.hugepage_limits) {
    const std::string prefix = "hugetlb." + limit.page_size, value = std::to_string(limit.limit);
    plan.push_back({prefix + ".limit_in_bytes", value, "hugepageLimits"});
    // Reservations too (since Linux 5.7), or a program gets SIGBUS instead of an error from mmap.
    plan.push_back({prefix + ".rsvd.limit_in_bytes", value, "hugepageLimits", if_present});
  }
}

}  // namespace

Result<Plan> plan_v1(std::string_view controller, const Resources& r, const Present& present) {
  Plan plan;
  if (controller == "memory") TRY(plan_memory(r, present, plan));
  if (controller == "cpu") TRY(plan_cpu(r, plan));
  if (controller == "cpuset") {
    if (!r.cpuset_cpus.empty()) plan.push_back({"cpuset.cpus", r.cpuset_cpus, "cpu.cpus"});
    if (!r.cpuset_mems.empty()) plan.push_back({"cpuset.mems", r.cpuset_mems, "cpu.mems"});
  }
  if (controller == "pids" && r.pids_limit) plan.push_back({"pids.max", pids_max(*r.pids_limit), "pids.limit"});
  if (controller == "blkio") plan_block_io_v1(r, present, plan);
  if (controller == "hugetlb") plan_hugetlb(r, plan);
  if (controller == "rdma") plan_rdma(r, plan);
  if (controller == "net_cls" && r.network_class_id.value_or(0) != 0)
    plan.push_back({"net_cls.classid", std::to_string(*r.network_class_id), "network.classID"});
  if (controller == "net_prio")
    for (const NetworkPriority& entry : r.network_priorities)
      plan.push_back(
          {"net_prio.ifpriomap", entry.interface + " " + std::to_string(entry.priority), "network.priorities"});
  return plan;
}

}  // namespace dray::runtime::cgroup
