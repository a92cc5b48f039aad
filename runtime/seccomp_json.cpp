// SPDX-License-Identifier: Apache-2.0
// Seccomp profiles as JSON: Docker's form (archMap, includes and excludes, resolved here as Docker does) and the
// runtime-spec's (config-linux.md §seccomp). A profile that is not understood to the last word is an error: half a
// profile would be a permissive one.

#include <sys/utsname.h>

#include <algorithm>
#include <charconv>

#include <dray/runtime/spec.hpp>

#include "seccomp_filter.hpp"
#include "spec/read.hpp"

namespace dray::runtime {
namespace {

constexpr std::size_t kMaxProfile = 1u << 20;

#if defined(__x86_64__)
constexpr std::string_view kArch = "amd64", kNative = "SCMP_ARCH_X86_64";
#elif defined(__aarch64__)
constexpr std::string_view kArch = "arm64", kNative = "SCMP_ARCH_AARCH64";
#elif defined(__powerpc64__)
constexpr std::string_view kArch = "ppc64le", kNative = "SCMP_ARCH_PPC64LE";
#elif defined(__s390x__)
constexpr std::string_view kArch = "s390x", kNative = "SCMP_ARCH_S390X";
#elif defined(__riscv)
constexpr std::string_view kArch = "riscv64", kNative = "SCMP_ARCH_RISCV64";
#else
constexpr std::string_view kArch = "unknown", kNative = "";
#endif

/// "4.8" against the running kernel.
bool kernel_is_at_least(const JsonObject& object, const std::string& text) {
  auto parse = [](std::string_view version, unsigned& major, unsigned& minor, bool whole) {
    auto first = std::from_chars(version.data(), version.data() + version.size(), major);
    if (first.ec != std::errc() || first.ptr == version.data() + version.size() || *first.ptr != '.') return false;
    auto second = std::from_chars(first.ptr + 1, version.data() + version.size(), minor);
    return second.ec == std::errc() && (!whole || second.ptr == version.data() + version.size());
  };
  unsigned major = 0, minor = 0, our_major = 0, our_minor = 0;
  if (!parse(text, major, minor, true)) {
    object.fail("minKernel", "\"" + text + "\" is not like \"4.8\"");
    return false;
  }
  utsname name = {};
  uname(&name);
  if (!parse(name.release, our_major, our_minor, false)) return false;
  return our_major > major || (our_major == major && our_minor >= minor);
}

bool contains(const std::vector<std::string>& list, std::string_view item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

struct Conditions {
  std::vector<std::string> arches, capabilities;
  std::string kernel;
};

Conditions read_conditions(const JsonObject& object) {
  Conditions out;
  object.read("arches", out.arches);
  object.read("caps", out.capabilities);
  object.read("minKernel", out.kernel);
  return out;
}

/// Docker's order: excluded if any of `excludes` holds, included if all of `includes` hold.
bool rule_applies(const JsonObject& rule, const std::vector<std::string>& capabilities) {
  auto is_ours = [&](const std::string& capability) { return contains(capabilities, capability); };
  const JsonObject excludes = rule.open("excludes");
  const Conditions excluded = read_conditions(excludes);
  if (contains(excluded.arches, kArch)) return false;
  if (std::any_of(excluded.capabilities.begin(), excluded.capabilities.end(), is_ours)) return false;
  if (!excluded.kernel.empty() && kernel_is_at_least(excludes, excluded.kernel)) return false;

  const JsonObject includes = rule.open("includes");
  const Conditions included = read_conditions(includes);
  if (!included.arches.empty() && !contains(included.arches, kArch)) return false;
  if (!std::all_of(included.capabilities.begin(), included.capabilities.end(), is_ours)) return false;
  return included.kernel.empty() || kernel_is_at_least(includes, included.kernel);
}

void read_errno(const JsonObject& object, std::string_view name, std::optional<unsigned>& number) {
  object.read(name, number);
  if (number.value_or(0) > 0xffff) object.fail(name, "is out of range");
}

/// What both forms of a rule have.
SeccompSyscall read_rule(const JsonObject& object) {
  SeccompSyscall rule;
  object.read("names", rule.names);
  object.read("action", rule.action);
  read_errno(object, "errnoRet", rule.errno_ret);
  for (const JsonObject& item : object.list("args")) {
    SeccompArg& arg = rule.args.emplace_back();
    item.read("index", arg.index);
    if (arg.index > 5) item.fail("index", "expected 0 to 5");
    item.read("value", arg.value);
    item.read("valueTwo", arg.value_two);
    item.read("op", arg.op);
  }
  return rule;
}

void read_head(const JsonObject& root, Seccomp& profile) {
  root.read("defaultAction", profile.default_action);
  read_errno(root, "defaultErrnoRet", profile.default_errno_ret);
  root.read("architectures", profile.architectures);
  root.read("flags", profile.flags);
}

void read_architecture_map(const JsonObject& root, Seccomp& profile) {
  const std::vector<JsonObject> entries = root.list("archMap");
  if (!entries.empty() && !profile.architectures.empty())
    return root.fail("archMap", "the profile has \"architectures\" as well");
  for (const JsonObject& entry : entries) {
    std::string architecture;
    std::vector<std::string> others;
    entry.read("architecture", architecture);
    entry.read("subArchitectures", others);
    if (architecture != kNative) continue;
    profile.architectures.push_back(architecture);
    profile.architectures.insert(profile.architectures.end(), others.begin(), others.end());
  }
}

}  // namespace

Result<Seccomp> parse_seccomp(std::string_view text, const std::vector<std::string>& capabilities) {
  const JsonDocument document = TRY_CTX(JsonDocument::parse(text, kMaxProfile), "seccomp profile");
  const JsonObject root = document.root("seccomp profile");
  Seccomp profile;
  read_head(root, profile);
  if (profile.default_action.empty()) root.fail("defaultAction", "is missing");
  read_architecture_map(root, profile);
  std::string listener;
  root.read("listenerPath", listener);
  for (const JsonObject& item : root.list("syscalls")) {
    SeccompSyscall rule = read_rule(item);
    std::string name;
    item.read("name", name);
    if (!name.empty()) {
      if (!rule.names.empty()) item.fail("name", "the rule has \"names\" as well");
      rule.names.push_back(std::move(name));
    }
    if (rule_applies(item, capabilities)) profile.syscalls.push_back(std::move(rule));
  }
  TRY(document.result());
  if (!listener.empty()) return fail(ErrorCode::unsupported, "seccomp profile: \"listenerPath\" is not supported");
  TRY_CTX(check_seccomp(profile), "seccomp profile");
  return profile;
}

void read_seccomp(const JsonObject& root, Seccomp& profile) {
  read_head(root, profile);
  // As in runc: without a word on flags the kernel's speculation mitigation is left to the program.
  if (!root.has("flags")) profile.flags = {"SECCOMP_FILTER_FLAG_SPEC_ALLOW"};
  root.read("listenerPath", profile.listener_path);
  root.read("listenerMetadata", profile.listener_metadata);
  for (const JsonObject& item : root.list("syscalls")) profile.syscalls.push_back(read_rule(item));
}

}  // namespace dray::runtime
