// SPDX-License-Identifier: Apache-2.0
// From resources to the kernel's files: values and their order, without a kernel.

#include "catch.hpp"

#include <map>

#include "cgroup/hierarchy.hpp"
#include "cgroup/limits.hpp"

using namespace dray;
using namespace dray::runtime;
using cgroup::Plan;

namespace {

using Files = std::map<std::string, std::string>;

cgroup::Present present(Files files) {
  return [files = std::move(files)](const char* name) -> std::optional<std::string> {
    auto found = files.find(name);
    if (found == files.end()) return std::nullopt;
    return found->second;
  };
}

/// "file=value" in order.
std::vector<std::string> texts(const Result<Plan>& plan) {
  REQUIRE_OK(plan);
  std::vector<std::string> out;
  for (const auto& write : *plan) out.push_back(write.file + "=" + write.value);
  return out;
}
using Texts = std::vector<std::string>;

std::string error_of(const Result<Plan>& plan) {
  REQUIRE(!plan);
  return plan.error().message();
}

}  // namespace

TEST_CASE("memory and swap: the runtime-spec's rules, without Docker's default") {
  Resources r;
  r.memory_limit = 64 << 20;
  auto alone = cgroup::memory_limits(r, "max");
  REQUIRE_OK(alone);
  REQUIRE(alone->limit == std::to_string(64 << 20));
  REQUIRE(alone->swap_total.empty());
  REQUIRE(alone->swap_only.empty());
  r.memory_swap = 128 << 20;
  REQUIRE(cgroup::memory_limits(r, "max")->swap_total == std::to_string(128 << 20));
  REQUIRE(cgroup::memory_limits(r, "max")->swap_only == std::to_string(64 << 20));
  r.memory_swap = 64 << 20;
  REQUIRE(cgroup::memory_limits(r, "max")->swap_only == "0");
  r.memory_swap = -1;
  REQUIRE(cgroup::memory_limits(r, "max")->swap_only == "max");
  r.memory_swap = 1 << 20;
  REQUIRE(!cgroup::memory_limits(r, "max"));
  r.memory_limit.reset();
  REQUIRE(!cgroup::memory_limits(r, "max"));
  REQUIRE(cgroup::memory_limits(r, "max", 1 << 19)->swap_only == std::to_string(1 << 19));
  r = {};
  r.memory_limit = -2;
  REQUIRE(!cgroup::memory_limits(r, "max"));
  r.memory_limit = -1;  // lifts swap too
  REQUIRE(cgroup::memory_limits(r, "-1")->swap_total == "-1");
}

TEST_CASE("v1: memory and memory + swap are written so that the first is never above the second") {
  Resources r;
  r.memory_limit = 30;
  r.memory_swap = 50;
  auto now = [](const char* limit) { return present({{"memory.limit_in_bytes", limit}}); };
  const Texts memory_first{"memory.limit_in_bytes=30", "memory.memsw.limit_in_bytes=50"};
  const Texts swap_first{"memory.memsw.limit_in_bytes=50", "memory.limit_in_bytes=30"};
  REQUIRE(texts(cgroup::plan_v1("memory", r, now("9223372036854771712"))) == memory_first);
  REQUIRE(texts(cgroup::plan_v1("memory", r, now("60"))) == memory_first);
  REQUIRE(texts(cgroup::plan_v1("memory", r, now("20"))) == swap_first);
  REQUIRE(texts(cgroup::plan_v1("memory", r, now("50"))) == swap_first);
  r.memory_limit = -1;
  r.memory_swap.reset();
  REQUIRE(texts(cgroup::plan_v1("memory", r, now("20"))) ==
          Texts{"memory.memsw.limit_in_bytes=-1", "memory.limit_in_bytes=-1"});
  r = {};
  r.memory_swap = 50;
  REQUIRE(texts(cgroup::plan_v1("memory", r, now("20"))) == Texts{"memory.memsw.limit_in_bytes=50"});
  REQUIRE(error_of(cgroup::plan_v1("memory", r, now("60"))).find("below the memory limit 60") != std::string::npos);
  REQUIRE(error_of(cgroup::plan_v1("memory", r, now("9223372036854771712"))).find("needs a memory limit") !=
          std::string::npos);
}

TEST_CASE("v1: the rest of memory") {
  Resources r;
  r.memory_reservation = 5;
  r.memory_kernel = 6;
  r.memory_kernel_tcp = -1;
  r.disable_oom_killer = true;
  r.memory_swappiness = 0;
  REQUIRE(texts(cgroup::plan_v1("memory", r, present({}))) ==
          Texts{"memory.soft_limit_in_bytes=5", "memory.kmem.limit_in_bytes=6", "memory.kmem.tcp.limit_in_bytes=-1",
                "memory.oom_control=1", "memory.swappiness=0"});
  r.memory_swappiness = 101;
  REQUIRE(error_of(cgroup::plan_v1("memory", r, present({}))).find("swappiness") != std::string::npos);
  REQUIRE(texts(cgroup::plan_v1("cpu", r, present({}))).empty());
}

TEST_CASE("v1: CPU") {
  using enum cgroup::Write::Kind;
  Resources r;
  r.cpu_period = 900000;
  auto plan = cgroup::plan_v1("cpu", r, present({}));
  REQUIRE(texts(plan) == Texts{"cpu.cfs_period_us=900000"});
  REQUIRE(plan->front().kind == needed);
  r.cpu_quota = 600000;
  r.cpu_burst = 7;
  r.cpu_shares = 200;
  r.cpu_realtime_period = 1;
  r.cpu_realtime_runtime = 2;
  plan = cgroup::plan_v1("cpu", r, present({}));
  REQUIRE(texts(plan) == Texts{"cpu.shares=200", "cpu.cfs_period_us=900000", "cpu.cfs_burst_us=7",
                               "cpu.cfs_quota_us=600000", "cpu.rt_period_us=1", "cpu.rt_runtime_us=2"});
  REQUIRE((*plan)[1].kind == may_wait);
  REQUIRE((*plan)[2].kind == may_wait);
  REQUIRE((*plan)[4].kind == may_wait);
  r = {};
  r.cpu_shares = 100;
  r.cpu_idle = 1;
  REQUIRE(texts(cgroup::plan_v1("cpu", r, present({}))) == Texts{"cpu.shares=100", "cpu.idle=1"});
  r.cpu_idle = 0;
  REQUIRE(texts(cgroup::plan_v1("cpu", r, present({}))) == Texts{"cpu.idle=0", "cpu.shares=100"});
  r.cpu_shares = 1;
  REQUIRE(error_of(cgroup::plan_v1("cpu", r, present({}))) == "the minimum allowed cpu-shares is 2");
  r.cpu_shares = 262145;
  REQUIRE(error_of(cgroup::plan_v1("cpu", r, present({}))) == "the maximum allowed cpu-shares is 262144");
}

TEST_CASE("v1: the small controllers") {
  Resources r;
  r.pids_limit = 0;
  REQUIRE(texts(cgroup::plan_v1("pids", r, present({}))) == Texts{"pids.max=1"});
  r.pids_limit = -1;
  REQUIRE(texts(cgroup::plan_v1("pids", r, present({}))) == Texts{"pids.max=max"});
  r.hugepage_limits = {{"2MB", 9}};
  r.network_class_id = 17;
  r.network_priorities = {{"eth0", 3}, {"lo", 4}};
  r.rdma["mlx"] = RdmaLimit{2, {}};
  REQUIRE(texts(cgroup::plan_v1("hugetlb", r, present({}))) ==
          Texts{"hugetlb.2MB.limit_in_bytes=9", "hugetlb.2MB.rsvd.limit_in_bytes=9"});
  REQUIRE(texts(cgroup::plan_v1("net_cls", r, present({}))) == Texts{"net_cls.classid=17"});
  REQUIRE(texts(cgroup::plan_v1("net_prio", r, present({}))) ==
          Texts{"net_prio.ifpriomap=eth0 3", "net_prio.ifpriomap=lo 4"});
  REQUIRE(texts(cgroup::plan_v1("rdma", r, present({}))) == Texts{"rdma.max=mlx hca_handle=2"});
}

TEST_CASE("block I/O in both versions") {
  Resources r;
  r.block_io.weight = 500;
  r.block_io.weight_devices = {{8, 0, 1000, {}}};
  r.block_io.read_bps = {{8, 0, 100}, {8, 0, 0}};
  r.block_io.write_iops = {{8, 16, 7}};
  REQUIRE(texts(cgroup::plan_v1("blkio", r, present({}))) ==
          Texts{"blkio.bfq.weight=500", "blkio.bfq.weight_device=8:0 1000", "blkio.throttle.read_bps_device=8:0 100",
                "blkio.throttle.read_bps_device=8:0 0", "blkio.throttle.write_iops_device=8:16 7"});
  REQUIRE(texts(cgroup::plan_v1("blkio", r, present({{"blkio.weight", "1"}})))[1] == "blkio.weight_device=8:0 1000");
  REQUIRE(texts(cgroup::plan_v2(r, present({}))) == Texts{"io.weight=4950", "io.weight=8:0 10000",
                                                          "io.max=8:0 rbps=100", "io.max=8:0 rbps=max",
                                                          "io.max=8:16 wiops=7"});
  REQUIRE(texts(cgroup::plan_v2(r, present({{"io.bfq.weight", "default 100"}})))[1] == "io.bfq.weight=8:0 1000");
  r.block_io.weight_devices[0].leaf_weight = 3;
  REQUIRE(error_of(cgroup::plan_v2(r, present({}))).find("leafWeight") != std::string::npos);
  REQUIRE(cgroup::io_weight_of_block_io_weight(10) == 1);
  REQUIRE(cgroup::io_weight_of_block_io_weight(1000) == 10000);
}

TEST_CASE("v2: what is not said stays") {
  Resources r;
  r.cpu_period = 900000;
  REQUIRE(texts(cgroup::plan_v2(r, present({{"cpu.max", "500000 1000000"}}))) == Texts{"cpu.max=500000 900000"});
  REQUIRE(texts(cgroup::plan_v2(r, present({{"cpu.max", "max 100000"}}))) == Texts{"cpu.max=max 900000"});
  r = {};
  r.cpu_quota = 600000;
  REQUIRE(texts(cgroup::plan_v2(r, present({{"cpu.max", "5 6"}}))) == Texts{"cpu.max=600000"});
  r.cpu_quota = -1;
  r.cpu_period = 100000;
  REQUIRE(texts(cgroup::plan_v2(r, present({}))) == Texts{"cpu.max=max 100000"});
  r = {};
  r.memory_swap = 100;
  REQUIRE(texts(cgroup::plan_v2(r, present({{"memory.max", "60"}}))) == Texts{"memory.swap.max=40"});
  REQUIRE(!cgroup::plan_v2(r, present({{"memory.max", "max"}})));
  r.memory_limit = 70;
  r.memory_reservation = -1;
  REQUIRE(texts(cgroup::plan_v2(r, present({}))) == Texts{"memory.swap.max=30", "memory.max=70", "memory.low=max"});
}

TEST_CASE("v2: limits below the usage are refused where that was asked for") {
  Resources r;
  r.memory_limit = 1024;
  auto usage = present({{"memory.current", "4096"}});
  REQUIRE_OK(cgroup::plan_v2(r, usage));
  r.memory_check_before_update = true;
  REQUIRE(error_of(cgroup::plan_v2(r, usage)) == "rejecting memory limit 1024 <= usage 4096");
  r.memory_swap = 2048;
  REQUIRE(error_of(cgroup::plan_v2(r, usage)) == "rejecting memory+swap limit 2048 <= usage 4096");
}

TEST_CASE("v2: unified files come last, line by line; names that are none are refused") {
  Resources r;
  r.cpu_shares = 1024;
  r.unified = {{"memory.high", "5"}, {"io.max", "8:0 rbps=1\n8:16 wbps=2\n"}};
  REQUIRE(texts(cgroup::plan_v2(r, present({}))) ==
          Texts{"cpu.weight=100", "io.max=8:0 rbps=1", "io.max=8:16 wbps=2", "memory.high=5"});
  for (const char* bad : {"../x.y", "plain", ".x", ""}) {
    r.unified = {{bad, "1"}};
    INFO(bad);
    REQUIRE(!cgroup::plan_v2(r, present({})));
  }
}

TEST_CASE("v2: what only v1 has is refused by name") {
  auto refused = [](auto set) {
    Resources r;
    set(r);
    return error_of(cgroup::plan_v2(r, present({})));
  };
  REQUIRE(refused([](Resources& r) { r.memory_swappiness = 1; }).starts_with("memory.swappiness"));
  REQUIRE(refused([](Resources& r) { r.disable_oom_killer = true; }).starts_with("memory.disableOOMKiller"));
  REQUIRE(refused([](Resources& r) { r.cpu_realtime_runtime = 1; }).starts_with("cpu.realtimeRuntime"));
  Resources r;
  r.disable_oom_killer = false;
  r.memory_kernel = 5;
  REQUIRE(texts(cgroup::plan_v2(r, present({}))).empty());
}

TEST_CASE("the controllers that limits need") {
  auto names = [](const Resources& r, bool unified) {
    Texts out;
    for (const auto& need : cgroup::needed_controllers(r, unified)) out.push_back(need.controller);
    return out;
  };
  Resources r;
  REQUIRE(names(r, false).empty());
  r.cpu_idle = 0;
  r.pids_limit = 0;
  r.block_io.weight = 10;
  r.network_class_id = 1;
  REQUIRE(names(r, false) == Texts{"cpu", "pids", "blkio", "net_cls"});
  REQUIRE(names(r, true) == Texts{"cpu", "pids", "io", "net_cls"});
  r = {};
  r.pids_limit = -1;  // no limit is no need
  REQUIRE(names(r, true).empty());
}

TEST_CASE("CPU shares become weights") {
  REQUIRE(cgroup::weight_of_shares(2) == 1);
  REQUIRE(cgroup::weight_of_shares(1024) == 100);
  REQUIRE(cgroup::weight_of_shares(262144) == 10000);
  REQUIRE(cgroup::weight_of_shares(1) == 1);
  REQUIRE(cgroup::weight_of_shares(UINT64_MAX) == 10000);
}

TEST_CASE("device rules change without a moment in which what stays is refused") {
  auto rule = [](bool allow, char type, std::int64_t major, std::int64_t minor, const char* access) {
    return DeviceRule{allow, type, major, minor, access};
  };
  auto policy = cgroup::device_policy({rule(false, 'a', -1, -1, "rwm"), rule(true, 'c', 1, 3, "rw"),
                                       rule(true, 'c', 1, 5, "rwm"), rule(true, 'b', -1, -1, "m")});
  REQUIRE_OK(policy);
  auto plan = [&](const char* list) { return texts(cgroup::plan_devices_v1(list, *policy)); };
  REQUIRE(plan("c 1:3 rwm\nc 1:9 rw\nb *:* m") ==
          Texts{"devices.allow=c 1:5 rwm", "devices.deny=c 1:3 m", "devices.deny=c 1:9 rw"});
  REQUIRE(plan("") == Texts{"devices.allow=c 1:3 rw", "devices.allow=c 1:5 rwm", "devices.allow=b *:* m"});
  REQUIRE(plan("a *:* rwm").front() == "devices.deny=a");
  auto open = cgroup::device_policy({rule(true, 'a', -1, -1, ""), rule(false, 'c', 1, 1, "r")});
  REQUIRE(texts(cgroup::plan_devices_v1("c 1:3 rwm", *open)) == Texts{"devices.allow=a", "devices.deny=c 1:1 r"});
  REQUIRE(plan("garbage\nc x\n:\n a\nc 1:3").front() == "devices.allow=c 1:3 rw");
}
