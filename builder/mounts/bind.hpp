// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <dray/core/fd.hpp>
#include <dray/store/store.hpp>

#include "context/scan.hpp"
#include "solve/active_snapshot.hpp"

namespace dray::builder {

/// What RUN --mount=type=bind shows. What is written to it (`rw`) goes with `snapshot` or `scratch`.
struct BindMount {
  std::unique_ptr<ActiveSnapshot> snapshot;
  std::optional<TempDir> scratch;
  FileDescriptor tree;  ///< closed before they go
};

/// `source` ("/src") of a stage's or image's layers.
Result<BindMount> bind_layers(store::Store& store, const std::vector<DiffId>& layers, const std::string& source,
                              bool read_only);

/// `source` of a directory of the user's, without what its .dockerignore hides. The directory itself is never written.
Result<BindMount> bind_directory(store::Store& store, const SourceTree& tree, const std::string& source, bool read_only,
                                 const CancelToken& cancel);

}  // namespace dray::builder
