// SPDX-License-Identifier: Apache-2.0
// The rules on process, root and mounts that need more than one property or the host: the specification's and runc's
// (libcontainer/configs/validate). Words that tests or callers of runc look for are kept in the messages.

#include "validate.hpp"

#include <unistd.h>

#include <algorithm>
#include <set>

#include <dray/core/fd.hpp>
#include <dray/runtime/spec_json.hpp>

#include "words.hpp"

namespace dray::runtime {
namespace {

bool selinux_enabled() { return access("/sys/fs/selinux/enforce", F_OK) == 0; }

bool apparmor_enabled() {
  auto text = read_file("/sys/module/apparmor/parameters/enabled", 16);
  return text && text->starts_with('Y');
}

Result<void> check_rlimits(const std::vector<Rlimit>& limits) {
  std::set<std::string_view> seen;
  for (std::size_t i = 0; i < limits.size(); ++i) {
    const std::string path = indexed("process.rlimits", i);
    if (!find_word(resource_limits(), limits[i].type))
      return invalid(path + ".type", "unknown \"" + limits[i].type + "\"");
    if (!seen.insert(limits[i].type).second) return invalid(path + ".type", "duplicated \"" + limits[i].type + "\"");
    if (limits[i].soft > limits[i].hard) return invalid(path + ".soft", "is above the hard limit");
  }
  return {};
}

Result<void> check_scheduler(const Scheduler& scheduler) {
  const std::string path = "process.scheduler";
  const std::string& policy = scheduler.policy;
  if (policy.empty()) return invalid(path + ".policy", "scheduler policy is required");
  if (!find_word(scheduler_policies(), policy)) return invalid(path + ".policy", "unknown policy \"" + policy + "\"");
  if ((policy == "SCHED_OTHER" || policy == "SCHED_BATCH") && (scheduler.nice < -20 || scheduler.nice > 19))
    return invalid(path + ".nice", "expected -20 to 19 with " + policy);
  if (scheduler.priority != 0 && policy != "SCHED_FIFO" && policy != "SCHED_RR")
    return invalid(path + ".priority", "can only be given for SCHED_FIFO and SCHED_RR");
  if (policy != "SCHED_DEADLINE" && (scheduler.runtime != 0 || scheduler.deadline != 0 || scheduler.period != 0))
    return invalid(path, "runtime, deadline and period can only be given for SCHED_DEADLINE");
  for (const std::string& flag : scheduler.flags)
    if (!find_word(scheduler_flags(), flag)) return invalid(path + ".flags", "unknown flag \"" + flag + "\"");
  return {};
}

/// Filesystem options of a bind mount would be ignored by the kernel without a word.
Result<void> check_mount(const Spec& spec, std::size_t index) {
  const Mount& mount = spec.mounts[index];
  const std::string path = indexed("mounts", index);
  auto has = [&](std::string_view option) {
    return std::find(mount.options.begin(), mount.options.end(), option) != mount.options.end();
  };
  const bool is_bind = has("bind") || has("rbind");
  if (is_bind) {
    // "mode=755" says nothing of a bind mount: runc took it until 1.2, crun does; so must we.
    for (const std::string& option : mount.options)
      if (!option.empty() && !contains_word(mount_option_words(), option) && option.find('=') == std::string::npos)
        return invalid(path + ".options",
                       "bind mounts cannot have filesystem-specific options like \"" + option + "\"");
    if (mount.source.empty()) return invalid(path + ".source", "must not be empty for a bind mount");
  }
  const bool has_mappings = !mount.uid_mappings.empty() || !mount.gid_mappings.empty();
  if (!has_mappings && !has("idmap") && !has("ridmap")) return {};
  if (!is_bind) return invalid(path, "id-mapped mounts are only supported for bind-mounts");
  const bool mapped_by_container = !has_mappings && spec.namespaces.user.is_own();
  if (!mapped_by_container && (mount.uid_mappings.empty() || mount.gid_mappings.empty()))
    return invalid(path, "id-mapped mounts must have both uid and gid mappings specified");
  return {};
}

}  // namespace

Result<void> validate_process(const Process& process) {
  if (process.cwd.empty()) return invalid("process.cwd", "Cwd property must not be empty");
  if (process.cwd[0] != '/') return invalid("process.cwd", "Cwd must be an absolute path");
  if (process.args.empty()) return invalid("process.args", "args must not be empty");
  if (!process.selinux_label.empty() && !selinux_enabled())
    return invalid("process.selinuxLabel",
                   "selinux label is specified in config, but selinux is disabled or not supported");
  if (!process.apparmor_profile.empty() && !apparmor_enabled())
    return invalid("process.apparmorProfile", "apparmor: config provided but apparmor not supported");
  TRY(check_rlimits(process.rlimits));
  if (process.oom_score_adj && (*process.oom_score_adj < -1000 || *process.oom_score_adj > 1000))
    return invalid("process.oomScoreAdj", "expected -1000 to 1000");
  if (process.scheduler) TRY(check_scheduler(*process.scheduler));
  if (process.io_priority) {
    if (process.io_priority->priority < 0 || process.io_priority->priority > 7)
      return invalid("process.ioPriority.priority", "expected 0 to 7");
    if (!find_word(io_priority_classes(), process.io_priority->io_class))
      return invalid("process.ioPriority.class", "invalid class \"" + process.io_priority->io_class + "\"");
  }
  const auto check_cpus = [](const char* name, const std::string& text) -> Result<void> {
    auto cpus = parse_number_list(text);
    if (!text.empty() && (!cpus || cpus->empty()))
      return invalid(std::string("process.execCPUAffinity.") + name, "expected CPUs like \"0-3,7\"");
    return {};
  };
  TRY(check_cpus("initial", process.cpu_affinity.initial));
  return check_cpus("final", process.cpu_affinity.final);
}

Result<void> validate_spec(const Spec& spec) {
  if (!is_supported_version(spec.oci_version))
    return invalid("ociVersion", "\"" + spec.oci_version + "\" is not supported: expected 1.x");
  // The specification asks for a process only at start; runc and crun refuse such a bundle at create already.
  if (spec.process.cwd.empty() && spec.process.args.empty())
    return invalid("process", "process property must not be empty");
  TRY(validate_process(spec.process));
  if (spec.rootfs_path.empty()) return invalid("root.path", "must not be empty");
  if (!spec.namespaces.uts.is_own() && !spec.hostname.empty())
    return invalid("hostname", "unable to set hostname without a private UTS namespace");
  if (!spec.namespaces.uts.is_own() && !spec.domainname.empty())
    return invalid("domainname", "unable to set domainname without a private UTS namespace");
  for (std::size_t i = 0; i < spec.mounts.size(); ++i) TRY(check_mount(spec, i));
  return validate_linux(spec);
}

}  // namespace dray::runtime
