// SPDX-License-Identifier: Apache-2.0
#include "events_json.hpp"

#include <nlohmann/json.hpp>

namespace dray::oci {
namespace {

using Json = nlohmann::ordered_json;
using namespace runtime;

void add(Json& object, const char* name, std::uint64_t value) {
  if (value != 0) object[name] = value;
}
void add(Json& object, const char* name, const std::vector<std::uint64_t>& values) {
  if (!values.empty()) object[name] = values;
}

Json describe(const PressureLine& line) {
  return {{"avg10", line.avg10}, {"avg60", line.avg60}, {"avg300", line.avg300}, {"total", line.total}};
}
void add(Json& object, const std::optional<Pressure>& pressure) {
  if (pressure) object["psi"] = {{"some", describe(pressure->some)}, {"full", describe(pressure->full)}};
}

Json describe(const MemoryCount& count) {
  Json entry;
  entry["limit"] = count.limit;
  add(entry, "usage", count.usage);
  add(entry, "max", count.peak);
  entry["failcnt"] = count.failures;
  return entry;
}

Json describe(const CpuStats& cpu) {
  Json usage;
  add(usage, "total", cpu.total);
  add(usage, "percpu", cpu.percpu);
  add(usage, "percpu_kernel", cpu.percpu_kernel);
  add(usage, "percpu_user", cpu.percpu_user);
  usage["kernel"] = cpu.kernel;
  usage["user"] = cpu.user;
  Json throttling = Json::object();
  add(throttling, "periods", cpu.periods);
  add(throttling, "throttledPeriods", cpu.throttled_periods);
  add(throttling, "throttledTime", cpu.throttled_time);
  Json burst = Json::object();
  add(burst, "burstsPeriods", cpu.burst_periods);
  add(burst, "burstTime", cpu.burst_time);
  Json entry{{"usage", usage}, {"throttling", throttling}};
  add(entry, cpu.pressure);
  entry["burst"] = burst;
  return entry;
}

Json describe(const CpusetStats& cpuset) {
  Json entry = Json::object();
  if (!cpuset.cpus.empty()) entry["cpus"] = cpuset.cpus;
  entry["cpu_exclusive"] = cpuset.cpu_exclusive;
  if (!cpuset.mems.empty()) entry["mems"] = cpuset.mems;
  entry["mem_hardwall"] = cpuset.mem_hardwall;
  entry["mem_exclusive"] = cpuset.mem_exclusive;
  entry["memory_migrate"] = cpuset.memory_migrate;
  entry["memory_spread_page"] = cpuset.memory_spread_page;
  entry["memory_spread_slab"] = cpuset.memory_spread_slab;
  entry["memory_pressure"] = cpuset.memory_pressure;
  entry["sched_load_balance"] = cpuset.sched_load_balance;
  entry["sched_relax_domain_level"] = cpuset.sched_relax_domain_level;
  return entry;
}

Json describe(const MemoryStats& memory) {
  Json entry = Json::object();
  add(entry, "cache", memory.cache);
  entry["usage"] = describe(memory.memory);
  entry["swap"] = describe(memory.memory_and_swap);
  entry["kernel"] = describe(memory.kernel);
  entry["kernelTCP"] = describe(memory.kernel_tcp);
  if (!memory.raw.empty()) entry["raw"] = memory.raw;
  add(entry, memory.pressure);
  return entry;
}

void add(Json& object, const char* name, const std::vector<BlockIoCount>& counts) {
  if (counts.empty()) return;
  Json list = Json::array();
  for (const auto& count : counts) {
    Json entry = Json::object();
    add(entry, "major", count.major);
    add(entry, "minor", count.minor);
    if (!count.operation.empty()) entry["op"] = count.operation;
    add(entry, "value", count.value);
    list.push_back(std::move(entry));
  }
  object[name] = std::move(list);
}

Json describe(const BlockIoStats& io) {
  Json entry = Json::object();
  add(entry, "ioServiceBytesRecursive", io.service_bytes);
  add(entry, "ioServicedRecursive", io.serviced);
  add(entry, "ioQueueRecursive", io.queued);
  add(entry, "ioServiceTimeRecursive", io.service_time);
  add(entry, "ioWaitTimeRecursive", io.wait_time);
  add(entry, "ioMergedRecursive", io.merged);
  add(entry, "ioTimeRecursive", io.time);
  add(entry, "sectorsRecursive", io.sectors);
  add(entry, io.pressure);
  return entry;
}

Json describe(const RdtStats& rdt) {
  Json entry = Json::object();
  const auto add_text = [&entry](const char* name, const std::string& text) {
    if (!text.empty()) entry[name] = text;
  };
  if (rdt.features.cache) {
    Json info = Json::object();
    if (!rdt.cache.mask.empty()) info["cbm_mask"] = rdt.cache.mask;
    add(info, "min_cbm_bits", rdt.cache.min_bits);
    add(info, "num_closids", rdt.cache.groups);
    entry["l3_cache_info"] = std::move(info);
    add_text("l3_cache_schema_root", rdt.cache_root);
    add_text("l3_cache_schema", rdt.cache_group);
  }
  if (rdt.features.bandwidth) {
    Json info = Json::object();
    add(info, "bandwidth_gran", rdt.bandwidth.granularity);
    add(info, "delay_linear", rdt.bandwidth.linear);
    add(info, "min_bandwidth", rdt.bandwidth.min);
    add(info, "num_closids", rdt.bandwidth.groups);
    entry["mem_bw_info"] = std::move(info);
    add_text("mem_bw_schema_root", rdt.bandwidth_root);
    add_text("mem_bw_schema", rdt.bandwidth_group);
  }
  if (!rdt.schemata.empty()) entry["schemata"] = rdt.schemata;
  if (rdt.features.counts_bandwidth()) {
    Json nodes = Json::array();
    for (const auto& node : rdt.node_bandwidth)
      nodes.push_back({{"mbm_total_bytes", node.total}, {"mbm_local_bytes", node.local}});
    entry["mbm_stats"] = std::move(nodes);
  }
  if (rdt.features.occupancy) {
    Json nodes = Json::array();
    for (std::uint64_t bytes : rdt.node_occupancy) nodes.push_back(Json{{"llc_occupancy", bytes}});
    entry["cmt_stats"] = std::move(nodes);
  }
  return entry;
}

}  // namespace

std::string describe_stats(const std::string& id, const CgroupStats& stats, const std::optional<RdtStats>& rdt) {
  Json pids = Json::object();
  add(pids, "current", stats.pids.current);
  add(pids, "limit", stats.pids.limit);
  Json hugepages = Json::object();
  for (const auto& [size, pages] : stats.hugepages) {
    Json entry = Json::object();
    add(entry, "usage", pages.usage);
    add(entry, "max", pages.peak);
    entry["failcnt"] = pages.failures;
    hugepages[size] = std::move(entry);
  }
  Json data;
  data["cpu"] = describe(stats.cpu);
  data["cpuset"] = describe(stats.cpuset);
  data["memory"] = describe(stats.memory);
  data["pids"] = std::move(pids);
  data["blkio"] = describe(stats.block_io);
  data["hugetlb"] = std::move(hugepages);
  data["intel_rdt"] = rdt ? describe(*rdt) : Json::object();
  data["network_interfaces"] = nullptr;
  Json event{{"type", "stats"}, {"id", id}, {"data", std::move(data)}};
  return event.dump() + "\n";
}

std::string describe_oom(const std::string& id) { return Json{{"type", "oom"}, {"id", id}}.dump() + "\n"; }

}  // namespace dray::oci
