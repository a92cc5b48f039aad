// SPDX-License-Identifier: Apache-2.0
// From the number of a step and an errno to what a person can use. Those about the command are Docker's word for word:
// scripts look for them.
#include "failure.hpp"

#include <cerrno>

#include "plan_builder.hpp"

namespace dray::runtime {
namespace {

std::string quote(const std::string& text) { return "\"" + text + "\""; }

const char* sentence(Step step) {
  switch (step) {
    case Step::not_dumpable:
      return "protecting the process from the container";
    case Step::join_namespaces:
      return "entering the container's namespaces";
    case Step::fork_into_namespaces:
      return "starting a process in the container's namespaces";
    case Step::new_session:
      return "starting a session";
    case Step::session_keyring:
      return "joining a new session keyring";
    case Step::time_offsets:
      return "setting the offsets of the time namespace";
    case Step::wait_for_maps:
      return "waiting for the maps of the user namespace";
    case Step::become_root:
      return "becoming root of the user namespace";
    case Step::private_mounts:
      return "making the host's mounts private";
    case Step::attach_rootfs:
      return "attaching the root file system";
    case Step::pivot_root:
      return "changing the root to the container's";
    case Step::device_links:
      return "creating the links in \"/dev\"";
    case Step::console_open:
      return "opening a terminal of the container's \"/dev/pts\"";
    case Step::console_bind:
      return "mounting the terminal at \"/dev/console\"";
    case Step::console_control:
      return "making the terminal the controlling one";
    case Step::console_send:
      return "handing over the terminal";
    case Step::hostname:
      return "setting the host name";
    case Step::domainname:
      return "setting the domain name";
    case Step::wait_for_go:
      return "waiting for the engine";
    case Step::enter_cgroup:
      return "entering the cgroup";
    case Step::cgroup_namespace:
      return "creating the cgroup namespace";
    case Step::cgroup_mount:
      return "mounting the cgroups";
    case Step::readonly_rootfs:
      return "making the root file system read-only";
    case Step::standard_streams:
      return "setting up the standard streams";
    case Step::label:
      return "setting the security label";
    case Step::personality:
      return "setting the personality";
    case Step::scheduler:
      return "setting the scheduling policy";
    case Step::io_priority:
      return "setting the I/O priority";
    case Step::memory_policy:
      return "setting the memory policy";
    case Step::cpu_affinity:
      return "setting the CPU affinity";
    case Step::signals:
      return "resetting signals";
    case Step::bounding_set:
      return "dropping capabilities from the bounding set";
    case Step::seccomp:
      return "loading the seccomp profile";
    case Step::groups:
      return "setting the supplementary groups";
    case Step::group_id:
      return "setting the group ID";
    case Step::user_id:
      return "setting the user ID";
    case Step::capabilities:
      return "setting the capabilities";
    case Step::ambient_set:
      return "setting the ambient capabilities";
    case Step::no_new_privileges:
      return "setting no_new_privs";
    case Step::close_descriptors:
      return "closing file descriptors";
    case Step::ready:
    case Step::wait_for_start:
      return "waiting for the start";
    case Step::start_init:
      return "starting dray-init";
    default:
      return "starting the container";
  }
}

bool is_mount_step(Step step) {
  switch (step) {
    case Step::mount_target:
    case Step::mount_target_kind:
    case Step::mount_over_proc:
    case Step::mount_create:
    case Step::mount_attach:
    case Step::mount_options:
    case Step::map_ids:
      return true;
    default:
      return false;
  }
}

Error explain_mount(const ChildFailure& failure, const PlanBuilder& builder) {
  const PreparedMount& mount = builder.mount(static_cast<std::size_t>(failure.index));
  std::string context = "error mounting " + quote(mount.source) + " to rootfs at " + quote(mount.destination);
  switch (failure.step) {
    case Step::mount_target_kind:
      return Error(ErrorCode::invalid_argument, context + ": must be mounted on ordinary directory");
    case Step::mount_over_proc:
      return Error(ErrorCode::invalid_argument, context + ": cannot be mounted because it is inside /proc");
    case Step::mount_target:
      if (failure.error_number == ENOTDIR || failure.error_number == EEXIST)
        return Error::from_errno(failure.error_number, context + ": the mount point")
            .with_hint("are you trying to mount a directory onto a file (or the other way round)?");
      return Error::from_errno(failure.error_number, context + ": the mount point");
    case Step::mount_attach:
      if (failure.error_number == ENOTDIR)
        return Error::from_errno(failure.error_number, context)
            .with_hint("are you trying to mount a directory onto a file (or the other way round)?");
      return Error::from_errno(failure.error_number, context);
    default:
      return Error::from_errno(failure.error_number, context);
  }
}

Error explain_command(const ChildFailure& failure, const std::string& command) {
  auto with = [&](ErrorCode code, const std::string& context) {
    return Error(code, Error::from_errno(failure.error_number, context).message());
  };
  switch (failure.step) {
    case Step::command_not_in_path:
      return Error(ErrorCode::command_not_found, "exec: " + quote(command) + ": executable file not found in $PATH");
    case Step::command_stat:
      return with(ErrorCode::command_not_found, "exec: " + quote(command) + ": stat " + command);
    case Step::command_is_directory:
      return Error(ErrorCode::not_executable, "exec: " + quote(command) + ": is a directory");
    default:
      break;
  }
  if (failure.error_number == EACCES)
    return Error(ErrorCode::not_executable, "exec: " + quote(command) + ": permission denied");
  // A script whose interpreter is missing.
  ErrorCode code = failure.error_number == ENOENT ? ErrorCode::command_not_found : ErrorCode::not_executable;
  return with(code, "exec " + command);
}

}  // namespace

bool is_in_range(const ChildFailure& failure, const PlanBuilder& builder, const Process& process, const Spec* spec) {
  const auto below = [&](std::size_t count) {
    return failure.index >= 0 && static_cast<std::size_t>(failure.index) < count;
  };
  if (is_mount_step(failure.step)) return below(builder.plan().mount_count);
  switch (failure.step) {
    case Step::join_namespace:
      return below(builder.plan().join_count);
    case Step::device:
      return spec != nullptr && below(spec->devices.size());
    case Step::sysctl:
      return spec != nullptr && below(spec->sysctl.size());
    case Step::masked_path:
      return below(builder.plan().masked_count);
    case Step::readonly_path:
      return spec != nullptr && below(spec->readonly_paths.size());
    case Step::resource_limit:
      return below(process.rlimits.size());
    default:
      return true;
  }
}

Error explain_failure(const ChildFailure& failure, const PlanBuilder& builder, const Process& process,
                      const Spec* spec) {
  if (!is_in_range(failure, builder, process, spec))
    return Error(ErrorCode::internal, "the container's process reports nonsense");
  auto index = static_cast<std::size_t>(failure.index);
  auto with = [&](const std::string& text) { return Error::from_errno(failure.error_number, text); };
  if (is_mount_step(failure.step)) return explain_mount(failure, builder);
  switch (failure.step) {
    case Step::scheduler:
      if (failure.error_number == EPERM && spec != nullptr && !spec->resources.cpuset_cpus.empty())
        return with("process scheduler can't be used together with AllowedCPUs");
      return with(sentence(failure.step));
    case Step::join_namespace:
      return with("joining the " + builder.join_name(index));
    case Step::device:
      return with("creating device " + quote(spec->devices[index].path));
    case Step::sysctl:
      return with("setting sysctl " + quote(std::next(spec->sysctl.begin(), failure.index)->first));
    case Step::masked_path:
      return with("masking " + quote(builder.plan().masked_paths[index]));
    case Step::readonly_path:
      return with("making " + quote(spec->readonly_paths[index]) + " read-only");
    case Step::resource_limit:
      return with("setting " + process.rlimits[index].type);
    case Step::make_working_directory:
    case Step::working_directory:
      return with("changing to the working directory " + quote(process.cwd));
    case Step::fork_into_namespaces:
      // A pid namespace whose first process has ended takes no more.
      if (failure.error_number == ENOMEM) return Error(ErrorCode::unavailable, "the container is not running");
      return with(sentence(failure.step));
    case Step::command_not_in_path:
    case Step::command_stat:
    case Step::command_is_directory:
    case Step::command_execute:
      return explain_command(failure, process.args.front());
    default:
      return with(sentence(failure.step));
  }
}

}  // namespace dray::runtime
