// SPDX-License-Identifier: Apache-2.0
// The plan's part about labels of security modules, scheduling, CPUs and memory nodes.
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include <dray/runtime/spec_json.hpp>

#include "plan_builder.hpp"
#include "spec/words.hpp"

namespace dray::runtime {
namespace {

// Does this process run on fewer CPUs than there are?
bool is_confined() {
  cpu_set_t own;
  if (::sched_getaffinity(0, sizeof own, &own) != 0) return true;
  return CPU_COUNT(&own) < ::sysconf(_SC_NPROCESSORS_ONLN);
}

bool has_apparmor() {
  auto enabled = read_file("/sys/module/apparmor/parameters/enabled", 16);
  return enabled && enabled->starts_with("Y");
}

// "0-3,7"
Result<std::vector<unsigned>> parse_list(const std::string& text, const char* what) {
  auto numbers = parse_number_list(text);
  if (!numbers || numbers->empty())
    return fail(ErrorCode::invalid_argument, std::string("invalid ") + what + " \"" + text + "\"");
  return std::move(*numbers);
}

Result<PlanAffinity> parse_cpus(const std::string& text) {
  PlanAffinity affinity{};
  for (unsigned cpu : TRY(parse_list(text, "CPU list")))
    affinity.mask[cpu / 8] = static_cast<unsigned char>(affinity.mask[cpu / 8] | 1u << (cpu % 8));
  affinity.size = kAffinityBytes;
  return affinity;
}

}  // namespace

bool has_selinux() { return ::access("/sys/fs/selinux/enforce", F_OK) == 0; }

Result<void> PlanBuilder::set_memory_policy(const MemoryPolicy& policy) {
  PlanMemoryPolicy& plan = plan_.process.memory_policy;
  auto mode = find_word(memory_policy_modes(), policy.mode);
  if (!mode) return fail(ErrorCode::invalid_argument, "invalid memory policy mode \"" + policy.mode + "\"");
  unsigned flags = 0;
  for (const auto& name : policy.flags) {
    auto flag = find_word(memory_policy_flags(), name);
    if (!flag) return fail(ErrorCode::invalid_argument, "invalid memory policy flag \"" + name + "\"");
    flags |= *flag;
  }
  if (!policy.nodes.empty()) {
    constexpr unsigned kBits = 8 * sizeof(unsigned long);
    for (unsigned node : TRY(parse_list(policy.nodes, "memory policy nodes")))
      plan.nodes[node / kBits] |= 1ul << (node % kBits);
    plan.max_node = kMaxNodes + 1;
  }
  plan.mode = static_cast<int>(*mode | flags);
  return {};
}

Result<void> PlanBuilder::set_labels(const Process& process) {
  PlanProcess& plan = plan_.process;
  if (!process.apparmor_profile.empty()) {
    if (!has_apparmor())
      return fail(ErrorCode::unsupported,
                  "apparmor profile \"" + process.apparmor_profile + "\": apparmor is not enabled on this host");
    // Beside another security module the old name may be that one's.
    const bool own = ::access("/proc/self/attr/apparmor/exec", F_OK) == 0;
    plan.label_file = own ? "thread-self/attr/apparmor/exec" : "thread-self/attr/exec";
    std::string text = "exec " + process.apparmor_profile;
    plan.label = {keep(text), static_cast<std::uint32_t>(text.size())};
  }
  if (!process.selinux_label.empty()) {
    if (!has_selinux())
      return fail(ErrorCode::unsupported,
                  "selinux label \"" + process.selinux_label + "\": selinux is not enabled on this host");
    if (plan.label.text != nullptr)
      return fail(ErrorCode::unsupported, "an apparmor profile and a selinux label at once");
    plan.label_file = "thread-self/attr/exec";
    plan.label = {keep(process.selinux_label), static_cast<std::uint32_t>(process.selinux_label.size())};
  }
  return {};
}

Result<void> PlanBuilder::set_scheduling(const Process& process) {
  PlanProcess& plan = plan_.process;
  if (process.scheduler) {
    const Scheduler& wanted = *process.scheduler;
    PlanScheduler& scheduler = scheduler_.emplace();
    scheduler.size = sizeof scheduler;
    auto policy = find_word(scheduler_policies(), wanted.policy);
    if (!policy) return fail(ErrorCode::invalid_argument, "invalid scheduler policy \"" + wanted.policy + "\"");
    scheduler.policy = *policy;
    for (const auto& name : wanted.flags) {
      auto flag = find_word(scheduler_flags(), name);
      if (!flag) return fail(ErrorCode::invalid_argument, "invalid scheduler flag \"" + name + "\"");
      scheduler.flags |= *flag;
    }
    scheduler.nice = wanted.nice;
    scheduler.priority = static_cast<std::uint32_t>(wanted.priority);
    scheduler.runtime = wanted.runtime;
    scheduler.deadline = wanted.deadline;
    scheduler.period = wanted.period;
    plan.scheduler = &scheduler;
  }
  if (process.io_priority) {
    auto io_class = find_word(io_priority_classes(), process.io_priority->io_class);
    if (!io_class)
      return fail(ErrorCode::invalid_argument, "invalid I/O priority class \"" + process.io_priority->io_class + "\"");
    if (process.io_priority->priority < 0 || process.io_priority->priority > 7)
      return fail(ErrorCode::invalid_argument, "invalid I/O priority " + std::to_string(process.io_priority->priority));
    plan.io_priority = static_cast<int>(*io_class << 13) | process.io_priority->priority;
  }
  if (!process.cpu_affinity.initial.empty()) initial_affinity_ = TRY(parse_cpus(process.cpu_affinity.initial));
  if (!process.cpu_affinity.final.empty()) {
    plan.affinity = TRY(parse_cpus(process.cpu_affinity.final));
  } else if (initial_affinity_.size > 0 || is_confined()) {
    // All that the cgroup allows, whatever the caller was confined to. Not otherwise: the call may wait for a
    // migration.
    plan.affinity.size = kAffinityBytes;
    std::fill(std::begin(plan.affinity.mask), std::end(plan.affinity.mask), 0xff);
  }
  return {};
}

}  // namespace dray::runtime
