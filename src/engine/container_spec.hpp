// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "container_record.hpp"

namespace dray::engine {

inline constexpr std::string_view kDefaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `over` replaces variables of `base` by name, in place; new ones are appended.
std::vector<std::string> merge_environment(std::vector<std::string> base, const std::vector<std::string>& over);
bool has_variable(const std::vector<std::string>& env, std::string_view name);

/// invalid_argument for a --security-opt that Dray does not know.
Result<void> check_security_options(const ContainerOptions& options);

/// The first process (without a terminal's size), resolved against the mounted `rootfs`. Creates a missing WORKDIR.
Result<runtime::Process> make_process(const ContainerRecord& record, FdRef rootfs);
/// Seccomp as the options say; nullopt = none.
Result<std::optional<runtime::Seccomp>> make_seccomp(const ContainerOptions& options, bool privileged,
                                                     const std::vector<std::string>& capabilities);
/// effective and permitted sets only for root, as execve would leave them.
runtime::Capabilities make_capabilities(const std::vector<std::string>& names, std::uint32_t uid);
Result<std::vector<std::string>> capability_names(const ContainerOptions& options, bool privileged);

/// A file or directory of the host, read-only.
runtime::Mount read_only_bind(const std::string& source, const std::string& destination);

/// Nothing of /proc, /sys and the cgroups is masked or read-only.
void make_privileged(runtime::Spec& spec);

/// Everything launch() needs; writes hosts, hostname and resolv.conf into the container's directory. Missing mount
/// points whose symlink dangles in the image are made here.
Result<runtime::Spec> make_spec(Context& context, const ContainerRecord& record, FdRef rootfs);

}  // namespace dray::engine
