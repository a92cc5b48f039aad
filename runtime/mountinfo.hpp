// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dray::runtime {

/// A line of /proc/PID/mountinfo (proc_pid_mountinfo(5)), as far as it is used.
struct MountEntry {
  std::string root;  ///< of the file system, what is mounted
  std::string mount_point, filesystem;
  std::string super_options;  ///< "rw,cpu,cpuacct"
};
/// Lines that make no sense are left out.
std::vector<MountEntry> parse_mountinfo(std::string_view text);

}  // namespace dray::runtime
