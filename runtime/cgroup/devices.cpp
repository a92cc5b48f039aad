// SPDX-License-Identifier: Apache-2.0
// Device rules as a value. v1 takes them one by one; v2 wants a program that judges each access (devices_bpf.cpp). To
// behave alike, the rules are first folded into the state that v1's controller would have: a default and a list of
// exceptions.

#include <linux/bpf.h>

#include <algorithm>
#include <charconv>

#include "hierarchy.hpp"

namespace dray::runtime::cgroup {
namespace {

Result<unsigned> access_bits(const std::string& access) {
  unsigned bits = 0;
  for (char letter : access) {
    if (letter == 'm')
      bits |= BPF_DEVCG_ACC_MKNOD;
    else if (letter == 'r')
      bits |= BPF_DEVCG_ACC_READ;
    else if (letter == 'w')
      bits |= BPF_DEVCG_ACC_WRITE;
    else
      return fail(ErrorCode::invalid_argument, "invalid device access \"" + access + "\": letters of \"rwm\"");
  }
  return access.empty() ? 7u : bits;
}

bool same_device(const DeviceException& a, const DeviceException& b) {
  return a.type == b.type && a.major == b.major && a.minor == b.minor;
}

DeviceException* find(std::vector<DeviceException>& all, const DeviceException& wanted) {
  auto found = std::ranges::find_if(all, [&](const DeviceException& other) { return same_device(other, wanted); });
  return found == all.end() ? nullptr : &*found;
}

/// Lines "c 1:3 rwm", "b *:* m"; "a *:* rwm" = everything, and then exceptions are not shown.
DevicePolicy parse_list(std::string_view list) {
  DevicePolicy policy;
  policy.allow_by_default = false;
  while (!list.empty()) {
    const std::string_view line = list.substr(0, list.find('\n'));
    list.remove_prefix(std::min(line.size() + 1, list.size()));
    if (line.starts_with('a')) policy.allow_by_default = true;
    const std::size_t colon = line.find(':'), space = line.rfind(' ');
    if (line.size() < 7 || colon == std::string_view::npos || space < colon || line[0] == 'a') continue;
    auto number = [](std::string_view text) {
      std::int64_t value = -1;
      std::from_chars(text.data(), text.data() + text.size(), value);
      return value;
    };
    const auto bits = access_bits(std::string(line.substr(space + 1)));
    if (bits)
      policy.exceptions.push_back(
          {line[0], number(line.substr(2, colon - 2)), number(line.substr(colon + 1, space - colon - 1)), *bits});
  }
  return policy;
}

}  // namespace

std::string access_text(unsigned bits) {
  std::string out;
  if ((bits & BPF_DEVCG_ACC_READ) != 0) out += 'r';
  if ((bits & BPF_DEVCG_ACC_WRITE) != 0) out += 'w';
  if ((bits & BPF_DEVCG_ACC_MKNOD) != 0) out += 'm';
  return out;
}

std::string device_text(char type, std::int64_t major, std::int64_t minor, std::string_view access) {
  if (type == 'a') return "a";
  auto number = [](std::int64_t value) { return value >= 0 ? std::to_string(value) : std::string("*"); };
  return std::string(1, type == 'u' ? 'c' : type) + " " + number(major) + ":" + number(minor) + " " +
         std::string(access.empty() ? "rwm" : access);
}

Result<DevicePolicy> device_policy(const std::vector<DeviceRule>& rules) {
  DevicePolicy policy;
  for (const DeviceRule& rule : rules) {
    const unsigned access = TRY(access_bits(rule.access));
    if (rule.type == 'a') {
      policy.allow_by_default = rule.allow;
      policy.exceptions.clear();
      continue;
    }
    if (rule.type != 'b' && rule.type != 'c' && rule.type != 'u')
      return fail(ErrorCode::invalid_argument, std::string("invalid device type \"") + rule.type + "\"");
    if (rule.major.value_or(0) < -1 || rule.major.value_or(0) > 0xfff || rule.minor.value_or(0) < -1 ||
        rule.minor.value_or(0) > 0xfffff)
      return fail(ErrorCode::invalid_argument, "device number " + std::to_string(rule.major.value_or(-1)) + ":" +
                                                   std::to_string(rule.minor.value_or(-1)) + " is out of range");
    const DeviceException wanted{rule.type == 'b' ? 'b' : 'c', rule.major.value_or(-1), rule.minor.value_or(-1),
                                 access};
    DeviceException* same = find(policy.exceptions, wanted);
    if (rule.allow != policy.allow_by_default) {
      if (same != nullptr)
        same->access |= access;
      else
        policy.exceptions.push_back(wanted);
    } else if (same != nullptr) {
      same->access &= ~access;
      if (same->access == 0) policy.exceptions.erase(policy.exceptions.begin() + (same - policy.exceptions.data()));
    }
  }
  return policy;
}

Plan plan_devices_v1(std::string_view devices_list, const DevicePolicy& policy) {
  Plan plan;
  auto add = [&](bool allow, const DeviceException& entry, unsigned bits) {
    if (bits != 0)
      plan.push_back({allow ? "devices.allow" : "devices.deny",
                      device_text(entry.type, entry.major, entry.minor, access_text(bits)), "devices"});
  };
  DevicePolicy now = parse_list(devices_list);
  if (policy.allow_by_default) {
    plan.push_back({"devices.allow", "a", "devices"});
    for (const DeviceException& entry : policy.exceptions) add(false, entry, entry.access);
    return plan;
  }
  if (now.allow_by_default) {
    plan.push_back({"devices.deny", "a", "devices"});
    now.exceptions.clear();
  }
  for (const DeviceException& entry : policy.exceptions) {
    const DeviceException* had = find(now.exceptions, entry);
    add(true, entry, entry.access & ~(had == nullptr ? 0u : had->access));
  }
  DevicePolicy wanted = policy;
  for (const DeviceException& entry : now.exceptions) {
    const DeviceException* keeps = find(wanted.exceptions, entry);
    add(false, entry, entry.access & ~(keeps == nullptr ? 0u : keeps->access));
  }
  return plan;
}

}  // namespace dray::runtime::cgroup
