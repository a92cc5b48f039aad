// SPDX-License-Identifier: Apache-2.0
// The container's half of the plan: root, mounts, devices, names, kernel parameters, hidden paths.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <climits>
#include <set>

#include <dray/core/rooted_path.hpp>

#include "plan_builder.hpp"

namespace dray::runtime {
namespace {

// A parameter that is not of a namespace of the container's would change the host.
Result<void> check_sysctl(const std::string& name, const Namespaces& namespaces) {
  constexpr std::string_view kIpc[] = {"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem",
                                       "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced"};
  bool ipc = name.starts_with("fs.mqueue.") || std::find(std::begin(kIpc), std::end(kIpc), name) != std::end(kIpc);
  if (ipc && namespaces.ipc.is_own()) return {};
  if (name.starts_with("net.") && namespaces.network.is_own()) return {};
  if (name == "kernel.domainname" && namespaces.uts.is_own()) return {};
  return fail(ErrorCode::invalid_argument, "sysctl \"" + name + "\" is not in a separate kernel namespace");
}

// "net.ipv4.conf.eth0/1.x": dots separate, a slash stands for a dot; when a slash comes first it is the other way
// round.
std::string sysctl_path(std::string name) {
  std::size_t first = name.find_first_of("./");
  if (first == std::string::npos || name[first] == '/') return name;
  for (char& letter : name) letter = letter == '.' ? '/' : letter == '/' ? '.' : letter;
  return name;
}

// The host's node as a detached mount, sure to be the device that is meant.
Result<FileDescriptor> open_device(const Device& device) {
  FileDescriptor node = TRY(clone_mount(device.path));
  struct stat status;
  if (::fstat(node.get(), &status) != 0) return fail_errno("reading the status of \"" + device.path + "\"");
  const bool right_kind = device.type == 'b' ? S_ISBLK(status.st_mode) : S_ISCHR(status.st_mode);
  if (!right_kind ||
      status.st_rdev != makedev(static_cast<unsigned>(device.major), static_cast<unsigned>(device.minor)))
    return fail(ErrorCode::unavailable, "\"" + device.path + "\" of the host is another device");
  TRY(change_mount(node, 0, 0, MS_PRIVATE, 0));
  return node;
}

}  // namespace

Result<void> PlanBuilder::set_container(const Spec& spec, FdRef rootfs) {
  plan_.rootfs = rootfs.get();
  // The specification has no default; as runc, mounts of the host's come in and none goes out.
  plan_.rootfs_propagation =
      spec.rootfs_propagation.empty() ? std::uint64_t{MS_SLAVE} : propagation_of(spec.rootfs_propagation);
  if (plan_.rootfs_propagation == 0)
    return fail(ErrorCode::invalid_argument, "unknown propagation \"" + spec.rootfs_propagation + "\"");
  if (plan_.rootfs_propagation == MS_SHARED || plan_.rootfs_propagation == MS_UNBINDABLE)
    plan_.final_propagation = plan_.rootfs_propagation;
  // For "private" as well: the engine's word from before there was a difference. runc's "r" is that of the others.
  plan_.rootfs_propagation_recursive = spec.rootfs_propagation.empty() || spec.rootfs_propagation.front() == 'r' ||
                                       plan_.rootfs_propagation == MS_PRIVATE;
  plan_.rootfs_readonly = spec.rootfs_readonly;
  // In the host's namespace the name is the host's.
  if (!spec.hostname.empty() && spec.namespaces.uts.is_own()) plan_.hostname = keep(spec.hostname);
  if (!spec.domainname.empty() && spec.namespaces.uts.is_own()) plan_.domainname = keep(spec.domainname);
  TRY(set_mounts(spec));
  TRY(set_devices(spec));
  TRY(set_sysctls(spec));
  TRY(set_covered_paths(spec));
  return {};
}

Result<void> PlanBuilder::set_mounts(const Spec& spec) {
  plan_.set_up_dev = true;
  mounts_.reserve(spec.mounts.size());
  for (const auto& mount : spec.mounts) {
    if (mount.type == "cgroup" || mount.type == "cgroup2") {
      TRY(set_cgroup_mount(mount));
      continue;
    }
    PreparedMount prepared = TRY(prepare_mount(mount, {plan_.rootfs, rootfs_path_, &spec, in_user_namespace_}));
    // The user's own /dev (-v /dev:/dev) has all it should have.
    if (prepared.destination == "/dev" && prepared.filesystem.empty()) plan_.set_up_dev = false;
    // As runc: of those that carry files of the container's own.
    if (!spec.mount_label.empty() && has_selinux() &&
        (prepared.filesystem == "tmpfs" || prepared.filesystem == "devpts"))
      prepared.options.emplace_back("context", spec.mount_label);
    mounts_.push_back(std::move(prepared));
  }
  for (const auto& mount : mounts_) {
    auto& options = mount_options_.emplace_back();
    for (const auto& [key, value] : mount.options)
      options.push_back({keep(key), value.empty() ? nullptr : keep(value)});
    PlanMount plan{};
    plan.destination = mount.destination.c_str();
    plan.filesystem = mount.filesystem.empty() || mount.tree.valid() ? nullptr : mount.filesystem.c_str();
    plan.source = mount.source.c_str();
    plan.propagation = mount.propagation;
    plan.keep_mode = mount.keep_mode;
    plan.inner_source = mount.inner_source.empty() ? nullptr : mount.inner_source.c_str();
    plan.recursive = mount.recursive;
    plan.map_ids = mount.id_map.valid();
    plan.set = mount.set;
    plan.clear = mount.clear;
    plan.tree_set = mount.tree_set;
    plan.tree_clear = mount.tree_clear;
    plan.option_count = static_cast<std::uint32_t>(options.size());
    plan.attributes = mount.attributes;
    plan.tree = mount.tree.get();
    if (mount.destination == "/dev" && plan.filesystem != nullptr && (plan.attributes & MOUNT_ATTR_RDONLY) != 0) {
      plan.attributes &= ~std::uint64_t{MOUNT_ATTR_RDONLY};
      plan_.dev_readonly = true;
    }
    plan.is_directory = mount.is_directory;
    plan.ordinary_directory = mount.ordinary_directory;
    plan.may_cover_proc = mount.may_cover_proc;
    plan_mounts_.push_back(plan);
  }
  // Only now, as the vector of vectors grows no more.
  for (std::size_t i = 0; i < plan_mounts_.size(); ++i) plan_mounts_[i].options = mount_options_[i].data();
  plan_.mounts = plan_mounts_.data();
  plan_.mount_count = static_cast<std::uint32_t>(plan_mounts_.size());
  return {};
}

Result<void> PlanBuilder::set_cgroup_mount(const Mount& mount) {
  if (plan_.cgroups.destination != nullptr) return fail(ErrorCode::invalid_argument, "more than one cgroup mount");
  cgroup_points_ = TRY(runtime::cgroup_mount_points());
  if (cgroup_points_.empty()) return {};
  if (cgroup_points_.size() > kMaxCgroups) cgroup_points_.resize(kMaxCgroups);
  PlanCgroups& plan = plan_.cgroups;
  plan.destination = keep(clean_path("/" + mount.destination));
  plan.unified = cgroup_points_.size() == 1 && cgroup_points_.front().unified;
  plan.read_only = std::find(mount.options.begin(), mount.options.end(), "ro") != mount.options.end();
  for (const auto& point : cgroup_points_) {
    cgroup_names_.push_back(point.name.c_str());
    // "cpu" and "cpuacct" lead to "cpu,cpuacct", as on the host.
    if (point.name.find(',') == std::string::npos) continue;
    for (std::size_t start = 0; start < point.name.size();) {
      std::size_t end = std::min(point.name.find(',', start), point.name.size());
      cgroup_links_.push_back({keep(point.name.substr(start, end - start)), point.name.c_str()});
      start = end + 1;
    }
  }
  plan.names = cgroup_names_.data();
  plan.count = static_cast<std::uint32_t>(cgroup_names_.size());
  plan.links = cgroup_links_.data();
  plan.link_count = static_cast<std::uint32_t>(cgroup_links_.size());
  return {};
}

Result<void> PlanBuilder::set_devices(const Spec& spec) {
  for (const auto& device : spec.devices) {
    std::string path = clean_path("/" + device.path);
    auto [directory, name] = split_path(path);
    if (name.empty() || path.size() >= PATH_MAX)
      return fail(ErrorCode::invalid_argument, "invalid device path \"" + device.path + "\"");
    mode_t kind = device.type == 'b' ? S_IFBLK : device.type == 'p' ? S_IFIFO : S_IFCHR;
    if (device.type != 'b' && device.type != 'c' && device.type != 'u' && device.type != 'p')
      return fail(ErrorCode::invalid_argument, "device \"" + device.path + "\" has an unknown type");
    PlanDevice plan{};
    plan.directory = keep(directory);
    plan.name = keep(name);
    plan.mode = kind | (device.mode & 07777);
    plan.number = makedev(static_cast<unsigned>(device.major), static_cast<unsigned>(device.minor));
    plan.uid = device.uid;
    plan.gid = device.gid;
    plan.tree = -1;
    if (in_user_namespace_ && device.type != 'p') {
      FileDescriptor tree = TRY(open_device(device));
      plan.tree = descriptors_.emplace_back(std::move(tree)).get();
    }
    devices_.push_back(plan);
  }
  plan_.devices = devices_.data();
  plan_.device_count = static_cast<std::uint32_t>(devices_.size());
  return {};
}

Result<void> PlanBuilder::set_sysctls(const Spec& spec) {
  for (const auto& [name, value] : spec.sysctl) {
    TRY(check_sysctl(name, spec.namespaces));
    sysctls_.push_back({keep("sys/" + sysctl_path(name)), keep(value), static_cast<std::uint32_t>(value.size())});
  }
  plan_.sysctls = sysctls_.data();
  plan_.sysctl_count = static_cast<std::uint32_t>(sysctls_.size());
  return {};
}

Result<void> PlanBuilder::set_covered_paths(const Spec& spec) {
  if (!spec.masked_paths.empty()) {
    FileDescriptor null = TRY(open_device({"/dev/null", 'c', 1, 3, 0666, 0, 0}));
    plan_.null_device = descriptors_.emplace_back(std::move(null)).get();
  }
  std::set<std::string> once;
  for (const auto& path : spec.masked_paths) {
    if (once.insert(path).second) masked_.push_back(keep(path));
  }
  for (const auto& path : spec.readonly_paths) readonly_.push_back(keep(path));
  plan_.masked_paths = masked_.data();
  plan_.masked_count = static_cast<std::uint32_t>(masked_.size());
  plan_.readonly_paths = readonly_.data();
  plan_.readonly_count = static_cast<std::uint32_t>(readonly_.size());
  return {};
}

}  // namespace dray::runtime
