// SPDX-License-Identifier: Apache-2.0
// The "linux" object of config.json.

#include <algorithm>

#include "json_writer.hpp"
#include "read.hpp"

namespace dray::runtime {
namespace {

/// An object that is only there if something is in it.
template <typename F>
void write_object(JsonWriter& out, std::string_view name, bool wanted, F&& body) {
  if (!wanted) return;
  out.open_object(name);
  body();
  out.close_object();
}

template <typename T, typename F>
void write_list(JsonWriter& out, std::string_view name, const T& items, F&& body) {
  if (items.empty()) return;
  out.open_array(name);
  for (const auto& item : items) {
    out.open_object();
    body(item);
    out.close_object();
  }
  out.close_array();
}

/// Without those that parse_spec() puts at the end.
std::vector<DeviceRule> own_rules(std::vector<DeviceRule> rules) {
  const std::vector<DeviceRule> defaults = default_device_rules();
  if (rules.size() >= defaults.size() && std::equal(defaults.rbegin(), defaults.rend(), rules.rbegin()))
    rules.resize(rules.size() - defaults.size());
  return rules;
}

/// Without those that parse_spec() puts at the start, unless the list names them as well.
std::vector<Device> own_devices(const std::vector<Device>& devices) {
  auto device = devices.begin();
  for (const Device& standard : default_devices()) {
    if (device == devices.end() || !(*device == standard)) continue;
    const bool listed = std::any_of(device + 1, devices.end(),
                                    [&](const Device& other) { return other.path == standard.path; });
    if (listed) break;
    ++device;
  }
  return {device, devices.end()};
}

void write_block_io(JsonWriter& out, const BlockIo& io) {
  const bool wanted = io.weight || io.leaf_weight || !io.weight_devices.empty() || !io.read_bps.empty() ||
                      !io.write_bps.empty() || !io.read_iops.empty() || !io.write_iops.empty();
  write_object(out, "blockIO", wanted, [&] {
    out.write_if("weight", io.weight);
    out.write_if("leafWeight", io.leaf_weight);
    write_list(out, "weightDevice", io.weight_devices, [&](const BlockIo::Weight& weight) {
      out.write("major", weight.major);
      out.write("minor", weight.minor);
      out.write_if("weight", weight.weight);
      out.write_if("leafWeight", weight.leaf_weight);
    });
    auto write_rates = [&](std::string_view name, const std::vector<BlockIo::Rate>& rates) {
      write_list(out, name, rates, [&](const BlockIo::Rate& rate) {
        out.write("major", rate.major);
        out.write("minor", rate.minor);
        out.write("rate", rate.rate);
      });
    };
    write_rates("throttleReadBpsDevice", io.read_bps);
    write_rates("throttleWriteBpsDevice", io.write_bps);
    write_rates("throttleReadIOPSDevice", io.read_iops);
    write_rates("throttleWriteIOPSDevice", io.write_iops);
  });
}

void write_memory_and_cpu(JsonWriter& out, const Resources& all) {
  const bool memory = all.memory_limit || all.memory_swap || all.memory_reservation || all.memory_kernel ||
                      all.memory_kernel_tcp || all.memory_swappiness || all.disable_oom_killer ||
                      all.memory_check_before_update;
  write_object(out, "memory", memory, [&] {
    out.write_if("limit", all.memory_limit);
    out.write_if("reservation", all.memory_reservation);
    out.write_if("swap", all.memory_swap);
    out.write_if("kernel", all.memory_kernel);
    out.write_if("kernelTCP", all.memory_kernel_tcp);
    out.write_if("swappiness", all.memory_swappiness);
    out.write_if("disableOOMKiller", all.disable_oom_killer);
    out.write_if("checkBeforeUpdate", all.memory_check_before_update);
  });
  const bool cpu = all.cpu_shares || all.cpu_quota || all.cpu_burst || all.cpu_period || all.cpu_realtime_runtime ||
                   all.cpu_realtime_period || all.cpu_idle || !all.cpuset_cpus.empty() || !all.cpuset_mems.empty();
  write_object(out, "cpu", cpu, [&] {
    out.write_if("shares", all.cpu_shares);
    out.write_if("quota", all.cpu_quota);
    out.write_if("burst", all.cpu_burst);
    out.write_if("period", all.cpu_period);
    out.write_if("realtimeRuntime", all.cpu_realtime_runtime);
    out.write_if("realtimePeriod", all.cpu_realtime_period);
    out.write_if("cpus", all.cpuset_cpus);
    out.write_if("mems", all.cpuset_mems);
    out.write_if("idle", all.cpu_idle);
  });
}

void write_resources(JsonWriter& out, const Resources& all) {
  out.open_object("resources");
  write_list(out, "devices", own_rules(all.devices), [&](const DeviceRule& rule) {
    out.write("allow", rule.allow);
    if (rule.type != 'a') out.write("type", std::string(1, rule.type));
    out.write_if("major", rule.major);
    out.write_if("minor", rule.minor);
    out.write("access", rule.access);
  });
  write_memory_and_cpu(out, all);
  write_object(out, "pids", all.pids_limit.has_value(), [&] { out.write_if("limit", all.pids_limit); });
  write_block_io(out, all.block_io);
  write_list(out, "hugepageLimits", all.hugepage_limits, [&](const HugepageLimit& limit) {
    out.write("pageSize", limit.page_size);
    out.write("limit", limit.limit);
  });
  write_object(out, "network", all.network_class_id || !all.network_priorities.empty(), [&] {
    out.write_if("classID", all.network_class_id);
    write_list(out, "priorities", all.network_priorities, [&](const NetworkPriority& priority) {
      out.write("name", priority.interface);
      out.write("priority", priority.priority);
    });
  });
  write_object(out, "rdma", !all.rdma.empty(), [&] {
    for (const auto& [name, limit] : all.rdma) {
      out.open_object(name);
      out.write_if("hcaHandles", limit.hca_handles);
      out.write_if("hcaObjects", limit.hca_objects);
      out.close_object();
    }
  });
  out.write_if("unified", all.unified);
  out.close_object();
}

/// Whether write_resources() has something to say.
bool has_resources(const Resources& all) {
  JsonWriter probe("");
  write_resources(probe, all);
  return std::move(probe).take() != "{}";
}

void write_namespaces(JsonWriter& out, const Namespaces& all) {
  const std::pair<const char*, const Namespace*> list[] = {
      {"pid", &all.pid},     {"network", &all.network}, {"ipc", &all.ipc},   {"uts", &all.uts},
      {"mount", &all.mount}, {"cgroup", &all.cgroup},   {"user", &all.user}, {"time", &all.time}};
  std::vector<std::pair<const char*, const Namespace*>> own;
  std::copy_if(std::begin(list), std::end(list), std::back_inserter(own),
               [](const auto& entry) { return entry.second->is_own(); });
  write_list(out, "namespaces", own, [&](const auto& entry) {
    out.write("type", entry.first);
    out.write_if("path", entry.second->path);
  });
}

void write_devices(JsonWriter& out, const std::vector<Device>& devices) {
  write_list(out, "devices", own_devices(devices), [&](const Device& device) {
    out.write("path", device.path);
    out.write("type", std::string(1, device.type));
    out.write("major", device.major);
    out.write("minor", device.minor);
    out.write("fileMode", device.mode);
    out.write("uid", device.uid);
    out.write("gid", device.gid);
  });
}

void write_seccomp(JsonWriter& out, const Seccomp& profile) {
  out.open_object("seccomp");
  out.write("defaultAction", profile.default_action);
  out.write_if("defaultErrnoRet", profile.default_errno_ret);
  out.write_if("architectures", profile.architectures);
  out.write("flags", profile.flags);  // none is not the same as not given
  out.write_if("listenerPath", profile.listener_path);
  out.write_if("listenerMetadata", profile.listener_metadata);
  write_list(out, "syscalls", profile.syscalls, [&](const SeccompSyscall& rule) {
    out.write("names", rule.names);
    out.write("action", rule.action);
    out.write_if("errnoRet", rule.errno_ret);
    write_list(out, "args", rule.args, [&](const SeccompArg& arg) {
      out.write("index", arg.index);
      out.write("value", arg.value);
      out.write_if("valueTwo", arg.value_two);
      out.write("op", arg.op);
    });
  });
  out.close_object();
}

void write_rare(JsonWriter& out, const Spec& spec) {
  if (spec.intel_rdt) {
    out.open_object("intelRdt");
    out.write_if("closID", spec.intel_rdt->clos_id);
    out.write_if("schemata", spec.intel_rdt->schemata);
    out.write_if("l3CacheSchema", spec.intel_rdt->l3_cache_schema);
    out.write_if("memBwSchema", spec.intel_rdt->memory_bandwidth_schema);
    out.write_if("enableMonitoring", spec.intel_rdt->enable_monitoring);
    out.close_object();
  }
  if (spec.memory_policy) {
    out.open_object("memoryPolicy");
    out.write("mode", spec.memory_policy->mode);
    out.write("nodes", spec.memory_policy->nodes);
    out.write_if("flags", spec.memory_policy->flags);
    out.close_object();
  }
  if (spec.personality) {
    out.open_object("personality");
    out.write("domain", *spec.personality == 0 ? "LINUX" : "LINUX32");
    out.close_object();
  }
  write_object(out, "timeOffsets", !spec.time_offsets.empty(), [&] {
    for (const auto& [clock, offset] : spec.time_offsets) {
      out.open_object(clock);
      out.write_if("secs", offset.seconds);
      out.write_if("nanosecs", offset.nanoseconds);
      out.close_object();
    }
  });
}

}  // namespace

void write_id_mappings(JsonWriter& out, std::string_view name, const std::vector<IdMapping>& mappings) {
  write_list(out, name, mappings, [&](const IdMapping& mapping) {
    out.write("containerID", mapping.container_id);
    out.write("hostID", mapping.host_id);
    out.write("size", mapping.size);
  });
}

void write_linux(JsonWriter& out, const Spec& spec) {
  out.open_object("linux");
  write_id_mappings(out, "uidMappings", spec.uid_mappings);
  write_id_mappings(out, "gidMappings", spec.gid_mappings);
  out.write_if("sysctl", spec.sysctl);
  if (has_resources(spec.resources)) write_resources(out, spec.resources);
  out.write_if("cgroupsPath", spec.cgroups_path);
  write_namespaces(out, spec.namespaces);
  write_devices(out, spec.devices);
  write_object(out, "netDevices", !spec.net_devices.empty(), [&] {
    for (const auto& [name, target] : spec.net_devices) {
      out.open_object(name);
      out.write_if("name", target);
      out.close_object();
    }
  });
  if (spec.seccomp) write_seccomp(out, *spec.seccomp);
  out.write_if("rootfsPropagation", spec.rootfs_propagation);
  out.write_if("maskedPaths", spec.masked_paths);
  out.write_if("readonlyPaths", spec.readonly_paths);
  out.write_if("mountLabel", spec.mount_label);
  write_rare(out, spec);
  out.close_object();
}

}  // namespace dray::runtime
