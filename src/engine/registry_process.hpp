// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <dray/core/progress.hpp>
#include <dray/core/result.hpp>
#include <dray/engine/engine.hpp>

namespace dray::engine {

/// What dray-registry said when it was done.
struct HelperResult {
  std::string reference, digest, image_id, media_type, text;
  std::vector<std::string> names;
  std::uint64_t size = 0;
  bool up_to_date = false;
  std::string config_path, username;  ///< login
  bool was_logged_in = false;         ///< logout
};

/// One line of dray-registry's standard output (include/dray/registry/helper_protocol.hpp): an event, the
/// result, or its error.
using HelperLine = std::variant<ProgressEvent, HelperResult, Error>;
Result<HelperLine> parse_helper_line(std::string_view line);

/// Runs dray-registry and relays its progress. `words`: the command, its flags, its operands. `input`: what it finds on
/// its standard input; secrets go there.
Result<HelperResult> run_registry_helper(const Configuration& configuration, const std::vector<std::string>& words,
                                         const std::string& input, ProgressSink& progress, const CancelToken& cancel);

}  // namespace dray::engine
