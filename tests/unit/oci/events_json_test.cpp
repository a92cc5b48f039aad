// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"

#include "events_json.hpp"
#include "state.hpp"

using namespace dray;
using namespace dray::oci;

namespace {
bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
}  // namespace

TEST_CASE("statistics of Intel RDT are shown as runc shows them", "[oci]") {
  CHECK(contains(describe_stats("box", {}, std::nullopt), "\"intel_rdt\":{},\"network_interfaces\":null}}\n"));
  runtime::RdtStats rdt;
  rdt.schemata = {"MB:0=20", "L3:0=f"};
  CHECK(contains(describe_stats("box", {}, rdt), "\"intel_rdt\":{\"schemata\":[\"MB:0=20\",\"L3:0=f\"]}"));
  rdt.features = {true, true, true, true, true};
  rdt.cache = {"fff", 2, 16};
  rdt.cache_root = "L3:0=fff";
  rdt.cache_group = "L3:0=f";
  rdt.bandwidth = {10, 1, 10, 8};
  rdt.bandwidth_root = "MB:0=100";
  rdt.bandwidth_group = "MB:0=20";
  rdt.node_bandwidth = {{5, 0}};
  rdt.node_occupancy = {7};
  CHECK(contains(
      describe_stats("box", {}, rdt),
      "\"intel_rdt\":{\"l3_cache_info\":{\"cbm_mask\":\"fff\",\"min_cbm_bits\":2,\"num_closids\":16},"
      "\"l3_cache_schema_root\":\"L3:0=fff\",\"l3_cache_schema\":\"L3:0=f\","
      "\"mem_bw_info\":{\"bandwidth_gran\":10,\"delay_linear\":1,\"min_bandwidth\":10,\"num_closids\":8},"
      "\"mem_bw_schema_root\":\"MB:0=100\",\"mem_bw_schema\":\"MB:0=20\",\"schemata\":[\"MB:0=20\",\"L3:0=f\"],"
      "\"mbm_stats\":[{\"mbm_total_bytes\":5,\"mbm_local_bytes\":0}],\"cmt_stats\":[{\"llc_occupancy\":7}]}"));
}

TEST_CASE("the state remembers a resctrl group", "[oci]") {
  ContainerState state;
  state.id = "box";
  CHECK_FALSE(parse_state(serialize(state)).value().rdt_group);
  state.rdt_group = runtime::RdtGroup{"/sys/fs/resctrl/box", "/sys/fs/resctrl/box/mon_groups/box", true};
  auto read = parse_state(serialize(state));
  REQUIRE_OK(read);
  REQUIRE(read->rdt_group);
  CHECK(read->rdt_group->path == "/sys/fs/resctrl/box");
  CHECK(read->rdt_group->monitoring == "/sys/fs/resctrl/box/mon_groups/box");
  CHECK(read->rdt_group->own);
}
