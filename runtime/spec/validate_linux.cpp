// SPDX-License-Identifier: Apache-2.0
// The rules on the "linux" object: mostly which settings need a namespace of their own, since without it they would
// change the host.

#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include <algorithm>

#include <dray/core/fd.hpp>
#include <dray/runtime/spec_json.hpp>

#include "seccomp_filter.hpp"
#include "validate.hpp"
#include "words.hpp"

namespace dray::runtime {
namespace {

constexpr std::string_view kIpcSysctls[] = {"kernel.msgmax", "kernel.msgmnb",         "kernel.msgmni",
                                            "kernel.sem",    "kernel.shmall",         "kernel.shmmax",
                                            "kernel.shmmni", "kernel.shm_rmid_forced"};
constexpr std::string_view kPropagations[] = {"private", "rprivate", "shared",     "rshared",
                                              "slave",   "rslave",   "unbindable", "runbindable"};

bool is_unified_host() {
  struct statfs status = {};
  return statfs("/sys/fs/cgroup", &status) == 0 && status.f_type == CGROUP2_SUPER_MAGIC;
}

bool has_parent_component(std::string_view path) {
  while (!path.empty()) {
    std::size_t slash = path.find('/');
    if (path.substr(0, slash) == "..") return true;
    if (slash == std::string_view::npos) return false;
    path.remove_prefix(slash + 1);
  }
  return false;
}

Result<void> check_mappings(const char* name, const std::vector<IdMapping>& mappings) {
  bool root_mapped = false;
  for (std::size_t i = 0; i < mappings.size(); ++i) {
    const IdMapping& mapping = mappings[i];
    const std::string path = "linux." + indexed(name, i);
    if (mapping.size == 0) return invalid(path + ".size", "must not be 0");
    constexpr std::uint64_t end = std::uint64_t{1} << 32;
    if (mapping.container_id + std::uint64_t{mapping.size} > end || mapping.host_id + std::uint64_t{mapping.size} > end)
      return invalid(path, "reaches above the last ID");
    root_mapped |= mapping.container_id == 0;
  }
  if (!root_mapped) return invalid(std::string("linux.") + name, "user namespaces need a mapping for ID 0");
  return {};
}

Result<void> check_user_namespace(const Spec& spec) {
  const Namespace& user = spec.namespaces.user;
  const bool has_mappings = !spec.uid_mappings.empty() || !spec.gid_mappings.empty();
  if (!user.is_own()) {
    if (has_mappings)
      return invalid(spec.uid_mappings.empty() ? "linux.gidMappings" : "linux.uidMappings",
                     "user namespace mappings specified, but user namespace isn't enabled in the config");
    return {};
  }
  // Mappings next to a path: containerd writes both; launch compares them with the namespace's.
  if (!user.path.empty() && !has_mappings) return {};
  if (!has_mappings)
    return invalid("linux.uidMappings",
                   "user namespaces enabled, but no namespace path to join nor mappings to apply specified");
  TRY(check_mappings("uidMappings", spec.uid_mappings));
  return check_mappings("gidMappings", spec.gid_mappings);
}

Result<void> check_time_namespace(const Spec& spec) {
  const Namespace& time = spec.namespaces.time;
  if (spec.time_offsets.empty()) return {};
  if (!time.is_own())
    return invalid("linux.timeOffsets",
                   "time namespace offsets specified, but time namespace isn't enabled in the config");
  if (!time.path.empty())
    return invalid("linux.timeOffsets",
                   "time namespace enabled, but both namespace path and time offsets specified -- you may only "
                   "provide one");
  return {};
}

/// sysctl(8): with a slash as the first separator, slashes and dots change places.
std::string dotted(std::string name) {
  const std::size_t separator = name.find_first_of("./");
  if (separator == std::string::npos || name[separator] == '.') return name;
  for (char& letter : name) {
    if (letter == '.')
      letter = '/';
    else if (letter == '/')
      letter = '.';
  }
  return name;
}

Result<bool> is_own_network(const Namespace& network) {
  if (!network.is_own()) return false;
  if (network.path.empty()) return true;
  struct stat ours = {}, theirs = {};
  if (stat("/proc/self/ns/net", &ours) != 0) return fail_errno("reading \"/proc/self/ns/net\"");
  if (stat(network.path.c_str(), &theirs) != 0)
    return fail_errno("linux.namespaces: invalid netns path \"" + network.path + "\"");
  return ours.st_dev != theirs.st_dev || ours.st_ino != theirs.st_ino;
}

Result<void> check_sysctl(const Spec& spec, const std::string& given) {
  const std::string name = dotted(given);
  const std::string path = "linux.sysctl";
  // It becomes a path below /proc/sys. (".." can't be a name between two separators either.)
  if (name.empty() || name.find("..") != std::string::npos || name.starts_with('.') || name.ends_with('.') ||
      given.find("..") != std::string::npos || given.find("//") != std::string::npos)
    return invalid(path, "\"" + given + "\" is not the name of a sysctl");
  if (contains_word(kIpcSysctls, name) || name.starts_with("fs.mqueue.")) {
    if (spec.namespaces.ipc.is_own()) return {};
    return invalid(path, "sysctl \"" + name + "\" is not allowed in the hosts ipc namespace");
  }
  if (name.starts_with("net.")) {
    const bool own = TRY(is_own_network(spec.namespaces.network));
    if (own) return {};
    return invalid(path, "sysctl \"" + name + "\" not allowed in host network namespace");
  }
  if (spec.namespaces.uts.is_own() && name == "kernel.domainname") return {};
  if (spec.namespaces.uts.is_own() && name == "kernel.hostname")
    return invalid(path, "sysctl \"" + name + "\" is not allowed as it conflicts with the OCI \"hostname\" field");
  if (name.starts_with("user.")) {
    if (spec.namespaces.user.is_own()) return {};
    return invalid(path, "setting ucounts without a user namespace not allowed: " + name);
  }
  return invalid(path, "sysctl \"" + name + "\" is not in a separate kernel namespace");
}

Result<void> check_paths(const Spec& spec, const char* name, const std::vector<std::string>& paths) {
  if (!paths.empty() && !spec.namespaces.mount.is_own())
    return invalid(std::string("linux.") + name, "unable to restrict sys entries without a private MNT namespace");
  for (std::size_t i = 0; i < paths.size(); ++i)
    // A relative one is taken from the root, as by runc.
    if (paths[i].empty()) return invalid("linux." + indexed(name, i), "must not be empty");
  return {};
}

Result<void> check_seccomp_words(const Seccomp& profile) {
  const std::string path = "linux.seccomp";
  const auto actions = seccomp_words(SeccompWord::action), operators = seccomp_words(SeccompWord::op);
  const auto known = [](const std::vector<std::string_view>& words, std::string_view word) {
    return std::find(words.begin(), words.end(), word) != words.end();
  };
  bool notifies = false;
  if (profile.default_action == "SCMP_ACT_NOTIFY")
    return invalid(path + ".defaultAction", "SCMP_ACT_NOTIFY cannot be used as default action");
  if (!known(actions, profile.default_action))
    return invalid(path + ".defaultAction", "unknown action \"" + profile.default_action + "\"");
  for (std::size_t i = 0; i < profile.syscalls.size(); ++i) {
    const SeccompSyscall& rule = profile.syscalls[i];
    const std::string rule_path = path + "." + indexed("syscalls", i);
    const bool notify = rule.action == "SCMP_ACT_NOTIFY";
    notifies |= notify;
    if (!notify && !known(actions, rule.action))
      return invalid(rule_path + ".action", "unknown action \"" + rule.action + "\"");
    if (rule.names.empty()) return invalid(rule_path + ".names", "must not be empty");
    // The descriptor of the filter itself is passed on with write(2): see runc's seccomp_linux.go.
    if (notify && std::find(rule.names.begin(), rule.names.end(), "write") != rule.names.end())
      return invalid(rule_path + ".names", "SCMP_ACT_NOTIFY cannot be used for the write syscall");
    for (const SeccompArg& arg : rule.args)
      if (!known(operators, arg.op)) return invalid(rule_path + ".args", "unknown operator \"" + arg.op + "\"");
  }
  if (notifies && profile.listener_path.empty()) return invalid(path + ".listenerPath", "is needed by SCMP_ACT_NOTIFY");
  if (!profile.listener_metadata.empty() && profile.listener_path.empty())
    return invalid(path + ".listenerMetadata", "must not be set without listenerPath");
  // All the rest (flags, architectures, errno numbers) is the same for every user of a profile.
  Seccomp rest = profile;
  std::erase_if(rest.syscalls, [](const SeccompSyscall& rule) { return rule.action == "SCMP_ACT_NOTIFY"; });
  TRY_CTX(check_seccomp(rest), path);
  return {};
}

Result<void> check_intel_rdt(const IntelRdt& rdt) {
  const std::string path = "linux.intelRdt";
  if (rdt.clos_id == "." || rdt.clos_id == ".." ||
      (rdt.clos_id.size() > 1 && rdt.clos_id.find_first_of("/\n") != std::string::npos))
    return invalid(path + ".closID", "invalid intelRdt.ClosID \"" + rdt.clos_id + "\"");
  if (rdt.memory_bandwidth_schema.find('\n') != std::string::npos ||
      (!rdt.memory_bandwidth_schema.empty() && !rdt.memory_bandwidth_schema.starts_with("MB:")))
    return invalid(path + ".memBwSchema", "expected one line that starts with \"MB:\"");
  for (const std::string& line : rdt.schemata)
    if (line.find('\n') != std::string::npos) return invalid(path + ".schemata", "a line must not hold a line feed");
  auto mounts = read_file("/proc/self/mountinfo", 16u << 20);
  if (!mounts || mounts->find(" - resctrl ") == std::string::npos)
    return invalid(path, "intelRdt is specified in config, but Intel RDT is not enabled");
  return {};
}

Result<void> check_memory_policy(const MemoryPolicy& policy) {
  const std::string path = "linux.memoryPolicy";
  if (!find_word(memory_policy_modes(), policy.mode))
    return invalid(path + ".mode", "invalid memory policy mode \"" + policy.mode + "\"");
  auto nodes = parse_number_list(policy.nodes);
  if (!nodes || (nodes->empty() && !policy.nodes.empty()))
    return invalid(path + ".nodes", "invalid memory policy nodes \"" + policy.nodes + "\"");
  for (const std::string& flag : policy.flags)
    if (!find_word(memory_policy_flags(), flag))
      return invalid(path + ".flags", "invalid memory policy flag \"" + flag + "\"");
  if (policy.mode == "MPOL_DEFAULT" || policy.mode == "MPOL_LOCAL") {
    if (!nodes->empty())
      return invalid(path + ".nodes", "memory policy mode requires 0 nodes but got " + std::to_string(nodes->size()));
  } else if (policy.mode != "MPOL_PREFERRED" && nodes->empty()) {
    return invalid(path + ".nodes", "memory policy mode requires at least one node but got 0");
  }
  return {};
}

Result<void> check_net_devices(const Spec& spec) {
  if (spec.net_devices.empty()) return {};
  const std::string path = "linux.netDevices";
  if (!spec.namespaces.network.is_own()) return invalid(path, "unable to move network devices without a NET namespace");
  if (geteuid() != 0) return invalid(path, "network devices are not supported for rootless containers");
  for (const auto& [name, target] : spec.net_devices) {
    if (!is_interface_name(name)) return invalid(path, "invalid network device name \"" + name + "\"");
    if (!target.empty() && !is_interface_name(target))
      return invalid(path + "[\"" + name + "\"].name", "invalid network device name \"" + target + "\"");
  }
  return {};
}

}  // namespace

Result<void> validate_linux(const Spec& spec) {
  if (!spec.rootfs_propagation.empty() && !contains_word(kPropagations, spec.rootfs_propagation))
    return invalid("linux.rootfsPropagation", "\"" + spec.rootfs_propagation + "\" is not supported");
  TRY(check_user_namespace(spec));
  TRY(check_time_namespace(spec));
  TRY(check_paths(spec, "maskedPaths", spec.masked_paths));
  TRY(check_paths(spec, "readonlyPaths", spec.readonly_paths));
  for (const auto& [name, value] : spec.sysctl) TRY(check_sysctl(spec, name));
  if (has_parent_component(spec.cgroups_path)) return invalid("linux.cgroupsPath", "must not hold \"..\"");
  if (!spec.resources.unified.empty() && !is_unified_host())
    return invalid("linux.resources.unified", "invalid configuration: cannot use unified on cgroup v1");
  if (spec.seccomp) TRY(check_seccomp_words(*spec.seccomp));
  if (spec.intel_rdt) TRY(check_intel_rdt(*spec.intel_rdt));
  if (spec.memory_policy) TRY(check_memory_policy(*spec.memory_policy));
  return check_net_devices(spec);
}

}  // namespace dray::runtime
