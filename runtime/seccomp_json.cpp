// SPDX-License-Identifier: Apache-2.0
// Seccomp profiles as JSON: Docker's form (archMap, includes and excludes, resolved here as Docker does) and the
// runtime-spec's (config-linux.md §seccomp). A profile that is not understood to the last word is an error: half a
// profile would be a permissive one.

#include <sys/utsname.h>

#include <algorithm>
#include <charconv>

#include <nlohmann/json.hpp>

#include <dray/runtime/spec.hpp>

#include "seccomp_filter.hpp"

namespace dray::runtime {
namespace {

using nlohmann::json;

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

Failure invalid(const std::string& what) { return fail(ErrorCode::invalid_argument, "seccomp profile: " + what); }

/// null and absent are the same, as for Go's decoder.
const json* find(const json& object, const char* key) {
  auto at = object.find(key);
  return at == object.end() || at->is_null() ? nullptr : &*at;
}

Result<std::string> get_string(const json& object, const char* key) {
  const json* value = find(object, key);
  if (value == nullptr) return std::string();
  if (!value->is_string()) return invalid(std::string("\"") + key + "\" is not a string");
  return value->get<std::string>();
}

Result<std::vector<std::string>> get_strings(const json& object, const char* key) {
  std::vector<std::string> out;
  const json* value = find(object, key);
  if (value == nullptr) return out;
  if (!value->is_array()) return invalid(std::string("\"") + key + "\" is not an array");
  for (const json& item : *value) {
    if (!item.is_string()) return invalid(std::string("\"") + key + "\" holds something that is not a string");
    out.push_back(item.get<std::string>());
  }
  return out;
}

Result<std::optional<std::uint64_t>> get_number(const json& object, const char* key) {
  const json* value = find(object, key);
  if (value == nullptr) return std::optional<std::uint64_t>();
  if (!value->is_number_unsigned()) return invalid(std::string("\"") + key + "\" is not a whole number from 0");
  return std::optional<std::uint64_t>(value->get<std::uint64_t>());
}

Result<std::optional<unsigned>> get_errno(const json& object, const char* key) {
  std::optional<std::uint64_t> number = TRY(get_number(object, key));
  if (!number) return std::optional<unsigned>();
  if (*number > 0xffff) return invalid(std::string("\"") + key + "\" is out of range");
  return std::optional<unsigned>(static_cast<unsigned>(*number));
}

Result<const json*> get_object(const json& object, const char* key) {
  const json* value = find(object, key);
  if (value != nullptr && !value->is_object()) return invalid(std::string("\"") + key + "\" is not an object");
  return value;
}

/// "4.8" against the running kernel.
Result<bool> kernel_is_at_least(const std::string& text) {
  auto parse = [](std::string_view version, unsigned& major, unsigned& minor, bool whole) {
    auto first = std::from_chars(version.data(), version.data() + version.size(), major);
    if (first.ec != std::errc() || first.ptr == version.data() + version.size() || *first.ptr != '.') return false;
    auto second = std::from_chars(first.ptr + 1, version.data() + version.size(), minor);
    return second.ec == std::errc() && (!whole || second.ptr == version.data() + version.size());
  };
  unsigned major = 0, minor = 0, our_major = 0, our_minor = 0;
  if (!parse(text, major, minor, true)) return invalid("\"minKernel\" is \"" + text + "\", not like \"4.8\"");
  utsname name = {};
  uname(&name);
  if (!parse(name.release, our_major, our_minor, false)) return false;
  return our_major > major || (our_major == major && our_minor >= minor);
}

bool contains(const std::vector<std::string>& list, std::string_view item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

/// Docker's order: excluded if any of `excludes` holds, included if all of `includes` hold.
Result<bool> rule_applies(const json& rule, const std::vector<std::string>& capabilities) {
  if (const json* excludes = TRY(get_object(rule, "excludes"))) {
    std::vector<std::string> arches = TRY(get_strings(*excludes, "arches"));
    if (contains(arches, kArch)) return false;
    std::vector<std::string> excluded = TRY(get_strings(*excludes, "caps"));
    for (const std::string& capability : excluded)
      if (contains(capabilities, capability)) return false;
    std::string kernel = TRY(get_string(*excludes, "minKernel"));
    bool newer = kernel.empty() ? false : TRY(kernel_is_at_least(kernel));
    if (newer) return false;
  }
  if (const json* includes = TRY(get_object(rule, "includes"))) {
    std::vector<std::string> arches = TRY(get_strings(*includes, "arches"));
    if (!arches.empty() && !contains(arches, kArch)) return false;
    std::vector<std::string> needed = TRY(get_strings(*includes, "caps"));
    for (const std::string& capability : needed)
      if (!contains(capabilities, capability)) return false;
    std::string kernel = TRY(get_string(*includes, "minKernel"));
    bool enough = kernel.empty() ? true : TRY(kernel_is_at_least(kernel));
    if (!enough) return false;
  }
  return true;
}

Result<SeccompSyscall> parse_rule(const json& object) {
  SeccompSyscall rule;
  rule.names = TRY(get_strings(object, "names"));
  std::string name = TRY(get_string(object, "name"));
  if (!name.empty()) {
    if (!rule.names.empty()) return invalid("a rule has both \"name\" and \"names\"");
    rule.names.push_back(std::move(name));
  }
  rule.action = TRY(get_string(object, "action"));
  rule.errno_ret = TRY(get_errno(object, "errnoRet"));
  const json* args = find(object, "args");
  if (args == nullptr) return rule;
  if (!args->is_array()) return invalid("\"args\" is not an array");
  for (const json& item : *args) {
    if (item.is_null()) continue;
    if (!item.is_object()) return invalid("\"args\" holds something that is not an object");
    SeccompArg arg;
    std::optional<std::uint64_t> index = TRY(get_number(item, "index"));
    if (index.value_or(0) > 5) return invalid("argument index " + std::to_string(*index) + " is not 0 to 5");
    arg.index = static_cast<unsigned>(index.value_or(0));
    std::optional<std::uint64_t> value = TRY(get_number(item, "value"));
    std::optional<std::uint64_t> value_two = TRY(get_number(item, "valueTwo"));
    arg.value = value.value_or(0);
    arg.value_two = value_two.value_or(0);
    arg.op = TRY(get_string(item, "op"));
    rule.args.push_back(std::move(arg));
  }
  return rule;
}

Result<void> read_architectures(const json& root, Seccomp& profile) {
  profile.architectures = TRY(get_strings(root, "architectures"));
  const json* map = find(root, "archMap");
  if (map == nullptr) return {};
  if (!map->is_array()) return invalid("\"archMap\" is not an array");
  if (!map->empty() && !profile.architectures.empty()) return invalid("has both \"architectures\" and \"archMap\"");
  for (const json& entry : *map) {
    if (!entry.is_object()) return invalid("\"archMap\" holds something that is not an object");
    std::string architecture = TRY(get_string(entry, "architecture"));
    std::vector<std::string> others = TRY(get_strings(entry, "subArchitectures"));
    if (architecture != kNative) continue;
    profile.architectures.push_back(architecture);
    profile.architectures.insert(profile.architectures.end(), others.begin(), others.end());
  }
  return {};
}

}  // namespace

Result<Seccomp> parse_seccomp(std::string_view text, const std::vector<std::string>& capabilities) {
  if (text.size() > kMaxProfile) return invalid("larger than 1 MiB");
  const json root = json::parse(text.begin(), text.end(), nullptr, false);
  if (root.is_discarded()) return invalid("not valid JSON");
  if (!root.is_object()) return invalid("not a JSON object");
  Seccomp profile;
  profile.default_action = TRY(get_string(root, "defaultAction"));
  if (profile.default_action.empty()) return invalid("\"defaultAction\" is missing");
  profile.default_errno_ret = TRY(get_errno(root, "defaultErrnoRet"));
  TRY(read_architectures(root, profile));
  profile.flags = TRY(get_strings(root, "flags"));
  std::string listener = TRY(get_string(root, "listenerPath"));
  if (!listener.empty()) return fail(ErrorCode::unsupported, "seccomp profile: \"listenerPath\" is not supported");
  if (const json* syscalls = find(root, "syscalls")) {
    if (!syscalls->is_array()) return invalid("\"syscalls\" is not an array");
    for (const json& item : *syscalls) {
      if (!item.is_object()) return invalid("\"syscalls\" holds something that is not an object");
      SeccompSyscall rule = TRY(parse_rule(item));
      bool applies = TRY(rule_applies(item, capabilities));
      if (applies) profile.syscalls.push_back(std::move(rule));
    }
  }
  TRY_CTX(check_seccomp(profile), "seccomp profile");
  return profile;
}

}  // namespace dray::runtime
