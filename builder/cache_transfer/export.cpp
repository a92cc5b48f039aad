// SPDX-License-Identifier: Apache-2.0
// A cache as a document of its own: the config that holds the records, and the layers as they are in the image, so that
// a registry has them once.
#include <algorithm>

#include <dray/core/directory_lock.hpp>

#include "cache_transfer/cache_transfer.hpp"
#include "export/archive.hpp"

namespace dray::builder {
namespace {

Result<CacheDocument> collect(const CacheExport& request, const CacheEnd& end, const CancelToken& cancel) {
  CacheDocument document;
  const auto add = [&](int id) -> Result<void> {
    const StepResult& step = request.steps[static_cast<std::size_t>(id)];
    if (step.keys.empty() || step.layers.empty()) return {};
    const ImageLayer layer =
        TRY(convert_layer(request.store, {step.layers.back(), step.blob, step.created_at}, end.compression, cancel));
    CacheDocument::Layer exported{layer.blob, layer.diff_id, layer.created_at};
    exported.blob.media_type = layer_media_type(layer.blob.media_type, end.oci_types);
    exported.blob.annotations.clear();
    document.add(exported, step.keys);
    return {};
  };
  if (end.max) {
    for (std::size_t id = 0; id < request.steps.size(); ++id) TRY(add(static_cast<int>(id)));
    return document;
  }
  for (const int result : request.results)
    for (int id = result; !request.plan.vertices[static_cast<std::size_t>(id)].inputs.empty();
         id = request.plan.vertices[static_cast<std::size_t>(id)].inputs.front())
      TRY(add(id));
  return document;
}

struct ComposedCache {
  image::Descriptor top;
  std::vector<Digest> blobs;
};

Result<ComposedCache> compose(const CacheExport& request, const CacheEnd& end, const CacheDocument& document) {
  ComposedCache cache;
  const auto write = [&](const std::string& bytes, std::string_view type) -> Result<image::Descriptor> {
    image::Descriptor descriptor;
    descriptor.media_type = std::string(type);
    descriptor.digest = TRY(request.store.content().write_blob(bytes));
    descriptor.size = bytes.size();
    cache.blobs.push_back(descriptor.digest);
    return descriptor;
  };
  const std::string bytes = serialize(document);
  if (bytes.size() > image::kMaxManifestSize)
    return fail(ErrorCode::unsupported, "the cache's list of records is too large");
  const image::Descriptor config = TRY(write(bytes, kCacheConfig));
  std::vector<image::Descriptor> layers;
  for (const CacheDocument::Layer& layer : document.layers) {
    layers.push_back(layer.blob);
    cache.blobs.push_back(layer.blob.digest);
  }
  if (end.image_manifest) {
    image::Manifest manifest;
    manifest.media_type = image::kOciManifest;
    manifest.config = config;
    manifest.layers = layers;
    cache.top = TRY(write(image::serialize(manifest), image::kOciManifest));
    return cache;
  }
  image::Index index;
  index.media_type = std::string(end.oci_types ? image::kOciIndex : image::kDockerIndex);
  index.manifests = layers;
  index.manifests.push_back(config);
  cache.top = TRY(write(image::serialize(index), index.media_type));
  return cache;
}

/// Blobs first, index.json last: a reader finds the old cache or the new one.
Result<void> write_local(const CacheExport& request, const CacheEnd& end, const ComposedCache& cache,
                         const CancelToken& cancel) {
  for (const Digest& blob : cache.blobs) {
    TRY(cancel.check());
    TRY(write_layout_blob(request.store, blob, end.directory));
  }
  const DirectoryLock lock = TRY(DirectoryLock::acquire(end.directory));
  TRY(write_file_atomically(end.directory + "/oci-layout", R"({"imageLayoutVersion":"1.0.0"})", 0644,
                            Durability::fsync));
  image::Index index;
  index.media_type = image::kOciIndex;
  index.manifests = {cache.top};
  index.manifests.front().annotations["org.opencontainers.image.ref.name"] = end.tag;
  // Entries with other tags stay.
  if (const auto old = read_file(end.directory + "/index.json", image::kMaxManifestSize)) {
    const image::Index before = TRY_CTX(image::parse_index(*old), "\"" + end.directory + "\"");
    for (const image::Descriptor& entry : before.manifests) {
      const auto name = entry.annotations.find("org.opencontainers.image.ref.name");
      if (name != entry.annotations.end() && name->second != end.tag) index.manifests.push_back(entry);
    }
  }
  return write_file_atomically(end.directory + "/index.json", image::serialize(index), 0644, Durability::fsync);
}

Result<void> export_cache(const CacheExport& request, const CacheEnd& end, ProgressSink& progress, int step,
                          const CancelToken& cancel) {
  report_status(progress, step, "preparing build cache for export");
  const CacheDocument document = TRY(collect(request, end, cancel));
  const ComposedCache cache = TRY(compose(request, end, document));
  report_status(progress, step, "writing cache manifest " + cache.top.digest.to_string());
  if (end.type == CacheEnd::Type::local) return write_local(request, end, cache, cancel);
  if (request.registry == nullptr) return fail(ErrorCode::unsupported, "registries cannot be reached here");
  StatusOf status(progress, step);
  return request.registry->push(cache.top, *end.reference, {end.insecure}, status, cancel);
}

}  // namespace

Result<void> export_caches(const CacheExport& request, ProgressSink& progress, const CancelToken& cancel) {
  for (const CacheEnd& end : request.to) {
    const int step = request.numbers.reserve();
    auto exported = as_step(progress, step, "exporting cache to " + end.name(),
                            [&] { return export_cache(request, end, progress, step, cancel); });
    if (exported) continue;
    if (!end.ignore_error || cancel.cancelled())
      return Failure(std::move(exported)
                         .error()
                         .with_context("exporting the build cache to " + end.name())
                         .with_hint("the outputs of the build were written; ignore-error=true makes this a warning"));
    progress.report(
        {.kind = ProgressEvent::Kind::message,
         .text = "WARN: the build cache was not exported to " + end.name() + ": " + exported.error().message()});
  }
  return {};
}

}  // namespace dray::builder
