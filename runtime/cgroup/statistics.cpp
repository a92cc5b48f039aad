// SPDX-License-Identifier: Apache-2.0
// Which file of which controller holds which value. See statistics.hpp.

#include "statistics.hpp"

#include <unistd.h>

#include <algorithm>
#include <charconv>

#include <dray/core/fd.hpp>
#include <dray/runtime/cgroup.hpp>

#include "hierarchy.hpp"

namespace dray::runtime::cgroup {
namespace {

std::uint64_t count(const Present& present, const std::string& file) {
  auto text = present(file.c_str());
  return text ? parse_count(*text) : 0;
}

std::map<std::string, std::uint64_t> flat(const Present& present, const char* file) {
  auto text = present(file);
  return text ? parse_flat(*text) : std::map<std::string, std::uint64_t>();
}

std::uint64_t value_of(const std::map<std::string, std::uint64_t>& values, const char* key) {
  auto found = values.find(key);
  return found == values.end() ? 0 : found->second;
}

std::optional<Pressure> pressure(const Present& present, const char* file) {
  auto text = present(file);
  if (!text || text->empty()) return std::nullopt;
  return parse_pressure(*text);
}

// -- v1 ---------------------------------------------------------------------------------------------------------------

MemoryCount memory_count(const Present& present, const std::string& prefix) {
  return {count(present, prefix + ".usage_in_bytes"), count(present, prefix + ".max_usage_in_bytes"),
          count(present, prefix + ".failcnt"), count(present, prefix + ".limit_in_bytes")};
}

void memory_v1(const Present& present, MemoryStats& memory) {
  memory.raw = flat(present, "memory.stat");
  memory.cache = value_of(memory.raw, "cache");
  memory.memory = memory_count(present, "memory");
  memory.memory_and_swap = memory_count(present, "memory.memsw");
  const MemoryCount &both = memory.memory_and_swap, &alone = memory.memory;
  memory.swap.usage = both.usage > alone.usage ? both.usage - alone.usage : 0;
  memory.swap.failures = both.failures > alone.failures ? both.failures - alone.failures : 0;
  memory.kernel = memory_count(present, "memory.kmem");
  memory.kernel_tcp = memory_count(present, "memory.kmem.tcp");
}

void throttling_v1(const Present& present, CpuStats& cpu) {
  const auto values = flat(present, "cpu.stat");
  cpu.periods = value_of(values, "nr_periods");
  cpu.throttled_periods = value_of(values, "nr_throttled");
  cpu.throttled_time = value_of(values, "throttled_time");
  cpu.burst_periods = value_of(values, "nr_bursts");
  cpu.burst_time = value_of(values, "burst_time");
}

void usage_v1(const Present& present, CpuStats& cpu) {
  cpu.total = count(present, "cpuacct.usage");
  const long ticks = sysconf(_SC_CLK_TCK);
  const std::uint64_t tick = 1'000'000'000ull / static_cast<std::uint64_t>(ticks > 0 ? ticks : 100);
  const auto values = flat(present, "cpuacct.stat");
  cpu.user = value_of(values, "user") * tick;
  cpu.kernel = value_of(values, "system") * tick;
  if (auto text = present("cpuacct.usage_percpu")) cpu.percpu = parse_counts(*text);
  if (auto text = present("cpuacct.usage_all")) parse_usage_all(*text, cpu);
}

void cpuset_v1(const Present& present, CpusetStats& cpuset) {
  if (auto text = present("cpuset.cpus")) cpuset.cpus = parse_list(*text);
  if (auto text = present("cpuset.mems")) cpuset.mems = parse_list(*text);
  cpuset.cpu_exclusive = count(present, "cpuset.cpu_exclusive");
  cpuset.mem_hardwall = count(present, "cpuset.mem_hardwall");
  cpuset.mem_exclusive = count(present, "cpuset.mem_exclusive");
  cpuset.memory_migrate = count(present, "cpuset.memory_migrate");
  cpuset.memory_spread_page = count(present, "cpuset.memory_spread_page");
  cpuset.memory_spread_slab = count(present, "cpuset.memory_spread_slab");
  cpuset.memory_pressure = count(present, "cpuset.memory_pressure");
  cpuset.sched_load_balance = count(present, "cpuset.sched_load_balance");
  if (auto text = present("cpuset.sched_relax_domain_level"))
    std::from_chars(text->data(), text->data() + text->size(), cpuset.sched_relax_domain_level);
}

struct BlockIoFile {
  const char* name;
  std::vector<BlockIoCount> BlockIoStats::* table;
};

/// The first group of which there are any counts: by scheduler, then what the throttling layer counts.
void block_io_v1(const Present& present, BlockIoStats& io) {
  using Stats = BlockIoStats;
  auto read = [&](const std::string& prefix, const std::vector<BlockIoFile>& files) {
    bool any = false;
    for (const BlockIoFile& file : files) {
      auto text = present((prefix + file.name).c_str());
      if (!text) continue;
      io.*file.table = parse_block_io(*text);
      any |= !(io.*file.table).empty();
    }
    return any;
  };
  const std::vector<BlockIoFile> scheduler = {
      {"io_serviced_recursive", &Stats::serviced},   {"io_service_bytes_recursive", &Stats::service_bytes},
      {"sectors_recursive", &Stats::sectors},        {"io_service_time_recursive", &Stats::service_time},
      {"io_wait_time_recursive", &Stats::wait_time}, {"io_merged_recursive", &Stats::merged},
      {"io_queued_recursive", &Stats::queued},       {"time_recursive", &Stats::time}};
  const std::vector<BlockIoFile> plain = {{"io_serviced", &Stats::serviced},
                                          {"io_service_bytes", &Stats::service_bytes}};
  if (read("blkio.bfq.", scheduler) || read("blkio.", scheduler)) return;
  if (read("blkio.throttle.", {scheduler[0], scheduler[1]})) return;
  read("blkio.throttle.", plain);
}

PidsStats pids_of(const Present& present) {
  PidsStats pids{count(present, "pids.current"), count(present, "pids.max")};
  if (pids.limit == kNoLimit) pids.limit = 0;
  return pids;
}

/// The page sizes of this host.
std::vector<std::string> hugepage_sizes() {
  std::vector<std::string> sizes;
  for (const std::string& name : list_directory("/sys/kernel/mm/hugepages").value_or(std::vector<std::string>()))
    if (std::string size = hugepage_size(name); !size.empty()) sizes.push_back(std::move(size));
  std::ranges::sort(sizes);
  return sizes;
}

void hugepages(const Present& present, bool unified, CgroupStats& stats) {
  for (const std::string& size : hugepage_sizes()) {
    const std::string name = "hugetlb." + size, usage = unified ? ".current" : ".usage_in_bytes";
    // Reservations are what a limit is compared with, where the kernel counts them (since 5.7).
    const std::string prefix = present((name + ".rsvd" + usage).c_str()) ? name + ".rsvd" : name;
    auto text = present((prefix + usage).c_str());
    if (!text) continue;
    HugepageStats& page = stats.hugepages[size];
    page.usage = parse_count(*text);
    if (unified) {
      page.failures = value_of(flat(present, (name + ".events").c_str()), "max");
    } else {
      page.peak = count(present, prefix + ".max_usage_in_bytes");
      page.failures = count(present, prefix + ".failcnt");
    }
  }
}

void rdma(const Present& present, CgroupStats& stats) {
  if (auto text = present("rdma.current")) stats.rdma_current = parse_rdma(*text);
  if (auto text = present("rdma.max")) stats.rdma_limit = parse_rdma(*text);
}

// -- v2 ---------------------------------------------------------------------------------------------------------------

void cpu_v2(const Present& present, CpuStats& cpu) {
  const auto values = flat(present, "cpu.stat");
  auto nanoseconds = [&](const char* key) { return value_of(values, key) * 1000; };
  cpu.total = nanoseconds("usage_usec");
  cpu.user = nanoseconds("user_usec");
  cpu.kernel = nanoseconds("system_usec");
  cpu.periods = value_of(values, "nr_periods");
  cpu.throttled_periods = value_of(values, "nr_throttled");
  cpu.throttled_time = nanoseconds("throttled_usec");
  cpu.burst_periods = value_of(values, "nr_bursts");
  cpu.burst_time = nanoseconds("burst_usec");
  cpu.pressure = pressure(present, "cpu.pressure");
}

void memory_v2(const Present& present, MemoryStats& memory) {
  memory.raw = flat(present, "memory.stat");
  memory.cache = value_of(memory.raw, "file");
  memory.kernel.usage = value_of(memory.raw, "kernel");
  memory.kernel_tcp.usage = value_of(memory.raw, "sock");
  memory.memory = {count(present, "memory.current"), count(present, "memory.peak"),
                   value_of(flat(present, "memory.events"), "max"), count(present, "memory.max")};
  memory.swap = {count(present, "memory.swap.current"), count(present, "memory.swap.peak"),
                 value_of(flat(present, "memory.swap.events"), "max"), count(present, "memory.swap.max")};
  // As v1 counts it; a sum's peak can't be known from the parts'.
  MemoryCount& both = memory.memory_and_swap;
  both.usage = memory.memory.usage + memory.swap.usage;
  const bool unlimited = memory.memory.limit == kNoLimit || memory.swap.limit == kNoLimit;
  both.limit = unlimited ? kNoLimit : memory.memory.limit + memory.swap.limit;
  memory.pressure = pressure(present, "memory.pressure");
}

}  // namespace

void read_stats_v1(std::string_view controller, const Present& present, CgroupStats& stats) {
  if (controller == "cpu") throttling_v1(present, stats.cpu);
  if (controller == "cpuacct") usage_v1(present, stats.cpu);
  if (controller == "cpuset") cpuset_v1(present, stats.cpuset);
  if (controller == "memory") memory_v1(present, stats.memory);
  if (controller == "pids") stats.pids = pids_of(present);
  if (controller == "blkio") block_io_v1(present, stats.block_io);
  if (controller == "hugetlb") hugepages(present, false, stats);
  if (controller == "rdma") rdma(present, stats);
}

void read_stats_v2(const Present& present, CgroupStats& stats) {
  cpu_v2(present, stats.cpu);
  memory_v2(present, stats.memory);
  if (auto text = present("cpuset.cpus.effective")) stats.cpuset.cpus = parse_list(*text);
  if (auto text = present("cpuset.mems.effective")) stats.cpuset.mems = parse_list(*text);
  stats.pids = pids_of(present);
  if (!present("pids.current"))  // no controller: count by hand
    if (auto text = present("cgroup.procs")) stats.pids.current = parse_counts(*text).size();
  if (auto text = present("io.stat")) parse_io_stat(*text, stats.block_io);
  stats.block_io.pressure = pressure(present, "io.pressure");
  hugepages(present, true, stats);
  rdma(present, stats);
}

}  // namespace dray::runtime::cgroup

namespace dray::runtime {

Result<CgroupStats> read_cgroup_stats(const std::string& cgroups_path) {
  const cgroup::Place place = TRY(cgroup::find_place(cgroups_path));
  CgroupStats stats;
  for (const cgroup::Hierarchy& hierarchy : *place.all) {
    if (hierarchy.unified && !place.is_unified()) continue;
    const FileDescriptor leaf = TRY(cgroup::open_leaf(hierarchy, place.path));
    const cgroup::Present present = cgroup::read_present(leaf);
    if (hierarchy.unified) cgroup::read_stats_v2(present, stats);
    for (const std::string& controller : hierarchy.controllers) cgroup::read_stats_v1(controller, present, stats);
  }
  return stats;
}

}  // namespace dray::runtime
