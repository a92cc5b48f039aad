// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <variant>

#include <dray/builder/builder.hpp>
#include <dray/core/progress.hpp>
#include <dray/core/result.hpp>

namespace dray::engine {

/// What dray-registry said when it was done.
struct HelperResult {
  std::string reference, digest, image_id, media_type, etag, last_modified;
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

}  // namespace dray::engine
