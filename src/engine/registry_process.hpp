// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <dray/builder/builder.hpp>
#include <dray/core/progress.hpp>
#include <dray/core/reference.hpp>
#include <dray/core/result.hpp>
#include <dray/engine/engine.hpp>
#include <dray/engine/remote.hpp>

namespace dray::engine {

/// What dray-registry said when it was done.
struct HelperResult {
  std::string reference, digest, image_id, media_type, etag, last_modified;
  std::string text;                ///< a document; what was removed
  std::vector<std::string> names;  ///< a list
  std::vector<FoundRepository> found;
  std::uint64_t size = 0;
  bool up_to_date = false;
  std::string config_path, username;  ///< login
  bool was_logged_in = false;         ///< logout
};

/// One line of dray-registry's standard output (include/dray/registry/helper_protocol.hpp): an event, the
/// result, or its error.
using HelperLine = std::variant<ProgressEvent, HelperResult, Error>;
Result<HelperLine> parse_helper_line(std::string_view line);

/// One file by http(s), through `dray-registry fetch`.
Result<builder::HttpAnswer> fetch_file(const builder::HttpRequest& request, ProgressSink& progress,
                                       const CancelToken& cancel);

/// Runs dray-registry COMMAND … REFERENCE and relays its events.
Result<HelperResult> run_registry_helper(const Context& context, const std::string& command, const Reference& reference,
                                         const std::vector<std::string>& arguments, ProgressSink& progress,
                                         const CancelToken& cancel);

/// The same for any command: `words` are the command, its flags and operands.
Result<HelperResult> run_registry_helper(const Context& context, std::vector<std::string> words, ProgressSink& progress,
                                         const CancelToken& cancel);

/// Sends a manifest or index of the content store with all it refers to.
Result<void> push_document(const Context& context, const image::Descriptor& document, const Reference& reference,
                           bool insecure, ProgressSink& progress, const CancelToken& cancel);

}  // namespace dray::engine
