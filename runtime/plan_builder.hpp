// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <string>
#include <vector>

#include <dray/core/fd.hpp>
#include <dray/runtime/launch.hpp>

#include "cgroup/cgroup.hpp"
#include "child_plan.hpp"
#include "mounts.hpp"

namespace dray::runtime {

/// Is SELinux on (plan_attributes.cpp)?
bool has_selinux();

/// Owns all memory and descriptors that a ChildPlan points to, and fills the plan. Add what is needed, then take
/// plan(); the builder must live until the child has executed or failed.
class PlanBuilder {
 public:
  PlanBuilder();
  PlanBuilder(const PlanBuilder&) = delete;
  PlanBuilder& operator=(const PlanBuilder&) = delete;

  /// Descriptors 0, 1, 2 must be taken before any other is opened, or dup2 in the child would overwrite it.
  Result<void> occupy_standard_descriptors();
  Result<void> set_process(const Process& process, const std::optional<Seccomp>& seccomp, const Stdio& stdio,
                           bool use_init);
  Result<void> set_namespaces(const Spec& spec);
  Result<void> set_container(const Spec& spec, FdRef rootfs);
  Result<void> set_memory_policy(const MemoryPolicy& policy);
  void set_launch(const LaunchRequest& request);
  /// `namespaces`: CLONE_NEW* of those to enter.
  void set_exec(const ExecRequest& request, int namespaces);

  ChildPlan& plan() { return plan_; }
  const ChildPlan& plan() const { return plan_; }
  const PreparedMount& mount(std::size_t index) const { return mounts_[index]; }
  const std::string& join_name(std::size_t index) const { return join_names_[index]; }
  /// Does another process have to prepare the namespaces that the container's is forked into?
  bool needs_helper() const { return needs_helper_; }
  /// For the time until the process is where it belongs; size 0 = as ours.
  const PlanAffinity& initial_affinity() const { return initial_affinity_; }
  /// The hierarchies of the host that appear in the container, in the order of plan().cgroups.names.
  const std::vector<CgroupMountPoint>& cgroup_mount_points() const { return cgroup_points_; }

 private:
  const char* keep(std::string text);
  void set_oom_score(const Process& process);
  Result<int> keep_stdio(FdRef fd, int number);
  Result<void> set_user(const Process& process);
  Result<void> set_capabilities(const Capabilities& capabilities);
  Result<void> set_rlimits(const std::vector<Rlimit>& limits);
  Result<void> set_seccomp(const Seccomp& profile);
  void set_host_proc_paths(const std::string& rootfs);
  Result<void> set_labels(const Process& process);
  Result<void> set_scheduling(const Process& process);
  Result<void> set_mounts(const Spec& spec);
  Result<void> set_cgroup_mount(const Mount& mount, const std::string& cgroups_path);
  Result<void> set_devices(const Spec& spec);
  Result<void> set_sysctls(const Spec& spec);
  Result<void> set_covered_paths(const Spec& spec);

  ChildPlan plan_{};
  PlanAffinity initial_affinity_{};
  bool needs_helper_ = false, in_user_namespace_ = false, enters_user_namespace_ = false;
  std::string program_, rootfs_path_;
  std::vector<std::string> join_names_;
  std::vector<PlanJoin> joins_;
  std::optional<PlanScheduler> scheduler_;
  std::deque<std::string> texts_;
  std::vector<FileDescriptor> descriptors_;
  std::vector<const char*> argv_, envp_, masked_, readonly_, cgroup_names_, host_proc_paths_;
  std::vector<gid_t> groups_;
  std::vector<PlanRlimit> rlimits_;
  std::vector<sock_filter> filter_;
  std::vector<PreparedMount> mounts_;
  std::vector<std::vector<PlanOption>> mount_options_;
  std::vector<PlanMount> plan_mounts_;
  std::vector<PlanDevice> devices_;
  std::vector<PlanSysctl> sysctls_;
  std::vector<CgroupMountPoint> cgroup_points_;
  std::vector<PlanLink> cgroup_links_;
};

}  // namespace dray::runtime
