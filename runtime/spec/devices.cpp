// SPDX-License-Identifier: Apache-2.0
// What every bundle's container gets without asking. The rules are runc's, among them "mknod of anything" and
// /dev/net/tun, which the specification doesn't name: users of the other runtimes rely on them.

#include "read.hpp"

namespace dray::runtime {
namespace {

struct Entry {
  const char* path;
  std::int64_t major, minor;
};
constexpr Entry kDevices[] = {{"/dev/null", 1, 3}, {"/dev/random", 1, 8}, {"/dev/full", 1, 7},
                              {"/dev/tty", 5, 0},  {"/dev/zero", 1, 5},   {"/dev/urandom", 1, 9}};

DeviceRule allow(char type, std::optional<std::int64_t> major, std::optional<std::int64_t> minor, const char* access) {
  DeviceRule rule;
  rule.allow = true;
  rule.type = type;
  rule.major = major;
  rule.minor = minor;
  rule.access = access;
  return rule;
}

}  // namespace

std::vector<Device> default_devices() {
  std::vector<Device> out;
  for (const Entry& entry : kDevices) {
    Device& device = out.emplace_back();
    device.path = entry.path;
    device.major = entry.major;
    device.minor = entry.minor;
  }
  return out;
}

std::vector<DeviceRule> default_device_rules() {
  const std::optional<std::int64_t> any;
  std::vector<DeviceRule> out = {allow('c', any, any, "m"), allow('b', any, any, "m")};
  for (const Entry& entry : kDevices) out.push_back(allow('c', entry.major, entry.minor, "rwm"));
  out.push_back(allow('c', 136, any, "rwm"));   // pts
  out.push_back(allow('c', 5, 2, "rwm"));       // ptmx
  out.push_back(allow('c', 10, 200, "rwm"));    // net/tun
  return out;
}

bool operator==(const Device& a, const Device& b) {
  return a.path == b.path && a.type == b.type && a.major == b.major && a.minor == b.minor && a.mode == b.mode &&
         a.uid == b.uid && a.gid == b.gid;
}

bool operator==(const DeviceRule& a, const DeviceRule& b) {
  return a.allow == b.allow && a.type == b.type && a.major == b.major && a.minor == b.minor && a.access == b.access;
}

}  // namespace dray::runtime
