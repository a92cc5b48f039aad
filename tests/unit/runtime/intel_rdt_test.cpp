// SPDX-License-Identifier: Apache-2.0
// On a directory that looks like a resctrl file system.
#include "catch.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <dray/core/fd.hpp>
#include <dray/runtime/intel_rdt.hpp>

using namespace dray;
using namespace dray::runtime;

namespace {

struct FakeResctrl {
  TempDir directory = TempDir::create("/tmp", "dray-resctrl-").value();
  std::string root = directory.path();

  FakeResctrl() {
    put("info/L3/cbm_mask", "fff\n");
    put("info/L3/min_cbm_bits", "2\n");
    put("info/L3/num_closids", "16\n");
    put("info/MB/bandwidth_gran", "10\n");
    put("info/MB/delay_linear", "1\n");
    put("info/MB/min_bandwidth", "10\n");
    put("info/MB/num_closids", "8\n");
    put("info/L3_MON/mon_features", "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\nsomething_new\n");
    put("info/last_cmd_status", "ok\n");
    put("schemata", "    MB:0=100;1=100\n    L3:0=fff;1=fff\n");
    put("tasks", "");
  }
  void put(const std::string& name, const std::string& text) const {
    const std::string path = root + "/" + name;
    REQUIRE_OK(make_directories(path.substr(0, path.rfind('/'))));
    REQUIRE_OK(write_file_atomically(path, text, 0644, Durability::none));
  }
  std::string get(const std::string& name) const { return read_file(root + "/" + name).value_or("(none)"); }
  bool has(const std::string& name) const { return ::access((root + "/" + name).c_str(), F_OK) == 0; }
  // The kernel's files go with a group's directory; ours do not.
  void forget_files(const std::string& group) const {
    for (const char* name : {"/tasks", "/schemata"}) ::unlink((root + "/" + group + name).c_str());
  }
};

}  // namespace

TEST_CASE("where resctrl is mounted", "[runtime]") {
  const std::string proc = "22 28 0:21 / /proc rw - proc proc rw\n";
  CHECK(resctrl_mount_point(proc).empty());
  CHECK(resctrl_mount_point(proc + "40 28 0:40 / /mnt/r\\040d rw - resctrl resctrl rw\n") == "/mnt/r d");
  CHECK(resctrl_mount_point("40 28 0:40 / /mnt/rdt rw - resctrl resctrl rw\n"
                            "41 28 0:40 / /sys/fs/resctrl rw - resctrl resctrl rw\n") == "/sys/fs/resctrl");
}

TEST_CASE("a container's own resctrl group", "[runtime]") {
  FakeResctrl fake;
  IntelRdt rdt;
  rdt.memory_bandwidth_schema = "MB:0=20;1=70";
  rdt.l3_cache_schema = "L3:0=7f0;1=1f";
  rdt.schemata = {"L2:0=3", ""};
  CHECK(rdt_schemata(rdt) == std::vector<std::string>{"L3:0=7f0;1=1f", "MB:0=20;1=70", "L2:0=3"});
  auto group = create_rdt_group(fake.root, rdt, "box");
  REQUIRE_OK(group);
  CHECK(group->path == fake.root + "/box");
  CHECK(group->monitoring.empty());
  CHECK(group->own);
  REQUIRE_OK(set_rdt_schemata(*group, rdt_schemata(rdt)));
  CHECK(fake.get("box/schemata") == "L3:0=7f0;1=1f\nMB:0=20;1=70\nL2:0=3\n");
  REQUIRE_OK(enter_rdt_group(*group, 4711));
  CHECK(fake.get("box/tasks") == "4711");
  fake.forget_files("box");
  REQUIRE_OK(destroy_rdt_group(*group));
  CHECK_FALSE(fake.has("box"));
  REQUIRE_OK(destroy_rdt_group(*group));
}

TEST_CASE("a resctrl group of others", "[runtime]") {
  FakeResctrl fake;
  IntelRdt rdt;
  rdt.clos_id = "guaranteed";
  SECTION("must be there when there is nothing to set") {
    auto group = create_rdt_group(fake.root, rdt, "box");
    REQUIRE_FALSE(group);
    CHECK(group.error().message().starts_with("clos dir not accessible (must be pre-created when "));
    CHECK_FALSE(fake.has("guaranteed"));
  }
  SECTION("is made with its schemata, and stays") {
    rdt.schemata = {"L3:0=f"};
    auto group = create_rdt_group(fake.root, rdt, "box");
    REQUIRE_OK(group);
    CHECK_FALSE(group->own);
    REQUIRE_OK(destroy_rdt_group(*group));
    CHECK(fake.has("guaranteed"));
  }
  SECTION("has a monitoring group for this container alone") {
    rdt.enable_monitoring = true;
    REQUIRE_OK(make_directories(fake.root + "/guaranteed/mon_groups"));
    auto group = create_rdt_group(fake.root, rdt, "box");
    REQUIRE_OK(group);
    REQUIRE_OK(enter_rdt_group(*group, 12));
    CHECK(fake.get("guaranteed/tasks") == "12");
    CHECK(fake.get("guaranteed/mon_groups/box/tasks") == "12");
    fake.forget_files("guaranteed/mon_groups/box");
    REQUIRE_OK(destroy_rdt_group(*group));
    CHECK_FALSE(fake.has("guaranteed/mon_groups/box"));
    CHECK(fake.has("guaranteed"));
  }
  SECTION("may be the root's") {
    rdt.clos_id = "/";
    auto group = create_rdt_group(fake.root, rdt, "box");
    REQUIRE_OK(group);
    CHECK(group->path == fake.root);
    CHECK_FALSE(group->own);
  }
}

TEST_CASE("a failure with resctrl has the kernel's explanation", "[runtime]") {
  FakeResctrl fake;
  IntelRdt rdt;
  rdt.enable_monitoring = true;  // the fake makes no mon_groups
  fake.put("info/last_cmd_status", "out of RMIDs\n");
  auto group = create_rdt_group(fake.root, rdt, "box");
  REQUIRE_FALSE(group);
  CHECK(group.error().message().ends_with(", last_cmd_status: out of RMIDs"));
  CHECK_FALSE(fake.has("box"));
  RdtGroup gone{fake.root + "/gone", "", true};
  CHECK(enter_rdt_group(gone, 5).error().message().starts_with("intelrdt: unable to add pid 5: "));
}

TEST_CASE("statistics of a resctrl group", "[runtime]") {
  FakeResctrl fake;
  RdtGroup group{fake.root + "/box", fake.root + "/box/mon_groups/box", true};
  fake.put("box/schemata", "    MB:0= 20;1= 70\n    L3:0=7f0;1=01f\n");
  for (const std::string place : {"box", "box/mon_groups/box"}) {
    const bool whole = place == "box";
    fake.put(place + "/mon_data/mon_L3_00/llc_occupancy", whole ? "9\n" : "123456\n");
    fake.put(place + "/mon_data/mon_L3_00/mbm_total_bytes", "9223372036854775808\n");
    fake.put(place + "/mon_data/mon_L3_00/mbm_local_bytes", "7\n");
    fake.put(place + "/mon_data/mon_L3_01/llc_occupancy", "1\n");
    fake.put(place + "/mon_data/mon_L3_01/mbm_total_bytes", "2\n");
    fake.put(place + "/mon_data/mon_L3_01/mbm_local_bytes", "3\n");
  }
  SECTION("of its monitoring group") {
    auto stats = read_rdt_stats(fake.root, group);
    REQUIRE_OK(stats);
    CHECK(stats->cache.mask == "fff");
    CHECK(stats->cache.min_bits == 2);
    CHECK(stats->cache.groups == 16);
    CHECK(stats->bandwidth.granularity == 10);
    CHECK(stats->bandwidth.groups == 8);
    CHECK(stats->cache_root == "L3:0=fff;1=fff");
    CHECK(stats->cache_group == "L3:0=7f0;1=01f");
    CHECK(stats->bandwidth_group == "MB:0= 20;1= 70");
    CHECK(stats->schemata == std::vector<std::string>{"MB:0= 20;1= 70", "L3:0=7f0;1=01f"});
    REQUIRE(stats->node_bandwidth.size() == 2);
    CHECK(stats->node_bandwidth[0].total == 9223372036854775808u);
    CHECK(stats->node_bandwidth[1].local == 3);
    CHECK(stats->node_occupancy == std::vector<std::uint64_t>{123456, 1});
  }
  SECTION("of the group, where it has none") {
    group.monitoring.clear();
    CHECK(read_rdt_stats(fake.root, group).value().node_occupancy.front() == 9);
  }
  SECTION("a counter without a value") {
    fake.put("box/mon_groups/box/mon_data/mon_L3_01/llc_occupancy", "Unavailable\n");
    auto stats = read_rdt_stats(fake.root, group);
    REQUIRE_FALSE(stats);
    CHECK(stats.error().code() == ErrorCode::unavailable);
  }
  SECTION("of a processor that counts nothing") {
    REQUIRE(::unlink((fake.root + "/info/L3_MON/mon_features").c_str()) == 0);
    auto stats = read_rdt_stats(fake.root, group);
    REQUIRE_OK(stats);
    CHECK(stats->node_bandwidth.empty());
    CHECK(stats->node_occupancy.empty());
  }
}
