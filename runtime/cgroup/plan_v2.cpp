// SPDX-License-Identifier: Apache-2.0
// The writes of v2. See limits.hpp.

#include <charconv>

#include "limits.hpp"

namespace dray::runtime::cgroup {
namespace {

using enum Write::Kind;

std::int64_t read_number(const std::optional<std::string>& text) {
  std::int64_t value = -1;
  if (text) std::from_chars(text->data(), text->data() + text->size(), value);
  return value;
}

/// What the runtime-spec has but v2 has not.
Result<void> refuse_v1_only(const Resources& r) {
  auto refuse = [](const char* field) {
    return fail(ErrorCode::unsupported, std::string(field) + " cannot be set: cgroup v2 has nothing like it");
  };
  if (r.disable_oom_killer.value_or(false)) return refuse("memory.disableOOMKiller");
  if (r.memory_swappiness) return refuse("memory.swappiness");
  if (r.cpu_realtime_period.value_or(0) != 0) return refuse("cpu.realtimePeriod");
  if (r.cpu_realtime_runtime.value_or(0) != 0) return refuse("cpu.realtimeRuntime");
  return {};
}

/// The kernel would kill until the usage is below the limit.
Result<void> check_usage(const Resources& r, const Present& present) {
  if (!r.memory_check_before_update.value_or(false)) return {};
  const std::int64_t usage = read_number(present("memory.current"));
  auto reject = [&](const char* what, std::int64_t limit) {
    return fail(ErrorCode::invalid_argument, std::string("rejecting ") + what + " limit " + std::to_string(limit) +
                                                 " <= usage " + std::to_string(usage));
  };
  if (r.memory_swap.value_or(0) > 0 && *r.memory_swap <= usage) return reject("memory+swap", *r.memory_swap);
  if (r.memory_limit.value_or(0) > 0 && *r.memory_limit <= usage) return reject("memory", *r.memory_limit);
  return {};
}

Result<void> plan_memory(const Resources& r, const Present& present, Plan& plan) {
  TRY(check_usage(r, present));
  const bool swap_alone = r.memory_swap.value_or(0) > 0 && r.memory_limit.value_or(0) == 0;
  const MemoryLimits limits =
      TRY(memory_limits(r, "max", swap_alone ? read_number(present("memory.max")) : std::int64_t(-1)));
  // Two independent files; swap first, so that what no longer fits in memory has a place.
  // Missing when the kernel has no swap accounting: nothing to limit it with, as in Docker.
  if (!limits.swap_only.empty()) plan.push_back({"memory.swap.max", limits.swap_only, "memory.swap", if_present});
  if (!limits.limit.empty()) plan.push_back({"memory.max", limits.limit, "memory.limit"});
  if (!limits.reservation.empty()) plan.push_back({"memory.low", limits.reservation, "memory.reservation"});
  return {};
}

void plan_cpu(const Resources& r, const Present& present, Plan& plan) {
  // An idle group has no weight: it is set while it is not.
  if (r.cpu_idle && *r.cpu_idle == 0) plan.push_back({"cpu.idle", "0", "cpu.idle", if_present});
  if (r.cpu_shares.value_or(0) != 0)
    plan.push_back({"cpu.weight", std::to_string(weight_of_shares(*r.cpu_shares)), "cpu.shares"});
  const std::int64_t quota = r.cpu_quota.value_or(0);
  const std::uint64_t period = r.cpu_period.value_or(0);
  if (r.cpu_burst)
    plan.push_back({"cpu.max.burst", std::to_string(*r.cpu_burst), "cpu.burst",
                    *r.cpu_burst == 0           ? if_present
                    : quota != 0 || period != 0 ? may_wait
                                                : needed});
  if (quota != 0 || period != 0) {
    // "quota period" in one file. The kernel keeps a period that is left out, but not a quota.
    std::string value = "max";
    if (quota > 0)
      value = std::to_string(quota);
    else if (quota == 0)
      if (auto now = present("cpu.max"); now && !now->empty()) value = now->substr(0, now->find(' '));
    if (period != 0) value += " " + std::to_string(period);
    plan.push_back({"cpu.max", value, quota != 0 ? "cpu.quota" : "cpu.period"});
  }
  if (r.cpu_idle && *r.cpu_idle != 0) plan.push_back({"cpu.idle", std::to_string(*r.cpu_idle), "cpu.idle"});
}

void plan_hugetlb(const Resources& r, Plan& plan) {
  for (const HugepageLimit& limit : r.hugepage_limits) {
    const std::string prefix = "hugetlb." + limit.page_size, value = std::to_string(limit.limit);
    plan.push_back({prefix + ".max", value, "hugepageLimits"});
    plan.push_back({prefix + ".rsvd.max", value, "hugepageLimits", if_present});
  }
}

/// Files by name, as they are; after everything else, so that they win. One write a line.
Result<void> plan_unified(const Resources& r, Plan& plan) {
  for (const auto& [file, value] : r.unified) {
    if (file.find('/') != std::string::npos || file.find('\0') != std::string::npos)
      return fail(ErrorCode::invalid_argument, "unified resource \"" + file + "\" must be a file name (no slashes)");
    if (file.find('.') == 0 || file.find('.') == std::string::npos)
      return fail(ErrorCode::invalid_argument,
                  "unified resource \"" + file + "\" must be in the form CONTROLLER.PARAMETER");
    for (std::size_t from = 0; from <= value.size();) {
      const std::size_t end = std::min(value.find('\n', from), value.size());
      if (end > from || value.empty())
        plan.push_back({file, value.substr(from, end - from), "unified resource \"" + file + "\""});
      from = end + 1;
    }
  }
  return {};
}

}  // namespace

Result<Plan> plan_v2(const Resources& r, const Present& present) {
  Plan plan;
  TRY(refuse_v1_only(r));
  if (r.pids_limit)
    plan.push_back({"pids.max", pids_max(*r.pids_limit), "pids.limit", *r.pids_limit < 0 ? if_present : needed});
  TRY(plan_memory(r, present, plan));
  TRY(plan_block_io_v2(r, present, plan));
  plan_cpu(r, present, plan);
  if (!r.cpuset_cpus.empty()) plan.push_back({"cpuset.cpus", r.cpuset_cpus, "cpu.cpus"});
  if (!r.cpuset_mems.empty()) plan.push_back({"cpuset.mems", r.cpuset_mems, "cpu.mems"});
  plan_hugetlb(r, plan);
  plan_rdma(r, plan);
  TRY(plan_unified(r, plan));
  return plan;
}

}  // namespace dray::runtime::cgroup
