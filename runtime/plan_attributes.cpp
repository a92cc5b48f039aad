// SPDX-License-Identifier: Apache-2.0
// The plan's part about labels of security modules, scheduling, CPUs and memory nodes.
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "plan_builder.hpp"

namespace dray::runtime {
namespace {

struct Word {
  std::string_view name;
  unsigned value;
};

constexpr Word kPolicies[] = {{"SCHED_OTHER", 0}, {"SCHED_FIFO", 1}, {"SCHED_RR", 2},      {"SCHED_BATCH", 3},
                              {"SCHED_ISO", 4},   {"SCHED_IDLE", 5}, {"SCHED_DEADLINE", 6}};
constexpr Word kSchedulerFlags[] = {{"SCHED_FLAG_RESET_ON_FORK", 0x01}, {"SCHED_FLAG_RECLAIM", 0x02},
                                    {"SCHED_FLAG_DL_OVERRUN", 0x04},    {"SCHED_FLAG_KEEP_POLICY", 0x08},
                                    {"SCHED_FLAG_KEEP_PARAMS", 0x10},   {"SCHED_FLAG_UTIL_CLAMP_MIN", 0x20},
                                    {"SCHED_FLAG_UTIL_CLAMP_MAX", 0x40}};
constexpr Word kIoClasses[] = {{"IOPRIO_CLASS_RT", 1}, {"IOPRIO_CLASS_BE", 2}, {"IOPRIO_CLASS_IDLE", 3}};

constexpr Word kMemoryModes[] = {{"MPOL_DEFAULT", 0},
                                 {"MPOL_PREFERRED", 1},
                                 {"MPOL_BIND", 2},
                                 {"MPOL_INTERLEAVE", 3},
                                 {"MPOL_LOCAL", 4},
                                 {"MPOL_PREFERRED_MANY", 5},
                                 {"MPOL_WEIGHTED_INTERLEAVE", 6}};
constexpr Word kMemoryFlags[] = {
    {"MPOL_F_NUMA_BALANCING", 1u << 13}, {"MPOL_F_RELATIVE_NODES", 1u << 14}, {"MPOL_F_STATIC_NODES", 1u << 15}};

std::optional<unsigned> find_word(const auto& words, const std::string& name) {
  auto found = std::find_if(std::begin(words), std::end(words), [&](const Word& word) { return word.name == name; });
  if (found == std::end(words)) return std::nullopt;
  return found->value;
}

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

std::size_t skip_number(std::string_view text, std::size_t at, unsigned& number) {
  auto [end, error] = std::from_chars(text.data() + at, text.data() + text.size(), number);
  return error == std::errc() ? static_cast<std::size_t>(end - text.data()) : std::string_view::npos;
}

// "0-3,7": calls set(number) for each.
Result<void> parse_list(std::string_view text, const char* what, unsigned limit, const auto& set) {
  const Error wrong(ErrorCode::invalid_argument, std::string("invalid ") + what + " \"" + std::string(text) + "\"");
  for (std::size_t at = 0; at <= text.size();) {
    unsigned first = 0, last = 0;
    at = skip_number(text, at, first);
    if (at == std::string_view::npos) return Failure(wrong);
    last = first;
    if (at < text.size() && text[at] == '-') at = skip_number(text, at + 1, last);
    if (at == std::string_view::npos || last < first || last >= limit) return Failure(wrong);
    if (at < text.size() && text[at] != ',') return Failure(wrong);
    ++at;
    for (unsigned number = first; number <= last; ++number) set(number);
  }
  return {};
}

Result<PlanAffinity> parse_cpus(std::string_view text) {
  PlanAffinity affinity{};
  TRY(parse_list(text, "CPU list", kAffinityBytes * 8, [&](unsigned cpu) {
    affinity.mask[cpu / 8] = static_cast<unsigned char>(affinity.mask[cpu / 8] | 1u << (cpu % 8));
  }));
  affinity.size = kAffinityBytes;
  return affinity;
}

}  // namespace

bool has_selinux() { return ::access("/sys/fs/selinux/enforce", F_OK) == 0; }

Result<void> PlanBuilder::set_memory_policy(const MemoryPolicy& policy) {
  PlanMemoryPolicy& plan = plan_.process.memory_policy;
  auto mode = find_word(kMemoryModes, policy.mode);
  if (!mode) return fail(ErrorCode::invalid_argument, "invalid memory policy mode \"" + policy.mode + "\"");
  unsigned flags = 0;
  for (const auto& name : policy.flags) {
    auto flag = find_word(kMemoryFlags, name);
    if (!flag) return fail(ErrorCode::invalid_argument, "invalid memory policy flag \"" + name + "\"");
    flags |= *flag;
  }
  if (!policy.nodes.empty()) {
    constexpr unsigned kBits = 8 * sizeof(unsigned long);
    TRY(parse_list(policy.nodes, "memory policy nodes", kMaxNodes,
                   [&](unsigned node) { plan.nodes[node / kBits] |= 1ul << (node % kBits); }));
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
    auto policy = find_word(kPolicies, wanted.policy);
    if (!policy) return fail(ErrorCode::invalid_argument, "invalid scheduler policy \"" + wanted.policy + "\"");
    scheduler.policy = *policy;
    for (const auto& name : wanted.flags) {
      auto flag = find_word(kSchedulerFlags, name);
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
    auto io_class = find_word(kIoClasses, process.io_priority->io_class);
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
