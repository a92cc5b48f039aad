// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <dray/engine/engine.hpp>

// Root file systems as plain tars: without layers, names or configuration.

namespace dray::engine {

/// `export`: the container's files as a tar; what is mounted into it is left out. It may run meanwhile: a file that
/// becomes shorter while it is read is an error.
Result<void> export_container(Context& context, const std::string& name, ByteSink& sink, const CancelToken& cancel);

struct ImportRequest {
  std::string source;                ///< as the user named it: for the history
  std::string reference;             ///< "" = untagged
  std::vector<std::string> changes;  ///< Dockerfile instructions that say how to run it
  std::string message;               ///< "" = "Imported from SOURCE"
  image::Platform platform = image::Platform::host();
};
/// `import`: a tar (compressed or not) becomes an image of one layer. Returns the image's ID.
Result<Digest> import_image(Context& context, const ImportRequest& request, ByteSource& tar, ProgressSink& progress,
                            const CancelToken& cancel);
/// The same from an http or https URL.
Result<Digest> import_url(Context& context, const ImportRequest& request, ProgressSink& progress,
                          const CancelToken& cancel);

}  // namespace dray::engine
