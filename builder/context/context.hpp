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
  std::optional<TempDir> unpacked;  ///< of a context that came as a tar
  std::string dockerfile;
  std::string dockerfile_name = "Dockerfile";  ///< for locations
  IgnorePatterns ignore;
};

/// Opens (or unpacks below `temporary`) the context and reads Dockerfile and .dockerignore.
Result<BuildContext> open_context(const BuildRequest& request, const std::string& temporary,
                                  const CancelToken& cancel);

}  // namespace dray::builder
