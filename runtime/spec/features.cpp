// SPDX-License-Identifier: Apache-2.0
// features.md and features-linux.md: what this program can do, apart from "supportedFlags" without regard to the host.

#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include <dray/runtime/spec_json.hpp>

#include "json_writer.hpp"
#include "seccomp_filter.hpp"
#include "words.hpp"

namespace dray::runtime {
namespace {

template <typename T>
std::vector<std::string> strings(const T& words) {
  return {words.begin(), words.end()};
}

std::vector<std::string> names_of(std::span<const Word> words) {
  std::vector<std::string> names;
  for (const Word& word : words) names.emplace_back(word.name);
  return names;
}

/// The kernel looks at the flags before it reads the filter, so EFAULT means that it knows the flag.
bool kernel_takes_flag(std::string_view flag) {
  unsigned long bits = 0;
  if (flag == "SECCOMP_FILTER_FLAG_TSYNC") bits = SECCOMP_FILTER_FLAG_TSYNC;
  if (flag == "SECCOMP_FILTER_FLAG_LOG") bits = SECCOMP_FILTER_FLAG_LOG;
  if (flag == "SECCOMP_FILTER_FLAG_SPEC_ALLOW") bits = SECCOMP_FILTER_FLAG_SPEC_ALLOW;
  if (flag == "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV")
    bits = SECCOMP_FILTER_FLAG_NEW_LISTENER | (1ul << 5);  // only valid together; not in Debian 12's header
  return bits != 0 && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, bits, nullptr) != 0 && errno == EFAULT;
}

void write_enabled(JsonWriter& out, std::string_view name) {
  out.open_object(name);
  out.write("enabled", true);
  out.close_object();
}

void write_seccomp_features(JsonWriter& out) {
  std::vector<std::string> actions = strings(seccomp_words(SeccompWord::action));
  const std::vector<std::string> flags = strings(seccomp_words(SeccompWord::flag));
  std::vector<std::string> supported;
  std::copy_if(flags.begin(), flags.end(), std::back_inserter(supported), kernel_takes_flag);
  out.open_object("seccomp");
  out.write("enabled", true);
  out.write("actions", actions);
  out.write("operators", strings(seccomp_words(SeccompWord::op)));
  out.write("archs", strings(seccomp_words(SeccompWord::architecture)));
  out.write("knownFlags", flags);
  out.write("supportedFlags", supported);
  out.close_object();
}

void write_linux_features(JsonWriter& out) {
  out.open_object("linux");
  out.write("namespaces", strings(namespace_words()));
  out.write("capabilities", all_capabilities());
  out.open_object("cgroup");
  out.write("v1", true);
  out.write("v2", true);
  out.write("systemd", true);
  out.write("systemdUser", true);
  out.write("rdma", true);
  out.close_object();
  write_seccomp_features(out);
  write_enabled(out, "apparmor");
  write_enabled(out, "selinux");
  out.open_object("intelRdt");
  out.write("enabled", true);
  out.write("schemata", true);
  out.write("monitoring", true);
  out.close_object();
  out.open_object("memoryPolicy");
  out.write("modes", names_of(memory_policy_modes()));
  out.write("flags", names_of(memory_policy_flags()));
  out.close_object();
  out.open_object("mountExtensions");
  write_enabled(out, "idmap");
  out.close_object();
  write_enabled(out, "netDevices");
  out.close_object();
}

}  // namespace

std::string describe_features() {
  JsonWriter out("    ");
  out.open_object();
  out.write("ociVersionMin", "1.0.0");
  out.write("ociVersionMax", "1.3.0");
  out.write("hooks", strings(hook_words()));
  out.write("mountOptions", strings(mount_option_words()));
  write_linux_features(out);
  // By that name engines ask whether a runtime has `checkpoint` and `restore`.
  std::map<std::string, std::string> annotations{{"org.opencontainers.runc.checkpoint.enabled", "true"}};
  if (const scmp_version* version = seccomp_version()) {
    annotations["io.github.seccomp.libseccomp.version"] =
        std::to_string(version->major) + "." + std::to_string(version->minor) + "." + std::to_string(version->micro);
  }
  out.write("annotations", annotations);
  out.close_object();
  return std::move(out).take() + "\n";
}

}  // namespace dray::runtime
