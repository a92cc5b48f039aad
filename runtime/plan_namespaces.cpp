// SPDX-License-Identifier: Apache-2.0
// The plan's part about namespaces: which are new, which are joined and in what order.
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

#include <algorithm>

#include <dray/runtime/user_namespace.hpp>
#include "mountinfo.hpp"

#include "plan_builder.hpp"
#include "user_namespace.hpp"

namespace dray::runtime {
namespace {

constexpr int kNewTime = 0x80;  // CLONE_NEWTIME, which glibc's sched.h hides

struct Kind {
  const char* name;
  const char* file;  // below /proc/PID/ns
  Namespace Namespaces::* member;
  int flag;
};
// The user namespace comes last: what belongs to the host can be joined before it only, and what belongs to it is tried
// again afterwards (child.cpp).
constexpr Kind kKinds[] = {{"time namespace", "time", &Namespaces::time, kNewTime},
                           {"pid namespace", "pid", &Namespaces::pid, CLONE_NEWPID},
                           {"uts namespace", "uts", &Namespaces::uts, CLONE_NEWUTS},
                           {"ipc namespace", "ipc", &Namespaces::ipc, CLONE_NEWIPC},
                           {"network namespace", "net", &Namespaces::network, CLONE_NEWNET},
                           {"cgroup namespace", "cgroup", &Namespaces::cgroup, CLONE_NEWCGROUP},
                           {"mount namespace", "mnt", &Namespaces::mount, CLONE_NEWNS},
                           {"user namespace", "user", &Namespaces::user, CLONE_NEWUSER}};

// Joining it once more is an error.
bool is_own_user_namespace(FdRef file) {
  struct stat theirs, ours;
  return ::fstat(file.get(), &theirs) == 0 && ::stat("/proc/self/ns/user", &ours) == 0 &&
         theirs.st_ino == ours.st_ino && theirs.st_dev == ours.st_dev;
}

}  // namespace

Result<int> foreign_namespaces(pid_t pid) {
  int flags = 0;
  for (const auto& kind : kKinds) {
    struct stat ours, theirs;
    if (::stat((std::string("/proc/self/ns/") + kind.file).c_str(), &ours) != 0)
      continue;  // a kernel without this kind
    if (::stat(("/proc/" + std::to_string(pid) + "/ns/" + kind.file).c_str(), &theirs) != 0)
      return fail(ErrorCode::unavailable, "the container is not running");
    if (ours.st_ino != theirs.st_ino || ours.st_dev != theirs.st_dev) flags |= kind.flag;
  }
  return flags;
}

Result<void> PlanBuilder::set_namespaces(const Spec& spec) {
  const Namespaces& wanted = spec.namespaces;
  bool joins_for_children = false;
  for (const auto& kind : kKinds) {
    const Namespace& space = wanted.*kind.member;
    if (space.path.empty()) {
      // The cgroup namespace is made inside the cgroup, later.
      if (space.is_new && kind.flag != CLONE_NEWCGROUP) plan_.new_namespaces |= static_cast<std::uint64_t>(kind.flag);
      continue;
    }
    FileDescriptor file = TRY_CTX(open_file(space.path, O_RDONLY), std::string("joining the ") + kind.name);
    if (kind.flag == CLONE_NEWUSER && is_own_user_namespace(file)) continue;
    joins_.push_back({descriptors_.emplace_back(std::move(file)).get(), kind.flag});
    join_names_.push_back(std::string(kind.name) + " \"" + space.path + "\"");
    // Of these the caller of setns() itself does not become a member, or not in time.
    joins_for_children = joins_for_children || (kind.flag & (kNewTime | CLONE_NEWPID | CLONE_NEWUSER)) != 0;
    in_user_namespace_ = in_user_namespace_ || kind.flag == CLONE_NEWUSER;
  }
  plan_.joins = joins_.data();
  plan_.join_count = static_cast<std::uint32_t>(joins_.size());
  plan_.new_cgroup_namespace = wanted.cgroup.is_new;
  plan_.wait_for_maps = wanted.user.is_new;
  in_user_namespace_ = in_user_namespace_ || wanted.user.is_new;
  enters_user_namespace_ = in_user_namespace_;
  // Devices cannot be made and mounts are locked in whatever user namespace.
  in_user_namespace_ = in_user_namespace_ || in_own_user_namespace();
  plan_.become_root = in_user_namespace_;
  if (!spec.time_offsets.empty()) {
    if (!wanted.time.is_new) return fail(ErrorCode::invalid_argument, "time offsets need a new time namespace");
    std::string text;
    for (const auto& [clock, offset] : spec.time_offsets)
      text += clock + " " + std::to_string(offset.seconds) + " " + std::to_string(offset.nanoseconds) + "\n";
    plan_.time_offsets = {keep(text), static_cast<std::uint32_t>(text.size())};
    plan_.new_namespaces &= ~std::uint64_t{kNewTime};  // the helper makes it
  }
  needs_helper_ = joins_for_children || !spec.time_offsets.empty() || (wanted.user.is_new && !joins_.empty());
  return {};
}

void PlanBuilder::set_host_proc_paths(const std::string& rootfs) {
  auto text = read_file("/proc/self/mountinfo", 16u << 20);
  if (!text) return;
  for (const auto& entry : parse_mountinfo(*text)) {
    if (entry.filesystem != "proc" && entry.filesystem != "sysfs") continue;
    if (!(entry.mount_point + "/").starts_with(rootfs + "/")) host_proc_paths_.push_back(keep(entry.mount_point));
  }
  plan_.host_proc_paths = host_proc_paths_.data();
  plan_.host_proc_count = static_cast<std::uint32_t>(host_proc_paths_.size());
}

void PlanBuilder::set_oom_score(const Process& process) {
  if (!process.oom_score_adj || !is_rootless()) return;
  const std::string text = std::to_string(*process.oom_score_adj);
  plan_.oom_score = {keep(text), static_cast<std::uint32_t>(text.size())};
}

void PlanBuilder::set_launch(const LaunchRequest& request) {
  set_oom_score(request.spec->process);
  plan_.new_keyring = request.new_keyring;
  plan_.keyring = request.keyring_name.empty() ? nullptr : keep(request.keyring_name);
  rootfs_path_ = request.rootfs_path;
  plan_.rootfs_path = request.rootfs_path.empty() ? nullptr : keep(request.rootfs_path);
  plan_.hooks = static_cast<bool>(request.run_hooks);
  // In a new pid namespace there is nobody yet who could look.
  plan_.visible_to_parent =
      (plan_.hooks || request.configure_network) && request.spec->namespaces.pid.is_new && in_own_user_namespace();
  plan_.own_mounts = request.spec->namespaces.mount.is_own();
  plan_.use_chroot = !request.use_pivot_root || !plan_.own_mounts;
  if (plan_.use_chroot && plan_.own_mounts) set_host_proc_paths(request.rootfs_path);
  plan_.process.preserved = request.preserved_descriptors;
  plan_.process.plain_newlines = request.plain_newlines;
  if (request.gate) plan_.process.gate = {request.gate->start.get(), request.gate->status.get()};
}

void PlanBuilder::set_exec(const ExecRequest& request, int namespaces) {
  set_oom_score(request.process);
  plan_.target = request.pidfd.get();
  plan_.join_flags = namespaces;
  in_user_namespace_ = enters_user_namespace_ = (namespaces & CLONE_NEWUSER) != 0;
  plan_.become_root = in_user_namespace_;
  plan_.new_keyring = request.new_keyring;
  plan_.keyring = request.keyring_name.empty() ? nullptr : keep(request.keyring_name);
  plan_.process.preserved = request.preserved_descriptors;
  plan_.process.plain_newlines = request.plain_newlines;
  program_ = request.program;
}

}  // namespace dray::runtime
