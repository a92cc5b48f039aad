// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <dray/engine/engine.hpp>

// What registries hold, and copies between places; done by dray-registry.

namespace dray::engine {

/// All tags of the repository `name`.
Result<std::vector<std::string>> remote_tags(Context& context, const std::string& name, const CancelToken& cancel);
/// All repositories of a registry ("localhost:5000").
Result<std::vector<std::string>> remote_repositories(Context& context, const std::string& registry,
                                                     const CancelToken& cancel);
struct FoundRepository {
  std::string name, description;
  std::uint64_t stars = 0;
  bool is_official = false;
};
/// At most `limit` repositories that fit "TERM" (Docker Hub) or "HOST[:PORT]/TERM".
Result<std::vector<FoundRepository>> search_registry(Context& context, const std::string& term, std::size_t limit,
                                                     const CancelToken& cancel);
/// Removes a tag or digest from its registry; returns what was removed.
Result<std::string> remove_remote(Context& context, const std::string& name, const CancelToken& cancel);

struct RemoteManifest {
  std::string bytes, media_type;
  Digest digest;
};
/// The manifest or index as the registry has it.
Result<RemoteManifest> remote_manifest(Context& context, const std::string& name, const CancelToken& cancel);
/// The image config (JSON) of this host's platform, from the registry.
Result<std::string> remote_config(Context& context, const std::string& name, const CancelToken& cancel);
/// The manifest of a local image, byte by byte.
Result<std::string> image_manifest(Context& context, const std::string& name);

struct CopyRequest {
  std::string source, destination;  ///< "docker://r/x:1", "oci:/srv/layout:tag", "local:app", …
  bool all_platforms = false, referrers = false;
  std::string platform;  ///< "" = this host's
};
Result<Digest> copy_image(Context& context, const CopyRequest& request, ProgressSink& progress,
                          const CancelToken& cancel);

}  // namespace dray::engine
