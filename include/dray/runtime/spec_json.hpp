// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <dray/core/result.hpp>
#include <dray/runtime/spec.hpp>

// The JSON of the runtime-spec (config.md, config-linux.md), for bundles: the engine hands a Spec over without it.

namespace dray::runtime {

/// The text of a bundle's config.json, at most 16 MiB. What is not of the specification's form is invalid_argument
/// naming the field ("process.cwd: ..."); properties that it does not know are ignored, as it demands. The default
/// devices and their rules (runc's) are added. Paths stay relative to the bundle. Call validate_spec() before use.
Result<Spec> parse_spec(std::string_view json);
/// A process object, as `exec --process FILE` reads it; validated.
Result<Process> parse_process(std::string_view json);
/// A linux.resources object, as `update --resources FILE` reads it.
Result<Resources> parse_resources(std::string_view json);

/// What the specification and runc refuse although each property alone is well-formed: namespaces that settings need,
/// unknown words, ranges, security modules that this host doesn't have. Looks at the host, changes nothing.
Result<void> validate_spec(const Spec& spec);
/// The part of it that concerns a process, for `exec` too.
Result<void> validate_process(const Process& process);

/// CPUs or memory nodes: the numbers of "0-3,7" in their order, each under 1024 as runc has it; nothing if it is
/// malformed.
std::optional<std::vector<unsigned>> parse_number_list(std::string_view text);

/// config.json as `spec` writes it: indented by tabs, ends with a newline. Round-trips through parse_spec(); devices
/// and rules that parse_spec() adds are left out.
std::string format_spec(const Spec& spec);
/// What `spec` writes for a start: a shell in "rootfs"; for `rootless` with a user namespace of the caller's IDs.
Spec make_bundle_template(bool rootless);

/// The document of `features` (runtime-spec features.md).
std::string describe_features();

}  // namespace dray::runtime
