// SPDX-License-Identifier: Apache-2.0
// Resources as systemd's unit properties (systemd.resource-control(5)), and systemd's names for cgroups.

#include <algorithm>
#include <charconv>
#include <map>

#include <dray/core/text.hpp>

#include "hierarchy.hpp"
#include "statistics.hpp"
#include "systemd.hpp"

namespace dray::runtime {

Result<SystemdUnit> parse_systemd_path(const std::string& text) {
  const std::size_t first = text.find(':'), second = first == std::string::npos ? first : text.find(':', first + 1);
  if (second == std::string::npos || text.find(':', second + 1) != std::string::npos)
    return fail(
        ErrorCode::invalid_argument,
        "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got \"" + text + "\" instead");
  SystemdUnit unit;
  unit.slice = text.substr(0, first);
  const std::string prefix = text.substr(first + 1, second - first - 1), name = text.substr(second + 1);
  if (unit.slice.empty()) unit.slice = "system.slice";
  unit.name = name.ends_with(".slice") ? name : prefix + "-" + name + ".scope";
  if (name.empty() || unit.name.size() > 255 || unit.name.find('/') != std::string::npos ||
      unit.name.find('\n') != std::string::npos)
    return fail(ErrorCode::invalid_argument, "invalid name of a systemd unit \"" + unit.name + "\"");
  TRY(systemd_cgroups_path(unit));  // checks the slice
  return unit;
}

Result<std::string> systemd_cgroups_path(const SystemdUnit& unit) {
  constexpr std::string_view suffix = ".slice";
  auto invalid = [&] { return fail(ErrorCode::invalid_argument, "invalid slice name: " + unit.slice); };
  if (!unit.slice.ends_with(suffix) || unit.slice.size() == suffix.size() || unit.slice.find('/') != std::string::npos)
    return invalid();
  std::string_view rest(unit.slice);
  rest.remove_suffix(suffix.size());
  // "a-b.slice" lies in "a.slice".
  std::string path, prefix;
  if (!unit.manager_cgroup.empty()) path = TRY(cgroup::clean_path(unit.manager_cgroup)) + "/";
  if (rest == "-") return path + unit.name;
  for (bool last = false; !last;) {
    const std::size_t dash = rest.find('-');
    last = dash == std::string_view::npos;
    const std::string_view component = rest.substr(0, dash);
    if (component.empty()) return invalid();
    prefix += component;
    path += prefix + std::string(suffix) + "/";
    prefix += '-';
    if (!last) rest.remove_prefix(dash + 1);
  }
  return path + unit.name;
}

namespace systemd {
namespace {

constexpr std::uint64_t kInfinity = UINT64_MAX;
constexpr int kQuotaPeriodVersion = 242, kAllowedCpusVersion = 244, kIdleVersion = 252;
constexpr std::uint64_t kDefaultPeriod = 100'000;
__extension__ using Wide = unsigned __int128;

/// -1 = infinity.
std::uint64_t size_value(std::int64_t size) { return size < 0 ? kInfinity : static_cast<std::uint64_t>(size); }
std::uint64_t tasks_value(std::int64_t limit) {
  return limit < 0 ? kInfinity : std::max<std::uint64_t>(1, static_cast<std::uint64_t>(limit));
}

class Builder {
 public:
  Builder(bool unified, int version) : unified_(unified), version_(version) {}

  Result<void> add_resources(const Resources& r);
  Properties take() { return std::move(out_); }

 private:
  void add(const char* name, dbus::Value value) { out_.list.push_back({name, std::move(value)}); }
  void add_quota(std::int64_t quota, std::uint64_t period);
  Result<void> add_cpuset(const char* name, const std::string& list);
  Result<void> add_v2(const Resources& r);
  Result<void> add_unified(const std::map<std::string, std::string>& files);
  Result<void> add_unified_cpu_max(const std::string& value);
  bool knows_idle() const { return version_ >= kIdleVersion; }

  bool unified_;
  int version_;
  Properties out_;
};

void Builder::add_quota(std::int64_t quota, std::uint64_t period) {
  if (quota == 0 && period == 0) return;
  if (period != 0 && version_ >= kQuotaPeriodVersion) add("CPUQuotaPeriodUSec", period);
  std::uint64_t per_second = kInfinity;
  if (quota > 0) {
    const std::uint64_t base = period == 0 ? kDefaultPeriod : period;
    per_second = static_cast<std::uint64_t>(static_cast<Wide>(quota) * 1'000'000 / base);
    // systemd counts in whole percents; rounded up, so that the cgroup may have what it asked for.
    per_second = (per_second + 9'999) / 10'000 * 10'000;
  }
  add("CPUQuotaPerSecUSec", per_second);
}

Result<void> Builder::add_cpuset(const char* name, const std::string& list) {
  if (list.empty() || version_ < kAllowedCpusVersion) return {};
  add(name, TRY(cpu_mask(list)));
  return {};
}

Result<void> Builder::add_v2(const Resources& r) {
  if (r.memory_limit.value_or(0) != 0) add("MemoryMax", size_value(*r.memory_limit));
  if (r.memory_reservation.value_or(0) != 0) add("MemoryLow", size_value(*r.memory_reservation));
  const cgroup::MemoryLimits limits = TRY(cgroup::memory_limits(r, "max"));
  if (!limits.swap_only.empty()) add("MemorySwapMax", cgroup::parse_count(limits.swap_only));
  const bool idle = r.cpu_idle == 1 && knows_idle();
  if (idle) add("CPUWeight", std::uint64_t(0));  // systemd's word for cpu.idle
  if (r.cpu_shares.value_or(0) != 0) {
    if (idle)
      out_.warnings.emplace_back("unable to apply both CPUWeight and CpuIdle to systemd, ignoring CPUWeight");
    else
      add("CPUWeight", cgroup::weight_of_shares(*r.cpu_shares));
  }
  return {};
}

Result<void> Builder::add_unified_cpu_max(const std::string& value) {
  const std::size_t space = value.find(' ');
  const std::string first = value.substr(0, space);
  std::uint64_t period = kDefaultPeriod;
  if (space != std::string::npos) period = cgroup::parse_count(value.substr(space + 1));
  const std::uint64_t quota = cgroup::parse_count(first);
  if (period == 0 || quota == 0)
    return fail(ErrorCode::invalid_argument, "unified resource \"cpu.max\" value invalid: \"" + value + "\"");
  add_quota(quota == kNoLimit ? -1 : static_cast<std::int64_t>(quota), period);
  return {};
}

/// What systemd has no property for stays for the cgroup's own files.
Result<void> Builder::add_unified(const std::map<std::string, std::string>& files) {
  static const std::map<std::string, const char*> sizes = {{"memory.high", "MemoryHigh"},
                                                           {"memory.low", "MemoryLow"},
                                                           {"memory.min", "MemoryMin"},
                                                           {"memory.max", "MemoryMax"},
                                                           {"memory.swap.max", "MemorySwapMax"}};
  const auto idle_file = files.find("cpu.idle");
  const bool idle = idle_file != files.end() && trim(idle_file->second) == "1" && knows_idle();
  if (idle) add("CPUWeight", std::uint64_t(0));
  for (const auto& [file, text] : files) {
    const std::string value(trim(text));
    if (file == "cpu.max") TRY(add_unified_cpu_max(value));
    if (file == "cpuset.cpus") TRY(add_cpuset("AllowedCPUs", value));
    if (file == "cpuset.mems") TRY(add_cpuset("AllowedMemoryNodes", value));
    if (file == "pids.max") add("TasksMax", std::max<std::uint64_t>(1, cgroup::parse_count(value)));
    if (auto size = sizes.find(file); size != sizes.end()) add(size->second, cgroup::parse_count(value));
    if (file != "cpu.weight") continue;
    if (idle)
      out_.warnings.emplace_back("unable to apply both cpu.weight and cpu.idle to systemd, ignoring cpu.weight");
    else
      add("CPUWeight", cgroup::parse_count(value));
  }
  return {};
}

Result<void> Builder::add_resources(const Resources& r) {
  if (!unified_ && !r.unified.empty())
    return fail(ErrorCode::invalid_argument, "invalid configuration: cannot use unified on cgroup v1");
  if (unified_) {
    TRY(add_v2(r));
  } else {
    if (r.memory_limit.value_or(0) != 0) add("MemoryLimit", size_value(*r.memory_limit));
    if (r.cpu_shares.value_or(0) != 0) add("CPUShares", *r.cpu_shares);
    if (r.block_io.weight.value_or(0) != 0) add("BlockIOWeight", std::uint64_t(*r.block_io.weight));
  }
  add_quota(r.cpu_quota.value_or(0), r.cpu_period.value_or(0));
  if (r.pids_limit) add("TasksMax", tasks_value(*r.pids_limit));
  TRY(add_cpuset("AllowedCPUs", r.cpuset_cpus));
  TRY(add_cpuset("AllowedMemoryNodes", r.cpuset_mems));
  return add_unified(r.unified);
}

}  // namespace

Result<std::vector<std::uint8_t>> cpu_mask(const std::string& list) {
  const std::vector<std::uint16_t> numbers = cgroup::parse_list(list.size() > 4096 ? "" : list);
  if (numbers.empty() || list.find_first_not_of("0123456789,-\n") != std::string::npos)
    return fail(ErrorCode::invalid_argument, "invalid list of CPUs or memory nodes \"" + list + "\"");
  std::vector<std::uint8_t> mask(std::ranges::max(numbers) / 8u + 1);
  for (std::uint16_t number : numbers) mask[number / 8] |= static_cast<std::uint8_t>(1u << (number % 8));
  return mask;
}

int parse_version(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of("\"v"), text.size()));
  int version = -1;
  std::from_chars(text.data(), text.data() + text.size(), version);
  return version;
}

Result<Properties> resource_properties(const Resources& resources, bool unified, int version) {
  Builder builder(unified, version);
  TRY(builder.add_resources(resources));
  Properties properties = builder.take();
  for (dbus::Property& property : TRY(device_properties(resources.devices)))
    properties.list.push_back(std::move(property));
  return properties;
}

Result<std::vector<dbus::Property>> device_properties(const std::vector<DeviceRule>& rules) {
  std::vector<dbus::Property> out;
  if (rules.empty()) return out;
  const cgroup::DevicePolicy policy = TRY(cgroup::device_policy(rules));
  using List = std::vector<std::pair<std::string, std::string>>;
  out.push_back({"DeviceAllow", List()});  // an empty list clears what the unit has; the next one adds
  const bool everything = policy.allow_by_default && policy.exceptions.empty();
  out.push_back({"DevicePolicy", std::string(everything ? "auto" : "strict")});
  // systemd knows no lists of what is refused: nothing is allowed until the cgroup's own files say more.
  if (policy.allow_by_default) return out;
  List list;
  for (const cgroup::DeviceException& exception : policy.exceptions) {
    const std::string kind = exception.type == 'b' ? "block" : "char";
    if (exception.major < 0 && exception.minor >= 0) continue;  // "*:n" cannot be said
    std::string path = kind + "-*";
    if (exception.minor >= 0)
      path = "/dev/" + kind + "/" + std::to_string(exception.major) + ":" + std::to_string(exception.minor);
    else if (exception.major >= 0)
      path = kind + "-" + std::to_string(exception.major);
    list.emplace_back(std::move(path), cgroup::access_text(exception.access));
  }
  if (!list.empty()) out.push_back({"DeviceAllow", std::move(list)});
  return out;
}

}  // namespace systemd
}  // namespace dray::runtime
