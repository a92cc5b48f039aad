// SPDX-License-Identifier: Apache-2.0
// config-linux.md §control-groups.

#include <dray/runtime/spec_json.hpp>

#include "read.hpp"
#include "words.hpp"

namespace dray::runtime {
namespace {

void read_device_rules(const JsonObject& object, std::vector<DeviceRule>& rules) {
  for (const JsonObject& item : object.list("devices")) {
    DeviceRule& rule = rules.emplace_back();
    item.read("allow", rule.allow);
    std::string type;
    item.read("type", type);
    if (!type.empty() && type != "a" && type != "b" && type != "c") item.fail("type", "expected a, b or c");
    if (!type.empty()) rule.type = type[0];
    auto read_number = [&](std::string_view name, std::optional<std::int64_t>& number) {
      item.read(name, number);
      if (number && *number < -1) item.fail(name, "expected a device number, or -1 for all");
      if (number && *number > 0xffffffff) item.fail(name, "expected a device number of 32 bits");
      if (number == -1) number.reset();
    };
    read_number("major", rule.major);
    read_number("minor", rule.minor);
    rule.access.clear();
    item.read("access", rule.access);
    // Other letters say nothing, as for runc, whose tests have "rwa".
    std::erase_if(rule.access, [](char letter) { return std::string_view("rwm").find(letter) == std::string_view::npos; });
    if (rule.access.empty()) item.fail("access", "expected letters of rwm");
  }
}

void read_memory(const JsonObject& memory, Resources& out) {
  memory.read("limit", out.memory_limit);
  memory.read("swap", out.memory_swap);
  memory.read("reservation", out.memory_reservation);
  memory.read("kernel", out.memory_kernel);
  memory.read("kernelTCP", out.memory_kernel_tcp);
  memory.read("swappiness", out.memory_swappiness);
  memory.read("disableOOMKiller", out.disable_oom_killer);
  memory.read("checkBeforeUpdate", out.memory_check_before_update);
}

void read_cpu(const JsonObject& cpu, Resources& out) {
  cpu.read("shares", out.cpu_shares);
  cpu.read("quota", out.cpu_quota);
  cpu.read("burst", out.cpu_burst);
  cpu.read("period", out.cpu_period);
  cpu.read("realtimeRuntime", out.cpu_realtime_runtime);
  cpu.read("realtimePeriod", out.cpu_realtime_period);
  cpu.read("cpus", out.cpuset_cpus);
  cpu.read("mems", out.cpuset_mems);
  cpu.read("idle", out.cpu_idle);
}

void read_device_number(const JsonObject& item, std::int64_t& major, std::int64_t& minor) {
  item.read("major", major);
  item.read("minor", minor);
  if (major < 0) item.fail("major", "expected a non-negative number");
  if (minor < 0) item.fail("minor", "expected a non-negative number");
}

void read_block_io(const JsonObject& object, BlockIo& out) {
  object.read("weight", out.weight);
  object.read("leafWeight", out.leaf_weight);
  for (const JsonObject& item : object.list("weightDevice")) {
    BlockIo::Weight& weight = out.weight_devices.emplace_back();
    read_device_number(item, weight.major, weight.minor);
    item.read("weight", weight.weight);
    item.read("leafWeight", weight.leaf_weight);
  }
  auto read_rates = [&](std::string_view name, std::vector<BlockIo::Rate>& rates) {
    for (const JsonObject& item : object.list(name)) {
      BlockIo::Rate& rate = rates.emplace_back();
      read_device_number(item, rate.major, rate.minor);
      item.read("rate", rate.rate);
    }
  };
  read_rates("throttleReadBpsDevice", out.read_bps);
  read_rates("throttleWriteBpsDevice", out.write_bps);
  read_rates("throttleReadIOPSDevice", out.read_iops);
  read_rates("throttleWriteIOPSDevice", out.write_iops);
}

/// Page sizes and the names of `unified` become parts of file names.
bool is_page_size(std::string_view text) {
  if (text.size() < 3 || text.size() > 20 || text[0] == '0' || !text.ends_with('B')) return false;
  if (std::string_view("KMG").find(text[text.size() - 2]) == std::string_view::npos) return false;
  return text.substr(0, text.size() - 2).find_first_not_of("0123456789") == std::string_view::npos;
}

void read_unified(const JsonObject& object, std::map<std::string, std::string>& out) {
  object.read("unified", out);
  for (const auto& [name, value] : out)
    if (name.empty() || name.find_first_of("/\n") != std::string::npos || name[0] == '.')
      object.fail("unified", "\"" + name + "\" must be a file name (no slashes)");
}

}  // namespace

void read_resources(const JsonObject& object, Resources& out) {
  read_device_rules(object, out.devices);
  read_memory(object.open("memory"), out);
  read_cpu(object.open("cpu"), out);
  object.open("pids").read("limit", out.pids_limit);
  read_block_io(object.open("blockIO"), out.block_io);
  for (const JsonObject& item : object.list("hugepageLimits")) {
    HugepageLimit& limit = out.hugepage_limits.emplace_back();
    item.read("pageSize", limit.page_size);
    item.read("limit", limit.limit);
    if (!is_page_size(limit.page_size)) item.fail("pageSize", "expected a size like \"2MB\"");
  }
  const JsonObject network = object.open("network");
  network.read("classID", out.network_class_id);
  for (const JsonObject& item : network.list("priorities")) {
    NetworkPriority& priority = out.network_priorities.emplace_back();
    item.read("name", priority.interface);
    item.read("priority", priority.priority);
    if (!is_interface_name(priority.interface)) item.fail("name", "expected the name of a network interface");
  }
  for (const auto& [name, item] : object.map("rdma")) {
    if (name.empty() || name.find_first_of(" \n\t") != std::string::npos)
      object.fail("rdma", "\"" + name + "\" is not the name of a device");
    RdmaLimit& limit = out.rdma[name];
    item.read("hcaHandles", limit.hca_handles);
    item.read("hcaObjects", limit.hca_objects);
  }
  read_unified(object, out.unified);
}

Result<Resources> parse_resources(std::string_view json) {
  const JsonDocument document = TRY_CTX(JsonDocument::parse(json, kMaxSpecSize), "resources");
  Resources resources;
  read_resources(document.root("resources"), resources);
  TRY(document.result());
  return resources;
}

}  // namespace dray::runtime
