// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <dray/engine/engine.hpp>

// `dray manifest`: an index is put together here from images that are in registries, and pushed. Until then it is a
// file under root/manifests.

namespace dray::engine {

/// Asks the registry about each of `manifests`. Already there: in_use, unless `amend`, which adds to it.
Result<void> create_manifest_list(Context& context, const std::string& name, const std::vector<std::string>& manifests,
                                  bool amend, const CancelToken& cancel);

struct ManifestAnnotation {
  std::optional<std::string> os, architecture, variant, os_version;
};
Result<void> annotate_manifest_list(Context& context, const std::string& name, const std::string& manifest,
                                    const ManifestAnnotation& annotation);

/// The list being put together, or what the registry has under that name; JSON, indented.
Result<std::string> inspect_manifest(Context& context, const std::string& name, const CancelToken& cancel);

/// Copies what the list names into its repository where it is missing, then puts the index. Returns its digest.
Result<Digest> push_manifest_list(Context& context, const std::string& name, ProgressSink& progress,
                                  const CancelToken& cancel);

/// not_found if there is none.
Result<void> remove_manifest_list(Context& context, const std::string& name);

}  // namespace dray::engine
