// SPDX-License-Identifier: Apache-2.0
// The writes of blkio (v1) and io (v2), and of rdma, which is alike in both.

#include "limits.hpp"

namespace dray::runtime::cgroup {
namespace {

std::string device(std::int64_t major, std::int64_t minor) {
  return std::to_string(major) + ":" + std::to_string(minor);
}

struct Throttle {
  const std::vector<BlockIo::Rate>& rates;
  const char *v1_file, *v2_key, *field;
};
std::vector<Throttle> throttles(const BlockIo& io) {
  return {
      {io.read_bps, "blkio.throttle.read_bps_device", "rbps", "blockIO.throttleReadBpsDevice"},
      {io.write_bps, "blkio.throttle.write_bps_device", "wbps", "blockIO.throttleWriteBpsDevice"},
      {io.read_iops, "blkio.throttle.read_iops_device", "riops", "blockIO.throttleReadIOPSDevice"},
      {io.write_iops, "blkio.throttle.write_iops_device", "wiops", "blockIO.throttleWriteIOPSDevice"},
  };
}

}  // namespace

void plan_block_io_v1(const Resources& r, const Present& present, Plan& plan) {
  const BlockIo& io = r.block_io;
  // CFQ's name (up to Linux 4.20) and BFQ's, which has the file while the scheduler is loaded.
  const bool weighted = io.weight.value_or(0) != 0 || !io.weight_devices.empty();
  const std::string weight_file = weighted && present("blkio.weight") ? "blkio.weight" : "blkio.bfq.weight";
  if (io.weight.value_or(0) != 0) plan.push_back({weight_file, std::to_string(*io.weight), "blockIO.weight"});
  if (io.leaf_weight.value_or(0) != 0)
    plan.push_back({"blkio.leaf_weight", std::to_string(*io.leaf_weight), "blockIO.leafWeight"});
  for (const BlockIo::Weight& entry : io.weight_devices) {
    const std::string name = device(entry.major, entry.minor) + " ";
    if (entry.weight.value_or(0) != 0)
      plan.push_back({weight_file + "_device", name + std::to_string(*entry.weight), "blockIO.weightDevice"});
    if (entry.leaf_weight.value_or(0) != 0)
      plan.push_back({"blkio.leaf_weight_device", name + std::to_string(*entry.leaf_weight), "blockIO.weightDevice"});
  }
  for (const Throttle& throttle : throttles(io))
    for (const BlockIo::Rate& rate : throttle.rates)
      plan.push_back(
          {throttle.v1_file, device(rate.major, rate.minor) + " " + std::to_string(rate.rate), throttle.field});
}

Result<void> plan_block_io_v2(const Resources& r, const Present& present, Plan& plan) {
  const BlockIo& io = r.block_io;
  auto refuse_leaf = [](const std::optional<std::uint16_t>& weight) { return weight.value_or(0) != 0; };
  bool leaf = refuse_leaf(io.leaf_weight);
  for (const BlockIo::Weight& entry : io.weight_devices) leaf |= refuse_leaf(entry.leaf_weight);
  if (leaf) return fail(ErrorCode::unsupported, "blockIO.leafWeight cannot be set: cgroup v2 has nothing like it");

  // BFQ has v1's range; io.weight (the iocost controller) has its own.
  const bool weighted = io.weight.value_or(0) != 0 || !io.weight_devices.empty();
  const bool bfq = weighted && present("io.bfq.weight").has_value();
  auto text = [&](std::uint16_t weight) {
    return std::to_string(bfq ? std::uint64_t(weight) : io_weight_of_block_io_weight(weight));
  };
  const char* file = bfq ? "io.bfq.weight" : "io.weight";
  if (io.weight.value_or(0) != 0) plan.push_back({file, text(*io.weight), "blockIO.weight"});
  for (const BlockIo::Weight& entry : io.weight_devices)
    if (entry.weight.value_or(0) != 0)
      plan.push_back({file, device(entry.major, entry.minor) + " " + text(*entry.weight), "blockIO.weightDevice"});
  for (const Throttle& throttle : throttles(io))
    for (const BlockIo::Rate& rate : throttle.rates) {
      // v1's way to lift a limit; v2 has a word for it.
      const std::string value = rate.rate == 0 ? "max" : std::to_string(rate.rate);
      plan.push_back({"io.max", device(rate.major, rate.minor) + " " + throttle.v2_key + "=" + value, throttle.field});
    }
  return {};
}

void plan_rdma(const Resources& r, Plan& plan) {
  for (const auto& [name, limit] : r.rdma) {
    std::string value = name;
    if (limit.hca_handles) value += " hca_handle=" + std::to_string(*limit.hca_handles);
    if (limit.hca_objects) value += " hca_object=" + std::to_string(*limit.hca_objects);
    plan.push_back({"rdma.max", value, "rdma"});
  }
}

}  // namespace dray::runtime::cgroup
