// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <dray/core/reference.hpp>
#include <dray/core/result.hpp>
#include <dray/image/image.hpp>

// What a Dockerfile says and what a build of it would do, for people: `dray builder ast` and `dray builder plan`.
// Nothing is run, fetched or written.

namespace dray::builder {

/// The parse tree as s-expressions, an instruction per line. `file` is for locations of errors.
Result<std::string> dockerfile_ast(std::string_view text, const std::string& file);

struct InspectRequest {
  std::string text;
  std::string file = "Dockerfile";  ///< for locations
  std::string target;
  std::vector<std::pair<std::string, std::string>> build_args;
  image::Platform platform = image::Platform::host();
  std::optional<std::string> dockerignore;  ///< the context's .dockerignore, for the checks
  /// An image with PATH, CMD /bin/sh and nothing else in place of every base image.
  bool stub_bases = false;
};

struct Inspection {
  std::string json;            ///< one document, with "error" where the build would be refused
  std::optional<Error> error;  ///< the same, with its place
};

/// Parse tree in short, stages, warnings, final config, history, and the operations in the form of BuildKit's LLB.
/// `resolve` gives the config of a base image; not called with stub_bases.
Inspection inspect_dockerfile(
    const InspectRequest& request,
    const std::function<Result<image::ImageConfig>(const Reference&, const image::Platform&)>& resolve);

/// The lines an error in `file` is about, with those around them; "" where it names none.
std::string dockerfile_excerpt(std::string_view text, const Error& error, const std::string& file);

}  // namespace dray::builder
