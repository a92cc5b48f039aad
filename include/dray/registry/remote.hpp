// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <dray/registry/client.hpp>

// What a registry holds, asked and changed without pulling anything.

namespace dray::registry {

/// All tags of the reference's repository, in the registry's order.
Result<std::vector<std::string>> list_tags(const Reference& reference, const Options& options, ProgressSink& progress,
                                           const CancelToken& cancel);
/// All repositories of a registry ("localhost:5000"). Many registries refuse this.
Result<std::vector<std::string>> list_repositories(const std::string& registry, const Options& options,
                                                   ProgressSink& progress, const CancelToken& cancel);

struct SearchResult {
  std::string name;  ///< with the registry, but for Docker Hub's
  std::string description;
  std::uint64_t stars = 0;
  bool is_official = false;
};
/// At most `limit` repositories that fit "TERM" (Docker Hub) or "HOST[:PORT]/TERM".
Result<std::vector<SearchResult>> search(const std::string& term, std::size_t limit, const Options& options,
                                         ProgressSink& progress, const CancelToken& cancel);

struct RemoteDocument {
  std::string bytes, media_type;
  Digest digest;
};
/// The manifest or index behind a reference, byte by byte.
Result<RemoteDocument> get_manifest(const Reference& reference, const Options& options, ProgressSink& progress,
                                    const CancelToken& cancel);
/// The image config of the platform behind a reference.
Result<std::string> get_config(const Reference& reference, const image::Platform& platform, const Options& options,
                               ProgressSink& progress, const CancelToken& cancel);
Result<Digest> put_manifest(const Reference& reference, const RemoteDocument& document, const Options& options,
                            ProgressSink& progress, const CancelToken& cancel);
/// Removes a tag; where the registry only removes by digest, the manifest it points to (and with it its other tags).
/// Returns what was removed: a tag or a digest.
Result<std::string> remove_manifest(const Reference& reference, const Options& options, ProgressSink& progress,
                                    const CancelToken& cancel);

struct CopyOptions {
  bool all_platforms = false;  ///< an index with all it names; else the platform's manifest alone
  bool referrers = false;      ///< signatures, SBOMs and other artifacts that name the image, too
  image::Platform platform;
};
/// Copies an image between two places ("docker://r/x:1", "oci:/srv/layout:tag", "local:app", …; see transport.hpp)
/// byte by byte: digests stay. Returns the digest of what was copied.
Result<Digest> copy(store::Store& store, const std::string& source, const std::string& destination,
                    const CopyOptions& what, const Options& options, ProgressSink& progress, const CancelToken& cancel);

}  // namespace dray::registry
