// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

// What a cgroup's controllers count: the values of `runc events --stats`, and of `docker stats`.

namespace dray::runtime {

/// A "no limit" in the kernel's files ("max").
constexpr std::uint64_t kNoLimit = UINT64_MAX;

/// Pressure stall information: percentages of the last 10, 60, 300 seconds, total in microseconds.
struct PressureLine {
  double avg10 = 0, avg60 = 0, avg300 = 0;
  std::uint64_t total = 0;
};
struct Pressure {
  PressureLine some, full;
};

/// Times in nanoseconds.
struct CpuStats {
  std::uint64_t total = 0, user = 0, kernel = 0;
  std::vector<std::uint64_t> percpu, percpu_user, percpu_kernel;  ///< v1 only
  std::uint64_t periods = 0, throttled_periods = 0, throttled_time = 0;
  std::uint64_t burst_periods = 0, burst_time = 0;
  std::optional<Pressure> pressure;
};

/// v1 only, but for the lists.
struct CpusetStats {
  std::vector<std::uint16_t> cpus, mems;
  std::uint64_t cpu_exclusive = 0, mem_hardwall = 0, mem_exclusive = 0, memory_migrate = 0, memory_spread_page = 0,
                memory_spread_slab = 0, memory_pressure = 0, sched_load_balance = 0;
  std::int64_t sched_relax_domain_level = 0;
};

/// Bytes. `limit` is what the kernel's file says, kNoLimit for "max".
struct MemoryCount {
  std::uint64_t usage = 0, peak = 0, failures = 0, limit = 0;
};
struct MemoryStats {
  std::uint64_t cache = 0;
  MemoryCount memory, memory_and_swap, swap, kernel, kernel_tcp;
  std::map<std::string, std::uint64_t> raw;  ///< memory.stat
  std::optional<Pressure> pressure;
};

struct PidsStats {
  std::uint64_t current = 0, limit = 0;  ///< limit 0 = none
};

struct BlockIoCount {
  std::uint64_t major = 0, minor = 0;
  std::string operation;  ///< "Read", "Write", "Sync", "Async", "Discard", "Total" or ""
  std::uint64_t value = 0;
};
struct BlockIoStats {
  std::vector<BlockIoCount> service_bytes, serviced, queued, service_time, wait_time, merged, time, sectors;
  std::optional<Pressure> pressure;
};

struct HugepageStats {
  std::uint64_t usage = 0, peak = 0, failures = 0;
};

struct RdmaCount {
  std::string device;
  std::uint64_t hca_handles = 0, hca_objects = 0;  ///< kNoLimit for "max"
};

struct CgroupStats {
  CpuStats cpu;
  CpusetStats cpuset;
  MemoryStats memory;
  PidsStats pids;
  BlockIoStats block_io;
  std::map<std::string, HugepageStats> hugepages;  ///< by page size: "2MB"
  std::vector<RdmaCount> rdma_limit, rdma_current;
};

}  // namespace dray::runtime
