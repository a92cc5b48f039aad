// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <dray/core/progress.hpp>
#include <dray/image/image.hpp>

namespace dray::builder {

/// --unset: "env=NAME", "label=KEY", "volume=PATH", "expose=PORT", each also without a name for all of them; "cmd",
/// "entrypoint", "user", "workdir", "healthcheck", "stopsignal". Only what the base (nullptr: scratch) set and the
/// Dockerfile left as it was is removed; a line of history says so. One that finds nothing is a warning.
Result<void> unset_inherited(const std::vector<std::string>& unset, const image::ImageConfig* base,
                             image::ImageConfig& config, ProgressSink& progress);

/// That all of them are spelt right.
Result<void> check_unset(const std::vector<std::string>& unset);

}  // namespace dray::builder
