// SPDX-License-Identifier: Apache-2.0
// Capability names: those of the kernel we run on, Docker's default set, and --cap-add/--cap-drop with Docker's order
// of rules.

#include <algorithm>
#include <charconv>

#include <dray/core/fd.hpp>
#include <dray/runtime/spec.hpp>

#include "capability_number.hpp"

namespace dray::runtime {
namespace {

/// In the kernel's order: the index is the capability's number.
constexpr const char* kNames[] = {"CAP_CHOWN",
                                  "CAP_DAC_OVERRIDE",
                                  "CAP_DAC_READ_SEARCH",
                                  "CAP_FOWNER",
                                  "CAP_FSETID",
                                  "CAP_KILL",
                                  "CAP_SETGID",
                                  "CAP_SETUID",
                                  "CAP_SETPCAP",
                                  "CAP_LINUX_IMMUTABLE",
                                  "CAP_NET_BIND_SERVICE",
                                  "CAP_NET_BROADCAST",
                                  "CAP_NET_ADMIN",
                                  "CAP_NET_RAW",
                                  "CAP_IPC_LOCK",
                                  "CAP_IPC_OWNER",
                                  "CAP_SYS_MODULE",
                                  "CAP_SYS_RAWIO",
                                  "CAP_SYS_CHROOT",
                                  "CAP_SYS_PTRACE",
                                  "CAP_SYS_PACCT",
                                  "CAP_SYS_ADMIN",
                                  "CAP_SYS_BOOT",
                                  "CAP_SYS_NICE",
                                  "CAP_SYS_RESOURCE",
                                  "CAP_SYS_TIME",
                                  "CAP_SYS_TTY_CONFIG",
                                  "CAP_MKNOD",
                                  "CAP_LEASE",
                                  "CAP_AUDIT_WRITE",
                                  "CAP_AUDIT_CONTROL",
                                  "CAP_SETFCAP",
                                  "CAP_MAC_OVERRIDE",
                                  "CAP_MAC_ADMIN",
                                  "CAP_SYSLOG",
                                  "CAP_WAKE_ALARM",
                                  "CAP_BLOCK_SUSPEND",
                                  "CAP_AUDIT_READ",
                                  "CAP_PERFMON",
                                  "CAP_BPF",
                                  "CAP_CHECKPOINT_RESTORE"};

bool contains(const std::vector<std::string>& list, std::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

/// "net_raw" and "CAP_NET_RAW" → "CAP_NET_RAW"; "all" → "ALL".
Result<std::vector<std::string>> normalise(const std::vector<std::string>& names,
                                           const std::vector<std::string>& known) {
  std::vector<std::string> out;
  for (const std::string& given : names) {
    std::string name = given;
    for (char& letter : name)
      if (letter >= 'a' && letter <= 'z') letter = static_cast<char>(letter - 'a' + 'A');
    if (name == "CAP_ALL") name = "ALL";
    if (name != "ALL" && !name.starts_with("CAP_")) name = "CAP_" + name;
    if (name != "ALL" && !contains(known, name))
      return Failure(Error(ErrorCode::invalid_argument, "unknown capability \"" + given + "\"")
                         .with_hint("capabilities(7) lists the names; ALL means every one of them"));
    if (!contains(out, name)) out.push_back(std::move(name));
  }
  return out;
}

}  // namespace

std::optional<int> capability_number(std::string_view name) {
  const auto* found = std::find(std::begin(kNames), std::end(kNames), name);
  if (found == std::end(kNames)) return std::nullopt;
  return static_cast<int>(found - std::begin(kNames));
}

std::vector<std::string> all_capabilities() {
  std::size_t count = std::size(kNames);
  if (auto text = read_file("/proc/sys/kernel/cap_last_cap", 64)) {
    std::size_t last = 0;
    if (std::from_chars(text->data(), text->data() + text->size(), last).ec == std::errc())
      count = std::min(count, last + 1);
  }
  return {std::begin(kNames), std::begin(kNames) + count};
}

std::vector<std::string> default_capabilities() {
  return {"CAP_CHOWN",   "CAP_DAC_OVERRIDE", "CAP_FSETID",           "CAP_FOWNER",
          "CAP_MKNOD",   "CAP_NET_RAW",      "CAP_SETGID",           "CAP_SETUID",
          "CAP_SETFCAP", "CAP_SETPCAP",      "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT",
          "CAP_KILL",    "CAP_AUDIT_WRITE"};
}

Result<std::vector<std::string>> adjust_capabilities(std::vector<std::string> base, const std::vector<std::string>& add,
                                                     const std::vector<std::string>& drop) {
  if (add.empty() && drop.empty()) return base;
  const std::vector<std::string> known = all_capabilities();
  const std::vector<std::string> added = TRY(normalise(add, known));
  const std::vector<std::string> dropped = TRY(normalise(drop, known));
  std::vector<std::string> out;
  // "add ALL" beats "drop ALL" and means all but those dropped by name; "drop ALL" leaves only what is added.
  if (contains(added, "ALL")) {
    for (const std::string& name : known)
      if (!contains(dropped, name)) out.push_back(name);
    return out;
  }
  if (!contains(dropped, "ALL"))
    for (const std::string& name : base)
      if (!contains(dropped, name)) out.push_back(name);
  for (const std::string& name : added)
    if (!contains(out, name)) out.push_back(name);
  return out;
}

}  // namespace dray::runtime
