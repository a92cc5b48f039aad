// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <dray/core/result.hpp>
#include <dray/runtime/cgroup_stats.hpp>

#include "limits.hpp"

// Reading what the kernel counts. A file that is missing (no such controller, kernel too old or too new) leaves its
// values at zero; a line of an unknown form is passed over, since kernels add some.

namespace dray::runtime::cgroup {

/// "123", "max" = kNoLimit; anything else 0.
std::uint64_t parse_count(std::string_view text);
/// Lines "key value".
std::map<std::string, std::uint64_t> parse_flat(std::string_view text);
/// "1 2 3", in any whitespace.
std::vector<std::uint64_t> parse_counts(std::string_view text);
/// "0-2,5"
std::vector<std::uint16_t> parse_list(std::string_view text);
/// "some avg10=0.00 avg60=0.00 avg300=0.00 total=0", "full …"
Pressure parse_pressure(std::string_view text);
/// v1: "8:0 Read 4096", "8:0 17"; the line "Total 4096" has no device and is left out.
std::vector<BlockIoCount> parse_block_io(std::string_view text);
/// v2: "8:0 rbytes=1 wbytes=2 rios=3 wios=4", into service_bytes and serviced.
void parse_io_stat(std::string_view text, BlockIoStats& stats);
/// "mlx4_0 hca_handle=2 hca_object=max"
std::vector<RdmaCount> parse_rdma(std::string_view text);
/// v1's cpuacct.usage_all: "cpu user system", then a line a CPU.
void parse_usage_all(std::string_view text, CpuStats& stats);
/// "hugepages-2048kB" -> "2MB", as in the names of the controller's files; "" = no such name.
std::string hugepage_size(std::string_view directory_name);

/// Of one v1 controller.
void read_stats_v1(std::string_view controller, const Present& present, CgroupStats& stats);
void read_stats_v2(const Present& present, CgroupStats& stats);

}  // namespace dray::runtime::cgroup
