// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include <dray/core/result.hpp>
#include <dray/runtime/spec.hpp>

// The JSON of the runtime-spec (config.md, config-linux.md), for bundles: the engine hands a Spec over without it.

namespace dray::runtime {

/// The text of a bundle's config.json. What the specification calls an error is invalid_argument naming the field
/// ("process.cwd: ..."); properties that it does not know are ignored, as it demands. What it knows and this runtime
/// cannot do is `unsupported`.
Result<Spec> parse_spec(std::string_view json);
/// A process object, as `exec --process FILE` reads it.
Result<Process> parse_process(std::string_view json);
/// A linux.resources object, as `update --resources FILE` reads it.
Result<Resources> parse_resources(std::string_view json);

/// config.json as `spec` writes it: indented by tabs, ends with a newline. Round-trips through parse_spec().
std::string format_spec(const Spec& spec);
/// What `spec` writes for a start: a shell in "rootfs"; for `rootless` with a user namespace of the caller's IDs.
Spec make_bundle_template(bool rootless);

/// The document of `features` (runtime-spec features.md).
std::string describe_features();

}  // namespace dray::runtime
