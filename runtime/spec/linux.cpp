// SPDX-License-Identifier: Apache-2.0
// config-linux.md, without resources and seccomp. Words that become values of another type (namespaces, personality)
// are checked here, all others by validate_spec().

#include <sys/stat.h>

#include <algorithm>

#include "read.hpp"
#include "words.hpp"

namespace dray::runtime {
namespace {

Namespace* find_namespace(Namespaces& all, std::string_view type) {
  if (type == "mount") return &all.mount;
  if (type == "pid") return &all.pid;
  if (type == "uts") return &all.uts;
  if (type == "ipc") return &all.ipc;
  if (type == "network") return &all.network;
  if (type == "cgroup") return &all.cgroup;
  if (type == "user") return &all.user;
  if (type == "time") return &all.time;
  return nullptr;
}

void read_namespaces(const JsonObject& object, Namespaces& out) {
  for (const JsonObject& item : object.list("namespaces")) {
    std::string type, path;
    item.read("type", type);
    item.read("path", path);
    Namespace* space = find_namespace(out, type);
    if (space == nullptr) return item.fail("type", "namespace \"" + type + "\" does not exist");
    if (space->is_own()) return item.fail("type", "duplicated namespace \"" + type + "\"");
    if (!path.empty() && path[0] != '/') return item.fail("path", "expected an absolute path");
    space->is_new = path.empty();
    space->path = std::move(path);
  }
}

void read_devices(const JsonObject& object, std::vector<Device>& out) {
  for (const JsonObject& item : object.list("devices")) {
    Device& device = out.emplace_back();
    std::string type;
    item.read("path", device.path);
    item.read("type", type);
    if (type != "c" && type != "u" && type != "b" && type != "p") return item.fail("type", "expected c, u, b or p");
    if (device.path.empty() || device.path[0] != '/') return item.fail("path", "expected an absolute path");
    device.type = type[0];
    auto read_number = [&](std::string_view name, std::int64_t& number) {
      item.read(name, number);
      if (type != "p" && !item.has(name)) item.fail(name, "is missing");
      if (number < 0 || number > 0xffffffff) item.fail(name, "expected a device number of 32 bits");
    };
    read_number("major", device.major);
    read_number("minor", device.minor);
    item.read("fileMode", device.mode);
    device.mode &= ~static_cast<std::uint32_t>(S_IFMT);  // some writers pass st_mode
    if (device.mode > 07777) item.fail("fileMode", "expected 0 to 4095 (octal 7777)");
    item.read("uid", device.uid);
    item.read("gid", device.gid);
  }
}

void read_time_offsets(const JsonObject& object, std::map<std::string, TimeOffset>& out) {
  for (const auto& [name, item] : object.map("timeOffsets")) {
    if (name != "monotonic" && name != "boottime")
      return object.fail("timeOffsets", "unknown clock \"" + name + "\": expected monotonic or boottime");
    TimeOffset& offset = out[name];
    offset = {};
    item.read("secs", offset.seconds);
    item.read("nanosecs", offset.nanoseconds);
    if (offset.nanoseconds > 999'999'999) item.fail("nanosecs", "expected 0 to 999999999");
  }
}

void read_intel_rdt(const JsonObject& object, std::optional<IntelRdt>& out) {
  if (!object.present()) return;
  IntelRdt& rdt = out.emplace();
  object.read("closID", rdt.clos_id);
  object.read("schemata", rdt.schemata);
  object.read("l3CacheSchema", rdt.l3_cache_schema);
  object.read("memBwSchema", rdt.memory_bandwidth_schema);
  object.read("enableMonitoring", rdt.enable_monitoring);
}

void read_personality(const JsonObject& object, Spec& spec) {
  if (!object.present()) return;
  std::string domain;
  std::vector<std::string> flags;
  object.read("domain", domain);
  object.read("flags", flags);
  if (domain != "LINUX" && domain != "LINUX32")
    return object.fail("domain", "invalid personality domain \"" + domain + "\": expected LINUX or LINUX32");
  spec.personality = domain == "LINUX" ? 0 : 8;  // <linux/personality.h>
  if (!flags.empty()) spec.warnings.push_back("ignoring unsupported personality flags");
}

void read_memory_policy(const JsonObject& object, std::optional<MemoryPolicy>& out) {
  if (!object.present()) return;
  MemoryPolicy& policy = out.emplace();
  object.read("mode", policy.mode);
  object.read("nodes", policy.nodes);
  object.read("flags", policy.flags);
}

void read_linux_seccomp(const JsonObject& object, std::optional<Seccomp>& out) {
  if (!object.present()) return;
  Seccomp profile;
  read_seccomp(object, profile);
  // As in runc: {} is how some writers say "none".
  if (!profile.default_action.empty() || !profile.syscalls.empty()) out = std::move(profile);
}

}  // namespace

void read_id_mappings(const JsonObject& object, std::string_view name, std::vector<IdMapping>& mappings) {
  for (const JsonObject& item : object.list(name)) {
    IdMapping& mapping = mappings.emplace_back();
    item.read("containerID", mapping.container_id);
    item.read("hostID", mapping.host_id);
    item.read("size", mapping.size);
  }
}

void read_linux(const JsonObject& object, Spec& spec) {
  read_namespaces(object, spec.namespaces);
  read_id_mappings(object, "uidMappings", spec.uid_mappings);
  read_id_mappings(object, "gidMappings", spec.gid_mappings);
  read_time_offsets(object, spec.time_offsets);
  object.read("sysctl", spec.sysctl);
  const JsonObject resources = object.open("resources");
  read_resources(resources, spec.resources);
  if (spec.resources.memory_kernel || spec.resources.memory_kernel_tcp)
    spec.warnings.push_back("kernel memory settings are ignored: the kernel has dropped them");
  object.read("cgroupsPath", spec.cgroups_path);
  read_devices(object, spec.devices);
  for (const auto& [name, item] : object.map("netDevices")) {
    std::string& target = spec.net_devices[name];
    target.clear();
    item.read("name", target);
  }
  read_linux_seccomp(object.open("seccomp"), spec.seccomp);
  object.read("maskedPaths", spec.masked_paths);
  object.read("readonlyPaths", spec.readonly_paths);
  spec.rootfs_propagation.clear();  // without a word it is runc's default
  object.read("rootfsPropagation", spec.rootfs_propagation);
  object.read("mountLabel", spec.mount_label);
  read_intel_rdt(object.open("intelRdt"), spec.intel_rdt);
  read_memory_policy(object.open("memoryPolicy"), spec.memory_policy);
  read_personality(object.open("personality"), spec);
}

}  // namespace dray::runtime
