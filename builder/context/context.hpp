// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include <dray/builder/builder.hpp>

#include "context/ignore.hpp"

namespace dray::builder {

/// What a build is given: the Dockerfile's text, and the directory COPY reads (none for a bare Dockerfile).
struct BuildContext {
  FileDescriptor directory;
  std::optional<TempDir> unpacked;   ///< of a context that came as a tar
  bool is_only_dockerfile = false;   ///< there is nothing else
  bool is_remote = false;            ///< came by a URL: the Dockerfile's name is one in it
  bool is_git = false;               ///< a repository's tree: .dockerignore means nothing there, as in BuildKit
  std::optional<std::int64_t> time;  ///< of a URL's: SOURCE_DATE_EPOCH=context
  std::string dockerfile;
  std::string dockerfile_name = "Dockerfile";  ///< for locations
  IgnorePatterns ignore;
};

/// Opens (or unpacks below `temporary`) the context. A stream may turn out to be the Dockerfile.
Result<BuildContext> open_context(const BuildRequest& request, const std::string& temporary, const CancelToken& cancel);
/// Makes a tar's content the context's directory.
Result<void> unpack_context(ByteSource& tar, const std::string& temporary, const CancelToken& cancel,
                            BuildContext& context);
/// Reads the Dockerfile, unless the stream was it.
Result<void> read_dockerfile(const BuildRequest& request, BuildContext& context);
/// Reads <Dockerfile>.dockerignore or, where there is none, the context's .dockerignore. Returns its size.
Result<std::size_t> read_ignore_file(const BuildRequest& request, BuildContext& context);

}  // namespace dray::builder
