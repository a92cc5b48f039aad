// SPDX-License-Identifier: Apache-2.0
// What every container gets when nobody says otherwise: Docker's mounts, capabilities, devices, device rules, masked
// and read-only paths.

#include <unistd.h>

#include <charconv>

#include <dray/core/fd.hpp>
#include <dray/runtime/spec.hpp>

namespace dray::runtime {
namespace {

DeviceRule rule(bool allow, char type, std::optional<std::int64_t> major, std::optional<std::int64_t> minor,
                const char* access) {
  DeviceRule out;
  out.allow = allow;
  out.type = type;
  out.major = major;
  out.minor = minor;
  out.access = access;
  return out;
}

Device character_device(const char* path, std::int64_t major, std::int64_t minor) {
  Device out;
  out.path = path;
  out.major = major;
  out.minor = minor;
  return out;
}

/// thermal_throttle of each CPU tells of the neighbours' load: a side channel that Docker masks too.
void mask_thermal_throttle(std::vector<std::string>& paths) {
  if (access("/sys/devices/system/cpu/cpu0/thermal_throttle", F_OK) != 0) return;
  auto possible = read_file("/sys/devices/system/cpu/possible", 4096);
  if (!possible) return;
  const char* at = possible->data();
  const char* end = at + possible->size();
  while (at < end) {  // "0-3,8-11"
    unsigned first = 0, last = 0;
    auto parsed = std::from_chars(at, end, first);
    if (parsed.ec != std::errc()) return;
    last = first;
    at = parsed.ptr;
    if (at < end && *at == '-') {
      parsed = std::from_chars(at + 1, end, last);
      if (parsed.ec != std::errc()) return;
      at = parsed.ptr;
    }
    for (unsigned cpu = first; cpu <= last && cpu < 8192; ++cpu) {
      std::string path = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/thermal_throttle";
      if (access(path.c_str(), F_OK) == 0) paths.push_back(std::move(path));
    }
    if (at < end && *at == ',')
      ++at;
    else
      return;
  }
}

}  // namespace

Spec make_default_spec() {
  Spec spec;
  spec.mounts = {
      {"/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}},
      {"/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}},
      {"/dev/pts", "devpts", "devpts", {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
      {"/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", "ro"}},
      {"/sys/fs/cgroup", "cgroup", "cgroup", {"ro", "nosuid", "noexec", "nodev"}},
      {"/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}},
      {"/dev/shm", "tmpfs", "shm", {"nosuid", "noexec", "nodev", "mode=1777", "size=67108864"}},
  };

  std::vector<std::string> capabilities = default_capabilities();
  spec.process.capabilities.bounding = capabilities;
  spec.process.capabilities.effective = capabilities;
  spec.process.capabilities.permitted = std::move(capabilities);
  // inheritable and ambient stay empty (CVE-2022-24769).

  spec.devices = {
      character_device("/dev/null", 1, 3),    character_device("/dev/zero", 1, 5),
      character_device("/dev/full", 1, 7),    character_device("/dev/random", 1, 8),
      character_device("/dev/urandom", 1, 9), character_device("/dev/tty", 5, 0),
  };
  const std::optional<std::int64_t> any;
  spec.resources.devices = {
      rule(false, 'a', any, any, "rwm"), rule(true, 'c', any, any, "m"),  // any node may be made, none of these opened
      rule(true, 'b', any, any, "m"),    rule(true, 'c', 1, 3, "rwm"),    // null
      rule(true, 'c', 1, 5, "rwm"),                                       // zero
      rule(true, 'c', 1, 7, "rwm"),                                       // full
      rule(true, 'c', 1, 8, "rwm"),                                       // random
      rule(true, 'c', 1, 9, "rwm"),                                       // urandom
      rule(true, 'c', 5, 0, "rwm"),                                       // tty
      rule(true, 'c', 5, 1, "rwm"),                                       // console
      rule(true, 'c', 5, 2, "rwm"),                                       // ptmx
      rule(true, 'c', 136, any, "rwm"),                                   // pts
  };

  spec.masked_paths = {"/proc/acpi",
                       "/proc/asound",
                       "/proc/interrupts",
                       "/proc/kcore",
                       "/proc/keys",
                       "/proc/latency_stats",
                       "/proc/sched_debug",
                       "/proc/scsi",
                       "/proc/timer_list",
                       "/proc/timer_stats",
                       "/sys/devices/virtual/powercap",
                       "/sys/firmware"};
  mask_thermal_throttle(spec.masked_paths);
  spec.readonly_paths = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
  return spec;
}

}  // namespace dray::runtime
