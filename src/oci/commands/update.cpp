// SPDX-License-Identifier: Apache-2.0
#include <charconv>

#include <fcntl.h>

#include <dray/runtime/spec_json.hpp>

#include "../command.hpp"
#include "../log.hpp"

namespace dray::oci {
namespace {

Error wrong_value(const char* flag, const std::string& text) {
  return Error(ErrorCode::invalid_argument, std::string("invalid value for ") + flag + ": \"" + text + "\"");
}

Result<std::int64_t> parse_number(const char* flag, const std::string& text) {
  std::int64_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return Failure(wrong_value(flag, text));
  return number;
}

// "50M", "1g", "-1" in bytes.
Result<std::int64_t> parse_size(const char* flag, const std::string& text) {
  std::string digits = text;
  int shift = 0;
  if (!digits.empty() && (digits.back() == 'b' || digits.back() == 'B')) digits.pop_back();
  if (!digits.empty()) {
    const char unit = static_cast<char>(digits.back() | 0x20);
    shift = unit == 'k' ? 10 : unit == 'm' ? 20 : unit == 'g' ? 30 : unit == 't' ? 40 : 0;
    if (shift != 0) digits.pop_back();
  }
  const std::int64_t number = TRY(parse_number(flag, digits));
  if (number > (INT64_MAX >> shift) || number < -1) return Failure(wrong_value(flag, text));
  return number < 0 ? number : number << shift;
}

/// One flag of a number, and where it goes.
class NumberFlags {
 public:
  explicit NumberFlags(Flags& flags) : flags_(flags) {}

  template <typename T>
  void add(const char* name, std::optional<T>& target, const char* help, bool is_size = false) {
    entries_.push_back({name, std::nullopt, is_size, [&target](std::int64_t value) {
                          if (value < 0 && !std::is_signed_v<T>) return false;
                          target = static_cast<T>(value);
                          return true;
                        }});
    pending_.push_back(help);
  }
  // Addresses are stable only now.
  void declare() {
    for (std::size_t i = 0; i < entries_.size(); ++i)
      flags_.option(entries_[i].name, entries_[i].text, pending_[i], "value");
  }
  Result<void> apply() {
    for (auto& entry : entries_) {
      if (!entry.text) continue;
      const std::int64_t value =
          TRY(entry.is_size ? parse_size(entry.name, *entry.text) : parse_number(entry.name, *entry.text));
      if (!entry.set(value)) return Failure(wrong_value(entry.name, *entry.text));
    }
    return {};
  }

 private:
  struct Entry {
    const char* name;
    std::optional<std::string> text;
    bool is_size;
    std::function<bool(std::int64_t)> set;
  };
  Flags& flags_;
  std::vector<Entry> entries_;
  std::vector<const char*> pending_;
};

Result<std::string> read_resources(const std::string& path) {
  if (path == "-") return read_all(FdRef(0), 16u << 20);
  FileDescriptor file = TRY(open_file(path, O_RDONLY));
  return read_all(file, 16u << 20);
}

Result<void> update_rdt(const ContainerState& state, const std::optional<std::string>& cache,
                        const std::optional<std::string>& bandwidth) {
  runtime::IntelRdt wanted;
  wanted.l3_cache_schema = cache.value_or("");
  wanted.memory_bandwidth_schema = bandwidth.value_or("");
  const auto lines = runtime::rdt_schemata(wanted);
  if (lines.empty()) return {};
  auto resctrl = runtime::find_resctrl();
  const runtime::RdtFeatures features = resctrl ? runtime::read_rdt_features(*resctrl) : runtime::RdtFeatures();
  if (!wanted.l3_cache_schema.empty() && !features.cache)
    return fail(ErrorCode::unsupported, "Intel RDT/CAT: l3 cache schema is not enabled");
  if (!wanted.memory_bandwidth_schema.empty() && !features.bandwidth)
    return fail(ErrorCode::unsupported, "Intel RDT/MBA: memory bandwidth schema is not enabled");
  if (!state.rdt_group)
    return fail(ErrorCode::invalid_argument, "updating a non-existent Intel RDT configuration is not supported");
  return runtime::set_rdt_schemata(*state.rdt_group, lines);
}

}  // namespace

Result<int> command_update(Invocation& invocation) {
  runtime::Resources wanted;
  std::string file;
  std::optional<std::uint16_t> weight;
  std::optional<std::string> kernel, kernel_tcp, cache, bandwidth;
  std::vector<std::string> operands;
  Flags flags =
      make_flags(invocation, "update", "[command options] <container-id>",
                 "update container resource constraints\n\nWith --resources all other options are ignored; the "
                 "file holds what \"linux.resources\"\nof a config.json does, as far as it shall change.\n");
  flags.option("--resources,-r", file,
               "path to the file containing the resources to update or '-' to read from the standard input");
  NumberFlags numbers(flags);
  numbers.add("--blkio-weight", weight, "Specifies per cgroup weight, range is from 10 to 1000");
  numbers.add("--cpu-period", wanted.cpu_period, "CPU CFS period to be used for hardcapping (in usecs)");
  numbers.add("--cpu-quota", wanted.cpu_quota, "CPU CFS hardcap limit (in usecs). Allowed cpu time in a given period");
  numbers.add(
      "--cpu-burst", wanted.cpu_burst,
      "CPU CFS hardcap burst limit (in usecs). Allowed accumulated cpu time additionally for burst a given period");
  numbers.add("--cpu-share", wanted.cpu_shares, "CPU shares (relative weight vs. other containers)");
  numbers.add("--cpu-rt-period", wanted.cpu_realtime_period,
              "CPU realtime period to be used for hardcapping (in usecs)");
  numbers.add("--cpu-rt-runtime", wanted.cpu_realtime_runtime,
              "CPU realtime hardcap limit (in usecs). Allowed cpu time in a given period");
  numbers.add("--cpu-idle", wanted.cpu_idle, "set cgroup SCHED_IDLE or not, 0: default behavior, 1: SCHED_IDLE");
  numbers.add("--memory", wanted.memory_limit, "Memory limit (in bytes)", true);
  numbers.add("--memory-reservation", wanted.memory_reservation, "Memory reservation or soft_limit (in bytes)", true);
  numbers.add("--memory-swap", wanted.memory_swap,
              "Total memory usage (memory + swap); set '-1' to enable unlimited swap", true);
  numbers.add("--pids-limit", wanted.pids_limit, "Maximum number of pids allowed in the container");
  numbers.declare();
  flags.option("--cpuset-cpus", wanted.cpuset_cpus, "CPU(s) to use");
  flags.option("--cpuset-mems", wanted.cpuset_mems, "Memory node(s) to use");
  flags.option("--kernel-memory", kernel, "(obsoleted; do not use)", "value");
  flags.option("--kernel-memory-tcp", kernel_tcp, "(obsoleted; do not use)", "value");
  flags.option("--l3-cache-schema", cache, "The string of Intel RDT/CAT L3 cache schema", "value");
  flags.option("--mem-bw-schema", bandwidth, "The string of Intel RDT/MBA memory bandwidth schema", "value");
  flags.operands(operands, 1, 1);
  if (TRY(flags.parse(invocation.arguments)) == Flags::Outcome::help_shown) return 0;
  const Container container = TRY(find_container(invocation.settings.root, operands.front()));
  if (container.status == Status::stopped || container.status == Status::creating)
    return fail(ErrorCode::invalid_argument, "container not running");
  if (!file.empty()) {
    wanted = TRY_CTX(runtime::parse_resources(TRY(read_resources(file))), file);
    wanted.devices.clear();  // as runc: rules of devices are not among what changes
  } else {
    TRY(numbers.apply());
    if (weight) wanted.block_io.weight = weight;
    // Lifting the limit of memory lifts that of memory and swap together, which could not stay.
    if (wanted.memory_limit == -1 && !wanted.memory_swap) wanted.memory_swap = -1;
  }
  if (wanted.cpu_idle && (*wanted.cpu_idle < 0 || *wanted.cpu_idle > 1))
    return fail(ErrorCode::invalid_argument, "invalid value for cpu idle: must be 0 or 1");
  if (container.state.systemd_unit) {
    for (const auto& warning : TRY(runtime::update_systemd_unit(*container.state.systemd_unit, wanted)))
      log_warning(warning);
  }
  TRY(runtime::update_cgroup(container.state.cgroups_path, wanted));
  TRY(update_rdt(container.state, cache, bandwidth));
  return 0;
}

}  // namespace dray::oci
