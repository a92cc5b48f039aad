// SPDX-License-Identifier: Apache-2.0
// What `spec` writes. Not Docker's defaults (default_spec.cpp) but runc's, to the last option: scripts change it by
// path, and expect what runc's has there.

#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include <dray/runtime/spec_json.hpp>

#include "read.hpp"

namespace dray::runtime {
namespace {

bool is_unified_host() {
  struct statfs status = {};
  return statfs("/sys/fs/cgroup", &status) == 0 && status.f_type == CGROUP2_SUPER_MAGIC;
}

/// What a user without privileges cannot have: a network of its own, other IDs, limits, a new sysfs.
void make_rootless(Spec& spec) {
  spec.namespaces.network.is_new = false;
  spec.namespaces.user.is_new = true;
  spec.uid_mappings = {IdMapping{0, geteuid(), 1}};
  spec.gid_mappings = {IdMapping{0, getegid(), 1}};
  for (Mount& mount : spec.mounts) {
    if (mount.destination == "/sys") {
      mount.type = "none";
      mount.source = "/sys";
      mount.options = {"rbind", "nosuid", "noexec", "nodev", "ro"};
    }
    std::erase_if(mount.options, [](const std::string& option) { return option.starts_with("gid="); });
  }
  spec.resources = {};
}

}  // namespace

Spec make_bundle_template(bool rootless) {
  Spec spec;
  spec.oci_version = "1.3.0";
  spec.rootfs_path = "rootfs";
  spec.rootfs_readonly = true;
  spec.hostname = "runc";
  spec.rootfs_propagation.clear();
  Process& process = spec.process;
  process.terminal = true;
  process.args = {"sh"};
  process.env = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"};
  process.no_new_privileges = true;
  process.capabilities.bounding = {"CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"};
  process.capabilities.effective = process.capabilities.permitted = process.capabilities.bounding;
  process.rlimits = {Rlimit{"RLIMIT_NOFILE", 1024, 1024}};
  spec.mounts = {
      {"/proc", "proc", "proc", {}, {}, {}},
      {"/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}, {}, {}},
      {"/dev/pts",
       "devpts",
       "devpts",
       {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"},
       {},
       {}},
      {"/dev/shm", "tmpfs", "shm", {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}, {}, {}},
      {"/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}, {}, {}},
      {"/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", "ro"}, {}, {}},
      {"/sys/fs/cgroup", "cgroup", "cgroup", {"nosuid", "noexec", "nodev", "relatime", "ro"}, {}, {}},
  };
  spec.namespaces.cgroup.is_new = is_unified_host();
  spec.resources.devices = {DeviceRule()};  // nothing that is not allowed by a later rule
  spec.masked_paths = {"/proc/acpi",          "/proc/asound",     "/proc/kcore",       "/proc/keys",
                       "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
                       "/sys/firmware",       "/proc/scsi"};
  spec.readonly_paths = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
  if (rootless) make_rootless(spec);
  const std::vector<DeviceRule> rules = default_device_rules();
  spec.resources.devices.insert(spec.resources.devices.end(), rules.begin(), rules.end());
  spec.devices = default_devices();
  return spec;
}

}  // namespace dray::runtime
