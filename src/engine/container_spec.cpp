// SPDX-License-Identifier: Apache-2.0
// From a container's record to the runtime-spec, by Docker's rules (moby: daemon/oci_linux.go is the behaviour's
// reference).
#include "container_spec.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include <dray/core/rooted_path.hpp>

#include "container_devices.hpp"
#include "container_state.hpp"
#include "host_ca.hpp"
#include "mount_stubs.hpp"
#include "volumes.hpp"

namespace dray::engine {
namespace {

std::string_view variable_name(std::string_view entry) { return entry.substr(0, entry.find('=')); }

bool is_no_new_privileges(const std::string& option) {
  return option == "no-new-privileges" || option == "no-new-privileges:true" || option == "no-new-privileges=true";
}

bool has_option(const ContainerOptions& options, std::string_view word) {
  return std::find(options.security_opt.begin(), options.security_opt.end(), word) != options.security_opt.end();
}

void set_resources(runtime::Spec& spec, const ContainerOptions& options) {
  if (options.memory > 0) {
    spec.resources.memory_limit = options.memory;
    // Docker's default: as much swap as memory. Kernels without swap accounting (v1: no memsw file) cannot limit it.
    bool v1 = ::access("/sys/fs/cgroup/memory/memory.limit_in_bytes", F_OK) == 0;
    std::int64_t total = 0;
    if (__builtin_add_overflow(options.memory, options.memory, &total)) total = -1;
    if (!v1 || ::access("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes", F_OK) == 0)
      spec.resources.memory_swap = total;
  }
  if (options.nano_cpus > 0) {
    spec.resources.cpu_period = 100'000;
    spec.resources.cpu_quota = std::max<std::int64_t>(1000, options.nano_cpus / 10'000);
  }
  if (options.pids_limit > 0) spec.resources.pids_limit = options.pids_limit;
}

std::size_t depth(const std::string& path) {
  return static_cast<std::size_t>(std::count(path.begin(), path.end(), '/'));
}

bool below(const std::string& path, const std::string& parent) {
  return path == parent || (path.starts_with(parent) && path[parent.size()] == '/');
}

Result<runtime::Mount> user_mount(Context& context, const VolumeMount& wish) {
  runtime::Mount mount;
  mount.destination = wish.destination;
  if (wish.kind == VolumeMount::Kind::tmpfs) {
    mount.type = "tmpfs";
    mount.source = "tmpfs";
    mount.options = {"noexec", "nosuid", "nodev"};
    for (const auto& option : wish.options) {
      // What the user says replaces the default: "exec" instead of "noexec".
      std::erase(mount.options, "no" + option);
      mount.options.push_back(option);
    }
    if (wish.read_only) mount.options.push_back("ro");
    return mount;
  }
  mount.type = "bind";
  bool plain = std::find(wish.options.begin(), wish.options.end(), "bind") != wish.options.end();
  mount.options = {plain ? "bind" : "rbind"};
  bool has_propagation = false;
  for (const auto& option : wish.options) {
    if (option == "bind") continue;
    mount.options.push_back(option);
    has_propagation = true;
  }
  if (!has_propagation) mount.options.push_back("rprivate");
  if (wish.read_only) mount.options.push_back(plain ? "ro" : "rro");
  if (wish.kind == VolumeMount::Kind::volume) {
    mount.source = volume_data(context, wish.source);
    TRY(make_directories(mount.source, 0755));
    return mount;
  }
  mount.source = wish.source;
  if (::access(wish.source.c_str(), F_OK) != 0) {
    if (!wish.create_source)
      return fail(ErrorCode::invalid_argument,
                  "invalid mount config for type \"bind\": bind source path does not exist: " + wish.source);
    TRY(make_directories(wish.source, 0755));
  }
  return mount;
}

Result<void> add_network_files(Context& context, const ContainerRecord& record, runtime::Spec& spec) {
  std::string directory = container_directory(context, record.id);
  const ContainerOptions& options = record.options;
  bool host = options.network == "host";
  // The bridge's hosts file gets its address line once that is known, in place: the bind mount shows the same inode.
  std::string hosts;
  if (host) {
    auto own = read_file("/etc/hosts", 4u << 20);
    hosts = own ? *own : "";
    if (!options.add_hosts.empty()) hosts += TRY(network::make_hosts_file("", "", options.add_hosts, ""));
  } else if (options.network == "none") {
    hosts = TRY(network::make_hosts_file(record.hostname, "", options.add_hosts, ""));
  }
  std::string resolv = TRY(network::make_resolv_conf(options.dns, host));
  TRY(write_file_atomically(directory + "/hosts", hosts, 0644, Durability::none));
  TRY(write_file_atomically(directory + "/resolv.conf", resolv, 0644, Durability::none));
  TRY(write_file_atomically(directory + "/hostname", record.hostname + "\n", 0644, Durability::none));
  for (const char* name : {"resolv.conf", "hostname", "hosts"}) {
    runtime::Mount mount;
    mount.destination = std::string("/etc/") + name;
    mount.type = "bind";
    mount.source = directory + "/" + name;
    mount.options = {"rbind", "rprivate"};
    spec.mounts.push_back(std::move(mount));
  }
  return {};
}

Result<void> add_mounts(Context& context, const ContainerRecord& record, runtime::Spec& spec) {
  TRY(add_network_files(context, record, spec));
  // A user's mount takes the place of a default one at the same path and of those below it.
  for (const auto& point : record.mounts) {
    std::erase_if(spec.mounts, [&](const runtime::Mount& mount) {
      return below(mount.destination, point.mount.destination) && point.mount.destination != "/etc";
    });
  }
  std::vector<runtime::Mount> mounts;
  for (const auto& point : record.mounts) {
    runtime::Mount mount = TRY(user_mount(context, point.mount));
    mounts.push_back(std::move(mount));
  }
  std::stable_sort(mounts.begin(), mounts.end(), [](const runtime::Mount& a, const runtime::Mount& b) {
    return depth(a.destination) < depth(b.destination);
  });
  // Mounts over /etc would hide the three files: those come after.
  auto files = std::stable_partition(spec.mounts.begin(), spec.mounts.end(), [](const runtime::Mount& mount) {
    return !mount.destination.starts_with("/etc/");
  });
  std::vector<runtime::Mount> late(std::make_move_iterator(files), std::make_move_iterator(spec.mounts.end()));
  spec.mounts.erase(files, spec.mounts.end());
  auto deep =
      std::find_if(mounts.begin(), mounts.end(), [](const auto& mount) { return depth(mount.destination) > 1; });
  spec.mounts.insert(spec.mounts.end(), mounts.begin(), deep);
  spec.mounts.insert(spec.mounts.end(), late.begin(), late.end());
  spec.mounts.insert(spec.mounts.end(), deep, mounts.end());
  return {};
}

}  // namespace

runtime::Mount read_only_bind(const std::string& source, const std::string& destination) {
  runtime::Mount mount;
  mount.type = "bind";
  mount.source = source;
  mount.destination = destination;
  mount.options = {"bind", "rprivate", "ro"};
  return mount;
}

void make_privileged(runtime::Spec& spec) {
  spec.masked_paths.clear();
  spec.readonly_paths.clear();
  for (auto& mount : spec.mounts) {
    if (mount.type == "sysfs" || mount.type == "cgroup" || mount.type == "cgroup2" || mount.type == "proc")
      std::erase(mount.options, "ro");
  }
}

std::vector<std::string> merge_environment(std::vector<std::string> base, const std::vector<std::string>& over) {
  for (const auto& entry : over) {
    auto same = std::find_if(base.begin(), base.end(),
                             [&](const std::string& old) { return variable_name(old) == variable_name(entry); });
    if (same != base.end()) {
      *same = entry;
    } else {
      base.push_back(entry);
    }
  }
  return base;
}

bool has_variable(const std::vector<std::string>& env, std::string_view name) {
  return std::any_of(env.begin(), env.end(), [&](const std::string& entry) { return variable_name(entry) == name; });
}

Result<void> check_security_options(const ContainerOptions& options) {
  for (const auto& option : options.security_opt) {
    bool known = is_no_new_privileges(option) || option == "no-new-privileges:false" ||
                 option == "no-new-privileges=false" || option.starts_with("seccomp=") ||
                 option.starts_with("seccomp:") || option.starts_with("apparmor=") || option.starts_with("label=") ||
                 option.starts_with("label:") || option == "systempaths=unconfined" ||
                 option == "writable-cgroups=false";
    if (!known) return fail(ErrorCode::invalid_argument, "invalid --security-opt: \"" + option + "\"");
    if (option.starts_with("apparmor=") && option != "apparmor=unconfined")
      return fail(ErrorCode::unsupported,
                  "invalid --security-opt: \"" + option + "\": AppArmor profiles are not supported");
  }
  return {};
}

Result<std::vector<std::string>> capability_names(const ContainerOptions& options, bool privileged) {
  if (privileged) return runtime::all_capabilities();
  return runtime::adjust_capabilities(runtime::default_capabilities(), options.cap_add, options.cap_drop);
}

runtime::Capabilities make_capabilities(const std::vector<std::string>& names, std::uint32_t uid) {
  runtime::Capabilities capabilities;
  capabilities.bounding = names;
  if (uid == 0) capabilities.effective = capabilities.permitted = names;
  return capabilities;
}

Result<std::optional<runtime::Seccomp>> make_seccomp(const ContainerOptions& options, bool privileged,
                                                     const std::vector<std::string>& capabilities) {
  std::optional<runtime::Seccomp> result;
  if (privileged) return result;
  for (const auto& option : options.security_opt) {
    if (option == "seccomp=unconfined") return result;
    if (option.starts_with("seccomp={")) {
      result = TRY(runtime::parse_seccomp(std::string_view(option).substr(8), capabilities));
      return result;
    }
  }
  result = runtime::default_seccomp(capabilities);
  return result;
}

Result<runtime::Process> make_process(const ContainerRecord& record, FdRef rootfs) {
  const ContainerOptions& options = record.options;
  runtime::Process process;
  process.terminal = options.terminal;
  process.args = record.args();
  runtime::ResolvedUser user = TRY(runtime::resolve_user(rootfs.get(), record.user, options.group_add));
  process.user = user.user;
  process.env = {std::string(kDefaultPath), "HOSTNAME=" + record.hostname};
  if (options.terminal) process.env.push_back("TERM=xterm");
  process.env = merge_environment(std::move(process.env), record.env);
  if (!has_variable(process.env, "HOME")) process.env.push_back("HOME=" + user.home);
  process.cwd = record.working_dir.empty() ? "/" : clean_path(record.working_dir);
  auto names = TRY(capability_names(options, options.privileged));
  process.capabilities = make_capabilities(names, process.user.uid);
  process.rlimits = options.ulimits;
  process.no_new_privileges =
      std::any_of(options.security_opt.begin(), options.security_opt.end(), is_no_new_privileges);
  return process;
}

Result<runtime::Spec> make_spec(Context& context, const ContainerRecord& record, FdRef rootfs) {
  const ContainerOptions& options = record.options;
  runtime::Spec spec = runtime::make_default_spec();
  spec.process = TRY(make_process(record, rootfs));
  spec.rootfs_readonly = options.read_only;
  spec.hostname = record.hostname;
  spec.cgroups_path = cgroups_path(record.id);
  if (options.network == "host") {
    spec.namespaces.network = {};
  } else {
    spec.sysctl["net.ipv4.ip_unprivileged_port_start"] = "0";
    spec.sysctl["net.ipv4.ping_group_range"] = "0 2147483647";
  }
  set_resources(spec, options);
  TRY(add_mounts(context, record, spec));
  if (options.privileged) {
    make_privileged(spec);
    TRY(add_all_devices(spec));
  } else {
    TRY(add_devices(spec, options.devices));
  }
  if (has_option(options, "systempaths=unconfined")) {
    spec.masked_paths.clear();
    spec.readonly_paths.clear();
  }
  spec.seccomp = TRY(make_seccomp(options, options.privileged, spec.process.capabilities.bounding));
  if (options.trust_host_ca) {
    HostCa trust = TRY(make_host_ca(context, rootfs, HostCaPlaces::variables_and_files));
    apply_host_ca(trust, spec);
  }
  // WORKDIR in a volume or bind mount is made by the runtime's own chdir step if anywhere: here only in the image.
  if (spec.process.cwd != "/") {
    auto made = make_directories_in_root(rootfs, spec.process.cwd);
    if (!made) return Failure(std::move(made).error().with_context("creating the working directory"));
  }
  MountStubs stubs(rootfs);
  TRY(stubs.make_dangling_targets(spec.mounts));
  return spec;
}

}  // namespace dray::engine
