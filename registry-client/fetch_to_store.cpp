// SPDX-License-Identifier: Apache-2.0
// Single documents and layers, for a build cache: its manifest first, and of its layers those that steps ask for.
#include <dray/registry/client.hpp>

#include "fetch.hpp"

namespace dray::registry {

Result<image::Descriptor> fetch_to_store(store::Store& store, const Reference& reference, const Options& options,
                                         ProgressSink& progress, const CancelToken& cancel) {
  Stop stop(cancel);
  const auto lease = TRY(store.lease());
  HttpClient client = TRY(HttpClient::create());
  auto session = TRY(Session::connect(client, reference, Purpose::pull_manifest, options, progress, stop));
  const Document document = TRY(fetch_document(*session, client, reference.tag_or_digest(), nullptr));
  if (!image::is_index(document.bytes, document.media_type)) {
    const image::Manifest manifest = TRY(image::parse_manifest(document.bytes));
    TRY(fetch_small_blob(*session, client, store, manifest.config));
  } else {
    // An index of images: the manifests and configs; a build cache's: its config.
    const image::Index index = TRY(image::parse_index(document.bytes));
    constexpr std::size_t kMaxManifests = 64;
    std::size_t manifests = 0;
    for (const image::Descriptor& entry : index.manifests) {
      if (entry.media_type == "application/vnd.buildkit.cacheconfig.v0")
        TRY(fetch_small_blob(*session, client, store, entry));
      const bool is_manifest = entry.media_type == image::kOciManifest || entry.media_type == image::kDockerManifest;
      if (!is_manifest || (entry.platform && entry.platform->os == "unknown") || ++manifests > kMaxManifests) continue;
      const Document child = TRY(fetch_document(*session, client, entry.digest.to_string(), &entry));
      TRY(store.content().write_blob(child.bytes, child.digest));
      const image::Manifest manifest = TRY(image::parse_manifest(child.bytes));
      TRY(fetch_small_blob(*session, client, store, manifest.config));
    }
  }
  TRY(store.content().write_blob(document.bytes, document.digest));
  image::Descriptor result;
  result.media_type = document.media_type;
  result.digest = document.digest;
  result.size = document.bytes.size();
  return result;
}

Result<void> fetch_layer_to_store(store::Store& store, const Reference& reference, const image::Descriptor& layer,
                                  const DiffId& diff_id, const Options& options, ProgressSink& progress,
                                  const CancelToken& cancel) {
  Stop stop(cancel);
  const auto lease = TRY(store.lease());
  HttpClient client = TRY(HttpClient::create());
  auto session = TRY(Session::connect(client, reference, Purpose::pull_blob, options, progress, stop));
  StepProgress step(progress, 1, layer.digest.short_hex());
  SpareConnections spare{kSpareConnections};
  return fetch_layer(*session, client, store, layer, diff_id, spare, step);
}

}  // namespace dray::registry
