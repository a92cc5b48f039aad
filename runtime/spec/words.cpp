// SPDX-License-Identifier: Apache-2.0
#include "words.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <charconv>

#include <dray/core/text.hpp>
#include <dray/runtime/spec_json.hpp>

namespace dray::runtime {
namespace {

constexpr std::string_view kMountOptions[] = {"async",         "atime",        "bind",
                                              "defaults",      "dev",          "diratime",
                                              "dirsync",       "exec",         "idmap",
                                              "iversion",      "lazytime",     "loud",
                                              "mand",          "noatime",      "nodev",
                                              "nodiratime",    "noexec",       "noiversion",
                                              "nolazytime",    "nomand",       "norelatime",
                                              "nostrictatime", "nosuid",       "nosymfollow",
                                              "private",       "ratime",       "rbind",
                                              "rdev",          "rdiratime",    "relatime",
                                              "remount",       "rexec",        "ridmap",
                                              "rnoatime",      "rnodev",       "rnodiratime",
                                              "rnoexec",       "rnorelatime",  "rnostrictatime",
                                              "rnosuid",       "rnosymfollow", "ro",
                                              "rprivate",      "rrelatime",    "rro",
                                              "rrw",           "rshared",      "rslave",
                                              "rstrictatime",  "rsuid",        "rsymfollow",
                                              "runbindable",   "rw",           "shared",
                                              "silent",        "slave",        "strictatime",
                                              "suid",          "symfollow",    "sync",
                                              "tmpcopyup",     "unbindable"};
constexpr Word kMemoryModes[] = {
    {"MPOL_BIND", 2},      {"MPOL_DEFAULT", 0},        {"MPOL_INTERLEAVE", 3},         {"MPOL_LOCAL", 4},
    {"MPOL_PREFERRED", 1}, {"MPOL_PREFERRED_MANY", 5}, {"MPOL_WEIGHTED_INTERLEAVE", 6}};
constexpr Word kMemoryFlags[] = {
    {"MPOL_F_NUMA_BALANCING", 1u << 13}, {"MPOL_F_RELATIVE_NODES", 1u << 14}, {"MPOL_F_STATIC_NODES", 1u << 15}};
constexpr Word kPolicies[] = {{"SCHED_OTHER", 0}, {"SCHED_FIFO", 1}, {"SCHED_RR", 2},      {"SCHED_BATCH", 3},
                              {"SCHED_ISO", 4},   {"SCHED_IDLE", 5}, {"SCHED_DEADLINE", 6}};
constexpr Word kSchedulerFlags[] = {{"SCHED_FLAG_RESET_ON_FORK", 0x01}, {"SCHED_FLAG_RECLAIM", 0x02},
                                    {"SCHED_FLAG_DL_OVERRUN", 0x04},    {"SCHED_FLAG_KEEP_POLICY", 0x08},
                                    {"SCHED_FLAG_KEEP_PARAMS", 0x10},   {"SCHED_FLAG_UTIL_CLAMP_MIN", 0x20},
                                    {"SCHED_FLAG_UTIL_CLAMP_MAX", 0x40}};
constexpr Word kIoClasses[] = {{"IOPRIO_CLASS_RT", 1}, {"IOPRIO_CLASS_BE", 2}, {"IOPRIO_CLASS_IDLE", 3}};
// By number where <sys/resource.h> shows some only to those who ask for more.
constexpr Word kLimits[] = {{"RLIMIT_AS", RLIMIT_AS},
                            {"RLIMIT_CORE", RLIMIT_CORE},
                            {"RLIMIT_CPU", RLIMIT_CPU},
                            {"RLIMIT_DATA", RLIMIT_DATA},
                            {"RLIMIT_FSIZE", RLIMIT_FSIZE},
                            {"RLIMIT_LOCKS", 10},
                            {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},
                            {"RLIMIT_MSGQUEUE", 12},
                            {"RLIMIT_NICE", 13},
                            {"RLIMIT_NOFILE", RLIMIT_NOFILE},
                            {"RLIMIT_NPROC", RLIMIT_NPROC},
                            {"RLIMIT_RSS", RLIMIT_RSS},
                            {"RLIMIT_RTPRIO", 14},
                            {"RLIMIT_RTTIME", 15},
                            {"RLIMIT_SIGPENDING", 11},
                            {"RLIMIT_STACK", RLIMIT_STACK}};
constexpr std::string_view kNamespaces[] = {"cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"};
constexpr std::string_view kHooks[] = {"prestart",       "createRuntime", "createContainer",
                                       "startContainer", "poststart",     "poststop"};

bool is_number(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos &&
         (text.size() == 1 || text[0] != '0');
}

bool are_identifiers(std::string_view text) {
  constexpr std::string_view letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-";
  while (true) {
    std::size_t dot = text.find('.');
    std::string_view part = text.substr(0, dot);
    if (part.empty() || part.find_first_not_of(letters) != std::string_view::npos) return false;
    if (dot == std::string_view::npos) return true;
    text.remove_prefix(dot + 1);
  }
}

}  // namespace

std::span<const std::string_view> mount_option_words() { return kMountOptions; }
std::span<const std::string_view> namespace_words() { return kNamespaces; }
std::span<const std::string_view> hook_words() { return kHooks; }

std::span<const Word> memory_policy_modes() { return kMemoryModes; }
std::span<const Word> memory_policy_flags() { return kMemoryFlags; }
std::span<const Word> scheduler_policies() { return kPolicies; }
std::span<const Word> scheduler_flags() { return kSchedulerFlags; }
std::span<const Word> io_priority_classes() { return kIoClasses; }
std::span<const Word> resource_limits() { return kLimits; }

std::optional<unsigned> find_word(std::span<const Word> words, std::string_view name) {
  auto found = std::find_if(words.begin(), words.end(), [&](const Word& word) { return word.name == name; });
  if (found == words.end()) return std::nullopt;
  return found->value;
}

bool contains_word(std::span<const std::string_view> words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

bool is_interface_name(std::string_view name) {
  if (name.empty() || name.size() > 15 || name == "." || name == "..") return false;
  return name.find_first_of("/: \t\n\v\f\r") == std::string_view::npos;
}

bool is_supported_version(std::string_view version) {
  if (std::size_t plus = version.find('+'); plus != std::string_view::npos) {
    if (!are_identifiers(version.substr(plus + 1))) return false;
    version = version.substr(0, plus);
  }
  if (std::size_t dash = version.find('-'); dash != std::string_view::npos) {
    if (!are_identifiers(version.substr(dash + 1))) return false;
    version = version.substr(0, dash);
  }
  std::size_t first = version.find('.');
  if (first == std::string_view::npos) return false;
  std::size_t second = version.find('.', first + 1);
  if (second == std::string_view::npos) return false;
  return version.substr(0, first) == "1" && is_number(version.substr(first + 1, second - first - 1)) &&
         is_number(version.substr(second + 1));
}

std::optional<std::vector<unsigned>> parse_number_list(std::string_view text) {
  constexpr unsigned kMax = 1024;
  std::vector<bool> set(kMax);
  auto parse = [](std::string_view digits, unsigned& out) {
    auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), out);
    return parsed.ec == std::errc() && parsed.ptr == digits.data() + digits.size() && out < kMax;
  };
  while (!text.empty()) {
    std::size_t comma = text.find(',');
    std::string_view item = trim(text.substr(0, comma));
    text.remove_prefix(comma == std::string_view::npos ? text.size() : comma + 1);
    if (item.empty()) continue;  // as in runc: extra commas mean nothing
    std::size_t dash = item.find('-');
    unsigned first = 0, last = 0;
    if (!parse(item.substr(0, dash), first)) return std::nullopt;
    last = first;
    if (dash != std::string_view::npos && !parse(item.substr(dash + 1), last)) return std::nullopt;
    if (first > last) return std::nullopt;
    for (unsigned number = first; number <= last; ++number) set[number] = true;
  }
  std::vector<unsigned> out;
  for (unsigned number = 0; number < kMax; ++number)
    if (set[number]) out.push_back(number);
  return out;
}

}  // namespace dray::runtime
