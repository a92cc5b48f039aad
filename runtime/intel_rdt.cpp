// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include <dray/core/fd.hpp>
#include <dray/core/text.hpp>
#include <dray/runtime/intel_rdt.hpp>

#include "mountinfo.hpp"

namespace dray::runtime {
namespace {

std::vector<std::string> split_lines(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = std::min(text.find('\n', start), text.size());
    if (end > start) lines.emplace_back(trim(std::string_view(text).substr(start, end - start)));
    start = end + 1;
  }
  return lines;
}

bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

Result<std::uint64_t> read_number(const std::string& path) {
  const std::string content = TRY(read_file(path, 4096));
  const std::string_view text = trim(content);
  std::uint64_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  // "Unavailable", "Error" where the counter has no value at this moment: then there is none.
  if (error != std::errc() || end != text.data() + text.size())
    return fail(ErrorCode::unavailable,
                "unable to parse \"" + std::string(text) + "\" as a number from file \"" + path + "\"");
  return number;
}

// The mount is the nearest directory above that has "info".
std::string explanation(const std::string& group) {
  for (std::size_t end = group.size(); end != std::string::npos && end != 0; end = group.rfind('/', end - 1)) {
    const std::string place = group.substr(0, end);
    if (!exists(place + "/info")) continue;
    auto text = read_file(place + "/info/last_cmd_status", 4096);
    return text && !trim(*text).empty() ? ", last_cmd_status: " + std::string(trim(*text)) : "";
  }
  return "";
}

Error explain(const Error& error, const std::string& group) {
  const std::string more = explanation(group);
  return more.empty() ? error : Error(error.code(), error.message() + more);
}

// One write(2): the kernel takes each as a command of its own.
Result<void> write_command(const std::string& path, const std::string& text) {
  FileDescriptor file = TRY(open_file(path, O_WRONLY | O_CREAT | O_TRUNC, 0600));
  ssize_t count;
  do {
    count = ::write(file.get(), text.data(), text.size());
  } while (count < 0 && errno == EINTR);
  if (count < 0) return fail_errno("writing \"" + path + "\"");
  if (static_cast<std::size_t>(count) != text.size())
    return fail(ErrorCode::internal, "writing \"" + path + "\": the kernel took only a part");
  return {};
}

/// False: it was there.
Result<bool> make_group(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) == 0) return true;
  if (errno == EEXIST) return false;
  const Error error = Error::from_errno("making \"" + path + "\"");
  return Failure(explain(error, path));
}

Result<void> remove_group(const std::string& path) {
  if (path.empty() || ::rmdir(path.c_str()) == 0 || errno == ENOENT) return {};
  return fail_errno("removing the Intel RDT group \"" + path + "\"");
}

// "  L3:0=fff;1=fff" among the lines of a schemata file.
std::string find_schema(const std::vector<std::string>& lines, std::string_view resource) {
  for (const auto& line : lines) {
    if (line.find(resource) != std::string::npos) return line;
  }
  return "";
}

Result<void> read_counters(const std::string& group, RdtStats& stats) {
  const std::string directory = group + "/mon_data";
  DIR* listing = ::opendir(directory.c_str());
  if (listing == nullptr) return fail_errno("opening \"" + directory + "\"");
  std::vector<std::string> domains;
  while (const dirent* entry = ::readdir(listing)) {
    if (entry->d_name[0] != '.' && entry->d_type == DT_DIR) domains.emplace_back(entry->d_name);
  }
  ::closedir(listing);
  std::sort(domains.begin(), domains.end());
  for (const auto& domain : domains) {
    const std::string place = directory + "/" + domain;
    if (stats.features.counts_bandwidth()) {
      RdtStats::NodeBandwidth node;
      if (stats.features.total_bytes) node.total = TRY(read_number(place + "/mbm_total_bytes"));
      if (stats.features.local_bytes) node.local = TRY(read_number(place + "/mbm_local_bytes"));
      stats.node_bandwidth.push_back(node);
    }
    if (stats.features.occupancy) stats.node_occupancy.push_back(TRY(read_number(place + "/llc_occupancy")));
  }
  return {};
}

}  // namespace

std::string resctrl_mount_point(std::string_view mountinfo) {
  std::string found;
  for (const auto& entry : parse_mountinfo(mountinfo)) {
    if (entry.filesystem != "resctrl") continue;
    if (entry.mount_point == "/sys/fs/resctrl") return entry.mount_point;
    if (found.empty()) found = entry.mount_point;
  }
  return found;
}

Result<std::string> find_resctrl() {
  const std::string mounts = TRY(read_file("/proc/self/mountinfo", 16u << 20));
  std::string place = resctrl_mount_point(mounts);
  if (place.empty()) return fail(ErrorCode::unsupported, "Intel RDT is not enabled: no resctrl file system is mounted");
  return place;
}

RdtFeatures read_rdt_features(const std::string& resctrl) {
  RdtFeatures features;
  features.cache = exists(resctrl + "/info/L3");
  features.bandwidth = exists(resctrl + "/info/MB");
  auto monitoring = read_file(resctrl + "/info/L3_MON/mon_features", 64 * 1024);
  if (!monitoring) return features;
  for (const auto& line : split_lines(*monitoring)) {
    if (line == "mbm_total_bytes") features.total_bytes = true;
    if (line == "mbm_local_bytes") features.local_bytes = true;
    if (line == "llc_occupancy") features.occupancy = true;
  }
  return features;
}

std::vector<std::string> rdt_schemata(const IntelRdt& rdt) {
  std::vector<std::string> lines{rdt.l3_cache_schema, rdt.memory_bandwidth_schema};
  lines.insert(lines.end(), rdt.schemata.begin(), rdt.schemata.end());
  std::erase(lines, "");
  return lines;
}

Result<RdtGroup> create_rdt_group(const std::string& resctrl, const IntelRdt& rdt, const std::string& id) {
  RdtGroup group;
  group.path = rdt.clos_id == "/" ? resctrl : resctrl + "/" + (rdt.clos_id.empty() ? id : rdt.clos_id);
  if (!rdt.clos_id.empty() && rdt_schemata(rdt).empty() && !exists(group.path))
    return fail(ErrorCode::not_found,
                "clos dir not accessible (must be pre-created when schemata, l3CacheSchema and memBwSchema are "
                "empty): stat " +
                    group.path + ": no such file or directory");
  const bool made = TRY(make_group(group.path));
  // One with a name that somebody chose is others' as well, now or later.
  group.own = made && rdt.clos_id.empty();
  if (!rdt.enable_monitoring) return group;
  const std::string monitoring = group.path + "/mon_groups/" + id;
  auto made_monitoring = make_group(monitoring);
  if (!made_monitoring) {
    Error error = std::move(made_monitoring).error();
    if (auto removed = destroy_rdt_group(group); !removed)
      error = std::move(error).with_cleanup_failure(removed.error());
    return Failure(std::move(error));
  }
  group.monitoring = monitoring;
  return group;
}

Result<void> enter_rdt_group(const RdtGroup& group, pid_t pid) {
  // A monitoring group takes only what is in the group above it.
  for (const std::string& path : {group.path, group.monitoring}) {
    if (path.empty()) continue;
    auto written = write_command(path + "/tasks", std::to_string(pid));
    if (!written)
      return Failure(
          explain(written.error(), group.path).with_context("intelrdt: unable to add pid " + std::to_string(pid)));
  }
  return {};
}

Result<void> set_rdt_schemata(const RdtGroup& group, const std::vector<std::string>& lines) {
  if (lines.empty()) return {};
  std::string text;
  for (const auto& line : lines) text += line + "\n";
  auto written = write_command(group.path + "/schemata", text);
  if (written) return {};
  return Failure(explain(written.error(), group.path).with_context("intelrdt: unable to write schemata"));
}

Result<void> destroy_rdt_group(const RdtGroup& group) {
  if (group.own) return remove_group(group.path);  // with the monitoring group in it
  return remove_group(group.monitoring);
}

Result<RdtStats> read_rdt_stats(const std::string& resctrl, const RdtGroup& group) {
  RdtStats stats;
  stats.features = read_rdt_features(resctrl);
  const auto whole = split_lines(TRY(read_file(resctrl + "/schemata", 64 * 1024)));
  stats.schemata = split_lines(TRY(read_file(group.path + "/schemata", 64 * 1024)));
  if (stats.features.cache) {
    const std::string info = resctrl + "/info/L3/";
    const std::string mask = TRY(read_file(info + "cbm_mask", 4096));
    stats.cache.mask = trim(mask);
    stats.cache.min_bits = TRY(read_number(info + "min_cbm_bits"));
    stats.cache.groups = TRY(read_number(info + "num_closids"));
    stats.cache_root = find_schema(whole, "L3");
    stats.cache_group = find_schema(stats.schemata, "L3");
  }
  if (stats.features.bandwidth) {
    const std::string info = resctrl + "/info/MB/";
    stats.bandwidth.granularity = TRY(read_number(info + "bandwidth_gran"));
    stats.bandwidth.linear = TRY(read_number(info + "delay_linear"));
    stats.bandwidth.min = TRY(read_number(info + "min_bandwidth"));
    stats.bandwidth.groups = TRY(read_number(info + "num_closids"));
    stats.bandwidth_root = find_schema(whole, "MB");
    stats.bandwidth_group = find_schema(stats.schemata, "MB");
  }
  if (stats.features.counts_bandwidth() || stats.features.occupancy)
    TRY(read_counters(group.monitoring.empty() ? group.path : group.monitoring, stats));
  return stats;
}

}  // namespace dray::runtime
