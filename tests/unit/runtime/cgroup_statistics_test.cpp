// SPDX-License-Identifier: Apache-2.0
// Statistics from the texts of the kernel's files.

#include "catch.hpp"

#include <map>

#include "cgroup/statistics.hpp"

using namespace dray;
using namespace dray::runtime;
namespace cg = dray::runtime::cgroup;

namespace {

cg::Present files(std::map<std::string, std::string> texts) {
  return [texts = std::move(texts)](const char* name) -> std::optional<std::string> {
    auto found = texts.find(name);
    if (found == texts.end()) return std::nullopt;
    return found->second;
  };
}

}  // namespace

TEST_CASE("counts, lists, flat files") {
  REQUIRE(cg::parse_count("12\n") == 12);
  REQUIRE(cg::parse_count("max") == kNoLimit);
  REQUIRE(cg::parse_count("") == 0);
  REQUIRE(cg::parse_count("99999999999999999999") == 0);
  REQUIRE(cg::parse_counts("1 2\n3 x 4") == std::vector<std::uint64_t>{1, 2, 3, 4});
  REQUIRE(cg::parse_list("0-2,5\n") == std::vector<std::uint16_t>{0, 1, 2, 5});
  REQUIRE(cg::parse_list("").empty());
  REQUIRE(cg::parse_list("7-3,-,a-b,9-99999").empty());
  REQUIRE(cg::parse_list("65534-65535").size() == 2);
  auto flat = cg::parse_flat("cache 5\nrss  6\nodd\n 7\nneg -1\n");
  REQUIRE(flat == std::map<std::string, std::uint64_t>{{"cache", 5}, {"rss", 6}});
}

TEST_CASE("pressure") {
  auto p = cg::parse_pressure("some avg10=1.50 avg60=0.25 avg300=0.00 total=77\nfull avg10=x total=3\nodd\n\n");
  REQUIRE(p.some.avg10 == 1.5);
  REQUIRE(p.some.avg60 == 0.25);
  REQUIRE(p.some.total == 77);
  REQUIRE(p.full.avg10 == 0);
  REQUIRE(p.full.total == 3);
}

TEST_CASE("block I/O tables of v1 and v2") {
  auto table = cg::parse_block_io("8:0 Read 4096\n8:16 17\nTotal 4096\nx:y Read 1\n8:0 Read\n8:0 Write z\n");
  REQUIRE(table.size() == 2);
  REQUIRE(table[0].operation == "Read");
  REQUIRE(table[0].value == 4096);
  REQUIRE(table[1].minor == 16);
  REQUIRE(table[1].operation.empty());
  BlockIoStats io;
  cg::parse_io_stat("254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n\nbad rbytes=1\n", io);
  REQUIRE(io.service_bytes.size() == 2);
  REQUIRE(io.service_bytes[1].operation == "Write");
  REQUIRE(io.service_bytes[1].value == 2);
  REQUIRE(io.serviced.size() == 2);
  REQUIRE(io.serviced[0].major == 254);
  REQUIRE(io.serviced[0].value == 3);
}

TEST_CASE("RDMA, CPU modes, huge pages") {
  auto rdma = cg::parse_rdma("mlx4_0 hca_handle=2 hca_object=max\nodd\n");
  REQUIRE(rdma.size() == 1);
  REQUIRE(rdma[0].device == "mlx4_0");
  REQUIRE(rdma[0].hca_handles == 2);
  REQUIRE(rdma[0].hca_objects == kNoLimit);
  CpuStats cpu;
  cg::parse_usage_all("cpu user system\n0 11 22\n1 33 44\n", cpu);
  REQUIRE(cpu.percpu_user == std::vector<std::uint64_t>{11, 33});
  REQUIRE(cpu.percpu_kernel == std::vector<std::uint64_t>{22, 44});
  REQUIRE(cg::hugepage_size("hugepages-2048kB") == "2MB");
  REQUIRE(cg::hugepage_size("hugepages-1048576kB") == "1GB");
  REQUIRE(cg::hugepage_size("hugepages-64kB") == "64KB");
  for (const char* bad : {"", ".", "hugepages-kB", "hugepages-2048", "hugepages-xkB"})
    REQUIRE(cg::hugepage_size(bad).empty());
}

TEST_CASE("statistics of v1's controllers") {
  CgroupStats s;
  cg::read_stats_v1("memory",
                    files({{"memory.stat", "cache 5\nrss 6"},
                           {"memory.usage_in_bytes", "100"},
                           {"memory.max_usage_in_bytes", "200"},
                           {"memory.failcnt", "3"},
                           {"memory.limit_in_bytes", "9223372036854771712"},
                           {"memory.memsw.usage_in_bytes", "150"},
                           {"memory.kmem.usage_in_bytes", "7"}}),
                    s);
  REQUIRE(s.memory.cache == 5);
  REQUIRE(s.memory.raw.at("rss") == 6);
  REQUIRE(s.memory.memory.peak == 200);
  REQUIRE(s.memory.memory.limit == 9223372036854771712ull);
  REQUIRE(s.memory.swap.usage == 50);
  REQUIRE(s.memory.kernel.usage == 7);
  REQUIRE(!s.memory.pressure);
  cg::read_stats_v1("cpu", files({{"cpu.stat", "nr_periods 1\nnr_throttled 2\nthrottled_time 3\n"}}), s);
  cg::read_stats_v1(
      "cpuacct",
      files({{"cpuacct.usage", "9"}, {"cpuacct.stat", "user 2\nsystem 3"}, {"cpuacct.usage_percpu", "4 5 "}}), s);
  REQUIRE(s.cpu.throttled_time == 3);
  REQUIRE(s.cpu.total == 9);
  REQUIRE(s.cpu.user == 20'000'000);
  REQUIRE(s.cpu.percpu.size() == 2);
  cg::read_stats_v1("pids", files({{"pids.current", "4"}, {"pids.max", "max"}}), s);
  REQUIRE(s.pids.current == 4);
  REQUIRE(s.pids.limit == 0);
  // The scheduler's files are there but empty: the throttling layer's count.
  cg::read_stats_v1("blkio",
                    files({{"blkio.bfq.io_serviced_recursive", "Total 0"},
                           {"blkio.throttle.io_serviced_recursive", "8:0 Read 1\n8:0 Total 1\nTotal 1"}}),
                    s);
  REQUIRE(s.block_io.serviced.size() == 2);
  REQUIRE(s.block_io.serviced[1].operation == "Total");
}

TEST_CASE("statistics of v2") {
  CgroupStats s;
  cg::read_stats_v2(files({{"cpu.stat", "usage_usec 5\nuser_usec 2\nsystem_usec 3\nnr_periods 4\nthrottled_usec 6\n"},
                           {"cpu.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=8"},
                           {"memory.current", "100"},
                           {"memory.max", "max"},
                           {"memory.stat", "file 11\nanon 12\n"},
                           {"memory.events", "low 0\nhigh 0\nmax 13\noom 0\n"},
                           {"memory.swap.current", "20"},
                           {"memory.swap.max", "30"},
                           {"cgroup.procs", "1\n2\n"}}),
                    s);
  REQUIRE(s.cpu.total == 5000);
  REQUIRE(s.cpu.throttled_time == 6000);
  REQUIRE(s.cpu.pressure);
  REQUIRE(s.cpu.pressure->some.total == 8);
  REQUIRE(s.memory.cache == 11);
  REQUIRE(s.memory.memory.failures == 13);
  REQUIRE(s.memory.memory_and_swap.usage == 120);
  REQUIRE(s.memory.memory_and_swap.limit == kNoLimit);
  REQUIRE(s.pids.current == 2);
}
